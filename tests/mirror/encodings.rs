//! Blobs that an upstream sends encoded, although the mirror asks for none.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use crate::support::client::{digest_of, image_manifest, noise};
use crate::support::fault::{Fault, Rule};
use crate::support::mirror::{Slow, blob, cache, manifest, mirror, wait_until_stored};
use crate::support::registry::Registry;
use crate::support::scripted::{Asked, Script, Scripted};
use crate::support::upstream::Upstream;

const APP: &str = "library/app";
const MIB: usize = 1 << 20;

/// An encoded form of a blob, as a server sends it.
#[derive(Clone)]
struct Encoded {
    label: &'static str,
    body: Vec<u8>,
    delivery: Delivery,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Delivery {
    /// The whole, with its length, for any range.
    Whole,
    /// The whole without a length, for any range, as a server that compresses on the way.
    Chunked,
    /// Ranges of the encoded form, as an object storage that holds it.
    Ranges,
}

type Encoder = fn(&[u8]) -> Vec<u8>;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Returns content that is compressed well, but not to nothing.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let noise = noise(seed, len / 8 + 1);
    noise.iter().flat_map(|byte| [*byte; 8]).take(len).collect()
}

impl Encoded {
    fn answer(&self, asked: &Asked) -> Script {
        let range = asked.header("range").filter(|_| self.delivery == Delivery::Ranges);
        let script = match range.and_then(|range| range.trim_start_matches("bytes=").split_once('-')) {
            Some((first, last)) => {
                let len = self.body.len();
                let (first, last) = (first.parse::<usize>().unwrap(), last.parse().unwrap_or(len - 1).min(len - 1));
                if first >= len {
                    return Script::new(416, "").with("Content-Range", format!("bytes */{len}"));
                }
                let part = Script::new(206, &self.body[first..=last]);
                part.with("Content-Range", format!("bytes {first}-{last}/{len}"))
            }
            None => Script::new(200, self.body.clone()),
        };
        let script = script.with("Content-Encoding", self.label);
        if self.delivery == Delivery::Chunked { script.chunked() } else { script }
    }
}

/// Starts a mirror of a registry with one image, whose only layer is sent in this form. The manifest names `size`.
fn mirror_of_encoded(layer: &[u8], size: usize, encoded: &Encoded, sections: &str) -> (Scripted, Registry) {
    let (digest, encoded) = (digest_of(layer), encoded.clone());
    let image = image_manifest((&digest_of(b"{}"), 2), (&digest, size));
    let upstream = Scripted::start("127.0.0.1", move |asked| match asked.path() {
        path if path.contains("/manifests/") => {
            Script::new(200, image.clone()).with("Content-Type", entrepot::oci::MediaType::OCI_MANIFEST)
        }
        path if path.ends_with(&digest.to_string()) => encoded.answer(asked),
        _ => Script::new(200, "{}").with("Docker-Distribution-Api-Version", "registry/2.0"),
    });
    let sections = if sections.is_empty() { "  cache: {reserve: 0}" } else { sections };
    let mirror = Registry::with(&format!(
        "mirror:\n{sections}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"], ns: never}}\n",
        upstream.url()
    ));
    (upstream, mirror)
}

#[test]
fn encoded_blob_is_decoded() {
    let forms: [(&str, Encoder); 4] = [("gzip", gzip), ("x-gzip", gzip), ("deflate", zlib), ("deflate", raw_deflate)];
    for (seed, size) in [60, 100_000, 6 * MIB].into_iter().enumerate() {
        for (label, encode) in forms {
            for delivery in [Delivery::Whole, Delivery::Chunked, Delivery::Ranges] {
                let case = format!("{size} {label} {delivery:?}");
                let content = text(seed as u64, size);
                let encoded = Encoded { label, body: encode(&content), delivery };
                let (_upstream, mirror) = mirror_of_encoded(&content, size, &encoded, "");
                let (client, target) = (mirror.client(), blob(APP, digest_of(&content)));
                assert_eq!(client.get(&manifest(APP, "1")).status, 200, "{case}");
                for want in ["miss", "hit"] {
                    let answer = client.get(&target);
                    assert_eq!((answer.status, cache(&answer)), (200, want), "{case}: {}", answer.text());
                    assert!(answer.whole && answer.body == content, "{case}");
                    assert_eq!(answer.header("content-length"), Some(size.to_string().as_str()), "{case}");
                    assert_eq!(answer.header("content-encoding"), None, "{case}");
                    wait_until_stored(&mirror);
                }
            }
        }
    }
}

