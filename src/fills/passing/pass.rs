//! One stream that passes through: its task fills the window, and its readers follow the window.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, watch};

use super::reach::PassRange;
use super::stream::PassStream;
use super::wait_budget::WaitBudget;
use super::window::{Taken, Want, Window, WindowEnd};
use crate::fills::shared::{Shared, WINDOW_STEP};
use crate::fills::source::BlobSource;
use crate::oci::{Digest, MirroredName};
use crate::upstream::UpstreamError;

/// The most steps of one window.
const WINDOW_STEPS: usize = 8;

/// The answer of an upstream to a stream's request: the size of the blob, if it is stated.
type PassAnswer = Result<Option<u64>, UpstreamError>;

/// One stream, and its readers.
pub(super) struct Pass {
    source: MirroredName,
    /// A std `Mutex`: held for operations on the window, the longest of which hashes 64 KiB.
    window: Mutex<Window>,
    /// Tells readers that the window has changed.
    changed: watch::Sender<()>,
    /// Tells the task that a reader has taken something, waits, or has left.
    pub(super) moved: watch::Sender<()>,
    answer: watch::Sender<Option<PassAnswer>>,
    /// True until the stream has been answered and has a reader, or has waited for one.
    pub(super) waits: watch::Sender<bool>,
}

/// A reader's place at a stream. Dropping it leaves the stream.
pub(super) struct JoinedPass {
    pass: Arc<Pass>,
    number: u64,
    changed: watch::Receiver<()>,
}

impl Pass {
    /// Starts a stream from a source, for a first reader.
    pub(super) fn start(
        shared: &Shared,
        digest: Digest,
        source: BlobSource,
        range: PassRange,
        want: &Want,
    ) -> JoinedPass {
        let (from, to, window) = match range {
            PassRange::Verified(prefix) => (prefix.end(), None, Window::verified(prefix)),
            PassRange::Range(span) => (span.start, Some(span.end), Window::unverified(span.start)),
        };
        let (name, window) = (source.name.clone(), Mutex::new(window));
        let (changed, moved, answer) = (watch::Sender::new(()), watch::Sender::new(()), watch::Sender::new(None));
        let waits = watch::Sender::new(true);
        let pass = Arc::new(Self { source: name, window, changed, moved, answer, waits });
        let seat = pass.sit(want);
        let (ended, shared) = (EndOfPass(pass), shared.clone());
        let tasks = shared.machine.tasks.clone();
        tasks.spawn(async move {
            let stream = PassStream::new(shared.clone(), digest, source.clone(), from, to);
            ended.0.run(&shared, &source, stream).await;
        });
        seat
    }

    /// Returns the repository whose source sends the stream.
    pub(super) fn source(&self) -> &MirroredName {
        &self.source
    }

    /// Returns true if nothing is left to read here.
    pub(super) fn is_gone(&self) -> bool {
        let window = self.window();
        window.has_ended() && window.has_no_reader()
    }

    /// Adds a reader if it can begin here.
    pub(super) fn join(self: &Arc<Self>, want: &Want) -> Option<JoinedPass> {
        let admits = self.window().admits(want);
        admits.then(|| self.sit(want))
    }

    fn sit(self: &Arc<Self>, want: &Want) -> JoinedPass {
        let number = self.window().join(want.position);
        self.moved.send_replace(());
        JoinedPass { pass: Arc::clone(self), number, changed: self.changed.subscribe() }
    }

    /// Asks the upstream, and fills the window until the stream ends. A request for which the readers did not wait goes on:
    /// the next reader joins it.
    async fn run(&self, shared: &Shared, source: &BlobSource, mut stream: PassStream) {
        let memory = self.grant_memory(shared).await;
        let outcome = match stream.begin().await {
            Ok(total) => {
                self.answer.send_replace(Some(Ok(total)));
                self.is_joined().await;
                self.waits.send_replace(false);
                tokio::select! {
                    end = self.fill_window(shared, source, &mut stream) => end,
                    () = self.readers_have_left() => WindowEnd::Over,
                }
            }
            Err(error) => {
                self.answer.send_replace(Some(Err(error.clone())));
                WindowEnd::Failed(error)
            }
        };
        // The connection is free before the last readers have finished.
        drop(stream);
        self.finish(outcome);
        self.wait_for_last_readers().await;
        drop(memory);
    }

