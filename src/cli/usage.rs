//! What clap says of a command line that makes no sense, in one line: what, and how it is written.

use clap::error::ErrorKind;

use super::output::plain;

/// `None` where it is no mistake: help, or the version, was asked for.
pub(super) fn in_one_line(error: &clap::Error) -> Option<String> {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    let text = error.render().to_string();
    let mut said = String::new();
    for part in text.split("\n\n").map(str::trim) {
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        let part = part.strip_prefix("error: ").unwrap_or(&part);
        // How to give an option's name as a value is what nobody wants to know.
        if part.starts_with("For more information") || part.starts_with("tip: to pass") {
            continue;
        }
        let part = part.strip_prefix("tip: ").unwrap_or(part).replace("Usage: ", "usage: ");
        if !said.is_empty() {
            said.push_str("; ");
        }
        said.push_str(&part);
    }
    Some(plain(&said))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Arguments;
    use super::*;

    fn said(line: &str) -> String {
        let error = Arguments::try_parse_from(line.split(' ')).err().unwrap();
        in_one_line(&error).unwrap()
    }

    #[test]
    fn what_is_wrong_and_how_it_is_written() {
        for (line, want) in [
            ("entrepot serve --config a.yml", "unexpected argument '--config' found; usage: entrepot serve [CONFIG]"),
            (
                "entrepot srve",
                "unrecognized subcommand 'srve'; a similar subcommand exists: 'serve'; usage: entrepot <COMMAND>",
            ),
            ("entrepot check --prin", "unexpected argument '--prin' found; a similar argument exists: '--print'"),
            ("entrepot rm", "the following required arguments were not provided: <REPO"),
            ("entrepot completions tcsh", "[possible values: bash"),
        ] {
            let said = said(line);
            assert!(said.contains(want) && !said.contains('\n'), "{line}\n{said}");
        }
    }

    #[test]
    fn who_asks_for_help_gets_it() {
        for line in ["entrepot --help", "entrepot rm -h", "entrepot --version", "entrepot"] {
            let error = Arguments::try_parse_from(line.split(' ')).err().unwrap();
            assert!(in_one_line(&error).is_none(), "{line}");
        }
    }
}
