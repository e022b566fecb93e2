//! Sockets: binding, accepting, serving connections, and stopping. This floor knows no routes and no repositories.

mod address;
mod activity;
mod budget;
mod progress;
mod http1;
mod bad_request;
mod connection;
mod listen;

pub use address::BindError;
pub use listen::Server;
