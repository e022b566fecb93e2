//! Access to content: neither a known digest nor a manifest that a client wrote gives access.

use crate::support::client::{image_manifest, noise};
use crate::support::fault::{Fault, Rule};
use crate::support::mirror::{blob, cache, manifest};
use crate::support::registry::Registry;
use crate::support::upstream::{Auth, Bearer, Upstream};

const LAYER: usize = 300_000;

/// `alice:secret`, as `htpasswd -B` writes it.
const ALICE: &str = "alice:$2y$05$Z2UyzlpcairrQQKgFnpHnelQ.J6CK7OXQtyT9HbBvC8MAthihNobu\n";

#[test]
fn private_blob_is_not_readable_through_another_repository() {
    let registry = Registry::start();
    let client = registry.client();
    let secret = client.push_image("team/secret", "1", &noise(1, LAYER));
    let own = client.push_image("team/open", "1", b"own");
    for target in
        [blob("team/open", secret.layer), manifest("team/open", secret.digest), blob("team/open", secret.digest)]
    {
        assert_eq!(client.get(&target).status, 404, "{target}");
        assert_eq!(client.head(&target).status, 404, "{target}");
    }
    let thief = image_manifest((&own.layer, 3), (&secret.layer, LAYER));
    let refused = client.put_manifest("team/open", "2", &thief);
    assert_eq!((refused.status, refused.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    assert_eq!(client.get(&blob("team/open", secret.layer)).status, 404);
}

#[test]
fn private_blob_is_not_readable_by_a_sparse_manifest() {
    let registry = Registry::with("validation: {manifests: {sparse: allow}}");
    let client = registry.client();
    let secret = client.push_image("team/secret", "1", &noise(2, LAYER));
    let own = client.push_image("team/open", "1", b"own");
    let thief = image_manifest((&own.layer, 3), (&secret.layer, LAYER));
    let sparse = client.put_manifest("team/open", "2", &thief);
    assert_eq!(sparse.status, 201);
    assert!(sparse.header("warning").unwrap().contains(&secret.layer.to_string()));
    assert_eq!(client.get(&blob("team/open", secret.layer)).status, 404);
}

/// Starts a public upstream, which is the default, and one that requires a login.
fn public_and_private(public: &Upstream, private: &Upstream) -> Registry {
    private.set_auth(Auth::Bearer(Bearer { login: Some(("me", "word")), ..Bearer::default() }));
    let (public, private) = (public.url(), private.url());
    Registry::with(&format!(
        "mirror:\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{public}\"], negativettl: 0s}}\n    private.corp: \
         {{endpoints: [\"{private}\"], username: me, password: word}}\n"
    ))
}

#[test]
fn content_fetched_with_credentials_is_not_served_to_another_upstreams_repository() {
    let (public, private) = (Upstream::start(), Upstream::start());
    let secret = noise(3, LAYER);
    let image = private.image("team/app", "1", &[&secret]);
    // A user who knows the digest publishes a manifest that names it, but does not have the bytes.
    public.manifest("evil/app", "1", entrepot::oci::MediaType::OCI_MANIFEST, &image.manifest);
    let mirror = public_and_private(&public, &private);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("private.corp/team/app", "1")).status, 200);
    assert_eq!(client.get(&blob("private.corp/team/app", image.layers[0])).body, secret);
    assert_eq!(client.get(&manifest("evil/app", "1")).status, 200);
    for digest in [image.layers[0], image.config] {
        assert_eq!(client.get(&blob("evil/app", digest)).status, 404);
        assert_eq!(client.head(&blob("evil/app", digest)).status, 404);
        assert_eq!(
            client.get(&blob("private.corp/team/other", digest)).status,
            404,
            "another repository of the same upstream has no access"
        );
    }
    public.gone();
    assert_eq!(client.get(&blob("evil/app", image.layers[0])).status, 503, "the same while the upstream is down");
}

#[test]
fn content_arriving_with_credentials_is_not_served_to_another_upstreams_repository() {
    let (public, private) = (Upstream::start(), Upstream::start());
    let image = private.image("team/app", "1", &[&noise(4, LAYER)]);
    private.fault("GET", "/blobs/", Fault::Stall(LAYER as u64 / 2));
    let mirror = public_and_private(&public, &private);
    let target = blob("private.corp/team/app", image.layers[0]);
    let (_slow, _) = crate::support::mirror::Slow::begin(&mirror.client(), &target, 1000);
    assert_eq!(mirror.client().get(&blob("evil/app", image.layers[0])).status, 404);
}

