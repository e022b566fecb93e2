//! `entrepot health`: a container's healthcheck, which needs no shell and no curl.

use std::time::Duration;

use reqwest::Response;

use super::Ended;
use super::connect::{TrustArguments, unanswered};
use super::output::say;
use super::server_url::{self, cause};
use super::settings::Trouble;

/// A server that is alive answers at once.
const LIMIT: Duration = Duration::from_secs(5);
/// And says less than this, in bytes.
const MOST: usize = 64 << 10;

/// Asks a running server's `/readyz`.
pub(super) async fn run(url: Option<String>, trust: TrustArguments) -> Result<(), Ended> {
    let base = server_url::base(server_url::named(url)).await?;
    let (url, parsed) = (format!("{base}/readyz"), server_url::parse(&base)?);
    let client = trust.client(reqwest::Client::builder().no_proxy().timeout(LIMIT), &parsed).await?;
    let answer = client.get(&url).send().await.map_err(|error| unanswered(&base, &parsed, &error))?;
    let status = answer.status();
    let reason = whole(answer).await;
    match reason {
        Ok(reason) if status.is_success() => say(reason.trim()),
        Err(broken) if status.is_success() => Err(Trouble(format!("{url}: {status}, but {broken}")).into()),
        Ok(reason) | Err(reason) => Err(Trouble(format!("{url}: {status}: {}", reason.trim())).into()),
    }
}

/// The answer's body; an error says what is wrong with it.
async fn whole(mut answer: Response) -> Result<String, String> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(piece)) if body.len() + piece.len() <= MOST => body.extend_from_slice(&piece),
            Ok(Some(_)) => return Err("it says more than any readiness takes; is it an Entrepot?".to_owned()),
            Ok(None) => return Ok(String::from_utf8_lossy(&body).into_owned()),
            Err(error) => return Err(format!("its answer did not come to an end: {}", cause(&error))),
        }
    }
}
