//! `entrepot health`: asks a server whether it is ready. The container's health check runs this command, so the image needs
//! no shell and no curl.

use std::time::Duration;

use reqwest::Response;

use super::outcome::{CommandError, ErrorMessage, root_cause};
use super::output::say;
use super::remote::{PROXY_PATHS, TrustArguments, base_url, chosen_server, no_answer, parse_url};

/// The time limit for the whole request. A healthy server answers at once.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes that are read of an answer. The real one is much shorter.
const MAX_ANSWER: usize = 64 << 10;

/// Requests `/readyz` of a running server.
pub(super) async fn run(url: Option<String>, trust: TrustArguments) -> Result<(), CommandError> {
    let base = base_url(chosen_server(url)).await?;
    let (url, parsed) = (format!("{base}/readyz"), parse_url(&base)?);
    let client = trust.client(reqwest::Client::builder().no_proxy().timeout(TIMEOUT), &parsed).await?;
    let answer = client.get(&url).send().await.map_err(|error| no_answer(&base, &parsed, &error))?;
    let status = answer.status();
    let reason = read_body(answer).await;
    match reason {
        Ok(text) if status.is_success() && is_line(&text) => say(text.trim()),
        Err(problem) if status.is_success() => Err(ErrorMessage(format!("{url}: {status}, but {problem}")).into()),
        Ok(text) | Err(text) if is_line(&text) => Err(ErrorMessage(format!("{url}: {status}: {}", text.trim())).into()),
        _ => Err(ErrorMessage(format!("{url}: {status}, which no Entrepot answers; {PROXY_PATHS}")).into()),
    }
}

/// Returns true for an answer of this server: one line, and no page.
fn is_line(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.lines().count() == 1 && !text.starts_with(['<', '{'])
}

/// Reads the body of the answer. Fails with the reason if the body is too long or cannot be read.
async fn read_body(mut answer: Response) -> Result<String, String> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err("the answer is too long; is it an Entrepot?".to_owned()),
            Ok(None) => return Ok(String::from_utf8_lossy(&body).into_owned()),
            Err(error) => return Err(format!("the answer is incomplete: {}", root_cause(&error))),
        }
    }
}