/// The first requests for the blob want ranges, and come while it arrives in its encoded form.
#[test]
fn ranges_and_whole_readers_of_an_encoded_blob_get_its_own_bytes() {
    for known in [true, false] {
        for delivery in [Delivery::Whole, Delivery::Chunked, Delivery::Ranges] {
            let content = text(7, 5 * MIB);
            let encoded = Encoded { label: "gzip", body: gzip(&content), delivery };
            let (_upstream, mirror) = mirror_of_encoded(&content, content.len(), &encoded, "");
            if known {
                assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
            }
            let spans: [(usize, usize); 5] = [
                (0, 9),
                (100_000, 199_999),
                (0, content.len() - 1),
                (4 * MIB, 5 * MIB - 1),
                (5 * MIB - 1, 5 * MIB - 1),
            ];
            let readers: Vec<_> = spans
                .into_iter()
                .map(|(first, last)| {
                    let (client, target) = (mirror.client(), blob(APP, digest_of(&content)));
                    let range = format!("bytes={first}-{last}");
                    (first, last, thread::spawn(move || client.request("GET", &target).header("Range", &range).send()))
                })
                .collect();
            for (first, last, reader) in readers {
                let answer = reader.join().unwrap();
                assert!(
                    answer.status == 206 && answer.whole,
                    "{delivery:?} {first}: {} {}",
                    answer.status,
                    answer.text()
                );
                assert!(answer.body == content[first..=last], "{delivery:?} {first}");
                let of = format!("bytes {first}-{last}/{}", content.len());
                assert_eq!(answer.header("content-range"), Some(of.as_str()));
            }
        }
    }
}

/// A layer that is compressed itself, and encoded once more on the way.
#[test]
fn compressed_layer_that_is_encoded_again_is_decoded_once() {
    let layer = gzip(&text(8, 3 * MIB));
    let encoded = Encoded { label: "gzip", body: gzip(&layer), delivery: Delivery::Whole };
    let (_upstream, mirror) = mirror_of_encoded(&layer, layer.len(), &encoded, "");
    let answer = mirror.client().get(&blob(APP, digest_of(&layer)));
    assert!(answer.status == 200 && answer.whole && answer.body == layer, "{}", answer.status);
}

#[test]
fn encoded_blob_that_cannot_be_used_is_an_error_in_words() {
    let content = text(9, 300_000);
    let (mut cut, mut damaged) = (gzip(&content), gzip(&content));
    cut.truncate(cut.len() / 2);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for (case, body, words) in [
        ("cut", cut, "cannot be decoded"),
        ("damaged", damaged, "decode"),
        ("other content", gzip(b"other"), "decodes to sha256:"),
        ("not encoded, and wrong", noise(9, 299_999), "cannot be decoded"),
        // 300 MB of zeros.
        ("bomb", gzip(&vec![0; 300_000_000]), "decodes to more than"),
    ] {
        for delivery in [Delivery::Whole, Delivery::Chunked] {
            let encoded = Encoded { label: "gzip", body: body.clone(), delivery };
            let (_upstream, mirror) = mirror_of_encoded(&content, content.len(), &encoded, "");
            assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
            let answer = mirror.client().get(&blob(APP, digest_of(&content)));
            assert_eq!(answer.status, 502, "{case}");
            assert!(
                answer.text().contains("Content-Encoding: gzip, which ") && answer.text().contains(words),
                "{case}: {}",
                answer.text()
            );
            wait_until_stored(&mirror);
            let left = mirror.data().join(format!("cache/partial/sha256/{}", digest_of(&content).hex()));
            assert!(!left.exists(), "{case}: something is left of it");
        }
    }
}

