//! Connections to a server: which certificates are trusted, and messages for connections that fail.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use reqwest::{Certificate, ClientBuilder};

use super::server_url::is_loopback;
use crate::cli::outcome::{CommandError, ErrorMessage, root_cause};
use crate::outbound::{Url, authority, pem};
use crate::sys::{blocking, disk};

/// The arguments that decide which server certificates are trusted.
#[derive(clap::Args, Clone)]
pub(in crate::cli) struct TrustArguments {
    /// Trusts the certificate authority in this PEM file, besides those of the system
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) ca: Option<PathBuf>,
    /// Accepts any server certificate without checking it
    #[arg(long, conflicts_with = "ca")]
    pub(in crate::cli) insecure: bool,
}

impl TrustArguments {
    /// Builds the HTTP client for this address. An argument about certificates is an error for an address that uses none: its user
    /// believes that the connection is protected.
    pub(in crate::cli) async fn client(
        self,
        builder: ClientBuilder,
        url: &Url,
    ) -> Result<reqwest::Client, CommandError> {
        if url.scheme() != "https" && (self.insecure || self.ca.is_some()) {
            let argument = if self.insecure { "--insecure" } else { "--ca" };
            let address = authority(url);
            return Err(CommandError::Usage(format!(
                "{argument} is about the certificate of the server, but http://{address} uses none: leave {argument} out, or write \
                 https://{address} if the server uses TLS"
            )));
        }
        let builder = match self.authorities().await? {
            Some(content) => {
                builder.tls_certs_merge(Certificate::from_pem_bundle(&content).map_err(ErrorMessage::new)?)
            }
            None => builder.tls_danger_accept_invalid_certs(self.insecure),
        };
        Ok(builder.build().map_err(ErrorMessage::new)?)
    }

    /// Reads the file of `--ca`. Returns an error if it holds no certificate.
    pub(in crate::cli) async fn authorities(&self) -> Result<Option<Vec<u8>>, ErrorMessage> {
        let Some(file) = self.ca.clone() else { return Ok(None) };
        let shown = file.display().to_string();
        let content = blocking(move || disk::read_named(&file, disk::NAMED_BYTES)).await;
        let content =
            content.map_err(|error| ErrorMessage(format!("cannot read --ca {shown}: {error}; name a PEM file")))?;
        pem::authorities(&content).map_err(|reason| ErrorMessage(format!("--ca {shown}: {reason}")))?;
        Ok(Some(content))
    }
}

/// Returns the message for a request without an answer: the cause, and what to do about it.
pub(in crate::cli) fn no_answer(name: &str, url: &Url, error: &reqwest::Error) -> ErrorMessage {
    let (causes, is_refused) = causes(error);
    let elsewhere = "name another server with --server or $ENTREPOT_SERVER";
    let mentions = |words: &str| causes.contains(words);
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
    ErrorMessage(if mentions("UnknownIssuer") {
        format!(
            "{name}: this machine does not trust the issuer of the server's certificate; name its authority with --ca FILE"
        )
    } else if mentions("CaUsedAsEndEntity") {
        format!(
            "{name}: the server presents the certificate of an authority (CA:TRUE), which is for signing certificates and not \
             for a server; make one with `openssl req -x509 -addext basicConstraints=critical,CA:FALSE …`, or use --insecure"
        )
    } else if mentions("NotValidForName") || mentions("certificate not valid for name") {
        format!("{name}: the server's certificate is for another name ({})", root_cause(error))
    } else if mentions("InvalidContentType") {
        format!("{name} answers plain HTTP: write http://{rest}")
    } else if url.scheme() == "http" && mentions("invalid HTTP version") {
        format!("{name} does not answer in HTTP: if the server uses TLS, write https://{rest}")
    } else if is_refused && is_loopback(url) {
        format!("{name} does not answer: {}; start it with `entrepot serve`, or {elsewhere}", root_cause(error))
    } else {
        format!("{name} does not answer: {}; {elsewhere}", root_cause(error))
    })
}

/// Returns the texts of all causes, and true if one of them is a refused connection.
fn causes(error: &reqwest::Error) -> (String, bool) {
    let (mut texts, mut is_refused) = (String::new(), false);
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        texts.push_str(&error.to_string());
        texts.push(' ');
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        is_refused |= kind == Some(io::ErrorKind::ConnectionRefused);
        next = error.source();
    }
    (texts, is_refused)
}
