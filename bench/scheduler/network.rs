//! A simulated network: endpoints, a link that their connections share, and the rates that result.

use std::time::Duration;

/// A network between a client and some endpoints. Rates are in bytes per second.
#[derive(Clone, Debug)]
pub struct Network {
    pub endpoints: Vec<Endpoint>,
    /// The rate of the client's link, which all connections share.
    pub link: f64,
    /// The number of other transfers on the link, of one connection each.
    pub others: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The time from a request to the first byte.
    pub latency: Duration,
    /// The rate of one connection.
    pub each: f64,
    /// The rate of all connections together.
    pub all: f64,
    /// The part of the connections that are slow, and their rate as a part of `each`.
    pub slow: (f64, f64),
}

/// A connection that is receiving.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// `None`: another transfer's.
    pub endpoint: Option<usize>,
    pub most: f64,
}

impl Network {
    /// Returns the rate of each flow: what each limit leaves is shared equally.
    pub fn rates(&self, flows: &[Flow]) -> Vec<f64> {
        let mut rates = vec![0.0; flows.len()];
        let mut open: Vec<usize> = (0..flows.len()).collect();
        let mut left: Vec<f64> = self.endpoints.iter().map(|endpoint| endpoint.all).collect();
        let mut link = self.link;
        while !open.is_empty() {
            let sharing =
                |endpoint: usize| open.iter().filter(|at| flows[**at].endpoint == Some(endpoint)).count() as f64;
            let room = |at: usize| {
                let own = flows[at].most - rates[at];
                flows[at].endpoint.map_or(own, |endpoint| own.min(left[endpoint] / sharing(endpoint)))
            };
            let rise = open.iter().map(|at| room(*at)).fold(link / open.len() as f64, f64::min).max(0.0);
            for at in &open {
                rates[*at] += rise;
                link -= rise;
                if let Some(endpoint) = flows[*at].endpoint {
                    left[endpoint] -= rise;
                }
            }
            let full = |at: usize| {
                let endpoint = flows[at].endpoint.is_some_and(|endpoint| left[endpoint] < 1.0);
                link < 1.0 || endpoint || flows[at].most - rates[at] < 1.0
            };
            open.retain(|at| !full(*at));
        }
        rates
    }

    /// Returns the shortest time in which `size` bytes can arrive, with `connections` connections to each endpoint.
    pub fn bound(&self, size: u64, connections: usize) -> f64 {
        let mut starts: Vec<(f64, f64)> = self
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.latency.as_secs_f64(), endpoint.all.min(endpoint.each * connections as f64)))
            .collect();
        starts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut now, mut rate, mut left) = (0.0, 0.0_f64, size as f64);
        for (start, more) in starts {
            let flow = rate.min(self.link);
            if flow * (start - now) >= left {
                break;
            }
            left -= flow * (start - now);
            (now, rate) = (start, rate + more);
        }
        now + left / rate.min(self.link)
    }
}
