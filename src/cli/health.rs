//! `entrepot health`: a container's healthcheck, which needs no shell and no curl.

use std::time::Duration;

use super::Ended;
use super::connect::{TrustArguments, unanswered};
use super::output::say;
use super::server_url;
use super::settings::Trouble;

/// A server that is alive answers at once.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks a running server's `/readyz`.
pub(super) async fn run(url: Option<String>, trust: TrustArguments) -> Result<(), Ended> {
    let base = server_url::base(server_url::named(url)).await?;
    let (url, parsed) = (format!("{base}/readyz"), server_url::parse(&base)?);
    let client = trust.client(reqwest::Client::builder().no_proxy().timeout(LIMIT), &parsed).await?;
    let answer = client.get(&url).send().await.map_err(|error| unanswered(&base, &parsed, &error))?;
    let status = answer.status();
    let reason = answer.text().await.unwrap_or_default();
    if status.is_success() {
        return say(reason.trim());
    }
    Err(Trouble(format!("{url}: {status}: {}", reason.trim())).into())
}
