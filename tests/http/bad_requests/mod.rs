//! A table of client mistakes. Each is refused with the right status and code, in the specification's JSON. It changes nothing,
//! nothing hangs, and the server goes on.

mod flood;
mod table;
mod world;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::support::client::Answer;
use crate::support::mirror::mirror;
use crate::support::registry::Registry;
use crate::support::upstream::Upstream;
use table::Row;
use world::{Prepared, World};

/// A request without an answer after this time hangs.
const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// The longest error in bytes.
const MOST: usize = 4096;
const PROBE: &[u8] = b"GET /v2/ HTTP/1.1\r\nHost: r\r\n\r\n";
/// `alice:secret`, as `htpasswd -B` writes it.
const ALICE: &str = "alice:$2y$05$Z2UyzlpcairrQQKgFnpHnelQ.J6CK7OXQtyT9HbBvC8MAthihNobu\n";

/// The source of an answer, and the fate of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Entrepot answers, and the connection can be used again.
    Ours,
    /// Entrepot answers, and the connection may be closed.
    Last,
    /// hyper answers, perhaps without a body. The connection is closed.
    Below,
}

#[test]
fn private_registry_refuses_bad_requests() {
    all_refused(&open(), table::OPEN.iter().copied().flatten(), Kind::Ours);
}

#[test]
fn requests_with_two_possible_ends_are_refused() {
    all_refused(&open(), table::FRAMING, Kind::Last);
}

#[test]
fn malformed_http_is_refused() {
    all_refused(&open(), table::RAW, Kind::Below);
}

#[test]
fn requests_without_login_are_refused() {
    let registry = Registry::configured(|place| {
        let users = place.write("htpasswd", ALICE);
        format!("{}\nauth: {{htpasswd: {{realm: r, path: {}}}}}\n", place.usual(), users.display())
    });
    let alice = registry.client().login("alice", "secret");
    all_refused(&World::new(registry, alice), table::GUARDED, Kind::Ours);
}

#[test]
fn deletion_is_refused_where_it_is_off() {
    let registry =
        Registry::configured(|place| format!("{}{}storage:{}\n", place.version(), place.http(), place.root()));
    let client = registry.client();
    all_refused(&World::new(registry, client), table::KEPT, Kind::Ours);
}

#[test]
fn mirror_refuses_bad_requests() {
    let upstream = Upstream::start();
    let registry = mirror(&upstream);
    let client = registry.client();
    let world = World::new(registry, client);
    upstream.forget_log();
    all_refused(&world, table::MIRROR, Kind::Ours);
    assert_eq!(upstream.requests("*", ""), 0, "an invalid request reached the upstream");
}

#[test]
fn unusual_valid_requests_succeed() {
    let world = open();
    let mut complaints = Vec::new();
    for (status, _, text) in table::GOOD {
        let prepared = world.prepare(text);
        let mut stream = send(&world, &prepared.bytes);
        let answer = Answer::read(&mut stream, text.starts_with("HEAD"));
        let good =
            |answer: &Answer| answer.status == *status && answer.whole && answer.header("x-request-id").is_some();
        if !answer.as_ref().is_some_and(good) {
            complaints.push(format!("{}\n  {answer:?}", shown(text)));
        }
        world.clear(&prepared);
    }
    assert!(complaints.is_empty(), "{} rows:\n{}", complaints.len(), complaints.join("\n"));
}

fn open() -> World {
    let registry = Registry::start();
    let client = registry.client();
    World::new(registry, client)
}

/// Tries every row and reports all failures.
fn all_refused<'r>(world: &World, rows: impl IntoIterator<Item = &'r Row>, kind: Kind) {
    let complaints: Vec<String> =
        rows.into_iter().filter_map(|row| Some(complaint(row, refused(world, row, kind).err()?))).collect();
    assert!(complaints.is_empty(), "{} rows:\n{}", complaints.len(), complaints.join("\n"));
}

fn complaint(row: &Row, problem: String) -> String {
    format!("{} {} wanted for {}\n  {problem}", row.0, row.1, shown(row.2))
}

/// Returns an error if the answer to a row is wrong, or if the row leaves something behind.
fn refused(world: &World, row: &Row, kind: Kind) -> Result<(), String> {
    let (_, _, text) = *row;
    let prepared = match kind {
        Kind::Ours => world.prepare(text),
        Kind::Last | Kind::Below => world.prepare_raw(text),
    };
    let before = world.stored();
    let mut stream = send(world, &prepared.bytes);
    let answer = Answer::read(&mut stream, text.starts_with("HEAD")).ok_or("no answer")?;
    says_why(row, &answer, kind)
        .map_err(|why| format!("{why}: {} {:?}\n  {}", answer.status, answer.headers, shown(&answer.text())))?;
    goes_on(stream, &answer, kind)?;
    // A new connection works as before.
    ensure(world.registry.client().get("/livez").text() == "ok\n", "the server does not go on")?;
    unchanged(world, &prepared, &before)?;
    world.clear(&prepared);
    Ok(())
}

