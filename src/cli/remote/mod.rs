//! Requests to a running server: its address, its certificate, the login, and the meaning of its errors.

mod server_url;
mod trust;
mod password;
mod login;
mod server;
mod lines;
mod repository_name;

pub(super) use lines::Lines;
pub(super) use password::{ask_twice, read_password};
pub(super) use repository_name::repository;
pub(super) use server::{PROXY_PATHS, RemoteServer, RequestError, ServerArguments};
pub(super) use server_url::{base_url, chosen_server, is_loopback, listen_url, parse_url};
pub(super) use trust::{TrustArguments, no_answer};
