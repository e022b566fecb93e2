//! `access`: rules of access, which this version refuses, since a missing protection must not go unnoticed.

use super::keys::{Key, KeyShape, Support};
use super::section::Keys;

/// Declares `access`.
pub(super) fn keys(keys: &mut Keys<'_, '_>) {
    let instead =
        "access rules come with a later version; remove it, or keep the registry behind a proxy that enforces them";
    let support = Support::Refused { unless: "", instead };
    keys.declare(Key { name: "access", shape: KeyShape::List, support, is_driver: false, default: None });
}
