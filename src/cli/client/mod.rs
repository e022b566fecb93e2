//! `entrepot client`: prints or writes the configuration that a client needs to pull through this mirror.
//!
//! Each client's format has a file of its own. They share [`mirror`], which describes the mirror as clients see it, and
//! [`config_file`], which describes the result.

mod mirror;
mod config_file;

mod docker;
mod containerd;
mod podman;
mod buildkit;
mod k3s;

mod run;

pub(super) use run::{Arguments, run};
