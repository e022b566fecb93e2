//! Lists of mirrored repositories: tags and referrers. They are fetched whole, cached, revalidated, and served when the upstream is down.

use std::thread;
use std::time::Duration;

use entrepot::oci::MediaType;
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::fault::{Fault, Rule};
use crate::support::listing::{Api, Lists};
use crate::support::mirror::{age, cache, manifest, mirror, mirror_with};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::{Image, Upstream};

const LIST: &str = "/v2/library/app/tags/list";
/// Ages of a list: older than the TTL but not than twice the TTL, and older than twice the TTL.
const AGED: Duration = Duration::from_secs(900);
const OLD: Duration = Duration::from_secs(1300);

fn list(mirror: &Registry) -> Answer {
    mirror.client().get(LIST)
}

fn tags(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    assert_eq!(json["name"], "library/app");
    json["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

fn with_tags(tags: &[&str]) -> Upstream {
    let upstream = Upstream::start();
    for tag in tags {
        upstream.image("library/app", tag, &[b"x"]);
    }
    upstream
}

#[test]
fn tags_are_fetched_whole_once_and_paged_here() {
    let names: Vec<String> = (0..25).map(|n| format!("v{n}")).collect();
    let upstream = with_tags(&names.iter().map(String::as_str).collect::<Vec<_>>());
    upstream.set_lists(Lists { page: Some(10), ..Lists::default() });
    upstream.fault("GET", "/tags/list", Fault::Latency(Duration::from_millis(200)));
    let mut mirror = mirror(&upstream);
    let mut sorted = names;
    sorted.sort();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let client = mirror.client();
            thread::spawn(move || client.get(LIST))
        })
        .collect();
    for answer in clients.into_iter().map(|client| client.join().unwrap()) {
        assert_eq!(tags(&answer), sorted);
        assert_eq!(answer.header("link"), None);
    }
    assert_eq!(upstream.requests("GET", "/tags/list"), 3, "three pages are fetched once");
    upstream.gone();
    for _ in 0..2 {
        let (mut found, mut next) = (Vec::new(), format!("{LIST}?n=10"));
        loop {
            let page = mirror.client().get(&next);
            assert_eq!((page.status, cache(&page)), (200, "hit"));
            found.extend(tags(&page));
            let Some(link) = page.header("link") else { break };
            next = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
            assert!(next.starts_with(&format!("{LIST}?last=")), "{next}");
        }
        assert_eq!(found, sorted);
        assert_eq!(tags(&mirror.client().get(&format!("{LIST}?last=v8"))), ["v9"]);
        assert_eq!(tags(&mirror.client().get(&format!("{LIST}?n=0"))).len(), 0);
        mirror.restart();
    }
}

#[test]
fn list_ages_like_a_tag() {
    let upstream = with_tags(&["1"]);
    let mirror = mirror(&upstream);
    assert_eq!(cache(&list(&mirror)), "miss");
    upstream.image("library/app", "2", &[b"x"]);
    assert_eq!((cache(&list(&mirror)), tags(&list(&mirror))), ("hit", vec!["1".to_owned()]));

    age(&mirror, "library/app", "_lists/tags", AGED);
    upstream.close_connections();
    // The delay is longer than any request waits.
    upstream.fault_once("GET", "/tags/list", Fault::Latency(Duration::from_secs(3)));
    let behind = list(&mirror);
    assert_eq!((cache(&behind), tags(&behind).len()), ("hit", 1));
    eventually("the new tag", || (tags(&list(&mirror)).len() == 2).then_some(()));
    assert_eq!(upstream.requests("GET", "/tags/list"), 2);

    upstream.image("library/app", "3", &[b"x"]);
    age(&mirror, "library/app", "_lists/tags", OLD);
    let asked = list(&mirror);
    assert_eq!((cache(&asked), tags(&asked).len()), ("revalidated", 3));

    upstream.image("library/app", "4", &[b"x"]);
    for (fault, words) in [
        (Fault::Hang, "docker.io has not answered since"),
        (Fault::Status(429), "docker.io has limited requests (429) since"),
        (Fault::Status(503), "docker.io has answered with errors since"),
    ] {
        let mirror = mirror_with(&upstream, "", "");
        list(&mirror);
        age(&mirror, "library/app", "_lists/tags", OLD);
        upstream.fault("*", "", fault.clone());
        for _ in 0..2 {
            let stale = mirror.client().get(&format!("{LIST}?n=2"));
            assert_eq!((stale.status, cache(&stale), tags(&stale).len()), (200, "stale", 2), "{fault:?}");
            assert!(stale.header("link").is_some());
            assert!(stale.header("warning").unwrap().contains(words), "{fault:?}");
        }
        let metrics = mirror.client().get("/metrics").text();
        assert!(metrics.contains("entrepot_stale_answers_total{upstream=\"docker.io\"} 2"), "lists count: {fault:?}");
        upstream.heal();
    }
}

