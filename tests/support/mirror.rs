//! A server that mirrors a test upstream.

use std::fs;
use std::io::{BufReader, Read};
use std::net::TcpStream;
use std::time::Duration;

use entrepot::oci::Digest;

use super::client::{Answer, Client, Request};
use super::registry::{Place, Registry, eventually};
use super::upstream::Upstream;

/// Starts a mirror of `upstream` as docker.io, with `keys` of the upstream and `sections` beside `upstreams`.
pub fn mirror_with(upstream: &Upstream, keys: &str, sections: &str) -> Registry {
    mirror_of(&[upstream], keys, sections)
}

/// Starts such a mirror of several endpoints.
pub fn mirror_of(upstreams: &[&Upstream], keys: &str, sections: &str) -> Registry {
    let urls: Vec<String> = upstreams.iter().map(|upstream| format!("{:?}", upstream.url())).collect();
    let urls = urls.join(", ");
    // The tests also run on a machine whose disk is nearly full.
    let sections =
        if sections.contains("cache:") { sections.to_owned() } else { format!("{sections}\n  cache: {{reserve: 0}}") };
    let ns = without_namespace(keys);
    Registry::with(&format!(
        "mirror:\n  upstreams:\n    docker.io: {{default: true, endpoints: [{urls}]{keys}{ns}}}\n{sections}"
    ))
}

/// Starts such a mirror with keys that depend on its place, since they may name files there.
pub fn mirror_at(upstream: &Upstream, keys: impl FnOnce(&Place) -> String, sections: &str) -> Registry {
    let url = upstream.url();
    // The tests also run on a machine whose disk is nearly full.
    let sections =
        if sections.contains("cache:") { sections.to_owned() } else { format!("{sections}\n  cache: {{reserve: 0}}") };
    Registry::configured(|place| {
        let (keys, given) = (keys(place), place.usual());
        let ns = without_namespace(&keys);
        format!(
            "{given}\nmirror:\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{url}\"]{keys}{ns}}}\n{sections}\n"
        )
    })
}

/// Returns the key that sends no `?ns=`, unless it is among the keys. Until an endpoint on another host than docker.io's has
/// answered, a 404 costs two requests, and most tests count them.
fn without_namespace(keys: &str) -> &'static str {
    if keys.contains("ns:") { "" } else { ", ns: never" }
}

/// Starts a mirror of `upstream` as docker.io.
pub fn mirror(upstream: &Upstream) -> Registry {
    mirror_with(upstream, "", "")
}

/// Returns `/v2/NAME/manifests/REFERENCE`.
pub fn manifest(name: &str, reference: impl std::fmt::Display) -> String {
    format!("/v2/{name}/manifests/{reference}")
}

/// Returns `/v2/NAME/blobs/DIGEST`.
pub fn blob(name: &str, digest: impl std::fmt::Display) -> String {
    format!("/v2/{name}/blobs/{digest}")
}

/// Makes a record of docker.io's `name` older: `_tags/TAG`, `_lists/tags`, `_lists/referrers/ALG/HEX` (docs/reference/disk-layout.md).
pub fn age(mirror: &Registry, name: &str, record: &str, by: Duration) {
    let path = mirror.data().join("cache/repositories/docker.io").join(name).join(record);
    let text = fs::read_to_string(&path).unwrap();
    let (first, rest) = text.split_once('\n').map_or((text.as_str(), None), |(first, rest)| (first, Some(rest)));
    let mut head: serde_json::Value = serde_json::from_str(first).unwrap();
    head["seen"] = (head["seen"].as_u64().unwrap() - by.as_secs()).into();
    fs::write(&path, [head.to_string()].into_iter().chain(rest.map(str::to_owned)).collect::<Vec<_>>().join("\n"))
        .unwrap();
}

/// A GET whose body is read at the test's pace.
pub struct Slow {
    stream: BufReader<TcpStream>,
}

impl Slow {
    /// Sends a GET, and reads the head and the first `bytes` of the body.
    pub fn begin(client: &Client, target: &str, bytes: usize) -> (Self, Vec<u8>) {
        Self::answer(client.request("GET", target), bytes)
    }

    /// Sends a request, and reads the head and the first `bytes` of the body.
    pub fn answer(request: Request, bytes: usize) -> (Self, Vec<u8>) {
        let mut slow = Self { stream: BufReader::new(request.send_head()) };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            slow.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(&head));
        let first = slow.read(bytes);
        (slow, first)
    }

    pub fn read(&mut self, bytes: usize) -> Vec<u8> {
        let mut piece = vec![0; bytes];
        self.stream.read_exact(&mut piece).unwrap();
        piece
    }

    /// Reads the rest until the connection ends in any way.
    pub fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

/// Waits until every blob that was pulled is stored. A client gets the end of a blob before.
pub fn wait_until_stored(mirror: &Registry) {
    let client = mirror.client();
    eventually("the end of all fills", || {
        client.get("/metrics").text().contains("entrepot_fills_in_flight 0\n").then_some(())
    });
}

/// Returns the value of `X-Cache`.
pub fn cache(answer: &Answer) -> &str {
    answer.header("x-cache").unwrap_or("none")
}

/// Checks that the upstream has sent the content of a blob about once. Bytes that are on their way when another connection
/// takes over the end of a segment cross twice.
pub fn is_sent_once(upstream: &Upstream, digest: Digest, size: usize) {
    let sent = upstream.bytes_sent(&digest);
    assert!((size..=size + size / 8).contains(&(sent as usize)), "{sent} bytes were sent of {size}");
}
