//! Lists of hosted repositories: referrers, names and tags, and sources for mounts. Changes that another process makes in the
//! directories count as well.

use std::collections::BTreeSet;
use std::fs;

use entrepot::oci::{Algorithm, Digest, MediaType};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::registry::Registry;
use crate::support::volume::Volume;

const APP: &str = "team/app";

/// Pushes an image whose subject is `subject`; `more` is added to its manifest.
fn referrer(subject: impl ToString, more: Value) -> Vec<u8> {
    let descriptor = |kind: &str, digest: &str| json!({"mediaType": kind, "digest": digest, "size": 2});
    let empty = Digest::of(Algorithm::Sha256, b"{}").to_string();
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.empty.v1+json", &empty),
        "layers": [],
        "subject": descriptor(MediaType::OCI_MANIFEST, &subject.to_string()),
    });
    let Value::Object(more) = more else { panic!("more is an object") };
    manifest.as_object_mut().unwrap().extend(more);
    manifest.to_string().into_bytes()
}

fn ask(client: &Client, subject: impl ToString, query: &str) -> Answer {
    client.get(&format!("/v2/{APP}/referrers/{}{query}", subject.to_string()))
}

/// Returns the descriptors of an answer, which must be an index.
fn listed(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(MediaType::OCI_INDEX)), "{}", answer.text());
    let index = answer.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(MediaType::OCI_INDEX)));
    index["manifests"].as_array().unwrap().clone()
}

/// Returns the digests of the referrers of `subject`.
fn digests(client: &Client, subject: impl ToString) -> BTreeSet<String> {
    listed(&ask(client, subject, "")).iter().map(|one| one["digest"].as_str().unwrap().to_owned()).collect()
}

fn set<const N: usize>(digests: [&Digest; N]) -> BTreeSet<String> {
    digests.iter().map(ToString::to_string).collect()
}

/// Follows `Link` to the end and returns all pages.
fn pages(client: &Client, first: &str) -> Vec<Answer> {
    let (mut pages, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(target) = next {
        let page = client.get(&target);
        assert_eq!(page.status, 200, "{target}: {}", page.text());
        next = page.next();
        pages.push(page);
    }
    pages
}

/// Returns all entries of a list of strings, and the number of entries of each page.
fn walk(client: &Client, first: &str, key: &str) -> (Vec<String>, Vec<usize>) {
    let (mut all, mut sizes) = (Vec::new(), Vec::new());
    for page in pages(client, first) {
        let json = page.json();
        let entries = json[key].as_array().unwrap();
        sizes.push(entries.len());
        all.extend(entries.iter().map(|entry| entry.as_str().unwrap().to_owned()));
    }
    (all, sizes)
}

fn push(client: &Client, reference: &str, media_type: &str, body: &[u8]) -> Answer {
    let request = client.request("PUT", &format!("/v2/{APP}/manifests/{reference}"));
    let answer = request.header("Content-Type", media_type).body(body).send();
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer
}

fn digest(body: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, body)
}

#[test]
fn pushed_referrers_are_listed() {
    let mut registry = Registry::start();
    let client = registry.client();
    let image = client.push_image(APP, "1", b"x");
    client.push_blob(APP, b"{}");
    assert_eq!(listed(&ask(&client, image.digest, "")).len(), 0);

    let (notes, plain) = (json!({"k": "v", "l": ""}), referrer(image.digest, json!({})));
    let typed = referrer(image.digest, json!({"artifactType": "a/sig+x", "annotations": notes}));
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [], "annotations": notes,
        "subject": {"mediaType": MediaType::OCI_MANIFEST, "digest": image.digest.to_string(), "size": 1}});
    let index = index.to_string().into_bytes();
    let put = push(&client, "by-tag", MediaType::OCI_MANIFEST, &plain);
    assert_eq!(put.header("oci-subject"), Some(image.digest.to_string().as_str()));
    for reference in [digest(&typed).to_string().as_str(), "tag", "another-tag"] {
        push(&client, reference, MediaType::OCI_MANIFEST, &typed);
    }
    push(&client, &digest(&index).to_string(), MediaType::OCI_INDEX, &index);

    let described = |body: &[u8], media_type: &str, more: Value| {
        let mut all = json!({"mediaType": media_type, "digest": digest(body).to_string(), "size": body.len()});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let typed_one =
        described(&typed, MediaType::OCI_MANIFEST, json!({"artifactType": "a/sig+x", "annotations": notes}));
    let mut want = vec![
        described(&plain, MediaType::OCI_MANIFEST, json!({"artifactType": "application/vnd.oci.empty.v1+json"})),
        typed_one.clone(),
        described(&index, MediaType::OCI_INDEX, json!({"annotations": notes})),
    ];
    want.sort_by_key(|one| one["digest"].to_string());
    for _ in 0..2 {
        let all = ask(&client, image.digest, "");
        assert_eq!(
            (listed(&all), all.header("oci-filters-applied"), all.header("x-cache")),
            (want.clone(), None, None)
        );
        let filtered = ask(&client, image.digest, "?artifactType=a%2Fsig%2Bx");
        assert_eq!(listed(&filtered), std::slice::from_ref(&typed_one));
        assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
        assert_eq!(listed(&ask(&client, image.digest, "?artifactType=b/c")).len(), 0);
        let head = client.head(&format!("/v2/{APP}/referrers/{}", image.digest));
        assert_eq!((head.status, head.header("content-type")), (200, Some(MediaType::OCI_INDEX)));
        assert_eq!(head.header("content-length"), Some(all.body.len().to_string().as_str()));
        registry.restart();
    }
    for gone in [digest(&plain), digest(&index)] {
        assert_eq!(client.request("DELETE", &format!("/v2/{APP}/manifests/{gone}")).send().status, 202);
    }
    assert_eq!(listed(&ask(&client, image.digest, "")), [typed_one]);
    // Deleting a tag does not delete its manifest.
    assert_eq!(client.request("DELETE", &format!("/v2/{APP}/manifests/tag")).send().status, 202);
    assert_eq!(digests(&client, image.digest), set([&digest(&typed)]));
}