#[test]
fn slow_list_does_not_time_out() {
    let upstream = with_tags(&["1", "2", "3", "4"]);
    let mirror = mirror(&upstream);
    list(&mirror);
    mirror.client().get(&manifest("library/app", "1"));
    for record in ["_lists/tags", "_tags/1"] {
        age(&mirror, "library/app", record, OLD);
    }
    upstream.set_lists(Lists { page: Some(1), ..Lists::default() });
    upstream.fault("GET", "/tags/list", Fault::Latency(Duration::from_millis(900)));
    let stale = list(&mirror);
    assert_eq!((cache(&stale), tags(&stale).len()), ("stale", 4));
    assert!(stale.header("warning").unwrap().contains("slow to answer"));
    assert_eq!(cache(&mirror.client().get(&manifest("library/app", "1"))), "revalidated");
    eventually("the list", || (cache(&list(&mirror)) == "hit").then_some(()));
}

#[test]
fn old_list_is_an_error_with_staleif_never() {
    let upstream = with_tags(&["1"]);
    let faults = [Some((Fault::Status(500), 502)), Some((Fault::Status(429), 429)), Some((Fault::Hang, 504)), None];
    for fault in faults {
        let mirror = mirror_with(&upstream, ", staleif: never, firstbytetimeout: 500ms", "");
        list(&mirror);
        age(&mirror, "library/app", "_lists/tags", OLD);
        let status = match fault {
            Some((fault, status)) => {
                upstream.fault("*", "", fault);
                status
            }
            None => {
                upstream.gone();
                503
            }
        };
        let refused = list(&mirror);
        assert_eq!(refused.status, status);
        assert!(refused.text().contains("mirror.upstreams.docker.io.staleif is `never`"), "{}", refused.text());
        upstream.heal();
    }
}

#[test]
fn missing_repository_has_no_list() {
    let upstream = with_tags(&["1"]);
    let mirror = mirror(&upstream);
    for _ in 0..3 {
        let none = mirror.client().get("/v2/library/none/tags/list");
        assert_eq!((none.status, none.code().as_str()), (404, "NAME_UNKNOWN"));
    }
    assert_eq!(upstream.requests("GET", "/tags/list"), 1);
    upstream.gone();
    assert_eq!(mirror.client().get("/v2/library/other/tags/list").status, 503);
}

#[test]
fn list_answers_as_the_upstream_when_it_is_refused_or_missing() {
    let upstream = with_tags(&["1"]);
    let mirror = mirror(&upstream);
    list(&mirror);
    age(&mirror, "library/app", "_lists/tags", OLD);
    upstream.fault("*", "", Fault::Status(403));
    assert_eq!(list(&mirror).status, 403);
    upstream.heal();
    upstream.fault("*", "", Fault::Status(404));
    let gone = list(&mirror);
    assert_eq!((gone.status, cache(&gone)), (404, "miss"));
    upstream.gone();
    let gone = list(&mirror);
    assert_eq!((gone.status, cache(&gone)), (404, "hit"), "the 404 is cached, and the old list is gone");
}

#[test]
fn list_and_tag_records_agree() {
    let upstream = with_tags(&["1"]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("library/app", "2")).status, 404);
    upstream.image("library/app", "2", &[b"x"]);
    assert_eq!(client.get(&manifest("library/app", "2")).status, 404, "the tag is not requested again so soon");
    assert_eq!(tags(&list(&mirror)), ["1", "2"]);
    assert_eq!(client.get(&manifest("library/app", "2")).status, 200, "the list contains the tag");
    assert_eq!(client.request("DELETE", &manifest("library/app", "2")).send().status, 202);
    let left = list(&mirror);
    assert_eq!((cache(&left), tags(&left)), ("hit", vec!["1".to_owned()]));
    assert_eq!(cache(&client.get(&manifest("library/app", "2"))), "miss");
}