#[test]
fn public_content_is_served_to_repositories_whose_manifest_names_it() {
    let upstream = Upstream::start();
    let base = noise(5, LAYER);
    let (one, two) = (upstream.image("library/one", "1", &[&base]), upstream.image("library/two", "1", &[&base]));
    let mirror = crate::support::mirror::mirror(&upstream);
    let client = mirror.client();
    client.get(&manifest("library/one", "1"));
    client.get(&manifest("library/two", "1"));
    assert_eq!(cache(&client.get(&blob("library/one", one.layers[0]))), "miss");
    upstream.gone();
    let shared = client.get(&blob("library/two", two.layers[0]));
    assert_eq!((cache(&shared), shared.body == base), ("hit", true));
    assert_eq!(
        client.get(&blob("library/three", one.layers[0])).status,
        503,
        "a repository whose manifests do not name it"
    );
}

#[test]
fn mount_takes_only_content_of_its_source() {
    let upstream = Upstream::start();
    let base = noise(6, LAYER);
    let image = upstream.image("library/app", "1", &[&base]);
    let mirror = crate::support::mirror::mirror(&upstream);
    let client = mirror.client();
    let mount = |digest, from: &str| {
        client
            .request("POST", &format!("/v2/local/new/blobs/uploads/?mount={digest}&from={from}"))
            .body(b"")
            .send()
            .status
    };
    assert_eq!(mount(image.layers[0], "library/app"), 202, "nothing is stored yet");
    assert_eq!(client.get(&blob("library/app", image.layers[0])).status, 200);
    assert_eq!(mount(image.layers[0], "library/app"), 201);
    // The private copy is independent: evicting the mirrored one leaves it in place.
    assert_eq!(client.request("DELETE", &blob("library/app", image.layers[0])).send().status, 202);
    assert_eq!(client.get(&blob("local/new", image.layers[0])).body, base);
}

#[test]
fn everything_requires_a_login_with_a_password_file() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    let registry = Registry::configured(|place| {
        let users = place.write("htpasswd", ALICE);
        format!(
            "{}{}storage:{}\nauth: {{htpasswd: {{realm: here, path: {}}}}}\nmirror:\n  upstreams:\n    docker.io: \
             {{default: true, endpoints: [\"{}\"]}}\n",
            place.version(),
            place.http(),
            place.root(),
            users.display(),
            upstream.url()
        )
    });
    let (anonymous, alice) = (registry.client(), registry.client().login("alice", "secret"));
    for target in [
        "/v2/",
        "/v2/_catalog",
        "/v2/library/app/manifests/1",
        "/v2/local/app/tags/list",
        "/metrics",
        "/api/v1/upstreams",
    ] {
        let refused = anonymous.get(target);
        assert_eq!(
            (refused.status, refused.header("www-authenticate")),
            (401, Some("Basic realm=\"here\"")),
            "{target}"
        );
        assert_eq!(registry.client().login("alice", "wrong").get(target).status, 401, "{target}");
        assert_ne!(alice.get(target).status, 401, "{target}");
    }
    assert_eq!(anonymous.get("/v2/").header("docker-distribution-api-version"), Some("registry/2.0"));
    for open in ["/", "/livez", "/readyz", "/debug/health"] {
        assert_eq!(anonymous.get(open).status, 200, "{open}");
    }
    assert_eq!(alice.get("/v2/library/app/manifests/1").status, 200);
    alice.push_image("local/app", "1", b"mine");
    registry.wait_for_log("\"auth.user.name\":\"alice\"");
    registry.wait_for_log("dockerd sends no login to a mirror");
    assert!(!registry.log().contains("secret"));
}

