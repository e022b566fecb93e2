//! What a client without a login learns, and whose word about an address counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::client::digest_of;
use crate::support::registry::{Registry, eventually};

/// The user `alice` (password `secret`), by `htpasswd -nbBC 8`.
const USERS: &str = "alice:$2y$08$mhJ/xJRxS.eO2mhe/Pkvi.bUjQNRL/p3uCDPtHnzbkKFPCIXpMr02\n";

fn guarded(http: &str, sections: &str) -> Registry {
    Registry::configured(|place| {
        let users = place.write("users", USERS);
        format!(
            "{}{}{http}\nstorage:{}\n  delete: {{enabled: true}}\nauth: {{htpasswd: {{realm: r, path: {}}}}}\n{sections}\n",
            place.version(),
            place.http(),
            place.root(),
            users.display()
        )
    })
}

const MIRROR: &str =
    "mirror: {local: ['secret-project/**'], upstreams: {up.example: {aliases: [inner.corp]}}, cache: {reserve: 0}}";

#[test]
fn names_are_told_after_the_login_only() {
    let registry = guarded("", MIRROR);
    let (stranger, alice) = (registry.client(), registry.client().login("alice", "secret"));
    let digest = digest_of(b"");
    for (method, target, status) in [
        ("GET", "/v2/unknown/app/manifests/1".to_owned(), 404),
        ("HEAD", "/v2/unknown/app/manifests/1".to_owned(), 404),
        ("GET", "/v2/unknown/app/tags/list".to_owned(), 404),
        ("GET", format!("/v2/unknown/app/blobs/{digest}"), 404),
        ("GET", format!("/v2/unknown/app/referrers/{digest}"), 404),
        ("POST", "/v2/unknown/app/blobs/uploads/".to_owned(), 404),
        ("DELETE", "/v2/unknown/app/manifests/1".to_owned(), 404),
        ("GET", "/v2/app/manifests/1?ns=elsewhere.example".to_owned(), 404),
        ("GET", "/v2/app/manifests/1?ns=not%20a%20host".to_owned(), 404),
        ("POST", "/v2/up.example/app/blobs/uploads/".to_owned(), 403),
        ("POST", "/v2/app/blobs/uploads/?ns=inner.corp".to_owned(), 403),
        ("POST", "/v2/inner.corp/app/blobs/uploads/".to_owned(), 403),
        ("DELETE", "/api/v1/images/unknown/app".to_owned(), 404),
        ("GET", "/api/v1/repositories/unknown/app/tags".to_owned(), 404),
    ] {
        let refused = stranger.request(method, &target).send();
        assert_eq!(refused.status, 401, "{method} {target}: {}", refused.text());
        assert!(refused.header("www-authenticate").is_some(), "{method} {target}");
        assert_eq!(refused.header("oci-namespace"), None, "{method} {target}");
        let upstream = if target.contains("up.example") { "secret-project" } else { "up.example" };
        for secret in ["secret-project", upstream, "mirror.local", "mirrored"] {
            assert!(!refused.text().contains(secret), "{method} {target}: {}", refused.text());
        }
        let wrong = stranger.login("alice", "wrong").request(method, &target).send();
        assert_eq!(wrong.status, 401, "{method} {target}");
        assert_eq!(alice.request(method, &target).send().status, status, "{method} {target}");
    }
}

#[test]
fn probes_do_not_name_paths() {
    let registry = Registry::with("health: {storagedriver: {enabled: true, interval: 100ms, threshold: 1}}");
    let (data, aside) = (registry.data(), registry.data().with_extension("aside"));
    std::fs::rename(&data, &aside).unwrap();
    std::fs::write(&data, b"in the way").unwrap();
    let client = registry.client();
    eventually("a failed check", || (client.get("/readyz").status == 503).then_some(()));
    for probe in ["/readyz", "/debug/health"] {
        let answer = client.get(probe);
        assert_eq!(answer.status, 503, "{probe}");
        assert!(answer.text().contains("storagedriver") && answer.text().contains("log"), "{}", answer.text());
        assert!(!answer.text().contains("tmp") && !answer.text().contains("data"), "{}", answer.text());
    }
    assert!(registry.wait_for_log("the storage cannot be written to").contains(data.to_str().unwrap()));
}

#[test]
fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    for (keys, logged) in [
        ("", "203.0.113.9"),
        ("  trustedproxies: [127.0.0.1]", "203.0.113.9"),
        ("  trustedproxies: []", "127.0.0.1:"),
        ("  trustedproxies: [10.0.0.0/8]", "127.0.0.1:"),
    ] {
        let registry = Registry::configured(|place| {
            format!("{}{}{keys}\nstorage:{}\n", place.version(), place.http(), place.root())
        });
        let client = registry.client();
        let request = client.request("GET", "/v2/marked");
        // The first address was written by the client itself.
        request.header("X-Forwarded-For", "198.51.100.7, 203.0.113.9").send();
        let line = registry.wait_for_log("/v2/marked");
        assert!(line.contains(&format!("\"http.request.remoteaddr\":\"{logged}")), "{keys}: {line}");
    }
}

