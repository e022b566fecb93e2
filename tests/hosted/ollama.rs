//! Requests as Ollama sends them, in both of its ways to push and to pull (its `server/upload.go`, `server/download.go` and
//! `x/transfer`).
//!
//! Ollama reads `Docker-Upload-Location` before `Location`, and does not resolve a relative one. A pull reads `Location` of the answer to
//! a GET, with any status, and then asks for ranges at that address.

use std::net::SocketAddr;

use entrepot::oci::Digest;
use serde_json::json;

use crate::support::client::{Answer, Client, digest_of, noise};
use crate::support::mirror::{blob, mirror};
use crate::support::registry::Registry;
use crate::support::upstream::Upstream;

const AGENT: (&str, &str) = ("User-Agent", "ollama/0.9.0 (amd64 linux) Go/go1.24.0");

/// Returns the path of the address where Ollama sends the next request of an upload. Panics if it is not absolute, or not of `addr`.
fn next(answer: &Answer, addr: SocketAddr) -> String {
    let location = answer.header("docker-upload-location").or(answer.header("location")).unwrap();
    let path = location.strip_prefix(&format!("http://{addr}"));
    path.unwrap_or_else(|| panic!("{location} is not absolute")).to_owned()
}

/// Sends one part of a blob: a PATCH with its range.
fn send_part(client: &Client, target: &str, part: (usize, &[u8])) -> Answer {
    let (first, content) = part;
    let range = format!("{first}-{}", first + content.len() - 1);
    let request = client.request("PATCH", target).header(AGENT.0, AGENT.1).header("X-Redirect-Uploads", "1");
    request.header("Content-Range", &range).header("Content-Type", "application/octet-stream").body(content).send()
}

/// Finishes an upload: a PUT without a body.
fn finish(client: &Client, target: &str, digest: &Digest) {
    let target = format!("{target}?digest={digest}&etag=9b2cf535f27731c974343645a3985328-2");
    let done = client.request("PUT", &target).header("Content-Type", "application/octet-stream").body(b"").send();
    assert_eq!(done.status, 201, "{}", done.text());
}

/// Pushes a blob as `server/upload.go` does.
fn push(client: &Client, addr: SocketAddr, name: &str, content: &[u8]) -> Digest {
    let digest = digest_of(content);
    assert_eq!(client.request("HEAD", &blob(name, digest)).header(AGENT.0, AGENT.1).send().status, 404);
    let begun = client.request("POST", &format!("/v2/{name}/blobs/uploads/")).body(b"").send();
    assert_eq!(begun.status, 202, "{}", begun.text());
    let mut target = next(&begun, addr);
    for (number, part) in content.chunks(40_000).enumerate() {
        let sent = send_part(client, &target, (number * 40_000, part));
        assert_eq!(sent.status, 202, "{}", sent.text());
        target = next(&sent, addr);
    }
    finish(client, &target, &digest);
    digest
}

/// Pushes a blob as `x/transfer` does: it names the digest and sends no content at first.
fn push_announced(client: &Client, addr: SocketAddr, name: &str, content: &[u8]) -> Digest {
    let digest = digest_of(content);
    let announce = || {
        let request = client.request("POST", &format!("/v2/{name}/blobs/uploads/?digest={digest}"));
        let length = content.len().to_string();
        request.header("X-Redirect-Uploads", "2").header("X-Content-Length", &length).body(b"").send()
    };
    let begun = announce();
    assert_eq!(begun.status, 202, "{}", begun.text());
    let mut target = next(&begun, addr);
    if !content.is_empty() {
        let sent = send_part(client, &target, (0, content));
        assert_eq!(sent.status, 202, "{}", sent.text());
        target = next(&sent, addr);
    }
    finish(client, &target, &digest);
    // The next push of a model with the same blob has nothing to send.
    assert_eq!(announce().status, 201);
    digest
}

/// Pulls a blob as `server/download.go` does.
fn pull(client: &Client, name: &str, digest: &Digest) -> Vec<u8> {
    let head = client.head(&blob(name, digest));
    let size: usize = head.header("content-length").unwrap().parse().unwrap();
    let found = client.request("GET", &blob(name, digest)).header(AGENT.0, AGENT.1).send();
    assert_eq!(found.status, 200, "{}", found.text());
    // Go's `Response.Location` resolves it, and fails where it is missing.
    let direct = found.header("location").expect("a Location");
    assert_eq!(direct, blob(name, digest));
    let middle = size / 2;
    let mut content = Vec::new();
    for (first, last) in [(0, middle - 1), (middle, size - 1)] {
        let part = client.request("GET", direct).header("Range", &format!("bytes={first}-{last}")).send();
        assert_eq!(part.status, 206, "{}", part.text());
        content.extend(part.body);
    }
    content
}

