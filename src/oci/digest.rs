//! Digests, the addresses of content: `sha256:…` and `sha512:…`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest as engine;

/// A registered hash algorithm (OCI image-spec, Digest Algorithms).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    /// Returns its name, as it is written before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Returns the length of a digest in bytes. Its hexadecimal form is twice as long.
    pub fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            other => Err(DigestError::Algorithm(other.to_owned())),
        }
    }
}

/// The digest of content (OCI image-spec, Digests): an algorithm and its hash.
///
/// `Display` and `FromStr` use the canonical form in lower-case hexadecimal. Upper case is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    /// The hash, followed by zeros up to the longest length.
    hash: [u8; 64],
}

impl Digest {
    /// Computes the digest of `content` by `algorithm`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the hash in lower-case hexadecimal, without the algorithm.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(self.algorithm.digest_len() * 2);
        for byte in &self.hash[..self.algorithm.digest_len()] {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        text
    }

    /// Returns the first eight bytes of the hash as a number. Two digests may share it, so use it only where a later
    /// check compares the whole digests.
    pub fn prefix(&self) -> u64 {
        self.hash.iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
    }

    /// Makes a digest from an algorithm's name and a hexadecimal hash, as paths on disk contain them.
    pub fn from_parts(algorithm: &str, hex: &str) -> Result<Self, DigestError> {
        let algorithm: Algorithm = algorithm.parse()?;
        if hex.len() != algorithm.digest_len() * 2 {
            return Err(DigestError::Length { algorithm, expected: algorithm.digest_len() * 2, found: hex.len() });
        }
        let mut hash = [0; 64];
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self { algorithm, hash })
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError::Hex),
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::Colon)?;
        Self::from_parts(algorithm, hex)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for a text that is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("a digest is written ALGORITHM:HEX")]
    Colon,
    #[error("digest algorithm {0:?} is not supported; use sha256 or sha512")]
    Algorithm(String),
    #[error("a {} digest has {expected} hexadecimal digits, not {found}", algorithm.as_str())]
    Length { algorithm: Algorithm, expected: usize, found: usize },
    #[error("a digest is written in lower-case hexadecimal digits")]
    Hex,
}

/// A running hash. A clone continues from the same state.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: engine::Context,
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        let engine = match algorithm {
            Algorithm::Sha256 => &engine::SHA256,
            Algorithm::Sha512 => &engine::SHA512,
        };
        Self { algorithm, context: engine::Context::new(engine) }
    }

    pub fn update(&mut self, content: &[u8]) {
        self.context.update(content);
    }

    /// Returns the digest of all content that was added. It cannot fail, since a computed hash is always well formed.
    pub fn finish(self) -> Digest {
        let output = self.context.finish();
        let mut hash = [0; 64];
        hash[..self.algorithm.digest_len()].copy_from_slice(output.as_ref());
        Digest { algorithm: self.algorithm, hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::Digest as _;

    #[test]
    fn digests_are_parsed_and_bad_ones_refused() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let good = format!("sha256:{hex}");
        assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
        assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), good);
        for bad in [
            "",
            ":",
            "sha256",
            "sha256:",
            hex,
            &format!("md5:{hex}"),
            &format!("sha512:{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("SHA256:{hex}"),
            &format!("sha256:{hex}0"),
            &format!("sha256:{}/", &hex[..63]),
            &format!("sha256:{}é", &hex[..62]),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad} was taken for a digest");
        }
    }

    proptest! {
        /// The engine gives the same digests as the reference implementation, wherever the content is split.
        #[test]
        fn hasher_agrees_with_the_reference_implementation(content: Vec<u8>, cut in 0usize..200) {
            let cut = cut.min(content.len());
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&content[..cut]);
                let mut resumed = hasher.clone();
                resumed.update(&content[cut..]);
                let digest = resumed.finish();
                let expected = match algorithm {
                    Algorithm::Sha256 => sha2::Sha256::digest(&content).to_vec(),
                    Algorithm::Sha512 => sha2::Sha512::digest(&content).to_vec(),
                };
                prop_assert_eq!(&digest.hash[..algorithm.digest_len()], &expected[..]);
                prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
            }
        }
    }
}
