//! Forms of values that `registry:2` accepts because Go does. Each works, and draws a warning that says what to write.

use std::time::Duration;

use super::document::{nanoseconds, show_duration};
use super::scalar_type::GO_DURATION;
use super::section::{Keys, Slot};

/// Declares a duration of `registry:2`. A number counts as nanoseconds.
pub(super) fn duration(name: &'static str, slot: &mut impl Slot<Duration>, keys: &mut Keys<'_, '_>) {
    keys.scalar(name, &GO_DURATION, slot);
    let written = keys.raw(name).and_then(|text| Some((text, nanoseconds(text)?)));
    if let Some((text, read)) = written.filter(|(_, read)| !read.is_zero()) {
        let read = show_duration(read);
        let message = format!(
            "is {text}, a number of nanoseconds, as in registry:2: {read}; write it with its unit, such as 10s"
        );
        keys.warn(name, &message);
    }
}
