//! The report in docs/measured/DISK.md.

use std::time::{Duration, SystemTime};

/// The times of one kind of request.
pub struct Row {
    name: &'static str,
    /// In ascending order.
    times: Vec<Duration>,
}

impl Row {
    pub fn new(name: &'static str, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { name, times }
    }

    /// Returns the median, the 99th percentile and the largest time, as cells in milliseconds.
    fn cells(&self) -> String {
        let at = |part: usize| {
            let last = self.times.len() - 1;
            format!("{:.1}", self.times[last * part / 100].as_secs_f64() * 1000.0)
        };
        format!("{} | {} | {}", at(50), at(99), at(100))
    }
}

/// Returns the page.
pub fn page(good: &[Row], slow: &[Row], delayed: usize) -> String {
    let rows: String = good
        .iter()
        .zip(slow)
        .map(|(good, slow)| format!("| {} | {} | {} | {} |\n", good.name, slow.times.len(), good.cells(), slow.cells()))
        .collect();
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    format!(
        "# A slow disk, measured

Measured on {}.

This page shows whether a slow disk delays answers that need nothing from it. It is written by `cargo bench --bench disk`.
Eight clients pull blobs that are not cached. Meanwhile other clients ask for `/livez`, for `/metrics`, and for another blob that
is cached. Each request has a connection of its own. The first part runs on a good disk; in the second part, every write to the
store takes 3 s ({delayed} writes took that long). The last row has no request. It shows how long the machine itself kept a thread
waiting that wanted to sleep for 1 ms.

Times are in milliseconds: the median, the 99th percentile, and the longest.

| request | number | good disk: median | 99 % | longest | slow disk: median | 99 % | longest |
| --- | --: | --: | --: | --: | --: | --: | --: |
{rows}
Requirement: on the slow disk, each of these requests is answered within 50 ms.
",
        today.split('T').next().unwrap_or_default()
    )
}
