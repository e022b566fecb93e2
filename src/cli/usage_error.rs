//! Formats clap's message for a wrong command line as one line: the mistake and the right usage.

use clap::error::ErrorKind;

use super::output::plain;

/// Returns the message in one line; `None` if the text is no mistake but the help or the version.
pub(super) fn in_one_line(error: &clap::Error) -> Option<String> {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    let text = error.render().to_string();
    let mut message = String::new();
    for part in text.split("\n\n").map(str::trim) {
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        let part = part.strip_prefix("error: ").unwrap_or(&part);
        // clap's tip on passing an option's name as a value is rarely what the user needs.
        if part.starts_with("For more information") || part.starts_with("tip: to pass") {
            continue;
        }
        let part = part.strip_prefix("tip: ").unwrap_or(part).replace("Usage: ", "usage: ");
        if !message.is_empty() {
            message.push_str("; ");
        }
        message.push_str(&part);
    }
    Some(plain(&message))
}
