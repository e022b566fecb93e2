//! TLS for the servers of the tests: a new private authority with a server's and a client's certificate.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// The host names of all servers of the tests.
const HOSTS: [&str; 3] = ["127.0.0.1", "127.0.0.2", "localhost"];

/// The clients that a server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    Anybody,
    /// Clients that show a certificate of the server's authority.
    Certified,
}

/// A certificate authority that clients trust only if they are told to.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    server: Pair,
    client: Pair,
}

/// A certificate and its key, as PEM and in the server's form.
#[derive(Debug)]
struct Pair {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: PrivateKeyDer<'static>,
    key_pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self {
            certificate: issuer.der().clone(),
            pem: issuer.pem(),
            server: Pair::of(&issuer, &HOSTS, ExtendedKeyUsagePurpose::ServerAuth),
            client: Pair::of(&issuer, &["client.test"], ExtendedKeyUsagePurpose::ClientAuth),
        }
    }

    /// Returns the authority's certificate, which clients need in order to trust its servers.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns a client certificate that the authority signed.
    pub fn client_certificate(&self) -> &str {
        &self.client.certificate_pem
    }

    /// Returns the key of that certificate.
    pub fn client_key(&self) -> &str {
        &self.client.key_pem
    }

    /// Returns TLS for a server that offers HTTP/2 before HTTP/1.1.
    pub fn acceptor(&self, guests: Guests) -> TlsAcceptor {
        self.acceptor_with(guests, &["h2", "http/1.1"])
    }

    /// Returns TLS for a server that offers these protocols.
    pub fn acceptor_with(&self, guests: Guests, protocols: &[&str]) -> TlsAcceptor {
        // The provider is named, since reqwest may have installed another one for the process.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.unwrap();
        let builder = match guests {
            Guests::Anybody => builder.with_no_client_auth(),
            Guests::Certified => {
                let mut roots = RootCertStore::empty();
                roots.add(self.certificate.clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let chain = vec![self.server.certificate.clone()];
        let mut config = builder.with_single_cert(chain, self.server.key.clone_key()).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Pair {
    fn of(issuer: &CertifiedIssuer<'_, KeyPair>, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        let (certificate_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Self { certificate: certificate.der().clone(), certificate_pem, key, key_pem }
    }
}
