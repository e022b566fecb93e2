//! PEM files that a configuration names, looked at before anything is built of them: what is wrong with one, in words for the
//! person who wrote it there. Nothing of a file's content is in them.
//!
//! Each reason goes on after the file's name: `it holds no certificate; write …`.

use reqwest::{Certificate, Identity};

use super::error::causes;

/// What a file holds, by the labels in it.
struct Labels {
    certificate: bool,
    key: bool,
    encrypted: bool,
}

/// Of which of the two files of an identity something is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Certificate,
    Key,
}

/// Can certificate authorities be read from this?
pub fn authorities(pem: &[u8]) -> Result<(), String> {
    certificates(pem, "")?;
    let found = Certificate::from_pem_bundle(pem).ok().filter(|found| !found.is_empty());
    let built = found.map(|found| reqwest::Client::builder().no_proxy().tls_certs_only(found).build());
    match built {
        Some(Ok(_)) => Ok(()),
        _ => Err("one of its certificates is damaged; write the file anew from where it came".to_owned()),
    }
}

/// Can we show this certificate, whose key is this? Both may be one file.
pub fn identity(certificate: &[u8], key: &[u8]) -> Result<(), Vec<(Half, String)>> {
    let (first, second) = (Labels::of(certificate), Labels::of(key));
    if !first.certificate && first.key && second.certificate && !second.key {
        let swapped = "it holds the key, and that of `clientkey` the certificate; exchange the two";
        return Err(vec![(Half::Certificate, swapped.to_owned())]);
    }
    let halves = [
        (Half::Certificate, certificates(certificate, " (the key belongs under `clientkey`)")),
        (Half::Key, private_key(key)),
    ];
    let wrong: Vec<_> = halves.into_iter().filter_map(|(half, read)| Some((half, read.err()?))).collect();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut both = certificate.to_vec();
    if certificate != key {
        both.push(b'\n');
        both.extend(key);
    }
    let built = Identity::from_pem(&both).and_then(|identity| {
        reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).identity(identity).build()
    });
    built.map(|_| ()).map_err(|error| {
        let reason = causes(&error);
        if reason.contains("KeyMismatch") {
            let other = "it is not the key of the certificate in `clientcert`; write the two that belong together";
            return vec![(Half::Key, other.to_owned())];
        }
        vec![(
            Half::Certificate,
            format!("with the key in `clientkey` it cannot be used ({reason}); write both files anew"),
        )]
    })
}

fn certificates(pem: &[u8], key_goes: &str) -> Result<(), String> {
    let labels = Labels::of(pem);
    if labels.certificate {
        return Ok(());
    }
    let write = "write a PEM file with BEGIN CERTIFICATE";
    Err(if labels.key {
        format!("it holds a private key where a certificate belongs{key_goes}; {write}")
    } else {
        nothing(pem, "certificate", "openssl x509", write)
    })
}

fn private_key(pem: &[u8]) -> Result<(), String> {
    let labels = Labels::of(pem);
    let write = "write a PEM file with BEGIN PRIVATE KEY";
    if labels.encrypted {
        return Err(
            "its key is encrypted, and nobody is there to type the password; decrypt it with `openssl pkey`".to_owned()
        );
    }
    if labels.key {
        return Ok(());
    }
    Err(if labels.certificate {
        format!("it holds a certificate where a private key belongs; {write}")
    } else {
        nothing(pem, "private key", "openssl pkey", write)
    })
}

/// Of a file without the label that is wanted.
fn nothing(content: &[u8], wanted: &str, tool: &str, write: &str) -> String {
    // A DER file begins with a SEQUENCE of a length in two bytes.
    if content.is_empty() {
        format!("it is empty; {write}")
    } else if content.starts_with(&[0x30, 0x82]) {
        format!("it is DER, not PEM; convert it with `{tool} -inform der -in FILE -out FILE.pem`")
    } else {
        format!("it holds no {wanted}; {write}")
    }
}

impl Labels {
    fn of(pem: &[u8]) -> Self {
        let text = String::from_utf8_lossy(pem);
        let begins = |label: &str| {
            text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")).any(|rest| rest.ends_with(label))
        };
        Self {
            certificate: begins("CERTIFICATE-----"),
            key: begins("PRIVATE KEY-----"),
            encrypted: begins("ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn authorities_are_read_or_explained() {
        let (certificate, key) = pair();
        assert_eq!(authorities(certificate.as_bytes()), Ok(()));
        assert_eq!(authorities(format!("# two\n{certificate}\n{certificate}").as_bytes()), Ok(()));
        for (pem, words) in [
            (&b""[..], "is empty"),
            (b"nothing", "holds no certificate"),
            (key.as_bytes(), "a private key where a certificate belongs"),
            (&[0x30, 0x82, 1, 2], "openssl x509 -inform der"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "damaged"),
        ] {
            let wrong = authorities(pem).unwrap_err();
            assert!(wrong.contains(words), "{wrong}");
        }
    }

    #[test]
    fn identities_are_read_or_explained() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        let both = format!("{key}{certificate}");
        assert_eq!(identity(certificate.as_bytes(), key.as_bytes()), Ok(()));
        assert_eq!(identity(both.as_bytes(), both.as_bytes()), Ok(()));
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let damaged = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (certificate, key, half, words) in [
            (key.as_str(), certificate.as_str(), Half::Certificate, "exchange the two"),
            (&certificate, &other, Half::Key, "not the key of the certificate"),
            (&certificate, &certificate, Half::Key, "a certificate where a private key belongs"),
            (&key, &key, Half::Certificate, "belongs under `clientkey`"),
            (&certificate, encrypted, Half::Key, "encrypted"),
            (&certificate, "", Half::Key, "is empty"),
            ("hello", &key, Half::Certificate, "holds no certificate"),
            (&certificate, damaged, Half::Certificate, "write both files anew"),
        ] {
            let wrong = identity(certificate.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].0 == half && wrong[0].1.contains(words), "{words}: {wrong:?}");
        }
        assert_eq!(identity(b"", b"").unwrap_err().len(), 2);
    }
}
