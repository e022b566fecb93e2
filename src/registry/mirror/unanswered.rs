//! The questions that an upstream does not answer.
//!
//! Silence belongs to one question: one repository may fail while its upstream answers for all others. The upstream as a
//! whole counts as silent if no connection to it can be made, or if questions about several repositories got no answer and
//! no question got one meanwhile. Each answer ends the silence of the upstream, and shows that the questions which are
//! still without an answer fail for reasons of their own.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::negative_cache::Asked;
use crate::oci::RepositoryName;
use crate::sys::{Clock, Moment};
use crate::upstream::{FailureCause, UpstreamError};

/// The time for which no request waits for an answer after none came.
const RETRY_AFTER_NO_ANSWER: Duration = Duration::from_secs(30);
/// A question is forgotten after this time.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);
/// The most questions that are remembered.
const MOST: usize = 10_000;

/// The content of an upstream's repository that it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamQuestion {
    pub repository: RepositoryName,
    pub asked: Asked,
}

/// The questions that one upstream answered lately, and those that it did not.
pub struct UnansweredQuestions {
    clock: Clock,
    /// A std `Mutex`, because it is held for map operations only.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The time of the last answer to each question.
    answers: HashMap<UpstreamQuestion, Moment>,
    silent: HashMap<UpstreamQuestion, Unanswered>,
    /// The warnings of an upstream that is a mirror and answered with an old copy.
    warnings: HashMap<UpstreamQuestion, String>,
    /// Set while the upstream as a whole does not answer.
    whole: Option<Unanswered>,
}

/// A period without an answer.
#[derive(Clone, Copy)]
struct Unanswered {
    since: SystemTime,
    noticed: Moment,
    /// The cause of the last failure.
    cause: FailureCause,
    /// Another question was answered meanwhile.
    is_alone: bool,
}

/// What the lack of an answer says about other questions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// The upstream cannot be reached.
    Unreachable,
    /// Other questions may be concerned.
    Possible,
    /// Only this question is concerned.
    Own,
    /// It was an answer, or the question was not sent.
    None,
}

impl UnansweredQuestions {
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Notes an answer to a question. Returns true if it ends the silence of the upstream.
    pub fn answered(&self, question: &UpstreamQuestion) -> bool {
        let (mut state, now) = (self.state(), self.clock.moment());
        let was_silent = state.since().is_some();
        match state.answers.get_mut(question) {
            Some(last) => *last = now,
            None => {
                self.make_room(&mut state);
                state.answers.insert(question.clone(), now);
            }
        }
        state.silent.remove(question);
        state.warnings.remove(question);
        state.silent.values_mut().for_each(|silence| silence.is_alone = true);
        state.whole = None;
        was_silent
    }

    /// Notes the warning that came with the last answer to a question.
    pub fn warned(&self, question: &UpstreamQuestion, warning: &str) {
        let mut state = self.state();
        if state.warnings.len() >= MOST {
            state.warnings.clear();
        }
        state.warnings.insert(question.clone(), warning.to_owned());
    }

    /// Returns the warning that came with the last answer to a question.
    pub fn warning(&self, question: &UpstreamQuestion) -> Option<String> {
        self.state().warnings.get(question).cloned()
    }

    /// Notes that no answer to a question came in time. Returns true if the upstream was not silent before, and may be now.
    pub fn silent(&self, question: &UpstreamQuestion) -> bool {
        self.note(question, Evidence::Possible, FailureCause::Timeout)
    }

    /// Notes that a question failed. Returns true if the upstream was not silent before, and may be now.
    pub fn failed(&self, question: &UpstreamQuestion, error: &UpstreamError) -> bool {
        let evidence = match error {
            // A token server that cannot be reached may concern one repository.
            UpstreamError::Connect { host, .. } if !host.is_endpoint() => Evidence::Possible,
            UpstreamError::Connect { .. } => Evidence::Unreachable,
            // The question was not sent, since earlier ones had failed. Those were noted.
            UpstreamError::Silent { .. } => Evidence::None,
            // A page in the place of a list fails like this at each request.
            UpstreamError::Protocol { .. } => Evidence::Own,
            error if error.is_passing() => Evidence::Possible,
            _ => Evidence::None,
        };
        self.note(question, evidence, FailureCause::of(error).unwrap_or(FailureCause::Content))
    }

    /// Returns true if the question was answered at or after `moment`.
    pub fn has_answered_since(&self, question: &UpstreamQuestion, moment: Moment) -> bool {
        self.state().answers.get(question).is_some_and(|answer| *answer >= moment)
    }

    /// Returns true while it is too early to wait for an answer to this question again.
    pub fn is_avoided(&self, question: &UpstreamQuestion) -> bool {
        let state = self.state();
        let unanswered = [state.silent.get(question), state.whole.as_ref()];
        unanswered.into_iter().flatten().any(|silence| self.clock.since(silence.noticed) < RETRY_AFTER_NO_ANSWER)
    }

    /// Returns the time since when this question has not been answered, and the cause.
    pub fn question_since(&self, question: &UpstreamQuestion) -> Option<(SystemTime, FailureCause)> {
        let state = self.state();
        state.silent.get(question).or(state.whole.as_ref()).map(|silence| (silence.since, silence.cause))
    }

    /// Returns the time since when no question has been answered, if some were asked, and the cause.
    pub fn since(&self) -> Option<(SystemTime, FailureCause)> {
        self.state().since()
    }