/// Access rules do not exist yet, so only a test inside the process can deny a pull.
#[tokio::test]
async fn mount_requires_the_right_to_pull() {
    use entrepot::oci::{Digest, Target};
    let registry = Registry::start();
    let client = registry.client();
    let secret = client.push_image("team/secret", "1", &noise(7, LAYER));
    let store = entrepot::store::Store::new(&registry.data(), entrepot::sys::Clock::system());
    let machine = entrepot::sys::Machine::system();
    let source = entrepot::config::SourceText { name: "test".to_owned(), text: "version: 0.1", built_in: false };
    let config = entrepot::config::load(source, &[], &|_| Ok(String::new())).unwrap().config;
    let inside = entrepot::registry::open(&config, store, machine, std::sync::Arc::default()).await.unwrap();
    let target = |name: &str| Target::Hosted(name.parse().unwrap());
    let open = inside.hosted(target("team/open")).unwrap();
    let layer: Digest = secret.layer;
    let from = target("team/secret");
    let no_user = |_: &Target| false;
    let everybody = |_: &Target| true;
    assert!(!inside.mount(&open, &layer, Some(&from), &no_user).await.unwrap());
    assert!(!inside.mount(&open, &layer, None, &no_user).await.unwrap());
    assert_eq!(client.get(&blob("team/open", layer)).status, 404);
    assert!(inside.mount(&open, &layer, None, &everybody).await.unwrap());
    assert_eq!(client.get(&blob("team/open", layer)).status, 200);
}

#[test]
fn manifest_with_a_wrong_size_harms_no_other_repository() {
    let upstream = Upstream::start();
    let base = noise(8, LAYER);
    let image = upstream.image("library/app", "1", &[&base]);
    let wrong = String::from_utf8(image.manifest.to_vec()).unwrap().replace(&LAYER.to_string(), "1");
    upstream.manifest("evil/app", "1", entrepot::oci::MediaType::OCI_MANIFEST, wrong.as_bytes());
    upstream.blob("evil/app", &base);
    let mirror = crate::support::mirror::mirror(&upstream);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("library/app", "1")).status, 200);
    assert_eq!(client.get(&blob("library/app", image.layers[0])).status, 200);
    assert_eq!(client.get(&manifest("evil/app", "1")).status, 200);
    for _ in 0..2 {
        client.get(&blob("evil/app", image.layers[0]));
        client.head(&blob("evil/app", image.layers[0]));
    }
    upstream.gone();
    let kept = client.get(&blob("library/app", image.layers[0]));
    assert_eq!((cache(&kept), kept.body == base), ("hit", true));
    assert!(client.get("/metrics").text().contains("entrepot_damaged_blobs_total 0"));
}

/// A client of the second repository must not get an error that it would not get if the blob had to be fetched.
#[test]
fn right_to_a_stored_blob_is_proven_while_the_upstream_throttles_manifests() {
    let upstream = Upstream::start();
    let base = noise(9, LAYER);
    let digest = upstream.blob("library/one", &base);
    upstream.blob("library/two", &base);
    let mirror = crate::support::mirror::mirror(&upstream);
    let client = mirror.client();
    assert_eq!(client.get(&blob("library/one", digest)).status, 200);
    upstream.fault("GET", "/manifests/", Fault::Status(429));
    upstream.fault("GET", "/manifests/", Fault::RetryAfter("200"));
    assert_eq!(client.get(&manifest("library/two", "1")).status, 429);
    assert_eq!(client.head(&blob("library/two", digest)).status, 200);
    let answer = client.get(&blob("library/two", digest));
    assert_eq!((answer.status, answer.body == base), (200, true));
    assert_eq!(upstream.requests("GET", "library/two/blobs/"), 1, "one byte has proven the right");
}

/// A public upstream answers every HEAD with 200. This answer gives its repository no right to a blob of a private upstream.
#[test]
fn head_proves_no_right_to_cached_content() {
    let upstream = Upstream::start();
    let secret = noise(19, LAYER);
    let digest = upstream.blob("private/app", &secret);
    let mirror = crate::support::mirror::mirror(&upstream);
    let client = mirror.client();
    assert_eq!(client.get(&blob("private/app", digest)).status, 200);
    // To a HEAD, the upstream answers as if the other repository had the blob.
    upstream.blob("public/app", &secret);
    upstream.arm(Rule::new("GET", "public/app/blobs", Fault::Status(404)));
    assert_eq!(client.head(&blob("public/app", digest)).status, 200);
    for _ in 0..2 {
        assert_eq!(client.get(&blob("public/app", digest)).status, 404);
    }
}
