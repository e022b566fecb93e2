//! Writes log lines on a thread of its own. So no request waits for the reader of standard error, which may be a pipe that is full
//! or a file on a slow disk.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// At most this many lines are queued. With the usual length of a line, that is about 6 MiB.
const QUEUED_LINES: usize = 16 * 1024;

/// A queue of lines in front of a writer.
pub(super) struct LogWriter {
    queue: NonBlocking,
    lost: ErrorCounter,
    /// The number of lost lines that a line has reported.
    reported: AtomicUsize,
}

/// Dropping the guard ends the thread. Before it ends, the thread writes the queued lines, for a second at most.
pub(in crate::cli) struct LogGuard {
    _worker: WorkerGuard,
}

impl LogWriter {
    /// Starts the thread.
    pub(super) fn start(output: impl Write + Send + 'static) -> (Self, LogGuard) {
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUED_LINES);
        let (queue, worker) = builder.thread_name("log").finish(output);
        let lost = queue.error_counter();
        (Self { queue, lost, reported: AtomicUsize::new(0) }, LogGuard { _worker: worker })
    }

    /// Queues a line. If lines were lost before it, a line from `report` precedes it, which gets their number.
    pub(super) fn write(&self, line: String, report: impl FnOnce(usize) -> String) {
        let lost = self.lost.dropped_lines();
        let unreported = lost.saturating_sub(self.reported.fetch_max(lost, Ordering::AcqRel));
        let text = if unreported == 0 { line } else { report(unreported) + &line };
        // The queue counts a line that it cannot take. There is no other place to report it.
        let _ = self.queue.clone().write_all(text.as_bytes());
        if self.lost.dropped_lines() > lost {
            // The report may be lost too, so the next line reports the same lines.
            self.reported.fetch_sub(unreported, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A writer that waits for a permission before each of its writes, and hands the bytes on.
    struct Hanging(mpsc::Receiver<()>, mpsc::Sender<String>);

    impl Write for Hanging {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // When the sender is gone, every write is permitted.
            let _ = self.0.recv();
            self.1.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_the_queue_full_are_counted_and_reported_once() {
        const LINES: usize = QUEUED_LINES + 11;
        let ((permit, permits), (sender, written)) = (mpsc::channel(), mpsc::channel());
        let (writer, guard) = LogWriter::start(Hanging(permits, sender));
        let write = |line: &str| writer.write(line.to_owned(), |lost| format!("{lost} lost\n"));
        for _ in 0..LINES {
            write("line\n");
        }
        drop(permit);
        // From here on the queue has space.
        let mut lines: Vec<String> = (0..QUEUED_LINES).map(|_| written.recv().unwrap()).collect();
        write("after\n");
        write("last\n");
        drop(guard);
        lines.extend(written.iter());
        let arrived = lines.iter().filter(|line| *line == "line\n").count();
        assert!(arrived < LINES);
        assert_eq!(lines[arrived..], [format!("{} lost\nafter\n", LINES - arrived), "last\n".to_owned()]);
    }
}
