//! A client that guesses passwords, and another one that knows its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::registry::Registry;

/// The number of wrong logins, and of the connections that send them, one after another.
const GUESSES: usize = 300;
const CONNECTIONS: usize = 10;
/// The number of right logins that are measured before the guesses, and the most that are measured during them.
const LOGINS: usize = 20;

/// The outcome of the guesses, and the times of the right logins.
pub struct Guessed {
    pub guesses: usize,
    /// The number of guesses that were answered 429 instead of 401.
    pub refused: usize,
    /// The longest time of a right login when no one guesses, and while the guesses are sent.
    pub alone: Duration,
    pub beside: Duration,
}

/// Sends the guesses of one user's password from one address, while other users log in from another address. The server
/// remembers right logins, so each right login that is measured is the first one of its user.
pub fn measured() -> Guessed {
    let users: Vec<String> = (0..2 * LOGINS).map(|at| format!("user{at}")).collect();
    let registry = Registry::configured(|place| {
        let lines = |name: &String| format!("{name}:{}\n", bcrypt::hash(name, 10).unwrap());
        let lines: String = users.iter().map(lines).collect();
        let file = place.write("users", &lines);
        format!("{}\nauth: {{htpasswd: {{realm: r, path: {}}}}}\n", place.usual(), file.display())
    });
    let login = |user: &String, address: &str| {
        let begun = Instant::now();
        let client = registry.client().login(user, user);
        assert_eq!(client.request("GET", "/v2/").header("X-Forwarded-For", address).send().status, 200);
        begun.elapsed()
    };
    let (before, meanwhile) = users.split_at(LOGINS);
    let alone = before.iter().map(|user| login(user, "203.0.113.1")).max().unwrap();
    let (next, refused, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let guess = |number: usize| {
        let guesser = registry.client().login("user0", &format!("guess{number}"));
        let answer = guesser.request("GET", "/v2/").header("X-Forwarded-For", "203.0.113.9").send();
        assert!([401, 429].contains(&answer.status), "{}", answer.status);
        refused.fetch_add(usize::from(answer.status == 429), Ordering::Relaxed);
    };
    let number = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < GUESSES);
    let beside = thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                std::iter::from_fn(number).for_each(guess);
                over.fetch_add(1, Ordering::Relaxed);
            });
        }
        thread::sleep(Duration::from_millis(100));
        let guessing = || over.load(Ordering::Relaxed) < CONNECTIONS;
        let times: Vec<_> =
            meanwhile.iter().take_while(|_| guessing()).map(|user| login(user, "203.0.113.1")).collect();
        times.into_iter().max().expect("the guesses ended before the first login")
    });
    Guessed { guesses: GUESSES, refused: refused.into_inner(), alone, beside }
}