#[test]
fn missing_manifest_has_no_referrers() {
    let registry = Registry::start();
    let client = registry.client();
    let nothing = Digest::of(Algorithm::Sha512, b"nothing");
    assert_eq!(listed(&ask(&client, nothing, "")).len(), 0, "the repository does not exist either");
    client.push_image(APP, "1", b"x");
    assert_eq!(listed(&ask(&client, nothing, "?artifactType=a/b&n=1")).len(), 0);
    assert!(!registry.data().join("docker/registry/v2/repositories/none").exists());
    for (target, code) in [
        (format!("/v2/{APP}/referrers/latest"), "DIGEST_INVALID"),
        (format!("/v2/{APP}/referrers/sha256:0"), "DIGEST_INVALID"),
        (format!("/v2/{APP}/referrers/{nothing}?last=x"), "DIGEST_INVALID"),
        (format!("/v2/{APP}/referrers/{nothing}?n=x"), "PAGINATION_NUMBER_INVALID"),
    ] {
        let answer = client.get(&target);
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{target}");
    }
}

#[test]
fn subject_may_be_pushed_later_and_named_by_sha512() {
    let registry = Registry::start();
    let client = registry.client();
    client.push_blob(APP, b"{}");
    let subject = referrer(digest(b"whatever"), json!({"artifactType": "a/subject"}));
    let (by_256, by_512) = (digest(&subject), Digest::of(Algorithm::Sha512, &subject));
    let (about_256, about_512) = (referrer(by_256, json!({})), referrer(by_512, json!({})));
    // A referrer that was pushed under a sha512 digest is listed under it.
    let sha512 = Digest::of(Algorithm::Sha512, &about_512);
    push(&client, "one", MediaType::OCI_MANIFEST, &about_256);
    push(&client, &sha512.to_string(), MediaType::OCI_MANIFEST, &about_512);
    let check = || {
        assert_eq!(digests(&client, by_256), set([&digest(&about_256)]));
        assert_eq!(digests(&client, by_512), set([&sha512]));
    };
    check();
    for reference in ["later", &by_512.to_string()] {
        push(&client, reference, MediaType::OCI_MANIFEST, &subject);
        check();
    }
    // The manifest has two names but is one manifest. It is listed once, under the name that `registry:2` would not give it.
    assert_eq!(digests(&client, digest(b"whatever")), set([&by_512]));
    assert_eq!(client.get(&format!("/v2/{APP}/manifests/{sha512}")).body, about_512);
}

/// A client that does not know the API keeps an index under a tag. This tag is an ordinary tag, and the API reads the manifests.
#[test]
fn fallback_tags_remain_tags() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image(APP, "1", b"x");
    client.push_blob(APP, b"{}");
    let (one, two) = (
        referrer(image.digest, json!({"artifactType": "a/1"})),
        referrer(image.digest, json!({"artifactType": "a/2"})),
    );
    for body in [&one, &two] {
        push(&client, &digest(body).to_string(), MediaType::OCI_MANIFEST, body);
    }
    let tag = format!("sha256-{}", image.digest.hex());
    let child = json!({"mediaType": MediaType::OCI_MANIFEST, "digest": digest(&one).to_string(), "size": one.len()});
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [child]}).to_string();
    push(&client, &tag, MediaType::OCI_INDEX, index.as_bytes());
    assert_eq!(client.get(&format!("/v2/{APP}/manifests/{tag}")).text(), index);
    assert_eq!(digests(&client, image.digest), set([&digest(&one), &digest(&two)]));
    assert_eq!(walk(&client, &format!("/v2/{APP}/tags/list"), "tags").0, ["1".to_owned(), tag]);
}

