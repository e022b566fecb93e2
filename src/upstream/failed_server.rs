//! The server that an error of an upstream names. Users have configured the endpoints; a token server and the target of a
//! redirect have addresses that only an endpoint names.

use std::fmt;

/// A server that an error names, and what it is for the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedServer {
    /// `HOST:PORT`.
    host: String,
    role: ServerRole,
}

/// The part of a server in a request to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ServerRole {
    /// An endpoint, or the upstream as a whole.
    Endpoint,
    /// It gives tokens. `asked_by` is the server that named it.
    TokenServer { asked_by: Option<String> },
    /// It gives the tokens for the endpoint `host`, and its own address is not known any more.
    TokenServerOf,
    /// An endpoint redirects to it.
    RedirectTarget { from: String },
}

impl FailedServer {
    /// Returns `host` as a token server.
    pub(in crate::upstream) fn token_server(host: &str) -> Self {
        Self { host: host.to_owned(), role: ServerRole::TokenServer { asked_by: None } }
    }

    /// Returns the token server of an endpoint, where only the endpoint's address is known.
    pub(in crate::upstream) fn token_server_of(endpoint: &str) -> Self {
        Self { host: endpoint.to_owned(), role: ServerRole::TokenServerOf }
    }

    /// Returns `host` as the server that answers for an endpoint: the endpoint itself, or the target of its redirect.
    pub(in crate::upstream) fn answering_for(host: &str, endpoint: &str) -> Self {
        let mut server = Self::from(host);
        server.reached_from(endpoint);
        server
    }

    /// Adds the endpoint that the request was sent to. Another server than the endpoint is its token server, or the target of
    /// its redirect.
    pub(in crate::upstream) fn reached_from(&mut self, endpoint: &str) {
        match &mut self.role {
            ServerRole::TokenServer { asked_by: asked_by @ None } => *asked_by = Some(endpoint.to_owned()),
            ServerRole::Endpoint if self.host != endpoint => {
                self.role = ServerRole::RedirectTarget { from: endpoint.to_owned() };
            }
            _ => {}
        }
    }

    /// Marks it as a token server.
    pub(in crate::upstream) fn gives_tokens(&mut self) {
        self.role = ServerRole::TokenServer { asked_by: None };
    }

    /// Returns `HOST:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns true if it is an endpoint, whose address users have configured, or the upstream as a whole.
    pub fn is_endpoint(&self) -> bool {
        self.role == ServerRole::Endpoint
    }

    /// Returns true if it gives tokens.
    pub(in crate::upstream) fn is_token_server(&self) -> bool {
        matches!(self.role, ServerRole::TokenServer { .. } | ServerRole::TokenServerOf)
    }
}

impl From<String> for FailedServer {
    fn from(host: String) -> Self {
        Self { host, role: ServerRole::Endpoint }
    }
}

impl From<&str> for FailedServer {
    fn from(host: &str) -> Self {
        Self::from(host.to_owned())
    }
}

impl fmt::Display for FailedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.role {
            ServerRole::Endpoint => f.write_str(host),
            ServerRole::TokenServer { asked_by: Some(endpoint) } if endpoint != host => {
                write!(f, "the token server {host} (which {endpoint} asks to use)")
            }
            ServerRole::TokenServer { .. } => write!(f, "the token server {host}"),
            ServerRole::TokenServerOf => write!(f, "the token server of {host}"),
            ServerRole::RedirectTarget { from } => write!(f, "{host} (to which {from} redirects)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_is_named_by_its_part() {
        let seen = |mut server: FailedServer| {
            server.reached_from("hub");
            server.to_string()
        };
        assert_eq!(seen("hub".into()), "hub");
        assert_eq!(seen("cdn".into()), "cdn (to which hub redirects)");
        assert_eq!(seen(FailedServer::token_server("auth")), "the token server auth (which hub asks to use)");
        assert_eq!(seen(FailedServer::token_server("hub")), "the token server hub");
        assert_eq!(seen(FailedServer::token_server_of("hub")), "the token server of hub");
        let mut of_target = FailedServer::token_server("auth");
        of_target.reached_from("cdn");
        assert_eq!(seen(of_target), "the token server auth (which cdn asks to use)", "the first one that asked");
    }
}
