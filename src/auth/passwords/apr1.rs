//! Apache's `$apr1$` hash: a thousand rounds of MD5 (apr-util, `apr_md5_encode`). New files should use bcrypt, but the password
//! files of registries behind nginx contain this hash.

use md5::{Digest as _, Md5};

const MAGIC: &[u8] = b"$apr1$";
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The order in which the bytes of the hash are encoded: each group of three gives four characters.
const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// The length of an encoded hash.
const LENGTH: usize = 22;

/// The longest salt. Apache ignores the rest of a longer one.
const MAX_SALT: usize = 8;

/// Splits the text after `$apr1$` into salt and hash. Returns `None` if it is malformed.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    let (salt, hash) = text.split_once('$')?;
    let valid = salt.len() <= MAX_SALT && hash.len() == LENGTH && hash.bytes().all(|b| ALPHABET.contains(&b));
    valid.then_some((salt, hash))
}

/// Hashes a password. Returns the encoded hash without `$apr1$` and salt.
pub(super) fn hash(password: &[u8], salt: &[u8]) -> String {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut first = Md5::new().chain_update(password).chain_update(MAGIC).chain_update(salt);
    for part in password.chunks(inner.len()) {
        first.update(&inner[..part.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        // Each bit of the length adds a zero byte or the first byte of the password, as in Apache.
        let byte = if bits & 1 == 1 { 0 } else { password[0] };
        first.update([byte]);
        bits >>= 1;
    }
    let mut result = first.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        next.update(if round % 2 == 1 { password } else { &result });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if round % 2 == 1 { &result } else { password });
        result = next.finalize();
    }
    encode(&result)
}

fn encode(hash: &[u8]) -> String {
    let mut text = String::with_capacity(LENGTH);
    let mut push = |mut bits: u32, characters: usize| {
        for _ in 0..characters {
            text.push(char::from(ALPHABET[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    for [high, middle, low] in ORDER {
        push(u32::from(hash[high]) << 16 | u32::from(hash[middle]) << 8 | u32::from(hash[low]), 4);
    }
    push(u32::from(hash[11]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hashes come from `htpasswd -nbm` and `openssl passwd -apr1`.
    #[test]
    fn apr1_hashes_equal_those_of_apache() {
        let long = "x".repeat(40);
        for (password, text) in [
            ("secret", "qmBcBxl7$tS3uAoHL6xesR9wf38ufd1"),
            ("pass:word", "IIKDtBt9$tH20I3jPBOelGcyuthuHZ/"),
            ("", "SyjI29KF$Qr4PrnERzVH3cjiBTrjUu."),
            ("p\u{e4} ss", "avg61DzY$1ncyWMoLET69bnJbAqiA3."),
            (&long, "Hp236oG8$5EIQifWIjLg27n7a3R0SP/"),
            ("0123456789abcdef", ".4QCHjh2$OmBVcPTOvGJgf69mJaeZY/"),
            ("s3cret", "ab$omSBxwSV8ZyOXde7t2LWL."),
        ] {
            let (salt, expected) = split(text).unwrap();
            assert_eq!(hash(password.as_bytes(), salt.as_bytes()), expected, "{password:?}");
        }
    }

    #[test]
    fn malformed_apr1_hashes_are_refused() {
        for bad in
            ["", "salt", "salt$", "salt$short", "salt$tS3uAoHL6xesR9wf38ufd!", "toolongsalt$tS3uAoHL6xesR9wf38ufd1"]
        {
            assert!(split(bad).is_none(), "{bad:?} was taken for an apr1 hash");
        }
    }
}
