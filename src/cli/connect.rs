//! Connections to a server: whose certificate is believed, and what it means that there is none.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use reqwest::{Certificate, ClientBuilder};

use super::server_url::{cause, is_loopback};
use super::settings::Trouble;
use crate::outbound::{Url, pem};
use crate::sys::{blocking, disk};

/// Whose certificate is believed.
#[derive(clap::Args, Clone)]
pub(super) struct TrustArguments {
    /// The certificate authority of the server, besides those that this machine trusts: a PEM file
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Do not check the server's certificate
    #[arg(long, conflicts_with = "ca")]
    pub(super) insecure: bool,
}

impl TrustArguments {
    /// A client that speaks to this address. Plain HTTP has no certificate: the file is not looked at.
    pub(super) async fn client(self, builder: ClientBuilder, url: &Url) -> Result<reqwest::Client, Trouble> {
        let builder = match self.ca.filter(|_| url.scheme() == "https") {
            Some(file) => {
                let shown = file.display().to_string();
                let content = blocking(move || disk::read_named(&file, disk::NAMED_BYTES)).await;
                let content =
                    content.map_err(|error| Trouble(format!("cannot read --ca {shown}: {error}; name a PEM file")))?;
                pem::authorities(&content).map_err(|reason| Trouble(format!("--ca {shown}: {reason}")))?;
                builder.tls_certs_merge(Certificate::from_pem_bundle(&content).map_err(Trouble::new)?)
            }
            None => builder.tls_danger_accept_invalid_certs(self.insecure),
        };
        builder.build().map_err(Trouble::new)
    }
}

/// Why there is no answer, and what to do about it.
pub(super) fn unanswered(name: &str, url: &Url, error: &reqwest::Error) -> Trouble {
    let (causes, refused) = causes(error);
    let elsewhere = "name another with --server or $ENTREPOT_SERVER";
    let said = |words: &str| causes.contains(words);
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
    Trouble(if said("UnknownIssuer") {
        format!(
            "{name}: the server's certificate is signed by nobody that is trusted here: --ca FILE names its authority"
        )
    } else if said("CaUsedAsEndEntity") {
        format!(
            "{name}: the server shows the certificate of an authority (CA:TRUE), which may sign others and is none of a server; make \
             one with `openssl req -x509 -addext basicConstraints=critical,CA:FALSE …`, or use --insecure"
        )
    } else if said("NotValidForName") || said("certificate not valid for name") {
        format!("{name}: the server's certificate is for another name ({})", cause(error))
    } else if said("InvalidContentType") {
        format!("{name} answers plain HTTP: write http://{rest}")
    } else if url.scheme() == "http" && said("invalid HTTP version") {
        format!("{name} does not answer in HTTP: if it speaks TLS, write https://{rest}")
    } else if refused && is_loopback(url) {
        format!("{name} does not answer: {}; start it with `entrepot serve`, or {elsewhere}", cause(error))
    } else {
        format!("{name} does not answer: {}; {elsewhere}", cause(error))
    })
}

/// What all causes say, and whether one of them is that nobody listens.
fn causes(error: &reqwest::Error) -> (String, bool) {
    let (mut texts, mut refused) = (String::new(), false);
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        texts.push_str(&error.to_string());
        texts.push(' ');
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        refused |= kind == Some(io::ErrorKind::ConnectionRefused);
        next = error.source();
    }
    (texts, refused)
}
