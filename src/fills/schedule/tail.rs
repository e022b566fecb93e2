//! The division of a segment between the connection that fetches it and a connection that is free.

/// A division must save at least this part of the time that the segment would take …
const LEAST_PART: f64 = 0.1;
/// … and at least this many seconds, besides the answer that has to be waited for.
const LEAST_TIME: f64 = 0.25;
/// No connection is opened for fewer bytes than this, unless fewer are missing.
pub const LEAST_BYTES: u64 = 64 << 10;

/// What is known of one of the two connections.
#[derive(Clone, Copy, Debug)]
pub struct Runner {
    /// The time in seconds until its first byte comes.
    pub wait: f64,
    /// Its rate in bytes per second.
    pub rate: f64,
}

impl Runner {
    /// Returns the time in seconds until it has brought this many bytes.
    pub fn time(self, bytes: u64) -> f64 {
        self.wait + bytes as f64 / self.rate.max(1.0)
    }
}

/// Returns the number of bytes, of the `left` last bytes of a segment, that the free connection should take over. Both
/// connections then end at the same time. Returns `None` if that saves too little.
pub fn divide(left: u64, owner: Runner, free: Runner) -> Option<u64> {
    if left == 0 {
        return None;
    }
    let both = owner.rate.max(1.0) + free.rate.max(1.0);
    let together = (left as f64 + owner.wait * owner.rate + free.wait * free.rate) / both;
    let taken = (together - free.wait) * free.rate.max(1.0);
    let taken = if taken > 0.0 { (taken as u64).min(left) } else { return None };
    let alone = owner.time(left);
    let saved = alone - if taken == left { free.time(left) } else { together };
    (taken >= LEAST_BYTES.min(left) && saved >= LEAST_TIME && saved >= alone * LEAST_PART).then_some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    #[test]
    fn both_connections_end_at_the_same_time() {
        let runner = |wait: f64, rate: u64| Runner { wait, rate: rate as f64 };
        for (left, owner, free, want) in [
            (10 * MB, runner(0.0, MB), runner(0.0, MB), Some(5 * MB)),
            (10 * MB, runner(0.0, MB), runner(2.0, MB), Some(4 * MB)),
            (10 * MB, runner(0.0, MB), runner(0.0, 9 * MB), Some(9 * MB)),
            (MB, runner(0.0, MB), runner(1.0, 100 * MB), None),
            (100 * MB, runner(0.0, 100 * MB), runner(0.0, MB), None),
            (MB, runner(0.0, 100 * MB), runner(0.0, 100 * MB), None),
            (MB, runner(30.0, MB), runner(0.1, MB), Some(MB)),
            // Its segment was ended before its answer came. There is nothing to take over.
            (0, runner(30.0, MB), runner(0.1, MB), None),
        ] {
            let found = divide(left, owner, free);
            let near = found.zip(want).is_some_and(|(found, want)| found.abs_diff(want) <= 1);
            assert!(near || found == want, "{left} {owner:?} {free:?}: {found:?} instead of {want:?}");
        }
    }
}
