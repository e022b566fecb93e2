//! `entrepot completions`: prints a script with which a shell completes the commands.

use clap::Command;
use clap_complete::Shell;

use super::outcome::CommandError;
use super::output::Output;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  entrepot completions bash > /etc/bash_completion.d/entrepot
  entrepot completions zsh > \"${fpath[1]}/_entrepot\"
  entrepot completions fish > ~/.config/fish/completions/entrepot.fish")]
pub(super) struct Arguments {
    /// The shell that reads the script
    shell: Shell,
}

/// Prints the script for `entrepot`, which is the description of all commands.
pub(super) fn run(arguments: Arguments, mut entrepot: Command) -> Result<(), CommandError> {
    // The generator panics if it cannot write, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut entrepot, "entrepot", &mut script);
    let mut output = Output::new();
    output.text(&String::from_utf8_lossy(&script))?;
    output.flush()
}
