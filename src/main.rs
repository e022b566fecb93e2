//! The `entrepot` command: nothing yet.

fn main() {}
