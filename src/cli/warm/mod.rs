//! `entrepot warm`: asks a server to fetch images into its cache, and shows the progress.

mod list;
mod display;
mod run;

pub(super) use run::{Arguments, run};
