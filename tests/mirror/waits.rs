//! Clients that give up before the upstream answers, and records from the future.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::client::noise;
use crate::support::fault::Fault;
use crate::support::mirror::{blob, cache, manifest, mirror_with, wait_until_stored};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::Upstream;

const APP: &str = "library/app";
const HOURS: Duration = Duration::from_secs(8 * 3600);
/// Longer than a client waits in these tests.
const SLOW: Fault = Fault::Latency(Duration::from_millis(2500));

/// Sends a request until it is answered otherwise than by 504, and returns the number of 504s.
fn gave_up(mirror: &Registry, method: &str, target: &str) -> usize {
    for tries in 0..100 {
        let answer = mirror.client().request(method, target).send();
        if answer.status != 504 {
            assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
            return tries;
        }
        assert!(answer.header("retry-after").is_some(), "{method} {target}");
    }
    panic!("{method} {target} is never answered")
}

#[test]
fn request_that_a_client_gave_up_is_joined_by_the_next() {
    let upstream = Upstream::start();
    let image = upstream.image(APP, "1", &[&noise(1, 3 << 20)]);
    let (layer, config) = (blob(APP, image.layers[0]), blob(APP, image.config));
    let list = format!("/v2/{APP}/tags/list");
    for (method, target) in
        [("GET", manifest(APP, "1")), ("GET", layer), ("HEAD", config), ("GET", list), ("HEAD", manifest(APP, "1"))]
    {
        for keys in ["", "  fill: {unattended: pause, grace: 10ms}"] {
            let mirror = mirror_with(&upstream, ", clientwait: 500ms", keys);
            upstream.fault("*", &target, SLOW);
            upstream.forget_log();
            assert!(gave_up(&mirror, method, &target) > 0, "{method} {target} {keys}");
            // A blob may be fetched over several connections, each once.
            let log = upstream.log();
            let mut asked: Vec<_> = log
                .iter()
                .filter(|one| target.contains(&one.path))
                .map(|one| (&one.method, one.header("range")))
                .collect();
            let all = asked.len();
            asked.sort_unstable();
            asked.dedup();
            assert_eq!(all, asked.len(), "{method} {target} {keys}: {asked:?}");
            upstream.heal();
        }
    }
}

/// The client asks again only when the answer has come.
#[test]
fn answer_to_a_head_that_a_client_gave_up_is_kept_for_the_next() {
    for present in [true, false] {
        let upstream = Upstream::start();
        let digest = upstream.blob(APP, b"some content");
        let mirror = mirror_with(&upstream, ", clientwait: 300ms", "");
        let target = if present { blob(APP, digest) } else { blob(APP, crate::support::client::digest_of(b"absent")) };
        upstream.fault("*", "/blobs/", Fault::Latency(Duration::from_millis(1200)));
        assert_eq!(mirror.client().request("HEAD", &target).send().status, 504, "{present}");
        let metrics = || mirror.client().get("/metrics").text();
        // The HEAD takes longer than half of `clientwait`, so a GET of the first byte follows.
        let answered = "kind=\"blob\",status=\"206\"";
        let asked = |text: &str| text.lines().any(|line| line.contains("upstream_requests") && line.contains(answered));
        if present {
            eventually("the answer", || asked(&metrics()).then_some(()));
        } else {
            eventually("the absence", || {
                metrics().contains("kind=\"blob\",status=\"404\",upstream=\"docker.io\"} 1").then_some(())
            });
        }
        let asked = upstream.requests("*", "/blobs/");
        let answer = eventually("the kept answer", || {
            let answer = mirror.client().request("HEAD", &target).send();
            (answer.status != 504).then_some(answer)
        });
        assert_eq!(answer.status, if present { 200 } else { 404 });
        assert!(!present || answer.header("content-length") == Some("12"));
        assert_eq!(upstream.requests("*", "/blobs/"), asked, "{present}: the upstream is asked again");
    }
}

