//! Passwords, typed unseen or piped in; never an argument, which whoever lists processes would read.

use std::io::Read as _;

use super::Ended;
use super::settings::Trouble;
use crate::sys::blocking;

/// No password is longer than this; a pipe may be.
const LONGEST: u64 = 64 << 10;

/// Asks whoever sits at the terminal. What is typed is not shown.
pub(super) async fn ask(prompt: String) -> Result<String, Ended> {
    let typed = blocking(move || rpassword::prompt_password(prompt)).await;
    Ok(typed.map_err(|error| Trouble(format!("the terminal cannot be asked for a password: {error}")))?)
}

/// Asks twice, since nobody sees what is typed.
pub(super) async fn ask_twice(user: &str) -> Result<String, Ended> {
    let first = ask(format!("New password of {user}: ")).await?;
    let second = ask("The same again: ".to_owned()).await?;
    if first == second {
        Ok(first)
    } else {
        Err(Trouble("the two are not the same; nothing was changed".to_owned()).into())
    }
}

/// Reads standard input to its end: one line.
pub(super) async fn read() -> Result<String, Ended> {
    let read = blocking(|| {
        let mut text = Vec::new();
        std::io::stdin().take(LONGEST + 1).read_to_end(&mut text).map(|_| text)
    });
    let text = read.await.map_err(|error| Trouble(format!("standard input cannot be read: {error}")))?;
    line(text).map_err(|problem| Ended::Usage(format!("standard input is no password: {problem}")))
}

fn line(text: Vec<u8>) -> Result<String, &'static str> {
    if text.len() as u64 > LONGEST {
        return Err("it is too long");
    }
    let text = String::from_utf8(text).map_err(|_| "it is not UTF-8")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err("it is empty; pipe one in, as in `entrepot … < file`"),
        line if line.contains(['\n', '\r', '\0']) => Err("it has more than one line"),
        line => Ok(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line() {
        for good in ["secret", "secret\n", "secret\r\n"] {
            assert_eq!(line(good.into()).as_deref(), Ok("secret"));
        }
        assert_eq!(line(" a b ".into()).as_deref(), Ok(" a b "));
        for bad in ["", "\n", "a\nb", "a\n\n", "a\0"] {
            assert!(line(bad.into()).is_err(), "{bad:?}");
        }
        assert!(line(vec![0xff]).is_err() && line(vec![b'a'; 70_000]).is_err());
    }
}
