//! Tests of the pull-through mirror.

mod bad_links;
mod busy_threads;
mod chains;
mod encodings;
mod fills;
mod follow;
mod freshness;
mod idle_connections;
mod link;
mod links;
mod lists;
mod odd_answers;
mod not_a_registry;
mod passing;
mod pull;
mod ranges;
mod rights;
mod sizes;
mod slow_disk;
mod unreadable_cache;
mod too_large;
mod waits;
mod warm;
