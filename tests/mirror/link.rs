//! `mirror.link`, which limits the rate at which content arrives.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, noise};
use crate::support::mirror::{blob, mirror_with};
use crate::support::registry::eventually;
use crate::support::upstream::Upstream;

/// Returns the value of a metric, or 0 if it is not in the output yet.
fn metric(client: &Client, name: &str) -> u64 {
    let text = client.get("/metrics").text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
    value.unwrap_or_default() as u64
}

fn received(client: &Client) -> u64 {
    metric(client, "entrepot_upstream_bytes_total{upstream=\"docker.io\"}")
}

/// Returns the number of bytes of a running fill that have arrived.
fn arrived(client: &Client, digest: &str) -> Option<u64> {
    let fills = client.get("/api/v1/fills").json();
    let fill = fills["fills"].as_array()?.iter().find(|fill| fill["digest"] == digest)?.clone();
    fill["arrived"].as_u64()
}

#[test]
fn transfer_never_exceeds_the_limit() {
    const RATE: f64 = 250_000.0;
    let upstream = Upstream::start();
    let content = noise(1, 1_200_000);
    let digest = upstream.blob("library/app", &content);
    let link = "  link: {limit: unlimited, schedule: [{hours: 0-24, limit: 2Mbit/s}]}";
    let mirror = mirror_with(&upstream, ", link: {limit: 100Mbit/s}", link);
    let client = mirror.client();
    let target = blob("library/app", digest);
    let pull = thread::spawn({
        let client = mirror.client();
        move || client.get(&target)
    });
    // Each sample was counted at some time between its two moments.
    let mut samples: Vec<(Instant, u64, Instant)> = Vec::new();
    while !pull.is_finished() {
        let before = Instant::now();
        let bytes = received(&client);
        samples.push((before, bytes, Instant::now()));
        thread::sleep(Duration::from_millis(100));
    }
    let answer = pull.join().unwrap();
    assert!(answer.whole && answer.body == content);
    for (at, (before, first, _)) in samples.iter().enumerate() {
        for (_, last, after) in &samples[at..] {
            let allowed = RATE * (after.duration_since(*before).as_secs_f64() + 0.125);
            assert!((last - first) as f64 <= allowed, "{} bytes, {allowed} allowed: {samples:?}", last - first);
        }
    }
    assert_eq!(received(&client), content.len() as u64, "each byte was fetched once");
    for (name, value) in [
        ("entrepot_link_limit_bytes_per_second{upstream=\"*\"}", 250_000),
        ("entrepot_link_limit_bytes_per_second{upstream=\"docker.io\"}", 12_500_000),
        ("entrepot_link_bytes_total{traffic=\"client\"}", content.len() as u64),
    ] {
        assert_eq!(metric(&client, name), value, "{name}");
    }
}

#[test]
fn wait_for_the_link_is_no_fault_of_the_upstream() {
    let upstream = Upstream::start();
    let content = noise(1, 120_000);
    let digest = upstream.blob("library/app", &content);
    // A connection waits for seconds until the link grants what it has received at once.
    let sections = "  link: {limit: 200kbit/s}\n  fill: {stall: 1s}";
    let mirror = mirror_with(&upstream, ", firstbytetimeout: 5s, connecttimeout: 5s", sections);
    let client = mirror.client();
    let answer = client.get(&blob("library/app", digest));
    assert!(answer.whole && answer.body == content);
    let metrics = client.get("/metrics").text();
    assert!(metrics.contains("entrepot_fill_resumes_total 0"), "{metrics}");
    assert!(!metrics.lines().any(|line| line.starts_with("entrepot_upstream_circuit{") && !line.ends_with(" 0")));
    assert_eq!(upstream.bytes_sent(&digest), content.len() as u64);
    assert!(metric(&client, "entrepot_link_wait_seconds_total{traffic=\"client\"}") > 1, "{metrics}");
}

#[test]
fn client_overtakes_a_warm_job() {
    const WANTED: u64 = 400_000;
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[&noise(1, 3_000_000)]);
    let wanted = noise(2, WANTED as usize);
    let digest = upstream.blob("library/other", &wanted);
    let mirror = mirror_with(&upstream, "", "  link: {limit: 1Mbit/s}");
    let client = mirror.client();
    let layer = image.layers[0].to_string();
    let order = r#"{"images": ["app:1"], "platforms": ["all"]}"#;
    let request = client.request("POST", "/api/v1/warm").header("Content-Type", "application/json");
    let mut job = request.header("Content-Length", &order.len().to_string()).send_head();
    std::io::Write::write_all(&mut job, order.as_bytes()).unwrap();
    let before = eventually("the layer to arrive", || arrived(&client, &layer).filter(|bytes| *bytes > 0));
    let answer = client.get(&blob("library/other", digest));
    let after = arrived(&client, &layer).unwrap_or(u64::MAX);
    assert!(answer.whole && answer.body == wanted);
    // Equal shares would have brought as much of the layer as of the blob.
    assert!(after - before < WANTED / 2, "{} bytes of the layer arrived meanwhile", after - before);
    assert!(metric(&client, "entrepot_link_bytes_total{traffic=\"background\"}") > 0);
}
