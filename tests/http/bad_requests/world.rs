//! The content that the requests of the table name, and the composition of a request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::client::{Client, digest_of};
use crate::support::registry::Registry;

/// A server with `team/app:latest` (one layer, `layer`), a blob in `team/other`, an upload with five bytes, a completed upload and a
/// cancelled one.
pub struct World {
    pub registry: Registry,
    client: Client,
    values: BTreeMap<&'static str, String>,
}

/// A request as bytes, and the uploads that were started for it.
pub struct Prepared {
    pub bytes: Vec<u8>,
    uploads: Vec<String>,
}

impl Prepared {
    /// Returns true if the file belongs to an upload that was started for the request.
    pub fn is_own(&self, path: &Path) -> bool {
        let ids = self.uploads.iter().filter_map(|upload| upload.rsplit('/').next());
        ids.into_iter().any(|id| path.components().any(|part| part.as_os_str() == id))
    }
}

impl World {
    /// Fills the server; `client` may push.
    pub fn new(registry: Registry, client: Client) -> Self {
        let mut values = BTreeMap::new();
        if let Some((repository, other)) = repositories(&client) {
            let image = client.push_image(repository, "latest", b"layer");
            client.push_blob(other, b"another");
            let open = begin(&client, b"hello");
            let (done, cancelled) = (client.begin(repository), client.begin(repository));
            let finish = format!("{done}?digest={}", image.layer);
            assert_eq!(client.request("PUT", &finish).body(b"layer").send().status, 201);
            assert_eq!(client.request("DELETE", &cancelled).send().status, 204);
            let id = open.rsplit('/').next().unwrap().to_owned();
            values.insert("OPEN", open.replace(&id, &id.to_uppercase()));
            values.insert("image", image.digest.to_string());
            values.insert("manifest", String::from_utf8(image.manifest).unwrap());
            values.extend([("open", open), ("id", id), ("done", done), ("cancelled", cancelled)]);
        }
        values.insert("layer", digest_of(b"layer").to_string());
        values.insert("%layer", digest_of(b"layer").to_string().replace(':', "%3a"));
        values.insert("hello", digest_of(b"hello").to_string());
        values.insert("hell", digest_of(b"hell").to_string());
        values.insert("absent", digest_of(b"absent").to_string());
        values.insert("unknown", "1a2b3c4d-0000-4000-8000-000000000000".to_owned());
        values.entry("manifest").or_insert_with(|| r#"{"layers":[]}"#.to_owned());
        Self { registry, client, values }
    }

    /// Returns a request of the table as it goes over the wire.
    pub fn prepare(&self, text: &str) -> Prepared {
        let mut prepared = self.fill_in(text);
        let cut = find(&prepared.bytes, b"\n\n");
        let (head, body) =
            cut.map_or((&prepared.bytes[..], &b""[..]), |at| (&prepared.bytes[..at], &prepared.bytes[at + 2..]));
        let mut lines = head.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let mut bytes = [lines.next().unwrap(), b" HTTP/1.1\r\nHost: r\r\n"].concat();
        let mut framed = body.is_empty();
        for line in lines {
            framed |= line.starts_with(b"Content-Length:") || line.starts_with(b"Transfer-Encoding:");
            bytes.extend([line, b"\r\n"].concat());
        }
        if !framed {
            bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        prepared.bytes = bytes;
        prepared
    }

    /// Returns a request that is written out in full.
    pub fn prepare_raw(&self, text: &str) -> Prepared {
        self.fill_in(text)
    }

    /// Cancels the uploads that were started for a request.
    pub fn clear(&self, prepared: &Prepared) {
        for upload in &prepared.uploads {
            let status = self.client.request("DELETE", upload).send().status;
            assert!([204, 404].contains(&status), "{upload}: {status}");
        }
    }

    /// Returns every file of the store with its content. None of it may change.
    pub fn stored(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        gather(&self.registry.data(), &mut files);
        files
    }

    /// Replaces the names in angle brackets.
    fn fill_in(&self, text: &str) -> Prepared {
        let (mut bytes, mut uploads, mut rest) = (Vec::new(), Vec::new(), text);
        while let Some((before, after)) = rest.split_once('<') {
            bytes.extend(before.as_bytes());
            let (word, after) = after.split_once('>').unwrap();
            rest = after;
            if let Some(hex) = word.strip_prefix("0x") {
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
            } else if let Some((unit, times)) = word.rsplit_once('*') {
                bytes.extend(unit.repeat(times.parse().unwrap()).into_bytes());
            } else if let Some(login) = word.strip_prefix("basic:") {
                bytes.extend(STANDARD.encode(login).into_bytes());
            } else if let "fresh" | "begun" = word {
                let upload = begin(&self.client, if word == "fresh" { b"" } else { b"hell" });
                bytes.extend(upload.as_bytes());
                uploads.push(upload);
            } else {
                let value = self.values.get(word).unwrap_or_else(|| panic!("<{word}> means nothing here"));
                bytes.extend(value.as_bytes());
            }
        }
        bytes.extend(rest.as_bytes());
        Prepared { bytes, uploads }
    }
}

/// Returns the repositories to which the client may push: `team/…`, or `local/…` on a mirror.
fn repositories(client: &Client) -> Option<(&'static str, &'static str)> {
    let status = client.request("POST", "/v2/team/app/blobs/uploads/").send();
    let upload = status.header("location")?.to_owned();
    assert_eq!(client.request("DELETE", &upload).send().status, 204);
    Some(("team/app", "team/other"))
}

/// Starts an upload and sends these bytes.
fn begin(client: &Client, content: &[u8]) -> String {
    let upload = client.begin("team/app");
    if !content.is_empty() {
        assert_eq!(client.request("PATCH", &upload).body(content).send().status, 202);
    }
    upload
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn gather(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap_or_default());
        }
    }
}