#[test]
fn list_too_long_to_store_is_passed_on_in_pages() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "0", &[b"x"]);
    for n in 1..=1000 {
        upstream.manifest("library/app", &n.to_string(), MediaType::OCI_MANIFEST, &image.manifest);
    }
    upstream.set_lists(Lists { page: Some(1), ..Lists::default() });
    let mirror = mirror(&upstream);
    let page = mirror.client().get(&format!("{LIST}?n=3&last=1"));
    assert_eq!(tags(&page), ["10", "100", "1000"]);
    assert!(page.header("link").is_some());
    let asked = upstream.requests("GET", "/tags/list");
    assert_eq!(tags(&mirror.client().get(&format!("{LIST}?n=2"))), ["0", "1"]);
    assert_eq!(upstream.requests("GET", "/tags/list"), asked + 1);
}

fn referrers(mirror: &Registry, image: &Image, query: &str) -> Answer {
    mirror.client().get(&format!("/v2/library/app/referrers/{}{query}", image.manifest_digest))
}

/// Returns the descriptors of an answer, which must be an index.
fn listed(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(MediaType::OCI_INDEX)), "{}", answer.text());
    let index = answer.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(MediaType::OCI_INDEX)));
    index["manifests"].as_array().unwrap().clone()
}

fn record(image: &Image) -> String {
    format!("_lists/referrers/sha256/{}", image.manifest_digest.hex())
}

#[test]
fn referrers_are_listed_cached_and_aged() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    let kinds = ["a/sig", "a/sbom", "a/sig"];
    let all: Vec<Value> = kinds.iter().map(|kind| upstream.refer("library/app", image.manifest_digest, kind)).collect();
    // Repeating the request returns the same bytes.
    let all = vec![all[2].clone(), all[1].clone(), all[0].clone()];
    upstream.set_lists(Lists { page: Some(2), ..Lists::default() });
    let mut mirror = mirror(&upstream);
    let first = referrers(&mirror, &image, "");
    assert_eq!((cache(&first), listed(&first)), ("miss", all.clone()));
    assert_eq!(first.header("oci-filters-applied"), None);
    assert_eq!(upstream.requests("GET", "/referrers/"), 2, "two pages");
    let accept = upstream.log()[0].header("accept").map(str::to_owned);
    assert_eq!(accept.as_deref(), Some(MediaType::OCI_INDEX));
    let filtered = referrers(&mirror, &image, "?artifactType=a%2Fsbom");
    assert_eq!((cache(&filtered), listed(&filtered)), ("hit", vec![all[1].clone()]));
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(listed(&referrers(&mirror, &image, "?artifactType=b/c")).len(), 0);

    upstream.refer("library/app", image.manifest_digest, "a/new");
    age(&mirror, "library/app", &record(&image), AGED);
    assert_eq!(listed(&referrers(&mirror, &image, "")).len(), 3);
    eventually("the new one", || (listed(&referrers(&mirror, &image, "")).len() == 4).then_some(()));
    upstream.refer("library/app", image.manifest_digest, "a/newer");
    age(&mirror, "library/app", &record(&image), OLD);
    let asked = referrers(&mirror, &image, "");
    assert_eq!((cache(&asked), listed(&asked).len()), ("revalidated", 5));

    upstream.gone();
    mirror.restart();
    assert_eq!(cache(&referrers(&mirror, &image, "")), "hit");
    age(&mirror, "library/app", &record(&image), OLD);
    let stale = referrers(&mirror, &image, "");
    assert_eq!((cache(&stale), listed(&stale).len()), ("stale", 5));
    assert!(stale.header("warning").unwrap().starts_with("299 "));
    let head = mirror.client().head(&format!("/v2/library/app/referrers/{}", image.manifest_digest));
    assert_eq!((head.status, head.header("content-type")), (200, Some(MediaType::OCI_INDEX)));
}

