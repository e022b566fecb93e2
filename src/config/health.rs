//! `health`: the checks whose outcome `/readyz` and `entrepot health` report.

use std::time::Duration;

use serde_json::json;

use super::document::number;
use super::go_forms;
use super::keys::Notation;
use super::scalar_type::{FLAG, ScalarType};
use super::section::{Keys, Section};

/// The values of `health`.
#[derive(Clone, Debug, Default)]
pub struct HealthChecks {
    /// `health.storagedriver`, if it is enabled.
    pub storage: Option<StorageCheck>,
}

/// The values of `health.storagedriver`.
#[derive(Clone, Debug)]
pub struct StorageCheck {
    pub interval: Duration,
    /// The registry is unhealthy after this number of failures in a row.
    pub threshold: u32,
}

const SECOND: Duration = Duration::from_secs(1);

const THRESHOLD: ScalarType<u32> = ScalarType {
    notation: Notation::Number(0, u64::MAX),
    write: "write a whole number",
    parse: |text| number(text).map(|number| u32::try_from(number).unwrap_or(u32::MAX)),
    show: |threshold| json!(threshold),
};

impl Default for StorageCheck {
    fn default() -> Self {
        Self { interval: 10 * SECOND, threshold: 3 }
    }
}

impl Section for HealthChecks {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.group("storagedriver", |keys| storage(&mut self.storage, keys));
        let why = "only the storage is checked";
        keys.ignored(&[("file", why), ("http", why), ("tcp", why)]);
    }
}

fn storage(check: &mut Option<StorageCheck>, keys: &mut Keys<'_, '_>) {
    let mut enabled = check.is_some();
    let (mut interval, mut threshold) = check.as_ref().map(|check| (check.interval, check.threshold)).unzip();
    keys.scalar("enabled", &FLAG, &mut enabled);
    go_forms::duration("interval", &mut interval, keys);
    keys.scalar("threshold", &THRESHOLD, &mut threshold);
    let default = StorageCheck::default();
    let interval = interval.filter(|interval| !interval.is_zero()).unwrap_or(default.interval);
    if enabled && interval < SECOND {
        keys.warn("interval", "is shorter than 1s, which keeps the disk busy with checks; write 10s");
    }
    *check = enabled.then(|| StorageCheck { interval, threshold: threshold.unwrap_or(default.threshold).max(1) });
}
