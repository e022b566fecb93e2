//! A disk that is slow, hangs or fails while blobs arrive. Each test is skipped where there is no C compiler.

use std::thread;
use std::time::Duration;

use crate::support::client::{Answer, Client, noise};
use crate::support::mirror::{blob, cache};
use crate::support::registry::{Registry, eventually};
use crate::support::slow_disk::SlowDisk;
use crate::support::upstream::Upstream;

const LAYER: usize = 8 << 20;

/// The file of a blob that is arriving.
const PARTIAL: &str = "path=/partial/";

/// Starts a mirror whose files are on this disk.
fn mirror_on(disk: &SlowDisk, upstream: &Upstream) -> Registry {
    let url = upstream.url();
    Registry::configured_in(&disk.environment(), |place| {
        let upstreams = format!("  upstreams:\n    docker.io: {{default: true, endpoints: [\"{url}\"]}}\n");
        format!("{}\nmirror:\n{upstreams}  cache: {{reserve: 0}}\n", place.usual())
    })
}

/// Sends a request from a thread of its own.
fn in_background(client: &Client, method: &'static str, target: &str) -> thread::JoinHandle<Answer> {
    let (client, target) = (client.clone(), target.to_owned());
    thread::spawn(move || client.request(method, &target).send())
}

/// Checks that everything that does not need the hanging disk answers.
fn others_are_served(client: &Client, hit: &str, case: &str) {
    for target in ["/livez", "/metrics", "/v2/", "/api/v1/fills"] {
        assert_eq!(client.get(target).status, 200, "{case}: {target}");
    }
    let answer = client.get(hit);
    assert!((answer.status, cache(&answer), answer.whole) == (200, "hit", true), "{case}: {hit}");
}

/// Whichever call of the disk hangs, only the request that needs it waits.
#[test]
fn one_hanging_call_of_the_disk_holds_up_one_request() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let mirror = mirror_on(&disk, &upstream);
    let client = mirror.client();
    let held = blob("library/app", upstream.blob("library/app", &noise(50, 100)));
    assert_eq!(client.get(&held).status, 200);
    client.push_image("local/app", "1", &noise(51, 1000));
    let stored = |seed| {
        let digest = upstream.blob("library/app", &noise(seed, 100));
        assert_eq!(client.get(&blob("library/app", digest)).status, 200);
        eventually("the stored blob", || {
            let stored = mirror.data().join(format!("cache/blobs/sha256/{}/{}", &digest.hex()[..2], digest.hex()));
            stored.exists().then_some(())
        });
        digest
    };
    let (opened, removed) = (stored(52), stored(53));
    let missing = upstream.blob("library/app", &noise(54, LAYER));
    for (rule, method, target) in [
        (format!("open hold path={}", opened.hex()), "GET", blob("library/app", opened)),
        (format!("remove hold path={}", removed.hex()), "DELETE", blob("library/app", removed)),
        (format!("read hold {PARTIAL}"), "GET", blob("library/app", missing)),
        (format!("sync hold {PARTIAL}"), "GET", blob("library/app", missing)),
        ("stat hold path=/repositories/local/app".to_owned(), "GET", "/v2/local/app/tags/list".to_owned()),
        ("list hold path=/repositories".to_owned(), "GET", "/v2/_catalog".to_owned()),
        ("write hold path=/_uploads/".to_owned(), "POST", "/v2/local/app/blobs/uploads/".to_owned()),
        ("any hold path=/data/private".to_owned(), "GET", "/v2/local/app/manifests/1".to_owned()),
    ] {
        disk.set(&[&rule]);
        let waiting = in_background(&client, method, &target);
        // Leaves time for the call to hang. Some requests need no such call, when memory has the answer.
        thread::sleep(Duration::from_millis(300));
        for _ in 0..3 {
            others_are_served(&client, &held, &rule);
        }
        disk.heal();
        let answer = waiting.join().unwrap();
        assert!((200..300).contains(&answer.status), "{rule}: {}", answer.text());
    }
}
