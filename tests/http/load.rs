//! Requests that are costly for the server: manifests that name very many digests, and many manifests at once.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use entrepot::oci::MediaType;

use crate::support::client::{Answer, Client};
use crate::support::registry::{Registry, eventually};

/// The number of children in an index of 4 MiB.
const CHILDREN: usize = 44_500;

/// Returns an index of children that were not pushed; the first is named twice.
fn index_of_missing_children() -> Vec<u8> {
    let child = |i: usize| format!(r#"{{"digest":"sha256:{i:064x}","size":1}}"#);
    let children: Vec<String> = [0].into_iter().chain(0..CHILDREN).map(child).collect();
    let media_type = MediaType::OCI_INDEX;
    format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[{}]}}"#, children.join(",")).into_bytes()
}

fn put_index(client: &Client, reference: &str, body: &[u8]) -> Answer {
    let request = client.request("PUT", &format!("/v2/team/app/manifests/{reference}"));
    request.header("Content-Type", MediaType::OCI_INDEX).body(body).send()
}

#[test]
fn error_names_only_some_of_many_missing_blobs() {
    let registry = Registry::start();
    let answer = put_index(&registry.client(), "hollow", &index_of_missing_children());
    assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    let error = &answer.json()["errors"][0];
    let detail = answer.detail();
    assert_eq!((detail.matches("sha256:").count(), detail.ends_with(" and more")), (8, true), "{error}");
    assert!(error["message"].as_str().unwrap().ends_with(" and more; push that content first"), "{error}");
    assert!(answer.body.len() < 4000, "an answer of {} bytes", answer.body.len());
    let line = registry.wait_for_log("MANIFEST_BLOB_UNKNOWN");
    assert!(line.len() < 4000, "a line of {} bytes", line.len());

    let registry = Registry::with("validation: {manifests: {sparse: allow}}");
    let answer = put_index(&registry.client(), "hollow", &index_of_missing_children());
    assert_eq!(answer.status, 201, "{}", answer.text());
    let warning = answer.header("warning").unwrap();
    assert!(warning.contains(&format!(" and {} more", CHILDREN - 8)), "{warning}");
}

/// More than twice the number of manifests that the budget holds.
const UNFINISHED: usize = 80;
/// The bytes of manifests that the server holds at most, and the growth of its memory beyond them.
const ROOM: u64 = 128 << 20;
const SLACK: u64 = 48 << 20;

#[test]
fn unfinished_manifests_stay_within_the_body_budget() {
    let registry = Registry::start();
    let client = registry.client();
    client.push_image("team/app", "before", b"layer");
    let before = registry.resident();
    let body = vec![b' '; 4 << 20];
    let (begun, end) = body.split_at(body.len() - 10);
    let length = body.len().to_string();
    let refused = AtomicUsize::new(0);
    let begin = |i: usize| {
        let request = client.request("PUT", &format!("/v2/team/app/manifests/{i}"));
        request.header("Content-Length", &length).send_head()
    };
    let mut streams: Vec<TcpStream> = (0..UNFINISHED).map(begin).collect();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let send = |stream: &TcpStream| {
            let mut stream = stream.try_clone().unwrap();
            let refused = &refused;
            scope.spawn(move || {
                // A refused client may be cut while it sends, so the answer counts.
                let _ = stream.write_all(begun);
                let answer = Answer::read(&mut BufReader::new(stream), false).expect("an answer");
                refused.fetch_add(usize::from(answer.status == 503), Ordering::Relaxed);
                answer
            })
        };
        let sending: Vec<_> = streams.iter().map(send).collect();
        let too_many = UNFINISHED - ROOM as usize / body.len() - 1;
        eventually("refusals", || (refused.load(Ordering::Relaxed) >= too_many).then_some(()));
        let grown = registry.resident().saturating_sub(before);
        assert!(grown < ROOM + SLACK, "{grown} bytes for {UNFINISHED} manifests");
        client.push_image("team/app", "meanwhile", b"layer");
        for stream in &mut streams {
            let _ = stream.write_all(end);
        }
        sending.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    let (refused, read): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 503);
    for answer in refused {
        assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("UNAVAILABLE", Some("5")));
    }
    assert!(!read.is_empty());
    for answer in read {
        assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_INVALID"), "{}", answer.text());
    }
    assert_eq!(client.put_manifest("team/app", "after", &body).status, 400, "the budget is free again");
}

/// Standard error is a pipe that nobody reads. The pipe holds 64 KiB, and the server logs more than 1 KiB for each request.
#[test]
fn server_answers_while_its_log_is_not_read() {
    const REQUESTS: usize = 300;
    let log = tempfile::tempdir().unwrap();
    let pipe = log.path().join("pipe");
    let setup = format!("mkfifo '{0}'\nexec 3<>'{0}' 2>'{0}'", pipe.display());
    let registry = Registry::limited(&setup, |place| {
        let log = format!("log: {{fields: {{padding: {}}}}}", "x".repeat(1024));
        format!("version: 0.1\n{log}\n{}storage:{}\n", place.http(), place.root())
    });
    for i in 0..REQUESTS {
        assert_eq!(registry.client().get(&format!("/v2/team/app/manifests/{i}")).status, 404);
    }
    // As soon as somebody reads, all lines arrive.
    let mut lines = BufReader::new(File::open(&pipe).unwrap()).lines();
    for i in 0..REQUESTS {
        let number = format!("manifests/{i}");
        assert!(lines.any(|line| line.unwrap().contains(&number)), "the line of {number}");
    }
}
