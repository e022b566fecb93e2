//! Work that occupies blocking threads for long, beside hits. Each test is skipped where there is no C compiler.

use std::io::Write as _;
use std::net::TcpStream;

use crate::support::client::noise;
use crate::support::mirror::{blob, cache, manifest, wait_until_stored};
use crate::support::registry::{Registry, eventually};
use crate::support::slow_disk::SlowDisk;
use crate::support::upstream::Upstream;

const APP: &str = "library/app";
/// More than the number of blocking threads, which is 512.
const MANY: usize = 600;

/// Returns the number of requests that are being answered.
fn in_flight(mirror: &Registry) -> usize {
    let metrics = mirror.client().get("/metrics").text();
    let counts = metrics.lines().filter(|line| line.starts_with("registry_http_in_flight_requests{"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

/// Waits until the server works on that many requests.
fn wait_for_requests(mirror: &Registry, count: usize) {
    eventually("the requests", || (in_flight(mirror) >= count).then_some(()));
}

/// Starts a mirror on this machine: docker.io is the upstream by its IP address, `named.test` by a name, and the name of
/// `hangs.test` hangs.
fn mirror_on(disk: &SlowDisk, upstream: &Upstream) -> Registry {
    let (url, port) = (upstream.url(), upstream.port());
    let long = "connecttimeout: 1m, firstbytetimeout: 1h, clientwait: 1h";
    Registry::configured_in(&disk.environment(), |place| {
        let upstreams = format!(
            "    docker.io: {{default: true, endpoints: [\"{url}\"]}}\n    named.test: {{endpoints: [\"http://localhost:{port}\"], {long}}}\n    hangs.test: {{endpoints: [\"http://hangs.test:81\"], {long}}}\n"
        );
        format!(
            "{}\nmirror:\n  local: [\"private/**\"]\n  upstreams:\n{upstreams}  cache: {{reserve: 0}}\n",
            place.usual()
        )
    })
}

/// The content that is a hit in each test: an image of the mirror, and a hosted blob.
struct Hits {
    targets: Vec<String>,
}

impl Hits {
    fn new(mirror: &Registry, upstream: &Upstream) -> Self {
        let image = upstream.image(APP, "1", &[&noise(1, 300_000)]);
        let targets = vec![manifest(APP, "1"), blob(APP, image.layers[0]), blob(APP, image.config)];
        for target in &targets {
            assert_eq!(mirror.client().get(target).status, 200, "{target}");
        }
        wait_until_stored(mirror);
        let hosted = blob("private/app", mirror.client().push_blob("private/app", b"some content"));
        Self { targets: targets.into_iter().chain([hosted]).collect() }
    }

    fn are_served(&self, mirror: &Registry) {
        for target in &self.targets {
            let answer = mirror.client().get(target);
            assert_eq!(answer.status, 200, "{target}: {}", answer.text());
            assert!(target.contains("private") || cache(&answer) == "hit", "{target}");
        }
    }
}

#[test]
fn hits_do_not_wait_for_uploads_whose_writes_hang() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let mirror = mirror_on(&disk, &upstream);
    let hits = Hits::new(&mirror, &upstream);
    let client = mirror.client();
    let uploads: Vec<String> = (0..MANY).map(|_| client.begin("private/pushed")).collect();
    disk.set(&["write hold path=/_uploads/"]);
    let pushes: Vec<TcpStream> = uploads
        .iter()
        .map(|upload| {
            let request = client.request("PATCH", upload).header("Content-Length", "1000");
            let mut stream = request.header("Content-Type", "application/octet-stream").send_head();
            stream.write_all(&[1; 1000]).unwrap();
            stream
        })
        .collect();
    wait_for_requests(&mirror, MANY);
    disk.wait_for(&["begun write", "/_uploads/"]);
    hits.are_served(&mirror);
    disk.heal();
    drop(pushes);
}

#[test]
fn hits_and_other_upstreams_do_not_wait_for_names_that_hang() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let content = noise(2, 300_000);
    let other = blob("named.test/app", upstream.blob("app", &content));
    let mirror = mirror_on(&disk, &upstream);
    let hits = Hits::new(&mirror, &upstream);
    let client = mirror.client();
    disk.set(&["look-up hold path=hangs.test"]);
    let target = |number: usize| manifest(&format!("hangs.test/app{number}"), "1");
    let pulls: Vec<TcpStream> = (0..MANY).map(|number| client.request("GET", &target(number)).send_head()).collect();
    wait_for_requests(&mirror, MANY);
    disk.wait_for(&["begun look-up", "hangs.test"]);
    hits.are_served(&mirror);
    let answer = client.get(&other);
    assert!(answer.status == 200 && answer.body == content, "{}", answer.text());
    // All requests wait for the same name.
    let asked = disk.affected().iter().filter(|call| call.starts_with("begun look-up")).count();
    assert!(asked <= 8, "{asked} look-ups");
    disk.heal();
    drop(pulls);
}