/// Rewrites the time in a record of the cache.
fn postpone(mirror: &Registry, record: &str) {
    let path = mirror.data().join("cache/repositories/docker.io").join(APP).join(record);
    let text = fs::read_to_string(&path).unwrap();
    let (first, rest) = text.split_once('\n').map_or((text.as_str(), String::new()), |(a, b)| (a, format!("\n{b}")));
    let mut head: serde_json::Value = serde_json::from_str(first).unwrap();
    head["seen"] = (head["seen"].as_u64().unwrap() + HOURS.as_secs()).into();
    fs::write(&path, format!("{head}{rest}")).unwrap();
}

fn touch(path: &Path, at: SystemTime) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(at).set_accessed(at)).unwrap();
}

#[test]
fn record_from_the_future_is_old() {
    let upstream = Upstream::start();
    let image = upstream.image(APP, "1", &[b"x"]);
    upstream.refer(APP, image.manifest_digest, "a/sig");
    let mirror = mirror_with(&upstream, "", "");
    let client = mirror.client();
    let lists = format!("_lists/referrers/sha256/{}", image.manifest_digest.hex());
    let referrers = format!("/v2/{APP}/referrers/{}", image.manifest_digest);
    for (target, record) in
        [(manifest(APP, "1"), "_tags/1"), (format!("/v2/{APP}/tags/list"), "_lists/tags"), (referrers, lists.as_str())]
    {
        assert_eq!(client.get(&target).status, 200, "{target}");
        assert_eq!(cache(&client.get(&target)), "hit", "{target}");
        postpone(&mirror, record);
        assert_eq!(cache(&client.get(&target)), "revalidated", "{target}");
        assert_eq!(cache(&client.get(&target)), "hit", "{target}: the record has a right time now");
    }
}

fn stored(mirror: &Registry, digest: &entrepot::oci::Digest) -> PathBuf {
    mirror.data().join(format!("cache/blobs/sha256/{}/{}", &digest.hex()[..2], digest.hex()))
}

#[test]
fn blob_from_the_future_is_evicted_first() {
    const MIB: usize = 1 << 20;
    let upstream = Upstream::start();
    let blobs: Vec<_> = (0..3).map(|seed| upstream.blob(APP, &noise(seed, 4 * MIB))).collect();
    let mut mirror = mirror_with(&upstream, "", "  cache: {maxsize: 10MiB, reserve: 0}");
    for digest in &blobs[..2] {
        assert_eq!(mirror.client().get(&blob(APP, digest)).status, 200);
        wait_until_stored(&mirror);
    }
    mirror.kill();
    let now = SystemTime::now();
    touch(&stored(&mirror, &blobs[0]), now + HOURS);
    touch(&stored(&mirror, &blobs[1]), now - HOURS);
    mirror.restart();
    mirror.wait_for_log("indexed the cache");
    assert_eq!(mirror.client().get(&blob(APP, blobs[2])).status, 200);
    wait_until_stored(&mirror);
    assert!(!stored(&mirror, &blobs[0]).exists() && stored(&mirror, &blobs[1]).exists());
}

#[test]
fn unfinished_blob_from_the_future_expires() {
    let upstream = Upstream::start();
    let digest = upstream.blob(APP, &noise(7, 4 << 20));
    upstream.fault("GET", "/blobs/", Fault::Stall(1 << 20));
    let mut mirror = mirror_with(&upstream, "", "  fill: {keep: 1h}");
    let (slow, _) = crate::support::mirror::Slow::begin(&mirror.client(), &blob(APP, digest), 1 << 19);
    drop(slow);
    let partial = mirror.data().join(format!("cache/partial/sha256/{}", digest.hex()));
    eventually("the journal", || partial.join("extents").exists().then_some(()));
    mirror.kill();
    for file in ["data", "extents"] {
        touch(&partial.join(file), SystemTime::now() + HOURS);
    }
    mirror.restart();
    eventually("the purge", || (!partial.exists()).then_some(()));
}
