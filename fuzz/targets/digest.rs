//! Digests: exactly the digests of image-spec are accepted, and each is printed as it was read.
#![cfg_attr(fuzzing, no_main)]

use entrepot::oci::{Algorithm, Digest};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|text: &str| run(text));

pub fn run(text: &str) {
    let found = text.parse::<Digest>();
    assert_eq!(found.is_ok(), is_digest(text), "{text:?}");
    assert_eq!(found, text.parse(), "read twice");
    match found {
        Ok(digest) => {
            assert_eq!(digest.to_string(), text);
            assert_eq!(digest.hex().len(), digest.algorithm().digest_len() * 2);
            assert_eq!(Digest::from_parts(digest.algorithm().as_str(), &digest.hex()), Ok(digest));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // A computed digest can be parsed.
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let digest = Digest::of(algorithm, text.as_bytes());
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
}

/// The rule of image-spec, written a second time.
fn is_digest(text: &str) -> bool {
    let lower = |hex: &str, len: usize| hex.len() == len && hex.bytes().all(|b| b"0123456789abcdef".contains(&b));
    text.strip_prefix("sha256:").is_some_and(|hex| lower(hex, 64))
        || text.strip_prefix("sha512:").is_some_and(|hex| lower(hex, 128))
}
