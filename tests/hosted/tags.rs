//! Tags: several in one push, of manifests with a sha512 digest, and with conditions.

use entrepot::oci::{Algorithm, Digest, MediaType};

use crate::support::client::{Answer, Client, digest_of};
use crate::support::registry::Registry;

fn sha512(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha512, content)
}

fn target(reference: &str) -> String {
    format!("/v2/team/app/manifests/{reference}")
}

/// Returns an empty index that is different for each number.
fn index(number: usize) -> Vec<u8> {
    let json = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[],"annotations":{{"n":"{number}"}}}}"#,
        MediaType::OCI_INDEX
    );
    json.into_bytes()
}

fn put(client: &Client, reference: &str, body: &[u8]) -> Answer {
    client.request("PUT", &target(reference)).header("Content-Type", MediaType::OCI_INDEX).body(body).send()
}

fn tags(client: &Client) -> Vec<String> {
    let json = client.get("/v2/team/app/tags/list").json();
    json["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

/// Returns the digest that HEAD and GET of a tag return.
fn named(client: &Client, reference: &str) -> (u16, String) {
    let (head, get) = (client.head(&target(reference)), client.get(&target(reference)));
    assert_eq!((head.status, head.header("docker-content-digest")), (get.status, get.header("docker-content-digest")));
    (get.status, get.header("docker-content-digest").unwrap_or_default().to_owned())
}

#[test]
fn one_push_sets_several_tags() {
    let registry = Registry::start();
    let client = registry.client();
    for (number, algorithm) in [(1, Algorithm::Sha256), (2, Algorithm::Sha512)] {
        let body = index(number);
        let digest = Digest::of(algorithm, &body);
        let query: String = (0..10).map(|tag| format!("&tag=v{number}.{tag}")).collect();
        let answer = put(&client, &format!("{digest}?tag=v{number}{query}&tag=v{number}"), &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.header("docker-content-digest"), Some(digest.to_string().as_str()));
        assert_eq!(answer.header("location"), Some(target(&digest.to_string()).as_str()));
        let mut want = vec![format!("v{number}")];
        want.extend((0..10).map(|tag| format!("v{number}.{tag}")));
        let listed: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "oci-tag").map(|(_, tag)| tag).collect();
        assert_eq!(listed, want.iter().collect::<Vec<_>>());
        for tag in &want {
            assert_eq!(named(&client, tag), (200, digest.to_string()), "{tag}");
        }
        assert_eq!(client.get(&target(&digest.to_string())).body, body);
    }
    assert_eq!(tags(&client).len(), 22);
}

#[test]
fn invalid_tags_store_nothing() {
    let registry = Registry::start();
    let client = registry.client();
    let body = index(3);
    let digest = digest_of(&body);
    let many: String = (0..33).map(|tag| format!("&tag=t{tag}")).collect();
    for (reference, status) in [
        (format!("{digest}?tag=good&tag=.bad"), 400),
        (format!("{digest}?tag="), 400),
        (format!("{digest}?tag=a%2Fb"), 400),
        (format!("{digest}?x=1{many}"), 414),
        ("latest?tag=good".to_owned(), 400),
    ] {
        let refused = put(&client, &reference, &body);
        assert_eq!((refused.status, refused.code().as_str()), (status, "TAG_INVALID"), "{reference}");
    }
    assert_eq!(client.get(&target(&digest.to_string())).status, 404);
    assert_eq!(client.get("/v2/team/app/tags/list").status, 404);
}

/// registry:2 knows only sha256. Its changes in the directories remain valid.
#[test]
fn sha512_tag_works_beside_registry_2() {
    let registry = Registry::start();
    let client = registry.client();
    let (body, other) = (index(4), index(5));
    let digest = sha512(&body);
    assert_eq!(put(&client, &format!("{digest}?tag=one&tag=two"), &body).status, 201);
    let other_digest = digest_of(&other);
    assert_eq!(put(&client, "other", &other).status, 201);
    let root = registry.data().join("docker/registry/v2/repositories/team/app/_manifests");
    let current = |tag: &str| root.join("tags").join(tag).join("current/link");
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    // Its links contain the sha256 digest, by which it finds the manifest. Our additional links lead to the same manifest.
    assert_eq!(read(current("one")), digest_of(&body).to_string());
    assert_eq!(
        read(root.join(format!("revisions/sha256/{}/link", digest_of(&body).hex()))),
        digest_of(&body).to_string()
    );
    assert_eq!(read(root.join(format!("revisions/sha512/{}/link", digest.hex()))), digest_of(&body).to_string());
    assert_eq!(named(&client, "one"), (200, digest.to_string()));
    assert_eq!(client.get(&target(&digest_of(&body).to_string())).body, body);

    // When it moves a tag, we read the new link.
    std::fs::write(current("one"), other_digest.to_string()).unwrap();
    assert_eq!(named(&client, "one"), (200, other_digest.to_string()));
    assert_eq!(named(&client, "two"), (200, digest.to_string()));
    // It deletes the manifest by the sha256 digest.
    std::fs::remove_dir_all(root.join(format!("revisions/sha256/{}", digest_of(&body).hex()))).unwrap();
    assert_eq!(client.get(&target(&digest.to_string())).status, 404);
    assert_eq!(client.get(&target("two")).status, 404);
}

#[test]
fn last_push_decides_the_digest_of_a_tag() {
    let registry = Registry::start();
    let client = registry.client();
    let body = index(6);
    let (long, short) = (sha512(&body), digest_of(&body));
    assert_eq!(put(&client, &format!("{long}?tag=a"), &body).status, 201);
    assert_eq!(named(&client, "a"), (200, long.to_string()));
    assert_eq!(put(&client, "a", &body).status, 201);
    assert_eq!(named(&client, "a"), (200, short.to_string()));
    assert_eq!(put(&client, &format!("{long}?tag=a&tag=b"), &body).status, 201);
    assert_eq!(named(&client, "a"), (200, long.to_string()));
    assert_eq!(put(&client, "a", &index(7)).status, 201);
    assert_eq!(named(&client, "a"), (200, digest_of(&index(7)).to_string()));
    assert_eq!(named(&client, "b"), (200, long.to_string()));
    // A tag that is deleted and pushed again does not get its old digest back.
    assert_eq!(client.request("DELETE", &target("b")).send().status, 202);
    assert_eq!(client.get(&target("b")).status, 404);
    assert_eq!(put(&client, "b", &body).status, 201);
    assert_eq!(named(&client, "b"), (200, short.to_string()));
}

#[test]
fn manifest_is_deleted_under_all_its_digests() {
    let registry = Registry::start();
    let client = registry.client();
    for (number, by_sha512) in [(8, true), (9, false)] {
        let body = index(number);
        let (long, short) = (sha512(&body), digest_of(&body));
        assert_eq!(put(&client, &format!("{long}?tag=a&tag=b"), &body).status, 201);
        assert_eq!(put(&client, "c", &body).status, 201);
        assert_eq!(put(&client, "kept", &index(10)).status, 201);
        let gone = if by_sha512 { long } else { short };
        assert_eq!(client.request("DELETE", &target(&gone.to_string())).send().status, 202);
        for reference in ["a", "b", "c", &long.to_string(), &short.to_string()] {
            assert_eq!(client.get(&target(reference)).status, 404, "{reference}");
        }
        assert_eq!(tags(&client), ["kept"]);
        assert_eq!(client.request("DELETE", &target(&gone.to_string())).send().status, 404);
    }
}

#[test]
fn media_type_is_kept_under_every_digest() {
    let registry = Registry::start();
    let client = registry.client();
    let body = br#"{"schemaVersion":2,"layers":[]}"#;
    let digest = sha512(body);
    let own = "application/vnd.example.thing+json";
    let push = client.request("PUT", &target(&format!("{digest}?tag=a"))).header("Content-Type", own);
    assert_eq!(push.body(body).send().status, 201);
    for reference in ["a", &digest.to_string(), &digest_of(body).to_string()] {
        assert_eq!(client.get(&target(reference)).header("content-type"), Some(own), "{reference}");
    }
}

#[test]
fn conditional_push_depends_on_the_current_tag() {
    let registry = Registry::start();
    let client = registry.client();
    let (one, two) = (index(11), index(12));
    let (first, second) = (format!("\"{}\"", digest_of(&one)), format!("\"{}\"", digest_of(&two)));
    let put_if = |name: &str, value: &str, body: &[u8]| {
        let request = client.request("PUT", &target("t")).header("Content-Type", MediaType::OCI_INDEX);
        request.header(name, value).body(body).send()
    };
    let refused = put_if("If-Match", "*", &one);
    assert_eq!((refused.status, refused.code().as_str()), (412, "DENIED"));
    assert_eq!(client.get("/v2/team/app/tags/list").status, 404, "nothing was stored");
    assert_eq!(put_if("If-None-Match", "*", &one).status, 201);
    let refused = put_if("If-None-Match", "*", &two);
    assert_eq!(refused.status, 412);
    assert!(refused.detail().ends_with(&format!("; current: {}", digest_of(&one))), "{}", refused.detail());
    for (name, value, status) in [
        ("If-Match", second.as_str(), 412),
        ("If-Match", &format!("W/{first}"), 412),
        ("If-None-Match", &format!("{second}, {first}"), 412),
        ("If-Match", &format!("{second}, {first}"), 201),
    ] {
        assert_eq!(put_if(name, value, &two).status, status, "{name}: {value}");
    }
    assert_eq!(named(&client, "t").1, digest_of(&two).to_string());
    let unquoted = digest_of(&two).to_string();
    assert_eq!(put_if("If-Match", &unquoted, &one).status, 201);

    let delete_if = |value: &str| client.request("DELETE", &target("t")).header("If-Match", value).send().status;
    assert_eq!((delete_if(&second), delete_if(&first), delete_if(&first)), (412, 202, 404));
}

/// Of several clients that expect the same state, one succeeds. The others would overwrite a change that they have not seen.
#[test]
fn one_of_many_conditional_pushes_succeeds() {
    let registry = Registry::start();
    let client = registry.client();
    assert_eq!(put(&client, "t", &index(20)).status, 201);
    let first = format!("\"{}\"", digest_of(&index(20)));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let pushes: Vec<_> = (21..29)
            .map(|number| {
                let (client, first) = (&client, &first);
                scope.spawn(move || {
                    let request = client.request("PUT", &target("t")).header("Content-Type", MediaType::OCI_INDEX);
                    request.header("If-Match", first).body(&index(number)).send().status
                })
            })
            .collect();
        pushes.into_iter().map(|push| push.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 201 | 412)), "{statuses:?}");
}
