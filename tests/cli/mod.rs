//! Tests of the command line. `runner` starts the binary.

pub mod runner;

mod check;
mod client;
mod du;
mod health;
mod ls;
mod rm;
mod screen;
mod serve;
mod server;
mod signals;
mod terminal;
mod user;