fn put_model(client: &Client, name: &str, layers: &[(&Digest, usize)]) {
    let layer = |(digest, size): &(&Digest, usize)| json!({"mediaType": "application/vnd.ollama.image.model", "digest": digest.to_string(), "size": size, "from": "/models/x"});
    let config = client.push_blob(name, b"{}");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": config.to_string(), "size": 2},
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    let accepted = "application/vnd.docker.distribution.manifest.v2+json";
    let put = client.request("PUT", &format!("/v2/{name}/manifests/latest")).header("Content-Type", accepted);
    let put = put.body(manifest.to_string().as_bytes()).send();
    assert_eq!(put.status, 201, "{}", put.text());
    let got = client.request("GET", &format!("/v2/{name}/manifests/latest")).header("Accept", accepted).send();
    assert_eq!((got.status, got.header("content-type")), (200, Some(accepted)));
}

#[test]
fn ollama_pushes_and_pulls_a_model() {
    let registry = Registry::start();
    let (client, addr) = (registry.client(), registry.addr());
    let contents = [noise(1, 100_001), noise(2, 50)];
    let model = push(&client, addr, "library/tiny", &contents[0]);
    let template = push_announced(&client, addr, "library/tiny", &contents[1]);
    put_model(&client, "library/tiny", &[(&model, contents[0].len()), (&template, contents[1].len())]);
    assert!(pull(&client, "library/tiny", &model) == contents[0]);
    assert!(pull(&client, "library/tiny", &template) == contents[1]);
}

/// A POST that names the digest of nothing and has no body is a whole push of an empty blob.
#[test]
fn empty_blob_is_pushed_by_one_post() {
    let registry = Registry::start();
    let client = registry.client();
    let nothing = digest_of(b"");
    let pushed = client.request("POST", &format!("/v2/team/app/blobs/uploads/?digest={nothing}")).body(b"").send();
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    assert_eq!(client.get(&blob("team/app", nothing)).status, 200);
    // A blob of another repository is not confirmed.
    let other = client.push_blob("team/other", b"elsewhere");
    let announced = client.request("POST", &format!("/v2/team/app/blobs/uploads/?digest={other}")).body(b"").send();
    assert_eq!((announced.status, announced.header("range")), (202, Some("0-0")));
    let chunked = client.request("POST", &format!("/v2/team/app/blobs/uploads/?digest={other}")).chunked(&[]).send();
    assert_eq!(chunked.status, 202, "{}", chunked.text());
    let whole = client.request("POST", &format!("/v2/team/app/blobs/uploads/?digest={other}"));
    assert_eq!(whole.chunked(&[b"else", b"where"]).send().status, 201);
}

#[test]
fn ollama_pulls_through_the_mirror() {
    let upstream = Upstream::start();
    let layer = noise(3, 60_000);
    let image = upstream.image("library/app", "1", &[&layer]);
    let mirror = mirror(&upstream);
    let target = blob("library/app", image.layers[0]);
    let named = format!("{target}?ns=docker.io");
    assert_eq!(mirror.client().get(&named).header("location"), Some(named.as_str()));
    assert!(pull(&mirror.client(), "library/app", &image.layers[0]) == layer);
}

#[test]
fn upload_location_is_what_the_client_sees() {
    let registry = Registry::start();
    let client = registry.client();
    let begin = |fields: &[(&str, &str)]| {
        let mut request = client.request("POST", "/v2/team/app/blobs/uploads/").body(b"");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let begun = request.send();
        let relative = begun.header("location").unwrap();
        assert!(relative.starts_with("/v2/team/app/blobs/uploads/"), "{relative}");
        begun.header("docker-upload-location").unwrap().strip_suffix(relative).unwrap().to_owned()
    };
    assert_eq!(begin(&[]), format!("http://{}", registry.addr()));
    assert_eq!(begin(&[("X-Forwarded-Proto", "https")]), format!("https://{}", registry.addr()));
    let proxied = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "r.corp:8443")];
    assert_eq!(begin(&proxied), "https://r.corp:8443");
    assert_eq!(begin(&[("Forwarded", "for=1.2.3.4;proto=https;host=r.corp")]), "https://r.corp");
    // The status of an upload and a chunk at the wrong offset tell the address too.
    let location = client.begin("team/app");
    for answer in
        [client.get(&location), client.request("PATCH", &location).header("Content-Range", "7-7").body(b"x").send()]
    {
        assert_eq!(
            answer.header("docker-upload-location"),
            Some(format!("http://{}{location}", registry.addr()).as_str())
        );
    }

    let untrusting = Registry::configured(|place| {
        format!(
            "{}{}  trustedproxies: []\n  host: https://r.example\nstorage:{}\n",
            place.version(),
            place.http(),
            place.root()
        )
    });
    let client = untrusting.client();
    let begun = client.request("POST", "/v2/team/app/blobs/uploads/").header("X-Forwarded-Host", "evil");
    let begun = begun.body(b"").send();
    assert!(begun.header("location").unwrap().starts_with("https://r.example/v2/"));
    assert_eq!(begun.header("location"), begun.header("docker-upload-location"));
}