/// A portal answers for the list alone. The cached list, which may name signatures, stays.
#[test]
fn page_in_the_place_of_referrers_removes_none() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    upstream.refer("library/app", image.manifest_digest, "a/sig");
    let mirror = mirror(&upstream);
    assert_eq!(listed(&referrers(&mirror, &image, "")).len(), 1);
    upstream.arm(Rule::new("GET", "/referrers/", Fault::Page(200)));
    age(&mirror, "library/app", &record(&image), OLD);
    let stale = referrers(&mirror, &image, "");
    assert_eq!((cache(&stale), listed(&stale).len()), ("stale", 1));
    // An upstream that says that it has no such list any more is believed.
    upstream.heal();
    upstream.arm(Rule::new("GET", "/referrers/", Fault::Status(405)));
    age(&mirror, "library/app", &record(&image), OLD);
    eventually("the empty list", || listed(&referrers(&mirror, &image, "")).is_empty().then_some(()));
}

#[test]
fn image_without_referrers_has_an_empty_list() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror(&upstream);
    for want in ["miss", "miss"] {
        let none = referrers(&mirror, &image, "");
        assert_eq!((cache(&none), listed(&none).len()), (want, 0));
    }
    assert_eq!(upstream.requests("*", ""), 1);
    assert!(
        !mirror.data().join("cache/repositories/docker.io/library/app/_lists").exists(),
        "the empty list is not stored"
    );
    // A stored image has a list that is kept, even an empty one.
    let mirror = crate::support::mirror::mirror(&upstream);
    assert_eq!(mirror.client().get(&manifest("library/app", "1")).status, 200);
    listed(&referrers(&mirror, &image, ""));
    age(&mirror, "library/app", &record(&image), OLD);
    upstream.gone();
    let none = referrers(&mirror, &image, "");
    assert_eq!((cache(&none), listed(&none).len()), ("stale", 0));
    let unknown = mirror.client().get(&format!("/v2/library/app/referrers/sha256:{}", "0".repeat(64)));
    assert_eq!((unknown.status, unknown.code().as_str()), (503, "UNAVAILABLE"));
}

#[test]
fn upstream_without_referrers_api_is_asked_for_the_fallback_tag() {
    for api in [Api::Unknown, Api::Html] {
        let upstream = Upstream::start();
        let image = upstream.image("library/app", "1", &[b"x"]);
        let signature = upstream.refer("library/app", image.manifest_digest, "a/sig");
        let other = upstream.image("library/app", "2", &[b"y"]);
        upstream.set_lists(Lists { referrers: api, ..Lists::default() });
        let index =
            json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [signature]}).to_string();
        let tag = format!("sha256-{}", image.manifest_digest.hex());
        upstream.manifest("library/app", &tag, MediaType::OCI_INDEX, index.as_bytes());
        let mirror = mirror(&upstream);
        for want in ["miss", "hit"] {
            let found = referrers(&mirror, &image, "?artifactType=a/sig");
            assert_eq!((cache(&found), listed(&found)), (want, vec![signature.clone()]), "{api:?}");
            assert_eq!(found.header("oci-filters-applied"), Some("artifactType"));
        }
        assert_eq!((upstream.requests("*", "/referrers/"), upstream.requests("*", &tag)), (1, 1), "{api:?}");
        upstream.forget_log();
        for _ in 0..3 {
            assert_eq!(listed(&referrers(&mirror, &other, "")).len(), 0, "neither list nor tag");
        }
        let pings = upstream.log().iter().filter(|asked| asked.path == "/v2/").count();
        assert_eq!((upstream.log().len(), pings), (3, 1), "{api:?}: one for the list, one for `/v2/`, one for the tag");

        age(&mirror, "library/app", &format!("_tags/{tag}"), OLD);
        upstream.gone();
        let stale = referrers(&mirror, &image, "");
        assert_eq!((cache(&stale), listed(&stale).len()), ("stale", 1), "{api:?}");
    }
}

#[test]
fn missing_fallback_tag_is_cached() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    upstream.set_lists(Lists { referrers: Api::Unknown, ..Lists::default() });
    let mut mirror = mirror(&upstream);
    assert_eq!(mirror.client().get(&manifest("library/app", "1")).status, 200);
    assert_eq!(listed(&referrers(&mirror, &image, "")).len(), 0);
    age(&mirror, "library/app", &record(&image), OLD);
    upstream.gone();
    // The mirror keeps no negative answer.
    mirror.restart();
    let none = referrers(&mirror, &image, "");
    assert_eq!((cache(&none), listed(&none).len()), ("stale", 0));
}