    fn note(&self, question: &UpstreamQuestion, evidence: Evidence, cause: FailureCause) -> bool {
        let (mut state, now) = (self.state(), self.clock.moment());
        let was_silent = state.since().is_some();
        let known = state.silent.get(question).copied();
        if known.is_none() {
            self.make_room(&mut state);
        }
        let since = known.map_or_else(|| self.clock.now(), |known| known.since);
        let is_alone = known.is_some_and(|known| known.is_alone);
        state.silent.insert(question.clone(), Unanswered { since, noticed: now, cause, is_alone });
        // Repeated requests for the same question do not prolong the silence of the upstream.
        let is_new = known.is_none();
        if is_new && (evidence == Evidence::Unreachable || (evidence == Evidence::Possible && self.are_several(&state)))
        {
            let since = state.whole.map_or(since, |whole| whole.since);
            state.whole = Some(Unanswered { since, noticed: now, cause, is_alone: false });
        }
        !was_silent && !is_alone && evidence != Evidence::None
    }

    /// Returns true if questions about several repositories got no answer lately, and no question got one meanwhile.
    fn are_several(&self, state: &State) -> bool {
        let is_recent = |silence: &Unanswered| self.clock.since(silence.noticed) < 2 * RETRY_AFTER_NO_ANSWER;
        let suspects = state.silent.iter().filter(|(_, silence)| !silence.is_alone && is_recent(silence));
        suspects.map(|(question, _)| &question.repository).collect::<HashSet<_>>().len() > 1
    }

    /// Forgets old questions if there are too many, and all if most of them are recent.
    fn make_room(&self, state: &mut State) {
        if state.answers.len() >= MOST {
            state.answers.retain(|_, answer| self.clock.since(*answer) < RETRY_AFTER_NO_ANSWER);
        }
        if state.answers.len() >= MOST {
            state.answers.clear();
        }
        if state.silent.len() >= MOST {
            state.silent.retain(|_, silence| self.clock.since(silence.noticed) < REMEMBERED);
        }
        if state.silent.len() >= MOST {
            state.silent.clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves the maps complete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the time since when no question has been answered, and the cause.
    fn since(&self) -> Option<(SystemTime, FailureCause)> {
        let suspects = self.silent.values().filter(|silence| !silence.is_alone);
        let first = self.whole.as_ref().or_else(|| suspects.min_by_key(|silence| silence.since));
        first.map(|silence| (silence.since, silence.cause))
    }
}

impl fmt::Display for UpstreamQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Asked::Manifest(reference) => write!(f, "the manifest {reference} of {}", self.repository),
            Asked::Blob(digest) => write!(f, "the blob {digest} of {}", self.repository),
            Asked::Tags => write!(f, "the tags of {}", self.repository),
            Asked::Referrers(digest) => write!(f, "the referrers of {digest} in {}", self.repository),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(repository: &str, tag: &str) -> UpstreamQuestion {
        let asked = Asked::Manifest(tag.parse().unwrap());
        UpstreamQuestion { repository: repository.parse().unwrap(), asked }
    }

    fn unreachable() -> UpstreamError {
        UpstreamError::Connect { host: "hub".into(), reason: "refused".to_owned(), retry_in: None }
    }

    #[test]
    fn one_silent_question_concerns_no_other() {
        let (clock, other) = (Clock::system(), question("b", "1"));
        let unanswered = UnansweredQuestions::new(clock.clone());
        // Two tags of one repository, again and again.
        for minute in 0..10 {
            for tag in ["1", "2"] {
                unanswered.silent(&question("a", tag));
                assert!(unanswered.is_avoided(&question("a", tag)), "{minute}");
            }
            assert!(!unanswered.is_avoided(&other) && !unanswered.is_avoided(&question("a", "3")), "{minute}");
            clock.advance(Duration::from_secs(60));
        }
    }

    #[test]
    fn silence_of_several_repositories_is_that_of_the_upstream_until_an_answer() {
        let (clock, other) = (Clock::system(), question("c", "1"));
        let unanswered = UnansweredQuestions::new(clock.clone());
        assert!(unanswered.silent(&question("a", "1")) && !unanswered.is_avoided(&other));
        assert!(!unanswered.silent(&question("b", "1")) && unanswered.is_avoided(&other));
        assert!(unanswered.since().is_some() && unanswered.question_since(&other).is_some());
        // Repeated questions do not prolong it.
        for _ in 0..3 {
            clock.advance(Duration::from_secs(11));
            unanswered.silent(&question("a", "1"));
            unanswered.failed(&question("b", "1"), &unreachable());
        }
        assert!(!unanswered.is_avoided(&other));
        assert!(unanswered.answered(&other) && unanswered.since().is_none());
        assert!(unanswered.is_avoided(&question("a", "1")), "it still has no answer");
        unanswered.silent(&question("a", "1"));
        unanswered.silent(&question("b", "1"));
        assert!(!unanswered.is_avoided(&question("d", "1")), "both fail for reasons of their own");
        assert!(!unanswered.answered(&question("a", "1")) && !unanswered.is_avoided(&question("a", "1")));
    }

    #[test]
    fn unreachable_upstream_is_avoided_for_all_questions() {
        let unanswered = UnansweredQuestions::new(Clock::system());
        assert!(unanswered.failed(&question("a", "1"), &unreachable()));
        assert!(unanswered.is_avoided(&question("b", "1")));
        let wrong = UpstreamError::TooLarge { host: "hub".into(), answer: "a manifest", limit: 1 };
        let unanswered = UnansweredQuestions::new(Clock::system());
        for repository in ["a", "b", "c"] {
            assert!(!unanswered.failed(&question(repository, "1"), &wrong), "a bad answer is an answer");
        }
        assert!(!unanswered.is_avoided(&question("d", "1")) && unanswered.is_avoided(&question("a", "1")));
    }
}
