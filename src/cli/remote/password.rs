//! Passwords from the terminal or from standard input. A password is never an argument, since the process list shows arguments.

use std::io::Read as _;

use crate::cli::outcome::{CommandError, ErrorMessage};
use crate::sys::blocking;

/// The most bytes that are read from standard input. No password is longer; a pipe may be.
const MAX_INPUT: u64 = 64 << 10;

/// Asks for a password at the terminal, which does not show the input.
pub(super) async fn ask_password(prompt: String) -> Result<String, CommandError> {
    let typed = blocking(move || rpassword::prompt_password(prompt)).await;
    Ok(typed.map_err(|error| ErrorMessage(format!("cannot ask the terminal for a password: {error}")))?)
}

/// Asks for a new password twice, since the terminal does not show the input.
pub(in crate::cli) async fn ask_twice(user: &str) -> Result<String, CommandError> {
    let first = ask_password(format!("New password of {user}: ")).await?;
    let second = ask_password("The same password again: ".to_owned()).await?;
    if first == second {
        Ok(first)
    } else {
        Err(ErrorMessage("the two passwords are not the same; nothing was changed".to_owned()).into())
    }
}

/// Reads a password from standard input, which must hold exactly one line.
pub(in crate::cli) async fn read_password() -> Result<String, CommandError> {
    let read = blocking(|| {
        let mut text = Vec::new();
        std::io::stdin().take(MAX_INPUT + 1).read_to_end(&mut text).map(|_| text)
    });
    let text = read.await.map_err(|error| ErrorMessage(format!("cannot read standard input: {error}")))?;
    one_line(text)
        .map_err(|problem| CommandError::Usage(format!("cannot read a password from standard input: {problem}")))
}

fn one_line(text: Vec<u8>) -> Result<String, &'static str> {
    if text.len() as u64 > MAX_INPUT {
        return Err("it is too long");
    }
    let text = String::from_utf8(text).map_err(|_| "it is not UTF-8")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err("it is empty; give it a file, as in `entrepot … < file`"),
        line if line.contains(['\n', '\r', '\0']) => Err("it has more than one line"),
        line => Ok(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_holds_one_line() {
        for good in ["secret", "secret\n", "secret\r\n"] {
            assert_eq!(one_line(good.into()).as_deref(), Ok("secret"));
        }
        assert_eq!(one_line(" a b ".into()).as_deref(), Ok(" a b "));
        for bad in ["", "\n", "a\nb", "a\n\n", "a\0"] {
            assert!(one_line(bad.into()).is_err(), "{bad:?}");
        }
        assert!(one_line(vec![0xff]).is_err() && one_line(vec![b'a'; 70_000]).is_err());
    }
}