#[test]
fn fallback_tag_is_used_when_the_list_cannot_be_requested() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    upstream.set_lists(Lists { referrers: Api::Unknown, ..Lists::default() });
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": []}).to_string();
    let tag = format!("sha256-{}", image.manifest_digest.hex());
    upstream.manifest("library/app", &tag, MediaType::OCI_INDEX, index.as_bytes());
    let mut mirror = mirror(&upstream);
    listed(&referrers(&mirror, &image, ""));
    upstream.gone();
    // The mirror does not remember that the upstream has no such list.
    mirror.restart();
    assert_eq!(cache(&referrers(&mirror, &image, "")), "hit");
}

#[test]
fn refused_or_damaged_referrers_are_errors() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror(&upstream);
    for (fault, status) in [(Fault::Status(403), 403), (Fault::Status(500), 502), (Fault::Status(429), 429)] {
        upstream.fault("*", "", fault);
        assert_eq!(referrers(&mirror, &image, "").status, status);
        upstream.heal();
    }
    let wrong = mirror.client().get("/v2/library/app/referrers/latest");
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "DIGEST_INVALID"));
    upstream.refer("library/app", image.manifest_digest, "a/sig");
    eventually("the list", || (referrers(&mirror, &image, "").status == 200).then_some(()));
    assert_eq!(listed(&referrers(&mirror, &image, "")).len(), 1);
    mirror.client().get(&manifest("library/app", "1"));
    let by_digest = manifest("library/app", image.manifest_digest);
    assert_eq!(mirror.client().request("DELETE", &by_digest).send().status, 202);
    upstream.refer("library/app", image.manifest_digest, "b/sig");
    assert_eq!(listed(&referrers(&mirror, &image, "")).len(), 2, "evicted with the manifest");
}

#[test]
fn referrers_are_paged_here() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    for n in 0..25 {
        upstream.refer("library/app", image.manifest_digest, &format!("a/{}+{}", n % 2, n / 2));
    }
    upstream.set_lists(Lists { page: Some(10), ..Lists::default() });
    let mut mirror = mirror(&upstream);
    let whole = listed(&referrers(&mirror, &image, ""));
    upstream.gone();
    for _ in 0..2 {
        let (mut found, mut next, mut sizes) = (Vec::new(), Some("?n=10&ns=docker.io".to_owned()), Vec::new());
        while let Some(query) = next {
            let page = referrers(&mirror, &image, &query);
            assert_eq!((cache(&page), page.header("oci-namespace")), ("hit", Some("docker.io")));
            let entries = listed(&page);
            sizes.push(entries.len());
            found.extend(entries);
            let target = page.next();
            assert!(target.as_ref().is_none_or(|target| target.ends_with("&n=10&ns=docker.io")), "{target:?}");
            next = target.map(|target| target[target.find('?').unwrap()..].to_owned());
        }
        assert_eq!(sizes, [10, 10, 5]);
        let sorted = |list: &[Value]| {
            let mut texts: Vec<String> = list.iter().map(ToString::to_string).collect();
            texts.sort();
            texts
        };
        assert_eq!(sorted(&found), sorted(&whole));
        assert_eq!(whole.len(), 25);
        let none = referrers(&mirror, &image, "?n=0");
        assert_eq!((listed(&none).len(), none.header("link")), (0, None));
        let filtered = referrers(&mirror, &image, "?artifactType=a%2F1%2B3&n=1");
        assert_eq!((listed(&filtered).len(), filtered.header("link")), (1, None));
        mirror.restart();
    }
}

#[test]
fn cosign_tags_are_ordinary_tags() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    let tag = |kind: &str| format!("sha256-{}.{kind}", image.manifest_digest.hex());
    let signature = upstream.image("library/app", &tag("sig"), &[b"signature"]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    let (sig, att) = (manifest("library/app", tag("sig")), manifest("library/app", tag("att")));
    for _ in 0..3 {
        assert_eq!(client.get(&sig).body, signature.manifest);
        assert_eq!((client.head(&att).status, client.get(&att).status), (404, 404));
    }
    assert_eq!((upstream.requests("*", &sig), upstream.requests("GET", &att)), (1, 1));
    age(&mirror, "library/app", &format!("_tags/{}", tag("sig")), OLD);
    upstream.gone();
    let stale = client.get(&sig);
    assert_eq!((cache(&stale), stale.body.as_slice()), ("stale", &signature.manifest[..]));
    assert_eq!(client.get(&att).status, 404, "the missing tag is cached");
}
