//! `access`: rules of access. This version does not support them, and refuses a configuration that has any, since the
//! operator must notice that the protection is missing.

use super::keys::{Key, KeyShape, Support};
use super::section::Keys;

/// Declares `access`.
pub(super) fn keys(keys: &mut Keys<'_, '_>) {
    let instead =
        "access rules come with a later version; remove it, or keep the registry behind a proxy that enforces them";
    let support = Support::Refused { unless: "", instead };
    keys.declare(Key { name: "access", shape: KeyShape::List, support, is_driver: false, default: None });
}
