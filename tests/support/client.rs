//! A small HTTP/1.1 client. It can send bytes that no library would send, and shows exactly what the server answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use entrepot::oci::{Algorithm, Digest, MediaType};
use serde_json::{Value, json};

/// A request without an answer after this time has failed.
const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// A client of one server, with a connection for each request.
#[derive(Clone, Debug)]
pub struct Client {
    addr: SocketAddr,
    authorization: Option<String>,
}

/// A request under construction.
pub struct Request<'a> {
    client: &'a Client,
    head: String,
    is_head: bool,
    body: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// True if the body ended as announced; false if the connection was cut.
    pub whole: bool,
}

impl Client {
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, authorization: None }
    }

    /// Returns the client with a user and a password.
    pub fn login(&self, user: &str, password: &str) -> Self {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Self { addr: self.addr, authorization: Some(format!("Basic {encoded}")) }
    }

    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target).send()
    }

    pub fn head(&self, target: &str) -> Answer {
        self.request("HEAD", target).send()
    }

    /// Like [`Client::get`], but returns `None` if the server does not answer.
    pub fn try_get(&self, target: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.addr).ok()?;
        stream.set_read_timeout(Some(WAIT_LIMIT)).ok()?;
        stream
            .write_all(format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes())
            .ok()?;
        Answer::read(&mut BufReader::new(stream), false)
    }

    pub fn request<'a>(&'a self, method: &str, target: &str) -> Request<'a> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.addr);
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        Request { client: self, head, is_head: method == "HEAD", body: Vec::new() }
    }

    /// Opens a connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        stream
    }

    /// Starts an upload and returns its `Location`.
    pub fn begin(&self, repository: &str) -> String {
        let answer = self.request("POST", &format!("/v2/{repository}/blobs/uploads/")).send();
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.header("location").unwrap().to_owned()
    }

    /// Pushes a blob and returns its digest.
    pub fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = digest_of(content);
        let target = format!("{}?digest={digest}", self.begin(repository));
        let answer = self.request("PUT", &target).body(content).send();
        assert_eq!(answer.status, 201, "{}", answer.text());
        digest
    }

    pub fn put_manifest(&self, repository: &str, reference: &str, body: &[u8]) -> Answer {
        let request = self.request("PUT", &format!("/v2/{repository}/manifests/{reference}"));
        request.header("Content-Type", MediaType::OCI_MANIFEST).body(body).send()
    }

    /// Pushes an image with one layer.
    pub fn push_image(&self, repository: &str, tag: &str, layer: &[u8]) -> Image {
        let config = br#"{"architecture":"amd64","os":"linux"}"#;
        let (config_digest, layer_digest) = (self.push_blob(repository, config), self.push_blob(repository, layer));
        let manifest = image_manifest((&config_digest, config.len()), (&layer_digest, layer.len()));
        let answer = self.put_manifest(repository, tag, &manifest);
        assert_eq!(answer.status, 201, "{}", answer.text());
        Image { digest: digest_of(&manifest), manifest, layer: layer_digest }
    }
}

/// A pushed image.
pub struct Image {
    pub digest: Digest,
    pub manifest: Vec<u8>,
    pub layer: Digest,
}

/// Returns the manifest of an image with one layer.
pub fn image_manifest(config: (&Digest, usize), layer: (&Digest, usize)) -> Vec<u8> {
    let descriptor = |media_type: &str, (digest, size): (&Digest, usize)| json!({"mediaType": media_type, "digest": digest.to_string(), "size": size});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    manifest.to_string().into_bytes()
}

pub fn digest_of(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

/// Returns bytes that do not compress, and that differ for each seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

impl Request<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Sets a body with a `Content-Length`.
    pub fn body(mut self, body: &[u8]) -> Self {
        self.head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        self.body = body.to_vec();
        self
    }

    /// Sets a chunked body, which Docker uses for layers.
    pub fn chunked(mut self, pieces: &[&[u8]]) -> Self {
        self.head.push_str("Transfer-Encoding: chunked\r\n");
        for piece in pieces {
            self.body.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            self.body.extend_from_slice(piece);
            self.body.extend_from_slice(b"\r\n");
        }
        self.body.extend_from_slice(b"0\r\n\r\n");
        self
    }

    pub fn send(self) -> Answer {
        let mut stream = self.client.connect();
        stream.write_all(format!("{}\r\n", self.head).as_bytes()).unwrap();
        // A server that refuses may close before it has read everything, so the answer counts.
        let _ = stream.write_all(&self.body);
        Answer::read(&mut BufReader::new(stream), self.is_head).expect("an answer")
    }

    /// Sends only the head and returns the connection.
    pub fn send_head(self) -> TcpStream {
        let mut stream = self.client.connect();
        stream.write_all(format!("{}\r\n", self.head).as_bytes()).unwrap();
        stream
    }
}

impl Answer {
    /// Reads an answer. Returns `None` if the connection ends before the head does.
    pub fn read(stream: &mut impl BufRead, to_head: bool) -> Option<Self> {
        let mut answer = Self::read_head(stream)?;
        if !to_head && !matches!(answer.status, 100 | 204 | 304) {
            answer.read_body(stream);
        }
        Some(answer)
    }

    /// Reads the head of an answer; [`Answer::read_body`] reads the rest.
    pub fn read_head(stream: &mut impl BufRead) -> Option<Self> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status = lines.first()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines[1..].iter().filter_map(|line| line.split_once(':'));
        let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Some(Self { status, headers, body: Vec::new(), whole: true })
    }

    pub fn read_body(&mut self, stream: &mut impl BufRead) {
        if self.header("transfer-encoding") == Some("chunked") {
            self.whole = self.read_chunks(stream).is_some();
            return;
        }
        let announced = self.header("content-length").map(|len| len.parse::<u64>().unwrap());
        let read = stream.take(announced.unwrap_or(u64::MAX)).read_to_end(&mut self.body);
        self.whole = read.is_ok() && announced.is_none_or(|len| len == self.body.len() as u64);
    }

    fn read_chunks(&mut self, stream: &mut impl BufRead) -> Option<()> {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let len = usize::from_str_radix(line.trim_end(), 16).ok()?;
            let begin = self.body.len();
            self.body.resize(begin + len, 0);
            stream.read_exact(&mut self.body[begin..]).ok()?;
            stream.read_line(&mut line).ok()?;
            if len == 0 {
                return Some(());
            }
        }
    }

    /// Returns the address of the next page in `Link`.
    pub fn next(&self) -> Option<String> {
        let (target, relation) = self.header("link")?.strip_prefix('<')?.split_once('>')?;
        assert_eq!(relation, "; rel=\"next\"");
        Some(target.to_owned())
    }

    /// Returns the first header with this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Returns the detail of the first error, which is a text; an error without one has an empty one here.
    pub fn detail(&self) -> String {
        match &self.json()["errors"][0]["detail"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => panic!("the detail {other} is no text"),
        }
    }

    /// Returns the code of the first error in the specification's JSON.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text());
        let json = self.json();
        assert!(json["errors"][0]["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
        json["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}
