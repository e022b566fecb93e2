//! The limit of open files and connections of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open descriptors as far as the system allows without privileges, and returns it. Systems start services with a
/// low limit only for the sake of programs that use `select`.
pub fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // `None` means that there is no limit.
    if raised.is_ok() { maximum } else { current }.unwrap_or(u64::MAX)
}