/// Checks the status and the code, in the specification's JSON, and the headers that every answer has.
fn says_why(&(status, code, text): &Row, answer: &Answer, kind: Kind) -> Result<(), String> {
    let has = |name: &str| answer.header(name).is_some_and(|value| !value.is_empty());
    ensure(answer.status == status && (400..500).contains(&status), "another status")?;
    ensure(answer.whole, "the body breaks off")?;
    // The answer does not repeat a long request.
    ensure(answer.body.len() < MOST, "a long error")?;
    if text.starts_with("HEAD") {
        ensure(answer.body.is_empty() && has("content-length"), "a body, or the length of none")?;
    } else if kind != Kind::Below || !answer.body.is_empty() {
        is_json(code, answer, kind)?;
    }
    if kind == Kind::Below {
        return Ok(());
    }
    let target = text.split([' ', '\n']).nth(1).unwrap();
    let path = target.strip_prefix("http://").map_or(target, |rest| rest.find('/').map_or("", |at| &rest[at..]));
    let is_api = path.starts_with("/v2/") || path == "/v2" || path.starts_with('<');
    ensure(has("x-request-id"), "no X-Request-Id")?;
    ensure(has("docker-distribution-api-version") == is_api, "Docker-Distribution-Api-Version")?;
    ensure(!has("x-evil") && answer.headers.len() < 20, "a header that the client chose")?;
    ensure(has("allow") == (status == 405), "Allow")?;
    ensure(has("www-authenticate") == (status == 401), "WWW-Authenticate")?;
    let size = answer.header("content-range").is_some_and(|range| range.starts_with("bytes */"));
    ensure(status != 416 || size || has("range") && has("location"), "where it goes on")
}

fn is_json(code: &str, answer: &Answer, kind: Kind) -> Result<(), String> {
    ensure(answer.header("content-type") == Some("application/json"), "another Content-Type")?;
    let json: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    ensure(json["errors"].as_array().is_some_and(|all| all.len() == 1), "one error is expected")?;
    let error = &json["errors"][0];
    ensure(kind == Kind::Below || error["code"] == code, "another code")?;
    ensure(error["message"].as_str().is_some_and(|message| !message.is_empty()), "no message")?;
    ensure(error["detail"].is_string() || error["detail"].is_null(), "a detail that is no text")
}

/// Checks that the connection can be used again or is closed, and carries no other answer.
fn goes_on(mut stream: BufReader<TcpStream>, answer: &Answer, kind: Kind) -> Result<(), String> {
    if kind != Kind::Ours {
        // The connection may be closed already.
        let _ = stream.get_ref().shutdown(Shutdown::Write);
        let rest = stream.fill_buf().map_or(0, <[u8]>::len);
        return ensure(rest == 0, "another answer follows");
    }
    if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        return ensure(stream.fill_buf().is_ok_and(<[u8]>::is_empty), "not closed cleanly");
    }
    stream.get_mut().write_all(PROBE).map_err(|error| error.to_string())?;
    let next = Answer::read(&mut stream, false).ok_or("the connection is dead")?;
    ensure([200, 401].contains(&next.status), "the connection is confused")
}

/// Checks that no file of the store has changed except those of the request's own upload.
fn unchanged(world: &World, prepared: &Prepared, before: &BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
    let after = world.stored();
    let new = after.iter().filter(|(path, content)| before.get(*path) != Some(*content)).map(|(path, _)| path);
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let changed: Vec<_> = new.chain(gone).filter(|path| !prepared.is_own(path)).collect();
    ensure(changed.is_empty(), &format!("the store has changed: {changed:?}"))
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn send(world: &World, bytes: &[u8]) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(world.registry.addr()).unwrap();
    stream.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
    stream.set_write_timeout(Some(WAIT_LIMIT)).unwrap();
    // A server that refuses may close before it has read everything, so the answer counts.
    let _ = stream.write_all(bytes);
    BufReader::new(stream)
}

/// Returns the beginning of a text, short enough to read.
fn shown(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Takes half a minute, the server's limit.
#[test]
fn incomplete_head_is_refused_with_a_message() {
    let registry = Registry::start();
    let begin = |sent: &[u8]| {
        let mut stream = registry.client().connect();
        stream.set_read_timeout(Some(Duration::from_secs(30) + WAIT_LIMIT)).unwrap();
        stream.write_all(sent).unwrap();
        BufReader::new(stream)
    };
    let mut first = begin(&PROBE[..PROBE.len() - 2]);
    let mut second = begin(PROBE);
    assert_eq!(Answer::read(&mut second, false).unwrap().status, 200);
    second.get_mut().write_all(&PROBE[..9]).unwrap();
    let mut silent = begin(b"");
    for stream in [&mut first, &mut second] {
        let answer = Answer::read(stream, false).expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (408, "UNSUPPORTED"), "{}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
        assert_eq!(stream.read_line(&mut String::new()).unwrap(), 0, "the end");
    }
    assert!(Answer::read(&mut silent, false).is_none(), "a client that sent nothing gets no answer");
    let id = registry.wait_for_log("did not arrive in time");
    assert!(id.contains("\"http.response.status\":408"), "{id}");
}

/// HTTP/2 has its own ways to find out whether the other side is alive.
#[tokio::test]
async fn http2_connection_may_idle_longer_than_the_head_timeout() {
    let registry = Registry::start();
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/v2/", registry.addr());
    for rest in [32, 0] {
        assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
        tokio::time::sleep(Duration::from_secs(rest)).await;
    }
    assert!(!registry.log().contains("did not arrive in time"), "{}", registry.log());
}