#[test]
fn missing_protection_is_said_at_every_log_level() {
    let everybody = "every client that reaches this address may pull, push and delete";
    let account = "may pull what your account at up.example may";
    let unencrypted = "passwords cross the network unencrypted";
    let private = "mirror: {upstreams: {up.example: {username: me, password: pw}}, cache: {reserve: 0}}";
    for level in ["error", "warn", "info"] {
        for formatter in ["json", "text"] {
            let open = Registry::configured(|place| {
                format!(
                    "version: 0.1\nlog: {{level: {level}, formatter: {formatter}}}\n{}storage:{}\n  delete: {{enabled: true}}\n{private}\n",
                    place.http(),
                    place.root()
                )
            });
            [everybody, account].iter().for_each(|words| drop(open.wait_for_log(words)));
            assert!(!open.log().contains(unencrypted), "{level} {formatter}: {}", open.log());
        }
    }
    let closed = Registry::configured(|place| {
        let users = place.write("users", USERS);
        format!(
            "version: 0.1\nlog: {{level: error, formatter: json}}\nhttp: {{addr: ':{}'}}\nstorage:{}\n\
             auth: {{htpasswd: {{realm: r, path: {}}}}}\n{private}\n",
            place.addr.port(),
            place.root(),
            users.display()
        )
    });
    closed.wait_for_log(unencrypted);
    assert!(!closed.log().contains(account), "{}", closed.log());
    let local = guarded("", "");
    local.wait_for_log("listens on");
    assert!(!local.log().contains(unencrypted), "{}", local.log());
}

#[test]
fn password_that_crosses_the_network_unencrypted_is_said_at_every_log_level() {
    let upstreams = "far.example: {username: me, password: pw, endpoints: ['https://far.example', 'http://192.0.2.7:5000']}, \
                     named.example: {username: me, password: pw, endpoints: ['http://named.example/v2/prefix']}, \
                     near.example: {username: me, password: pw, endpoints: ['http://127.0.0.1:5000', 'http://[::1]:5000']}, \
                     open.example: {endpoints: ['http://192.0.2.8']}";
    for level in ["error", "info"] {
        for formatter in ["json", "text"] {
            let registry = Registry::configured(|place| {
                format!(
                    "version: 0.1\nlog: {{level: {level}, formatter: {formatter}}}\n{}storage:{}\n\
                     mirror: {{upstreams: {{{upstreams}}}, cache: {{reserve: 0}}}}\n",
                    place.http(),
                    place.root()
                )
            });
            registry.wait_for_log("the password of your account at far.example crosses the network unencrypted");
            let last = registry.wait_for_log("the password of your account at named.example");
            assert!(last.contains("http://named.example/v2/prefix"), "{last}");
            // The lines come in the order of the upstreams' names, and after them the server is ready.
            let log = registry.log();
            assert_eq!(log.matches("crosses the network unencrypted").count(), 2, "{log}");
            assert!(!log.contains("near.example crosses") && !log.contains("open.example crosses"), "{log}");
        }
    }
}

/// Clients that guess passwords send invented names and forged addresses. A client on another machine can still log in. A user who has
/// logged in before can log in too.
#[test]
fn guesser_of_names_and_addresses_locks_out_nobody() {
    let registry = guarded("", "");
    let client = registry.client();
    // The password file has one line, so each guess of a name hashes as one of alice's.
    assert_eq!(client.login("alice", "secret").get("/v2/").status, 200);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..120 {
            let (client, is_done) = (&client, &is_done);
            scope.spawn(move || {
                let mut guess = 0;
                while !is_done.load(Ordering::Relaxed) {
                    guess += 1;
                    let guesser = client.login(&format!("name{thread}-{guess}"), "guess");
                    let request = guesser.request("GET", "/v2/");
                    match thread % 2 {
                        0 => request.send(),
                        _ => request.header("X-Forwarded-For", &format!("198.51.100.{}", guess % 200)).send(),
                    };
                }
            });
        }
        for number in 0..4 {
            // A wrong password is hashed each time, where the right one is remembered.
            let wrong = client.login("alice", &format!("wrong{number}")).get("/v2/");
            assert_eq!(wrong.status, 401, "alice has logged in from this address before: {}", wrong.text());
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn flood_of_wrong_logins_is_refused_and_others_are_let_in() {
    const GUESSES: usize = 60;
    let registry = guarded("", "");
    let client = registry.client();
    let answers: Vec<_> = thread::scope(|scope| {
        let guess = |number: usize| {
            let guesser = client.login("alice", &format!("guess{number}"));
            scope.spawn(move || guesser.request("GET", "/v2/").header("X-Forwarded-For", "203.0.113.9").send())
        };
        let guesses: Vec<_> = (0..GUESSES).map(guess).collect();
        // The guesser's places are taken; another client of the same name is let in.
        let alice = client.login("alice", "secret");
        let right = alice.request("GET", "/v2/").header("X-Forwarded-For", "203.0.113.10").send();
        assert_eq!(right.status, 200, "{}", right.text());
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    let crowded: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 429)));
    assert!(!crowded.is_empty(), "no guess was refused at once");
    for answer in crowded {
        assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("TOOMANYREQUESTS", Some("2")));
        assert_eq!(answer.header("www-authenticate"), None, "a client would ask its user to log in again");
    }
    let metrics = client.login("alice", "secret").get("/metrics").text();
    assert!(metrics.contains("entrepot_logins_total{outcome=\"crowded\"}"), "{metrics}");
}
