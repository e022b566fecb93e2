//! Tests of the HTTP that clients see.

mod bad_requests;
mod errors;
mod load;
mod protocol;
