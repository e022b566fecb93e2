//! Refused requests with their answers: status, code, request.
//!
//! A request is its method and target, then header lines, then after an empty line its body. `Host` and `Content-Length` are added
//! where they are missing. Angle brackets contain names of stored content (`../world.rs`), `<a*300>` for a repetition and `<0xff>` for a
//! byte. The rows of `wire.rs` are sent exactly as written.

mod reads;
mod manifests;
mod uploads;
mod api;
mod servers;
mod wire;
mod limits;

pub use limits::GOOD;
pub use servers::{GUARDED, KEPT, MIRROR};
pub use wire::{FRAMING, RAW};

/// Status, code, request.
pub type Row = (u16, &'static str, &'static str);

/// Requests to a private registry that is open to every client and allows deletion.
pub const OPEN: &[&[Row]] = &[
    reads::PATHS,
    reads::NAMES,
    reads::TAGS,
    reads::DIGESTS,
    reads::PAGES,
    reads::QUERIES,
    reads::RANGES,
    reads::METHODS,
    manifests::MANIFESTS,
    manifests::MANIFEST_TYPES,
    uploads::UPLOADS,
    uploads::CHUNKS,
    api::API,
    limits::BEYOND,
];