/// A label that is wrong must not delay the first byte, if the manifest tells that the bytes are right as they come.
#[test]
fn wrong_label_does_not_delay_a_blob_whose_size_is_known() {
    let upstream = Upstream::start();
    let content = noise(10, 6 * MIB);
    let image = upstream.image(APP, "1", &[&content]);
    let mirror = mirror(&upstream);
    assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
    upstream.arm(Rule::new("GET", "/blobs/", Fault::Encoded));
    upstream.arm(Rule::new("GET", "/blobs/", Fault::Stall(MIB as u64 / 2)).times(1));
    upstream.arm(Rule::new("GET", "/blobs/", Fault::Bottleneck(4 * MIB as u64)));
    let (slow, first) = Slow::begin(&mirror.client(), &blob(APP, image.layers[0]), 100_000);
    assert!(mirror.client().get("/metrics").text().contains("entrepot_fills_in_flight 1\n"), "it still arrives");
    let whole = [first, slow.rest()].concat();
    assert!(whole.ends_with(&content), "{}", whole.len());
}

/// A storage that holds the encoded form cuts each connection. Nothing is fetched twice.
#[test]
fn encoded_blob_is_resumed() {
    let content = noise(11, 12 * MIB);
    let body = gzip(&content);
    let (sent, len) = (Arc::<AtomicUsize>::default(), body.len());
    let counted = Arc::clone(&sent);
    let (digest, image) =
        (digest_of(&content), image_manifest((&digest_of(b"{}"), 2), (&digest_of(&content), content.len())));
    let upstream = Scripted::start("127.0.0.1", move |asked| {
        if asked.path().contains("/manifests/") {
            return Script::new(200, image.clone()).with("Content-Type", entrepot::oci::MediaType::OCI_MANIFEST);
        }
        if !asked.path().contains("/blobs/") {
            return Script::new(200, "{}").with("Docker-Distribution-Api-Version", "registry/2.0");
        }
        let range = asked.header("range").unwrap_or("bytes=0-").trim_start_matches("bytes=").to_owned();
        let first: usize = range.split_once('-').unwrap().0.parse().unwrap();
        let end = (first + 200_000).min(len);
        counted.fetch_add(end - first, Ordering::SeqCst);
        let part = Script::new(206, &body[first..end]).with("Content-Encoding", "gzip");
        // It promises all, and ends early.
        part.with("Content-Range", format!("bytes {first}-{}/{len}", end - 1))
    });
    let mirror = Registry::with(&format!(
        "mirror:\n  cache: {{reserve: 0}}\n  fill: {{connections: 1}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"], ns: never}}\n",
        upstream.url()
    ));
    assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
    let answer = mirror.client().get(&blob(APP, digest));
    assert!(answer.status == 200 && answer.whole && answer.body == content, "{}", answer.text());
    let most = len + 2 * 200_000;
    assert!(sent.load(Ordering::SeqCst) <= most, "{} of {len} bytes were sent", sent.load(Ordering::SeqCst));
}