    /// Waits for the memory of the window: one step, and more if they are free.
    async fn grant_memory(&self, shared: &Shared) -> OwnedSemaphorePermit {
        let steps = Arc::clone(&shared.pass_memory);
        let mut memory = Arc::clone(&steps).acquire_owned().await.expect("the semaphore is never closed");
        while memory.num_permits() < WINDOW_STEPS
            && let Ok(more) = Arc::clone(&steps).try_acquire_owned()
        {
            memory.merge(more);
        }
        self.window().set_capacity((memory.num_permits() * WINDOW_STEP) as u64);
        memory
    }

    async fn fill_window(&self, shared: &Shared, source: &BlobSource, stream: &mut PassStream) -> WindowEnd {
        let mut budget = WaitBudget::new(shared.hosts.now());
        while self.room(shared, &mut budget).await {
            match stream.next().await {
                Ok(Some(bytes)) => {
                    self.window().push(bytes);
                    self.changed.send_replace(());
                }
                Ok(None) => {
                    let outcome = self.verify(source, stream);
                    if matches!(outcome, WindowEnd::Verified) {
                        source.warn_of_wrong_size(&stream.digest(), stream.position());
                        shared.ledger.refused_has_size(&stream.digest(), stream.position());
                    }
                    return outcome;
                }
                Err(error) => {
                    let (digest, repository) = (stream.digest(), &source.name);
                    tracing::warn!(%digest, %repository, %error, "a blob that is passed through could not be fetched to its end");
                    return WindowEnd::Failed(error);
                }
            }
        }
        WindowEnd::Over
    }

    /// Compares the hash of the whole blob with its digest.
    fn verify(&self, source: &BlobSource, stream: &PassStream) -> WindowEnd {
        let expected = stream.digest();
        match self.window().digest() {
            None => WindowEnd::Range,
            Some(found) if found == expected => WindowEnd::Verified,
            Some(found) => {
                let (repository, sender) = (&source.name, stream.only_sender());
                let host = sender.map(|endpoint| source.upstream.host(endpoint));
                tracing::error!(%expected, %found, %repository, host, "the content of a blob that was passed through does not match its digest");
                // Of several endpoints it is unknown which one is wrong.
                if let Some(endpoint) = sender {
                    source.upstream.report_digest_mismatch(endpoint, source.name.repository());
                }
                WindowEnd::Failed(UpstreamError::Mismatch { expected, found })
            }
        }
    }

    fn finish(&self, outcome: WindowEnd) {
        self.waits.send_replace(false);
        self.window().finish(outcome);
        self.changed.send_replace(());
    }

    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        // A panic within an operation ends the stream, whose task finishes the window.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JoinedPass {
    /// Returns the repository whose source sends the stream.
    pub(super) fn source(&self) -> &MirroredName {
        self.pass.source()
    }

    pub(super) fn pass(&self) -> &Arc<Pass> {
        &self.pass
    }

    /// Returns true if the stream brings the bytes that a reader wants next.
    pub(super) fn admits(&self, want: &Want) -> bool {
        self.pass.window().admits(want)
    }

    /// Waits for the upstream's answer to the stream's request.
    pub(super) async fn answered(&self) -> PassAnswer {
        let mut answer = self.pass.answer.subscribe();
        match answer.wait_for(Option::is_some).await.map(|answer| answer.clone()) {
            Ok(Some(answer)) => answer,
            _ => Err(interrupted(self.source())),
        }
    }

    /// Waits for the next bytes.
    pub(super) async fn take(&mut self, want: &Want) -> Taken {
        loop {
            self.changed.borrow_and_update();
            let taken = self.pass.window().take(self.number, want);
            self.pass.moved.send_replace(());
            if !matches!(taken, Taken::Wait) {
                return taken;
            }
            // The sender belongs to the stream, which this reader keeps.
            let _ = self.changed.changed().await;
        }
    }
}

impl Drop for JoinedPass {
    fn drop(&mut self) {
        self.pass.window().leave(self.number);
        self.pass.moved.send_replace(());
    }
}

/// Ends a stream whose task has ended in any way, so that no reader waits for it.
struct EndOfPass(Arc<Pass>);

impl Drop for EndOfPass {
    fn drop(&mut self) {
        let pass = &self.0;
        pass.finish(WindowEnd::Over);
        pass.answer.send_if_modified(|answer| {
            let is_open = answer.is_none();
            if is_open {
                *answer = Some(Err(interrupted(&pass.source)));
            }
            is_open
        });
    }
}

fn interrupted(source: &MirroredName) -> UpstreamError {
    UpstreamError::Protocol { host: source.upstream().as_str().into(), reason: "the server is stopping".to_owned() }
}
