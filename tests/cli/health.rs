//! `entrepot health`, and commands that wait for a server.

use std::process::Command;

use super::runner::{all_output, entrepot};
use crate::support::registry::{Registry, free_address};

#[test]
fn health_asks_a_running_server() {
    let registry = Registry::start();
    let directory = tempfile::tempdir().unwrap();
    let url = format!("http://{}", registry.addr());
    assert!(entrepot(directory.path(), &["health", &url], &[]).status.success());
    let closed = format!("http://{}", free_address());
    let variable = ("ENTREPOT_SERVER", closed.as_str());
    for (arguments, variables) in
        [(&["health", &closed][..], &[][..]), (&["health", "--server", &closed], &[]), (&["health"], &[variable])]
    {
        let output = entrepot(directory.path(), arguments, variables);
        assert_eq!(output.status.code(), Some(1));
        assert!(all_output(&output).contains(&closed), "{}", all_output(&output));
    }
    assert!(entrepot(directory.path(), &["health", &url], &[variable]).status.success());
}

/// Answers every connection with `answer`, and then with `more` until the client closes it. An answer that is incomplete stays
/// open.
fn speaker(answer: &'static [u8], more: &'static [u8]) -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            std::thread::spawn(move || {
                let mut sent = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer));
                while sent.is_ok() && !more.is_empty() {
                    sent = stream.write_all(more);
                }
                // Waits until the client closes the connection.
                let _ = stream.read(&mut [0; 1]);
            });
        }
    });
    url
}

#[test]
fn health_reads_whole_answers_up_to_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    // Large chunks reach the command's limit long before its timeout, also on a busy machine.
    let chunk: &'static [u8] = format!("10000\r\n{}\r\n", "ready...".repeat(0x2000)).leak().as_bytes();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (url, good, wanted) in [
        (speaker(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n", b""), true, "ready\n"),
        (
            speaker(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy", b""),
            false,
            "/readyz: 503 Service Unavailable: busy\n",
        ),
        (speaker(chunked, chunk), false, "/readyz: 200 OK, but the answer is too long; is it an Entrepot?"),
        (
            speaker(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nrea", b""),
            false,
            "/readyz: 200 OK, but the answer is incomplete: ",
        ),
    ] {
        let output = entrepot(directory.path(), &["health", &url], &[]);
        assert_eq!(output.status.success(), good, "{}", all_output(&output));
        assert!(all_output(&output).contains(wanted), "{}", all_output(&output));
    }
}

/// Takes ten seconds, the time until the first notice.
#[test]
fn command_reports_that_it_waits_for_a_silent_server() {
    use std::io::{BufRead as _, BufReader};
    let url = speaker(b"", b"");
    let mut asking = Command::new(env!("CARGO_BIN_EXE_entrepot"))
        .args(["ls", "--server", &url])
        .env_clear()
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut notice = String::new();
    BufReader::new(asking.stderr.take().unwrap()).read_line(&mut notice).unwrap();
    assert!(notice.contains(&format!("{url} has not answered for 10 s; waiting")), "{notice}");
    assert!(asking.try_wait().unwrap().is_none(), "the command goes on waiting");
    asking.kill().unwrap();
    asking.wait().unwrap();
}

/// A proxy that passes `/v2/` only answers other paths with a page of its own.
#[test]
fn commands_behind_a_proxy_that_passes_v2_only_say_which_paths_they_need() {
    let directory = tempfile::tempdir().unwrap();
    let answer = |status: &str, body: &str| -> &'static [u8] {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", body.len());
        format!("{head}{body}").leak().as_bytes()
    };
    let page = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n\
                <hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n";
    for (status, body) in [
        ("404 Not Found", page),
        ("200 OK", "<!doctype html><title>Welcome</title>"),
        ("502 Bad Gateway", page),
        ("302 Found", ""),
        ("404 Not Found", "{\"message\": \"no Route matched\"}"),
    ] {
        let url = speaker(answer(status, body), b"");
        for command in [&["health", &url][..], &["ls", "--server", &url], &["client", "podman", "--server", &url]] {
            let output = entrepot(directory.path(), command, &[]);
            let said = all_output(&output);
            assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{command:?}: {said}");
            assert!(
                said.contains("/readyz") && said.contains("/api/v1/") && !said.contains("nginx"),
                "{command:?}: {said}"
            );
        }
    }
}

/// An argument about certificates is no protection of a connection without TLS.
#[test]
fn certificate_arguments_are_refused_for_plain_http() {
    let registry = Registry::start();
    let directory = tempfile::tempdir().unwrap();
    let url = format!("http://{}", registry.addr());
    for command in [
        &["ls", "--ca", "/nope.pem", "--server", &url][..],
        &["health", "--ca", "/nope.pem", &url],
        &["health", "--insecure", &url],
        &["du", "--insecure", "--server", &url],
        &["warm", "alpine", "--ca", "/nope.pem", "--server", &url],
    ] {
        let output = entrepot(directory.path(), command, &[]);
        let said = all_output(&output);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains("uses none: leave --") && said.contains("https://"), "{command:?}: {said}");
    }
}