/// The cache has no room for the blob, so it cannot be decoded. No reader gets encoded bytes as if they were the blob.
#[test]
fn encoded_blob_that_cannot_be_stored_is_never_served_encoded() {
    let content = text(12, 6 * MIB);
    for delivery in [Delivery::Whole, Delivery::Chunked, Delivery::Ranges] {
        let encoded = Encoded { label: "gzip", body: gzip(&content), delivery };
        let sections = "  cache: {maxsize: 1MiB, reserve: 0}";
        let (_upstream, mirror) = mirror_of_encoded(&content, content.len(), &encoded, sections);
        assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
        let target = blob(APP, digest_of(&content));
        for range in ["bytes=0-", "bytes=0-99", "bytes=200000-200099"] {
            let answer = mirror.client().request("GET", &target).header("Range", range).send();
            assert!(
                answer.status == 502 && answer.text().contains("Content-Encoding"),
                "{delivery:?} {range}: {}",
                answer.status
            );
        }
        assert_eq!(mirror.client().get(&target).status, 502, "{delivery:?}");
    }
}

/// Codings that cannot be decoded. The bytes are right as they come, or they are refused.
#[test]
fn coding_that_is_not_supported_is_a_claim_too() {
    let content = text(13, 3 * MIB);
    for label in ["br", "zstd", "gzip, gzip", "aws-chunked,gzip", "gzip;q=1"] {
        for (known, body) in
            [(true, noise(14, MIB)), (false, noise(14, MIB)), (true, content.clone()), (false, content.clone())]
        {
            let is_right = body == content;
            let encoded = Encoded { label, body, delivery: Delivery::Ranges };
            let (_upstream, mirror) = mirror_of_encoded(&content, content.len(), &encoded, "");
            if known {
                assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
            }
            let target = blob(APP, digest_of(&content));
            let part = mirror.client().request("GET", &target).header("Range", "bytes=100000-100099").send();
            let whole = mirror.client().get(&target);
            let expected = if is_right { (206, 200) } else { (502, 502) };
            assert_eq!((part.status, whole.status), expected, "{label} {known}: {}", whole.text());
            assert!(!is_right || (part.body == content[100_000..100_100] && whole.body == content), "{label} {known}");
        }
    }
}

/// A fill of an encoded blob fails, or its server is killed. The next fill comes from a source that sends the blob plain.
#[test]
fn encoded_leftover_is_not_resumed_as_a_plain_one() {
    let content = text(15, 4 * MIB);
    for (known, killed) in [(true, true), (true, false), (false, true), (false, false)] {
        let (digest, encoded) = (digest_of(&content), gzip(&content));
        let image = image_manifest((&digest_of(b"{}"), 2), (&digest, content.len()));
        let is_plain = Arc::<AtomicBool>::default();
        let (plain, body) = (Arc::clone(&is_plain), content.clone());
        let upstream = Scripted::start("127.0.0.1", move |asked| match asked.path() {
            path if path.contains("/manifests/") => {
                Script::new(200, image.clone()).with("Content-Type", entrepot::oci::MediaType::OCI_MANIFEST)
            }
            path if !path.ends_with(&digest.to_string()) => {
                Script::new(200, "{}").with("Docker-Distribution-Api-Version", "registry/2.0")
            }
            _ if plain.load(Ordering::SeqCst) => {
                Encoded { label: "identity", body: body.clone(), delivery: Delivery::Ranges }.answer(asked)
            }
            _ => Script::new(200, &encoded[..encoded.len() / 2]).with("Content-Encoding", "gzip").chunked().cut(),
        });
        let mut mirror = Registry::with(&format!(
            "mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"], ns: never, clientwait: 3s}}\n",
            upstream.url()
        ));
        if known {
            assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
        }
        let target = blob(APP, digest);
        assert!(mirror.client().get(&target).status >= 500);
        is_plain.store(true, Ordering::SeqCst);
        if killed {
            mirror.restart();
        } else {
            mirror.client().request("DELETE", &format!("/api/v1/fills/{digest}")).send();
        }
        let part = mirror.client().request("GET", &target).header("Range", "bytes=0-99").send();
        assert!(part.status == 206 && part.body == content[..100], "{known} {killed}: {}", part.status);
        let whole = mirror.client().get(&target);
        assert!(whole.whole && whole.body == content, "{known} {killed}: {}", whole.status);
    }
}
