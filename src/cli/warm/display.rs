//! The output of `warm`: progress bars on a terminal, and one line for each finished image. There are no colours.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{
    HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::cli::outcome::CommandError;
use crate::cli::output::{plain, remark, say};
use crate::web::{BlobState, WarmLine};

/// The interval at which rates and times are drawn again.
const TICK: Duration = Duration::from_millis(500);
/// The length of the digests that are shown. It suffices to tell blobs apart.
const DIGEST_LENGTH: usize = "sha256:".len() + 12;

/// Shows the events of a warm-up.
pub(super) struct Display {
    /// `None` without a terminal.
    bars: Option<Bars>,
}

/// One bar for each blob that arrives, and one for the total.
struct Bars {
    all: MultiProgress,
    /// Counts the bytes to fetch, without the content that the server has already.
    total: ProgressBar,
    shared: u64,
    done: usize,
    images: usize,
    blobs: HashMap<(String, String), ProgressBar>,
    /// The bytes of each image that have not arrived yet.
    missing: HashMap<String, u64>,
}

impl Display {
    pub(super) fn new() -> Self {
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        Self { bars: (std::io::stderr().is_terminal() && !dumb).then(Bars::new) }
    }

    pub(super) fn show(&mut self, line: WarmLine) -> Result<(), CommandError> {
        if let Some(bars) = &mut self.bars {
            bars.update(&line);
        }
        match line {
            WarmLine::Done { image, fetched, shared, seconds } => {
                let (fetched, shared) = (HumanBytes(fetched), HumanBytes(shared));
                self.print_line(&format!("{}: {fetched} fetched, {shared} shared, {seconds:.1} s", plain(&image)))
            }
            WarmLine::Failed { image, reason } => {
                self.complain(&format!("{}: {}", plain(&image), plain(&reason)));
                Ok(())
            }
            WarmLine::Manifest { image, warning: Some(warning), .. } => {
                self.complain(&format!("{}: warning: {}", plain(&image), plain(&warning)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn print_line(&self, line: &str) -> Result<(), CommandError> {
        self.above_the_bars(|| say(line))
    }

    fn complain(&self, line: &str) {
        self.above_the_bars(|| remark(format!("entrepot: {line}")));
    }

    /// Hides the bars while `print` runs.
    fn above_the_bars<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.all.suspend(print),
            None => print(),
        }
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let total = all.add(hidden(0));
        total.set_style(style("{elapsed_precise} [{bar:20}] {bytes}/{total_bytes} {bytes_per_sec} {left}{wide_msg}"));
        total.enable_steady_tick(TICK);
        let (blobs, missing) = (HashMap::new(), HashMap::new());
        Self { all, total, shared: 0, done: 0, images: 0, blobs, missing }
    }

    fn update(&mut self, line: &WarmLine) {
        match line {
            WarmLine::Begin { .. } => self.images += 1,
            WarmLine::Plan { image, size, .. } => {
                self.total.inc_length(*size);
                self.missing.insert(image.clone(), *size);
            }
            WarmLine::Blob { image, size, state: BlobState::Shared, .. } => {
                self.shared += size;
                self.total.dec_length(*size);
                self.arrived(image, *size);
            }
            WarmLine::Blob { image, digest, size, .. } => self.begin(image, digest, *size),
            WarmLine::Progress { image, digest, arrived, .. } => self.advance(image, digest, *arrived),
            WarmLine::Arrived { image, digest, size } => {
                self.advance(image, digest, *size);
                self.arrived(image, *size);
                if let Some(bar) = self.blobs.remove(&(image.clone(), digest.clone())) {
                    self.remove(&bar);
                }
            }
            WarmLine::Done { image, .. } | WarmLine::Failed { image, .. } => self.end(image),
            WarmLine::Manifest { .. } | WarmLine::End { .. } | WarmLine::Unknown => {}
        }
        self.total.set_message(format!("{}/{} images, {} shared", self.done, self.images, HumanBytes(self.shared)));
    }

    /// Adds the bar of a blob.
    fn begin(&mut self, image: &str, digest: &str, size: u64) {
        let digest_shown: String = digest.chars().take(DIGEST_LENGTH).collect();
        let bar = self.all.insert_before(&self.total, hidden(size));
        bar.set_style(style("  {prefix} [{bar:20}] {bytes}/{total_bytes}"));
        bar.set_prefix(format!("{} {}", plain(image), plain(&digest_shown)));
        self.blobs.insert((image.to_owned(), digest.to_owned()), bar);
    }

    /// Moves the bar of a blob, and the total with it.
    fn advance(&mut self, image: &str, digest: &str, arrived: u64) {
        // A fill that began again counts only once it passes its earlier position.
        if let Some(bar) = self.blobs.get(&(image.to_owned(), digest.to_owned()))
            && arrived > bar.position()
        {
            self.total.inc(arrived - bar.position());
            bar.set_position(arrived);
        }
    }

    /// Takes a blob off the bytes that the image still misses.
    fn arrived(&mut self, image: &str, size: u64) {
        if let Some(missing) = self.missing.get_mut(image) {
            *missing = missing.saturating_sub(size);
        }
    }

    /// Removes the bars of an image that is done or failed. The missing bytes of a failed image leave the total.
    fn end(&mut self, image: &str) {
        self.done += 1;
        self.total.dec_length(self.missing.remove(image).unwrap_or(0));
        let (ended, running) = self.blobs.drain().partition(|((of, _), _)| of == image);
        self.blobs = running;
        let ended: HashMap<(String, String), ProgressBar> = ended;
        ended.into_values().for_each(|bar| self.remove(&bar));
    }

    /// Takes a bar off the screen.
    fn remove(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.all.remove(bar);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.total.finish_and_clear();
    }
}

/// Makes a bar that draws nothing until it is among the others: a bar that draws itself alone leaves a line behind.
fn hidden(length: u64) -> ProgressBar {
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden())
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the templates in this file are valid");
    style.progress_chars("=> ").with_key("left", |state: &ProgressState, line: &mut dyn Write| {
        // Writing to a text does not fail. Without a rate the remaining time is unknown.
        let _ = match remaining(state.pos(), state.len(), state.eta()) {
            Some(left) => write!(line, "ETA {} ", HumanDuration(left)),
            None => Ok(()),
        };
    })
}

/// Returns the estimated time until all bytes have arrived, in whole seconds. Returns `None` before the first bytes and after the last.
fn remaining(position: u64, length: Option<u64>, estimate: Duration) -> Option<Duration> {
    let is_running = position > 0 && length.is_some_and(|length| position < length);
    is_running.then(|| Duration::from_secs(estimate.as_secs().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_is_shown_while_bytes_arrive() {
        let second = Duration::from_secs(1);
        for (position, length, estimate, left) in [
            (0, Some(100), second, None),
            (10, Some(100), 90 * second, Some(90 * second)),
            (99, Some(100), second / 10, Some(second)),
            (100, Some(100), second, None),
            (10, None, second, None),
        ] {
            assert_eq!(remaining(position, length, estimate), left, "{position} of {length:?}");
        }
    }

    #[test]
    fn total_counts_the_bytes_to_fetch() {
        let mut bars = Bars::new();
        let named = |event: &str, more: &str| {
            let json = format!(
                r#"{{"event":"{event}","image":"alpine","digest":"sha256:a","repository":"","reference":"",{more}}}"#
            );
            serde_json::from_str::<WarmLine>(&json).unwrap()
        };
        for (line, length, position) in [
            (named("begin", r#""more":1"#), 0, 0),
            (named("plan", r#""blobs":3,"size":100"#), 100, 0),
            (named("blob", r#""size":40,"state":"shared""#), 60, 0),
            (named("blob", r#""size":50,"state":"fetching""#), 60, 0),
            (named("progress", r#""size":50,"arrived":20"#), 60, 20),
            (named("progress", r#""size":50,"arrived":10"#), 60, 20),
            (named("arrived", r#""size":50"#), 60, 50),
            (named("later", r#""size":50"#), 60, 50),
            (named("failed", r#""reason":"x""#), 50, 50),
        ] {
            bars.update(&line);
            assert_eq!((bars.total.length(), bars.total.position()), (Some(length), position), "{line:?}");
        }
        assert!(bars.blobs.is_empty() && bars.missing.is_empty());
        assert_eq!((bars.shared, bars.done, bars.images), (40, 1, 1));
    }
}
