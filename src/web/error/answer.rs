//! The JSON of an error.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of an answer that is an error (OCI distribution-spec 1.1, "Error Codes").
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorAnswer {
    pub errors: Vec<ErrorEntry>,
}

/// An error: its code, a message, and the facts that the message is about.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorEntry {
    #[serde(default)]
    pub code: String,
    pub message: String,
    /// Here a text, such as `name: local/app; reference: 9`, since clients print it. Other registries send an object.
    #[serde(default)]
    pub detail: Value,
}
