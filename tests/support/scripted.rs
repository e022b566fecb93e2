//! A server whose every answer a test writes. It takes one request per connection.
#![expect(clippy::disallowed_methods, reason = "it is no part of the product, and has threads of its own")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as the server sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// The path with its query.
    pub target: String,
    headers: Vec<(String, String)>,
}

/// An answer. `Content-Length` is added, unless it is chunked or has one.
pub struct Script {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
    trickles: bool,
    cut: bool,
    silence: Option<Silence>,
}

/// The end of a connection that brings no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// The server closes it.
    HangUp,
    /// The server waits until the client closes it.
    Hang,
}

/// A running server. It ends with the process of the tests.
pub struct Scripted {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }
}

impl Script {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            chunked: false,
            trickles: false,
            cut: false,
            silence: None,
        }
    }

    /// Closes the connection without an answer.
    pub fn hang_up() -> Self {
        Self { silence: Some(Silence::HangUp), ..Self::new(200, "") }
    }

    /// Sends nothing until the client gives up.
    pub fn hang() -> Self {
        Self { silence: Some(Silence::Hang), ..Self::new(200, "") }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sends the body in one chunk, without a length.
    pub fn chunked(self) -> Self {
        Self { chunked: true, ..self }
    }

    /// Sends the body byte by byte, ten in a second.
    pub fn trickling(self) -> Self {
        Self { trickles: true, ..self }
    }

    /// Closes the connection after the body, although the answer promises more.
    pub fn cut(self) -> Self {
        Self { cut: true, ..self }
    }
}

impl Scripted {
    /// Starts a server on `host` (127.0.0.1, or another address of this machine).
    pub fn start(host: &str, answer: impl Fn(&Asked) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let (address, log) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Asked>>>::default());
        let (answer, known) = (Arc::new(answer), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&known));
                std::thread::spawn(move || exchange(stream.unwrap(), &*answer, &log));
            }
        });
        Self { address, log }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn log(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// Returns the number of requests of `method` (`*`: any) whose target contains `part`.
    pub fn requests(&self, method: &str, part: &str) -> usize {
        let is_meant = |asked: &&Asked| (method == "*" || asked.method == method) && asked.target.contains(part);
        self.log().iter().filter(is_meant).count()
    }
}

fn exchange(stream: TcpStream, answer: &dyn Fn(&Asked) -> Script, log: &Mutex<Vec<Asked>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let headers = lines.take_while(|line| !line.is_empty());
    let headers = headers.filter_map(|line| line.split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned()))).collect();
    let asked = Asked { method, target, headers };
    log.lock().unwrap().push(asked.clone());
    let Script { status, headers, mut body, chunked, trickles, cut, silence } = answer(&asked);
    if let Some(silence) = silence {
        if silence == Silence::Hang {
            let _ = std::io::copy(&mut &stream, &mut std::io::sink());
        }
        return;
    }
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    if chunked {
        head.push_str("Transfer-Encoding: chunked\r\n");
        let chunk = if body.is_empty() { String::new() } else { format!("{:x}\r\n", body.len()) };
        let end: &[u8] = match (cut, body.is_empty()) {
            (true, _) => b"\r\n",
            (false, true) => b"0\r\n\r\n",
            (false, false) => b"\r\n0\r\n\r\n",
        };
        body = [chunk.as_bytes(), &body, end].concat();
    } else {
        head.push_str(&format!("Content-Length: {}\r\n", body.len() + usize::from(cut)));
    }
    if headers.iter().any(|(name, _)| name == "Content-Length") {
        head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let mut stream = stream;
    let body = if asked.method == "HEAD" { Vec::new() } else { body };
    // The mirror may have closed the connection.
    if trickles && stream.write_all(format!("{head}\r\n").as_bytes()).is_ok() {
        let send = |byte: &u8| {
            std::thread::sleep(Duration::from_millis(100));
            stream.write_all(&[*byte]).is_ok()
        };
        body.iter().all(send);
        return;
    }
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(&body));
}
