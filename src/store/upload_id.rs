//! The name of an upload.

use std::str::FromStr;

use super::StoreError;
use crate::sys::random_id;

/// The name of an upload: a UUID, so that it cannot be guessed and is safe in a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    pub(crate) fn random() -> Self {
        Self(random_id())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let dash = |index: usize| matches!(index, 8 | 13 | 18 | 23);
        let valid = text.len() == 36
            && text.bytes().enumerate().all(|(i, b)| if dash(i) { b == b'-' } else { b.is_ascii_hexdigit() });
        if valid { Ok(Self(text.to_ascii_lowercase())) } else { Err(StoreError::NoUpload) }
    }
}
