//! Prints data to standard output, and everything else to standard error.

mod stream;
mod table;

pub(super) use stream::{Output, json_line, plain, remark, say};
pub(super) use table::Table;
