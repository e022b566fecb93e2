//! Web pages of other origins: they change nothing here unless the operator allows it, and CORS works before authentication.

use crate::support::client::{Answer, Client, digest_of};
use crate::support::mirror::{blob, manifest};
use crate::support::registry::Registry;

const UI: &str = "http://ui.example";
const EVIL: &str = "http://evil.example";

/// The users `alice` (password `secret`), by `htpasswd -nbB`.
const USERS: &str = "alice:$2y$05$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92\n";

/// Starts a registry with these keys below `http:`.
fn with_http(keys: &str) -> Registry {
    Registry::configured(|place| {
        format!("{}{}{keys}\nstorage:{}\n  delete: {{enabled: true}}\n", place.version(), place.http(), place.root())
    })
}

fn from_page(client: &Client, method: &str, target: &str, origin: &str) -> Answer {
    client.request(method, target).header("Origin", origin).body(b"").send()
}

fn assert_foreign(answer: &Answer, origin: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"), "{}", answer.text());
    assert!(answer.text().contains(origin) && answer.text().contains("http.names"), "{}", answer.text());
}

#[test]
fn page_of_another_origin_changes_nothing() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "1", b"layer");
    let upload = client.begin("team/app");
    let hello = digest_of(b"hello");
    for (method, target) in [
        ("POST", "/v2/team/app/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/team/app/blobs/uploads/?digest={hello}")),
        ("POST", format!("/v2/team/other/blobs/uploads/?mount={}&from=team/app", image.layer)),
        ("PATCH", upload.clone()),
        ("PUT", format!("{upload}?digest={hello}")),
        ("DELETE", upload.clone()),
        ("PUT", manifest("team/app", "2")),
        ("DELETE", manifest("team/app", "1")),
        ("DELETE", blob("team/app", image.layer)),
        ("POST", "/api/v1/warm".to_owned()),
        ("DELETE", "/api/v1/images/team/app".to_owned()),
        ("DELETE", format!("/api/v1/fills/{hello}")),
        // What does not exist is not told to a page either.
        ("POST", "/elsewhere".to_owned()),
    ] {
        assert_foreign(&from_page(&client, method, &target, EVIL), EVIL);
        let opaque = from_page(&client, method, &target, "null");
        assert_eq!(opaque.status, 403, "{method} {target}");
        let marked = client.request(method, &target).header("Sec-Fetch-Site", "cross-site").body(b"").send();
        assert_eq!(marked.status, 403, "{method} {target}");
    }
    assert_eq!(client.get(&manifest("team/app", "1")).status, 200);
    assert_eq!(client.get(&upload).status, 204, "the upload is open still");
    assert_eq!(client.get("/v2/team/other/tags/list").status, 404);
    // Reading is as before: a page gets no answer that CORS does not allow.
    let read = client.request("GET", &manifest("team/app", "1")).header("Origin", EVIL).send();
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, None));
    // Its own page, at its address, may write.
    let own = format!("http://{}", registry.addr());
    assert_eq!(from_page(&client, "POST", "/v2/team/app/blobs/uploads/", &own).status, 202);
}

