//! Checks the PEM files that a configuration names before a client is built from them, so that the errors are written
//! for the author of the configuration. The errors contain nothing of a file's content.
//!
//! Each error continues a sentence after the file's name: `it holds no certificate; write …`.

use reqwest::{Certificate, Identity};
use rustls_pki_types::pem::{PemObject as _, SectionKind};

use super::error::causes;

/// The sections of a PEM file.
#[derive(Default)]
struct Sections {
    certificate: bool,
    key: bool,
    encrypted_key: bool,
    /// A section is cut off, or is not base64.
    damaged: bool,
}

/// One of the two files of a client identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityFile {
    Certificate,
    Key,
}

/// Checks that certificate authorities can be read from this file.
pub fn authorities(pem: &[u8]) -> Result<(), String> {
    check_certificates(pem, &Sections::of(pem), "")?;
    let found = Certificate::from_pem_bundle(pem).ok().filter(|found| !found.is_empty());
    let built = found.map(|found| reqwest::Client::builder().no_proxy().tls_certs_only(found).build());
    match built {
        Some(Ok(_)) => Ok(()),
        _ => Err("one of its certificates is damaged; get the file again from its source".to_owned()),
    }
}

/// Checks that this certificate can be used with this key. Both may be one file.
pub fn identity(certificate: &[u8], key: &[u8]) -> Result<(), Vec<(IdentityFile, String)>> {
    let (first, second) = (Sections::of(certificate), Sections::of(key));
    if !first.certificate && first.key && second.certificate && !second.key {
        let swapped = "it holds the key, and the file of `clientkey` holds the certificate; exchange the two";
        return Err(vec![(IdentityFile::Certificate, swapped.to_owned())]);
    }
    let checks = [
        (IdentityFile::Certificate, check_certificates(certificate, &first, " (the key belongs under `clientkey`)")),
        (IdentityFile::Key, check_key(key, &second)),
    ];
    let errors: Vec<_> = checks.into_iter().filter_map(|(file, check)| Some((file, check.err()?))).collect();
    if !errors.is_empty() {
        return Err(errors);
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
            let other = "it is not the key of the certificate in `clientcert`; write two files that belong together";
            return vec![(IdentityFile::Key, other.to_owned())];
        }
        let reason = format!("it cannot be used with the key in `clientkey` ({reason}); write both files anew");
        vec![(IdentityFile::Certificate, reason)]
    })
}

fn check_certificates(pem: &[u8], sections: &Sections, where_keys_belong: &str) -> Result<(), String> {
    if sections.certificate {
        return Ok(());
    }
    let write = "write a PEM file with BEGIN CERTIFICATE";
    Err(if sections.key {
        format!("it holds a private key instead of a certificate{where_keys_belong}; {write}")
    } else {
        missing(pem, sections, ("certificate", "openssl x509"), write)
    })
}

fn check_key(pem: &[u8], sections: &Sections) -> Result<(), String> {
    let write = "write a PEM file with BEGIN PRIVATE KEY";
    if sections.encrypted_key {
        return Err(
            "its key is encrypted, and a server has no user to type the password; decrypt it with `openssl pkey`"
                .to_owned(),
        );
    }
    if sections.key {
        return Ok(());
    }
    Err(if sections.certificate {
        format!("it holds a certificate instead of a private key; {write}")
    } else {
        missing(pem, sections, ("private key", "openssl pkey"), write)
    })
}

/// Explains why a file does not hold the wanted section. `tool` is the program that converts it from DER.
fn missing(content: &[u8], sections: &Sections, (wanted, tool): (&str, &str), write: &str) -> String {
    // A DER file begins with a SEQUENCE whose length takes two bytes.
    if content.is_empty() {
        format!("it is empty; {write}")
    } else if content.starts_with(&[0x30, 0x82]) {
        format!("it is DER, not PEM; convert it with `{tool} -inform der -in FILE -out FILE.pem`")
    } else if sections.damaged {
        "it is damaged: a section is cut off or is not base64; get the file again from its source".to_owned()
    } else {
        format!("it holds no {wanted}; {write}")
    }
}

impl Sections {
    fn of(pem: &[u8]) -> Self {
        let mut sections = Self { encrypted_key: has_encrypted_key(pem), ..Self::default() };
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            match section {
                Ok((SectionKind::Certificate, _)) => sections.certificate = true,
                Ok((SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _)) => {
                    sections.key = true;
                }
                Ok(_) => {}
                Err(_) => sections.damaged = true,
            }
        }
        sections
    }
}

/// Returns true if the file holds an encrypted key. The PEM reader skips such keys (PKCS #8) or fails at their headers
/// (RFC 1421), so they are found by their marks.
fn has_encrypted_key(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
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
            (key.as_bytes(), "a private key instead of a certificate"),
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
        for (certificate, key, file, words) in [
            (key.as_str(), certificate.as_str(), IdentityFile::Certificate, "exchange the two"),
            (&certificate, &other, IdentityFile::Key, "not the key of the certificate"),
            (&certificate, &certificate, IdentityFile::Key, "a certificate instead of a private key"),
            (&key, &key, IdentityFile::Certificate, "belongs under `clientkey`"),
            (&certificate, encrypted, IdentityFile::Key, "encrypted"),
            (&certificate, "", IdentityFile::Key, "is empty"),
            ("hello", &key, IdentityFile::Certificate, "holds no certificate"),
            (&certificate, damaged, IdentityFile::Certificate, "write both files anew"),
        ] {
            let wrong = identity(certificate.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].0 == file && wrong[0].1.contains(words), "{words}: {wrong:?}");
        }
        assert_eq!(identity(b"", b"").unwrap_err().len(), 2);
    }
}
