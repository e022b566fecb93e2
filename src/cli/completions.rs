//! `entrepot completions`: what a shell completes our commands with.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::output::Output;
use super::{Arguments as All, Ended};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  entrepot completions bash > /etc/bash_completion.d/entrepot
  entrepot completions zsh > \"${fpath[1]}/_entrepot\"
  entrepot completions fish > ~/.config/fish/completions/entrepot.fish")]
pub(super) struct Arguments {
    shell: Shell,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Ended> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut All::command(), "entrepot", &mut script);
    let mut output = Output::new();
    output.text(&String::from_utf8_lossy(&script))?;
    output.flush()
}
