//! The schedule of the link (`mirror.link.schedule`).

use std::time::Duration;

use crate::outbound::LinkGovernor;

/// The pause between two looks at the schedule.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Adopts the limits of the present time, even while nothing is transferred: the metrics tell them.
pub(super) async fn follow_schedule(link: &LinkGovernor) {
    link.refresh();
}
