//! The reasons why a request is refused.

use super::credentials::Unproven;
use super::rules::Action;

/// A refused request. `Display` gives a message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The caller has not proven an identity. The answer is 401 with a challenge, so that the client can log in and ask again.
    #[error("{reason}")]
    Unauthorized {
        reason: Unproven,
        /// The value of `WWW-Authenticate`.
        challenge: String,
    },
    /// The credentials were not looked at, because too many wait. The answer is 429.
    #[error("{}", Unproven::Crowded)]
    Crowded,
    /// The caller is known and may not do this. The answer is 403: asking again with the same credentials does not help.
    #[error("{caller} may not {}", described(*action, target.as_deref()))]
    Denied { caller: String, action: Action, target: Option<String> },
}

fn described(action: Action, target: Option<&str>) -> String {
    match (action, target) {
        (Action::Admin, _) => "administer this registry".to_owned(),
        (Action::Enter, _) => "use this registry".to_owned(),
        (_, Some(target)) => format!("{action} {target}"),
        (_, None) => action.to_string(),
    }
}
