//! The JSON of an error.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of an answer that is an error (OCI distribution-spec 1.1, "Error Codes").
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorAnswer {
    pub errors: Vec<ErrorEntry>,
}

/// An error: its code, a message for people, and data for programs.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorEntry {
    #[serde(default)]
    pub code: String,
    pub message: String,
    #[serde(default)]
    pub detail: Value,
}
