//! The addresses by which a client gets its fair share of the server.

use std::net::{IpAddr, Ipv6Addr};

/// The addresses of a client. A client with IPv6 has a whole /64 of addresses, which count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    /// The other end of the TCP connection: the client, or a proxy in front.
    peer: IpAddr,
    /// The client, as a trusted proxy tells it; without a proxy, the peer.
    client: IpAddr,
}

impl ClientAddress {
    pub fn new(peer: IpAddr, forwarded: Option<IpAddr>) -> Self {
        let peer = network(peer);
        Self { peer, client: forwarded.map_or(peer, network) }
    }

    pub fn peer(self) -> IpAddr {
        self.peer
    }

    pub fn client(self) -> IpAddr {
        self.client
    }

    /// Returns true if a proxy told the address. It may be invented: every program on a trusted machine can send it.
    pub fn is_forwarded(self) -> bool {
        self.client != self.peer
    }
}

/// Returns the address that stands for the network of a client.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let of = |peer: &str, forwarded: Option<&str>| {
            let address = ClientAddress::new(peer.parse().unwrap(), forwarded.map(|text| text.parse().unwrap()));
            (address.peer().to_string(), address.client().to_string(), address.is_forwarded())
        };
        let (v6, v4) = ("2001:db8:1:2::".to_owned(), "192.0.2.1".to_owned());
        assert_eq!(of("2001:db8:1:2:3:4:5:6", None), (v6.clone(), v6.clone(), false));
        assert_eq!(of("192.0.2.1", Some("2001:db8:1:2::7")), (v4.clone(), v6, true));
        assert_eq!(of("::ffff:192.0.2.1", Some("192.0.2.1")), (v4.clone(), v4, false));
    }
}
