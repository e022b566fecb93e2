//! Tests of the HTTP that clients see.

mod active_content;
mod bad_requests;
mod budgets;
mod errors;
mod foreign_pages;
mod load;
mod protocol;
mod spellings;
mod strangers;