/// Sends a request for `host`, which the client of the tests does not.
fn for_host(registry: &Registry, host: &str, origin: &str) -> u16 {
    use std::io::Write as _;
    let mut stream = registry.client().connect();
    let head = format!(
        "POST /v2/team/app/blobs/uploads/ HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    Answer::read(&mut std::io::BufReader::new(stream), false).unwrap().status
}

#[test]
fn host_that_equals_the_origin_is_no_proof() {
    let registry = with_http("  host: https://registry.corp\n  names: [registry.lan, 'ui.lan:8080']");
    for (host, origin, status) in [
        ("evil.example", EVIL, 403),
        ("evil.example:5000", "http://evil.example:5000", 403),
        ("registry.corp", "https://registry.corp", 202),
        ("registry.lan:5000", "http://registry.lan:5000", 202),
        ("ui.lan:8080", "http://ui.lan:8080", 202),
        ("ui.lan", "http://ui.lan", 403),
        ("localhost:5000", "http://localhost:5000", 202),
        ("10.0.0.7:5000", "http://10.0.0.7:5000", 202),
        ("10.0.0.7:5000", "http://10.0.0.7:3000", 403),
        // A proxy in front that passes another host.
        ("backend:5000", "https://registry.corp", 202),
        ("backend:5000", "http://registry.lan", 202),
        ("backend:5000", "http://registry.lan:81", 403),
    ] {
        assert_eq!(for_host(&registry, host, origin), status, "{host} {origin}");
    }
}

#[test]
fn names_of_the_mirror_are_our_names_and_names_of_http_mean_nothing_in_ns() {
    let registry = Registry::configured(|place| {
        format!(
            "{}{}  names: [own.lan]\nstorage:{}\nmirror: {{local: ['**'], names: [mirror.lan], upstreams: {{up.example: {{}}}}, \
             cache: {{reserve: 0}}}}\n",
            place.version(),
            place.http(),
            place.root()
        )
    });
    assert_eq!(for_host(&registry, "mirror.lan", "http://mirror.lan"), 202);
    assert_eq!(for_host(&registry, "own.lan", "http://own.lan"), 202);
    assert_eq!(for_host(&registry, "up.example", "http://up.example"), 403);
    registry.client().push_image("team/app", "1", b"layer");
    for ns in ["own.lan", "mirror.lan"] {
        assert_eq!(registry.client().get(&format!("/v2/team/app/manifests/1?ns={ns}")).status, 200, "{ns}");
    }
}

#[test]
fn allowed_origin_may_write_and_any_origin_only_delete() {
    let listed = with_http("  headers: {Access-Control-Allow-Origin: ['http://ui.example']}");
    let client = listed.client();
    assert_eq!(from_page(&client, "POST", "/v2/team/app/blobs/uploads/", UI).status, 202);
    assert_foreign(&from_page(&client, "POST", "/v2/team/app/blobs/uploads/", EVIL), EVIL);

    let any = with_http(
        "  headers: {Access-Control-Allow-Origin: ['*'], Access-Control-Allow-Methods: ['HEAD, GET, OPTIONS, DELETE, PUT, POST']}",
    );
    let client = any.client();
    client.push_image("team/app", "1", b"layer");
    for (method, target) in [
        ("POST", "/v2/team/app/blobs/uploads/".to_owned()),
        ("PUT", manifest("team/app", "2")),
        ("PATCH", client.begin("team/app")),
    ] {
        assert_foreign(&from_page(&client, method, &target, EVIL), EVIL);
    }
    assert_eq!(from_page(&client, "DELETE", &manifest("team/app", "1"), EVIL).status, 202);
}

const CORS: &str = "  headers: {Access-Control-Allow-Origin: ['http://ui.example'], Access-Control-Allow-Methods: ['HEAD, GET, OPTIONS, DELETE'], \
     Access-Control-Allow-Headers: ['Authorization, Accept'], Access-Control-Expose-Headers: [Docker-Content-Digest]}";

#[test]
fn preflight_is_answered_before_authentication() {
    let registry = Registry::configured(|place| {
        let users = place.write("users", USERS);
        format!(
            "{}{}{CORS}\nstorage:{}\n  delete: {{enabled: true}}\nauth: {{htpasswd: {{realm: r, path: {}}}}}\n",
            place.version(),
            place.http(),
            place.root(),
            users.display()
        )
    });
    let client = registry.client();
    let digest = digest_of(b"");
    for (target, allow) in [
        ("/v2/".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2/_catalog".to_owned(), "GET, HEAD, OPTIONS"),
        ("/v2/team/app/tags/list".to_owned(), "GET, HEAD, OPTIONS"),
        (manifest("team/app", "1"), "GET, HEAD, PUT, DELETE, OPTIONS"),
        (manifest("team/app", digest), "GET, HEAD, PUT, DELETE, OPTIONS"),
        (blob("team/app", digest), "GET, HEAD, DELETE, OPTIONS"),
        (format!("/v2/team/app/referrers/{digest}"), "GET, HEAD, OPTIONS"),
        ("/v2/team/app/blobs/uploads/".to_owned(), "POST, OPTIONS"),
        ("/v2/team/app/blobs/uploads/x".to_owned(), "GET, HEAD, PATCH, PUT, DELETE, OPTIONS"),
        ("/v2/nothing".to_owned(), "OPTIONS"),
        ("/api/v1/repositories".to_owned(), "GET, HEAD, OPTIONS"),
        ("/api/v1/images/team/app".to_owned(), "DELETE, OPTIONS"),
    ] {
        let request = client.request("OPTIONS", &target).header("Origin", UI);
        let answer = request.header("Access-Control-Request-Method", "DELETE").send();
        assert_eq!((answer.status, answer.header("allow")), (204, Some(allow)), "{target}");
        assert_eq!(answer.header("content-length"), None);
        for (name, value) in [
            ("access-control-allow-origin", UI),
            ("access-control-allow-methods", "HEAD, GET, OPTIONS, DELETE"),
            ("access-control-allow-headers", "Authorization, Accept"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{target}");
        }
    }
    // The requests themselves need the login, and a page may read the refusal.
    let refused = client.request("GET", "/v2/_catalog").header("Origin", UI).send();
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(UI)));
    let listed = client.login("alice", "secret").request("GET", "/v2/_catalog").header("Origin", UI).send();
    assert_eq!((listed.status, listed.header("access-control-expose-headers")), (200, Some("Docker-Content-Digest")));
    assert_eq!(client.request("OPTIONS", "/metrics").send().status, 405);
}

#[test]
fn of_several_allowed_origins_the_one_of_the_request_is_sent() {
    let registry = with_http("  headers: {Access-Control-Allow-Origin: ['http://one.example', 'http://ui.example']}");
    let client = registry.client();
    for (origin, sent) in [(UI, Some(UI)), ("http://one.example", Some("http://one.example")), (EVIL, None)] {
        for method in ["GET", "OPTIONS"] {
            let answer = client.request(method, "/v2/").header("Origin", origin).send();
            assert_eq!(answer.header("access-control-allow-origin"), sent, "{method} {origin}");
            assert_eq!(answer.header("vary"), Some("origin"));
        }
    }
    assert_eq!(client.get("/v2/").header("access-control-allow-origin"), None);
}

/// A browser that gets its own origin back sends logins and cookies. `*` must not have that effect.
#[test]
fn any_origin_beside_another_one_is_never_sent_back() {
    let registry = with_http(
        "  headers: {Access-Control-Allow-Origin: ['*', 'http://ui.example'], Access-Control-Allow-Credentials: ['true']}",
    );
    for (origin, sent) in [(UI, UI), (EVIL, "*"), ("null", "*"), ("http://ui.example.evil", "*")] {
        let answer = registry.client().request("GET", "/v2/").header("Origin", origin).send();
        assert_eq!(answer.header("access-control-allow-origin"), Some(sent), "{origin}");
        assert_eq!(answer.header("vary"), Some("origin"));
    }
}