#[test]
fn many_referrers_are_paged() {
    let registry = Registry::start();
    let (client, volume) = (registry.client(), Volume::at(&registry.data()));
    let subject = digest(b"subject");
    let body = |n: usize| {
        referrer(subject, json!({"artifactType": format!("a/{}", n % 2), "annotations": {"n": n.to_string()}}))
    };
    for n in 0..1003 {
        volume.manifest(APP, &body(n));
    }
    let target = format!("/v2/{APP}/referrers/{subject}");
    let found = |first: &str| {
        let pages = pages(&client, first);
        let sizes: Vec<usize> = pages.iter().map(|page| listed(page).len()).collect();
        let digests: Vec<String> = pages.iter().flat_map(listed).map(|one| one["digest"].to_string()).collect();
        assert!(digests.is_sorted_by(|a, b| a < b), "each entry appears once");
        sizes
    };
    assert_eq!(found(&target), [1003]);
    assert_eq!(found(&format!("{target}?n=500")), [500, 500, 3]);
    assert_eq!(found(&format!("{target}?n=1003")), [1003]);
    assert_eq!(found(&format!("{target}?artifactType=a/1&n=200")), [200, 200, 101]);
    assert_eq!(found(&format!("{target}?n=0")), [0]);
    let page = client.get(&format!("{target}?n=1&artifactType=a%2F1"));
    let last = listed(&page)[0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(page.next(), Some(format!("{target}?last={last}&n=1&artifactType=a/1")));
}

#[test]
fn pages_are_no_longer_than_clients_read() {
    let registry = Registry::start();
    let (client, volume) = (registry.client(), Volume::at(&registry.data()));
    let subject = digest(b"subject");
    for n in 0..9 {
        let note = "x".repeat(1_000_000 + n);
        volume.manifest(APP, &referrer(subject, json!({"annotations": {"note": note}})));
    }
    let pages = pages(&client, &format!("/v2/{APP}/referrers/{subject}"));
    assert_eq!(pages.iter().map(|page| listed(page).len()).collect::<Vec<_>>(), [4, 4, 1]);
    assert!(pages.iter().all(|page| page.body.len() <= 4 << 20));
}

/// `registry:2` or another Entrepot works on the same directories.
#[test]
fn changes_by_another_process_are_noticed() {
    let mut registry = Registry::start();
    let (client, volume) = (registry.client(), Volume::at(&registry.data()));
    let subject = digest(b"subject");
    let bodies: Vec<Vec<u8>> =
        (0..4).map(|n| referrer(subject, json!({"annotations": {"n": n.to_string()}}))).collect();
    let all: Vec<Digest> = bodies.iter().map(|body| digest(body)).collect();
    for restarts in 0..2 {
        assert_eq!(digests(&client, subject), set([]));
        // The changes follow each other faster than the clock of a file system may advance.
        for (n, body) in bodies.iter().enumerate() {
            volume.manifest(APP, body);
            assert_eq!(digests(&client, subject), all[..=n].iter().map(ToString::to_string).collect());
        }
        // registry:2 deletes a manifest by removing the link file; the directory stays.
        fs::remove_file(volume.revision(APP, &all[0]).join("link")).unwrap();
        assert_eq!(digests(&client, subject), set([&all[1], &all[2], &all[3]]));
        // Its garbage collection removes the directories. A push then brings everything back.
        fs::remove_file(volume.data(&all[0])).unwrap();
        assert_eq!(digests(&client, subject), set([&all[1], &all[2], &all[3]]));
        if restarts == 1 {
            registry.restart();
            assert_eq!(digests(&client, subject), set([&all[1], &all[2], &all[3]]));
        }
        volume.manifest(APP, &bodies[0]);
        assert_eq!(digests(&client, subject).len(), 4);
        // A link to missing content, and a file that is no manifest.
        fs::remove_file(volume.data(&all[1])).unwrap();
        fs::write(volume.data(&all[2]), b"no manifest").unwrap();
        assert_eq!(digests(&client, subject), set([&all[0], &all[3]]));
        fs::remove_dir_all(volume.revision(APP, &all[3])).unwrap();
        assert_eq!(digests(&client, subject), set([&all[0]]));
        fs::remove_dir_all(volume.repository(APP)).unwrap();
    }
}

#[test]
fn catalog_lists_the_directories() {
    let mut registry = Registry::start();
    let (client, volume) = (registry.client(), Volume::at(&registry.data()));
    let body = referrer(digest(b"x"), json!({}));
    let mut names: Vec<String> = (0..1003).map(|n| format!("team-{}/app{}", n % 7, n)).collect();
    names.extend(["team/app", "team-1", "team.x/y", "team/app/sub", "team/app-1"].map(str::to_owned));
    for name in &names {
        volume.manifest(name, &body);
    }
    volume.layer("layers/only", b"x");
    names.sort();
    let catalog = |query: &str| walk(&client, &format!("/v2/_catalog{query}"), "repositories");
    assert_eq!(catalog("?n=100"), (names.clone(), [vec![100; 10], vec![8]].concat()));
    registry.restart();
    assert_eq!(catalog("?n=1000"), (names.clone(), vec![1000, 8]));
    assert_eq!(catalog("?n=0"), (vec![], vec![0]));
    assert_eq!(catalog(""), (names.clone(), vec![1008]));

    // A change happens while a client reads the pages.
    let first = client.get("/v2/_catalog?n=500");
    fs::remove_dir_all(volume.repository(&names[600])).unwrap();
    fs::remove_dir_all(volume.repository(&names[100])).unwrap();
    volume.manifest("team-6/zz", &body);
    volume.manifest("zz/new/deep", &body);
    client.push_image("team/app-2", "1", b"x");
    let (rest, _) = walk(&client, &first.next().unwrap(), "repositories");
    let mut want: Vec<String> = names[500..].to_vec();
    want.retain(|name| *name != names[600]);
    want.extend(["team-6/zz", "zz/new/deep", "team/app-2"].map(str::to_owned));
    want.sort();
    assert_eq!(rest, want);
    fs::remove_dir_all(volume.repository("zz")).unwrap();
    assert_eq!(catalog("?last=team/app-2").0, ["team/app/sub"]);
}

#[test]
fn tags_beyond_one_answer_are_paged() {
    let registry = Registry::start();
    let (client, volume) = (registry.client(), Volume::at(&registry.data()));
    let manifest = volume.manifest(APP, &referrer(digest(b"x"), json!({})));
    volume.tag(APP, "a", &manifest);
    let tags = volume.repository(APP).join("_manifests/tags");
    let mut names: Vec<String> = (0..10_001).map(|n| format!("v{n}")).collect();
    for name in &names {
        fs::create_dir(tags.join(name)).unwrap();
    }
    fs::create_dir(tags.join("-no-tag")).unwrap();
    names.push("a".to_owned());
    names.sort();
    let target = format!("/v2/{APP}/tags/list");
    for query in ["", "?n=20000", "?n=10000"] {
        assert_eq!(walk(&client, &format!("{target}{query}"), "tags"), (names.clone(), vec![10_000, 2]), "{query}");
    }
    assert_eq!(walk(&client, &format!("{target}?n=4000"), "tags").1, [4000, 4000, 2002]);
    assert_eq!(walk(&client, &format!("{target}?n=5&last=v9997"), "tags").0, ["v9998", "v9999"]);
    assert_eq!(walk(&client, &format!("{target}?n=0"), "tags").1, [0]);
}

/// A mount without `from` finds pushed content at once, and older content once the server has read it. It never uses content that
/// is gone.
#[test]
fn mount_without_a_source_finds_the_blob() {
    let mut registry = Registry::start();
    let (client, volume) = (registry.client(), Volume::at(&registry.data()));
    let mount = |to: &str, digest: &Digest| {
        client.request("POST", &format!("/v2/{to}/blobs/uploads/?mount={digest}")).body(b"").send().status
    };
    let old = volume.layer("old/app", b"old");
    registry.restart();
    assert_eq!(mount("new/one", &old), 201, "the order does not depend on the index");
    registry.wait_for_log("indexed the store");
    assert_eq!(mount("new/two", &old), 201);
    let pushed = client.push_blob(APP, b"pushed");
    assert_eq!(mount("new/three", &pushed), 201);
    for name in [APP, "new/three"] {
        fs::remove_file(volume.layer_link(name, &pushed)).unwrap();
    }
    assert_eq!(mount("new/four", &pushed), 202, "the bytes are stored, but no repository has them");
    assert_eq!(client.request("DELETE", &format!("/v2/new/one/blobs/{old}")).send().status, 202);
    assert_eq!(mount("new/five", &old), 201, "other repositories have the blob");
    fs::remove_file(volume.data(&old)).unwrap();
    assert_eq!(mount("new/six", &old), 202, "the link leads to a missing blob");
}
