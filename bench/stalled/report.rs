//! The report in docs/measured/STALLED.md.

use std::time::SystemTime;

use crate::guesses::Guessed;
use crate::{CONNECTIONS, ROUNDS, STREAMS};

/// The rates of one client, in bytes per second, added up over the rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub pulls: f64,
    pub pushes: f64,
}

impl Rates {
    pub fn add(&mut self, other: Self) {
        self.pulls += other.pulls;
        self.pushes += other.pushes;
    }
}

/// Returns the page.
pub fn page(alone: &Rates, beside: &Rates, guessed: &Guessed) -> String {
    let row = |what: &str, alone: f64, beside: f64| {
        let mean = |sum: f64| sum / ROUNDS as f64 / f64::from(1 << 20);
        let part = beside / alone * 100.0;
        let met = if part >= 80.0 { "yes" } else { "**no**" };
        format!("| {what} | {:.0} | {:.0} | {part:.0} % | {met} |\n", mean(alone), mean(beside))
    };
    let rows = row("pulls", alone.pulls, beside.pulls) + &row("pushes", alone.pushes, beside.pushes);
    let Guessed { guesses, refused, alone: login, beside: login_beside } = guessed;
    let (login, login_beside) = (login.as_secs_f64(), login_beside.as_secs_f64());
    let met = if login_beside - login < 1.0 { "yes" } else { "**no**" };
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    format!(
        "# Clients that take nothing or guess passwords, measured

Measured on {}.

The page is written by `cargo bench --bench stalled`.

## Clients that take nothing

{CONNECTIONS} connections of HTTP/2 request a blob of 4 MiB on {STREAMS} streams each, with a window of 0 bytes, and take nothing
of it. Beside them one client pulls a blob, and afterwards one pushes new blobs. Rates are in MiB/s, the mean of {ROUNDS} rounds,
with and without those connections in turn. Requirement: at least 80 % of the undisturbed rate.

| | undisturbed | beside them | part | met |
| --- | --: | --: | --: | --- |
{rows}
## Clients that guess passwords

One client sends {guesses} wrong logins of one user on ten connections ({refused} of them were refused with 429). Meanwhile another
user logs in from another address, again and again. Requirement: a right login is delayed by less than 1 s.

| | longest right login | met |
| --- | --: | --- |
| no guesses | {login:.2} s | |
| beside the guesses | {login_beside:.2} s | {met} |
",
        today.split('T').next().unwrap_or_default()
    )
}
