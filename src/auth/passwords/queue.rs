//! The queue of logins whose password has to be hashed.
//!
//! A hash takes a core for tens of milliseconds, and before that it is not known who sends the login. So a few hashes run at a
//! time, and the others wait in turn: one for each address, and at each address one for each user name. A client that guesses
//! passwords delays a login from another address, or of another user, by one hash and not by its whole list. The queue is
//! bounded. When it is full, one login is refused at once: of the address with the most logins in the queue, and there of the
//! user with the most.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The logins that wait, in all, of one address, and of one user at one address.
const MAX_WAITING: usize = 256;
const MAX_OF_ADDRESS: usize = 32;
const MAX_OF_USER: usize = 8;

/// The queue has no place for this login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowded;

/// A queue of logins.
#[derive(Debug)]
pub(super) struct LoginQueue {
    /// A std mutex, because it is held for a few steps in memory and never across an await.
    state: Mutex<QueueState>,
}

#[derive(Debug)]
struct QueueState {
    /// The number of hashes that may begin now.
    free: usize,
    /// The addresses with waiting logins. The first has its turn next.
    addresses: VecDeque<AddressLine>,
}

#[derive(Debug)]
struct AddressLine {
    address: IpAddr,
    users: VecDeque<UserLine>,
}

#[derive(Debug)]
struct UserLine {
    user: String,
    waiting: VecDeque<oneshot::Sender<LoginTurn>>,
}

/// The permission to compute one hash. Dropping it lets the next login begin.
#[derive(Debug)]
pub(super) struct LoginTurn {
    queue: Arc<LoginQueue>,
}

impl LoginQueue {
    /// Makes a queue that lets this many hashes run at a time.
    pub(super) fn new(at_a_time: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(QueueState { free: at_a_time, addresses: VecDeque::new() }) })
    }

    /// Waits for the turn of a login. Fails if the queue is full, or if the place is given to a client with fewer logins.
    pub(super) async fn turn(self: &Arc<Self>, address: IpAddr, user: &str) -> Result<LoginTurn, Crowded> {
        let waiting = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(LoginTurn { queue: Arc::clone(self) });
            }
            state.enqueue(address, user)?
        };
        waiting.await.map_err(|_| Crowded)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Each holder leaves a valid state, so a panic of another one changes nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn enqueue(&mut self, address: IpAddr, user: &str) -> Result<oneshot::Receiver<LoginTurn>, Crowded> {
        self.forget_gone();
        let line = self.addresses.iter().position(|line| line.address == address);
        let of_address = line.map_or(0, |line| self.addresses[line].len());
        let of_user = line.map_or(0, |line| self.addresses[line].len_of(user));
        if of_user >= MAX_OF_USER {
            return Err(Crowded);
        }
        if let Some(line) = line.filter(|_| of_address >= MAX_OF_ADDRESS) {
            let longest = self.addresses[line].longest().filter(|user| user.waiting.len() > of_user + 1);
            longest.ok_or(Crowded)?.waiting.pop_back();
        } else if self.addresses.iter().map(AddressLine::len).sum::<usize>() >= MAX_WAITING {
            let longest = self.addresses.iter_mut().max_by_key(|line| line.len());
            let longest = longest.filter(|line| line.len() > of_address + 1).and_then(AddressLine::longest);
            longest.ok_or(Crowded)?.waiting.pop_back();
        }
        Ok(self.line(address).append(user))
    }

    fn line(&mut self, address: IpAddr) -> &mut AddressLine {
        let known = self.addresses.iter().position(|line| line.address == address);
        let index = known.unwrap_or_else(|| {
            self.addresses.push_back(AddressLine { address, users: VecDeque::new() });
            self.addresses.len() - 1
        });
        &mut self.addresses[index]
    }

    /// Removes the logins whose clients have left.
    fn forget_gone(&mut self) {
        for line in &mut self.addresses {
            line.users.iter_mut().for_each(|user| user.waiting.retain(|waiting| !waiting.is_closed()));
            line.users.retain(|user| !user.waiting.is_empty());
        }
        self.addresses.retain(|line| !line.users.is_empty());
    }

    /// Takes the login whose turn it is: the first of the first user at the first address. Both then go to the end.
    fn next(&mut self) -> Option<oneshot::Sender<LoginTurn>> {
        self.forget_gone();
        let mut line = self.addresses.pop_front()?;
        let mut user = line.users.pop_front()?;
        let waiting = user.waiting.pop_front();
        if !user.waiting.is_empty() {
            line.users.push_back(user);
        }
        if !line.users.is_empty() {
            self.addresses.push_back(line);
        }
        waiting
    }
}

impl AddressLine {
    fn len(&self) -> usize {
        self.users.iter().map(|user| user.waiting.len()).sum()
    }

    fn len_of(&self, user: &str) -> usize {
        self.users.iter().find(|line| line.user == user).map_or(0, |line| line.waiting.len())
    }

    /// Returns the user with the most waiting logins. The last one may have to give its place.
    fn longest(&mut self) -> Option<&mut UserLine> {
        self.users.iter_mut().max_by_key(|user| user.waiting.len())
    }

    fn append(&mut self, user: &str) -> oneshot::Receiver<LoginTurn> {
        let known = self.users.iter().position(|line| line.user == user);
        let index = known.unwrap_or_else(|| {
            self.users.push_back(UserLine { user: user.to_owned(), waiting: VecDeque::new() });
            self.users.len() - 1
        });
        let (sender, receiver) = oneshot::channel();
        self.users[index].waiting.push_back(sender);
        receiver
    }
}

impl Drop for LoginTurn {
    fn drop(&mut self) {
        let next = {
            let mut state = self.queue.lock();
            let next = state.next();
            state.free += usize::from(next.is_none());
            next
        };
        // If the client has left in this moment, the turn comes back and is dropped, which passes it on.
        if let Some(next) = next {
            drop(next.send(LoginTurn { queue: Arc::clone(&self.queue) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;

    type Waiting = BoxFuture<'static, Result<LoginTurn, Crowded>>;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Lets a login wait. Returns `None` if it was refused at once.
    fn wait(queue: &Arc<LoginQueue>, last: u8, user: &str) -> Option<Waiting> {
        let (queue, user) = (Arc::clone(queue), user.to_owned());
        let mut waiting: Waiting = async move { queue.turn(address(last), &user).await }.boxed();
        match waiting.as_mut().now_or_never() {
            None => Some(waiting),
            Some(Err(Crowded)) => None,
            Some(Ok(_)) => panic!("there was a free place"),
        }
    }

    /// Counts the hashes that run before this login has its turn.
    fn hashes_before(running: LoginTurn, mut others: Vec<Waiting>, mut login: Waiting) -> usize {
        let (mut running, mut count) = (Some(running), 1);
        loop {
            drop(running.take());
            if let Some(turn) = login.as_mut().now_or_never() {
                turn.expect("the login was not refused");
                return count;
            }
            let next =
                others.iter_mut().enumerate().find_map(|(index, one)| Some((index, one.as_mut().now_or_never()?)));
            let (index, turn) = next.expect("a login has its turn");
            drop(others.swap_remove(index));
            running = turn.ok();
            count += usize::from(running.is_some());
        }
    }

    #[tokio::test]
    async fn guesser_delays_others_by_a_few_hashes() {
        for (from, user) in [(2, "alice"), (1, "alice"), (2, "guessed")] {
            let queue = LoginQueue::new(1);
            let running = queue.turn(address(1), "guessed").await.unwrap();
            let guesses: Vec<Waiting> = (0..300).filter_map(|_| wait(&queue, 1, "guessed")).collect();
            assert_eq!(guesses.len(), MAX_OF_USER, "the others are refused");
            let login = wait(&queue, from, user).expect("the login of another client waits");
            assert!(hashes_before(running, guesses, login) <= 2, "{from} {user}");
        }
    }

    #[tokio::test]
    async fn guesser_of_names_gives_its_places_to_other_addresses() {
        let queue = LoginQueue::new(1);
        let running = queue.turn(address(1), "a").await.unwrap();
        let guesses: Vec<Waiting> = (0..300).filter_map(|number| wait(&queue, 1, &format!("name{number}"))).collect();
        assert_eq!(guesses.len(), MAX_OF_ADDRESS);
        let login = wait(&queue, 2, "alice").unwrap();
        assert_eq!(hashes_before(running, guesses, login), 2);

        // Of one address, a user with several logins gives a place to one with fewer.
        let queue = LoginQueue::new(1);
        let _running = queue.turn(address(1), "a").await.unwrap();
        let names = ["b", "c", "d", "e", "f"];
        let mut guesses: Vec<Waiting> =
            (0..MAX_OF_ADDRESS).filter_map(|number| wait(&queue, 1, names[number / MAX_OF_USER])).collect();
        assert_eq!(guesses.len(), MAX_OF_ADDRESS);
        assert!(wait(&queue, 1, "alice").is_some());
        assert_eq!(guesses.iter_mut().filter_map(|guess| guess.as_mut().now_or_never()).count(), 1, "one is refused");
    }

    #[tokio::test]
    async fn full_queue_takes_a_new_address_for_one_login_of_the_longest_line() {
        let queue = LoginQueue::new(1);
        let _running = queue.turn(address(1), "a").await.unwrap();
        let names = (2..10).flat_map(|from| (0..MAX_OF_ADDRESS).map(move |number| (from, format!("n{number}"))));
        let mut guesses: Vec<Waiting> = names.filter_map(|(from, user)| wait(&queue, from, &user)).collect();
        assert_eq!(guesses.len(), MAX_WAITING);
        assert!(wait(&queue, 2, "alice").is_none(), "this address has as many as the others");
        assert!(wait(&queue, 100, "alice").is_some());
        assert_eq!(guesses.iter_mut().filter_map(|guess| guess.as_mut().now_or_never()).count(), 1, "one is refused");
    }

    #[tokio::test]
    async fn clients_that_leave_free_their_places() {
        let queue = LoginQueue::new(1);
        let running = queue.turn(address(1), "a").await.unwrap();
        let gone: Vec<Waiting> = (0..MAX_OF_USER).filter_map(|_| wait(&queue, 1, "a")).collect();
        assert!(wait(&queue, 1, "a").is_none());
        drop(gone);
        let login = wait(&queue, 1, "a").expect("the places are free");
        assert_eq!(hashes_before(running, Vec::new(), login), 1);
        assert_eq!(queue.lock().free, 1);
    }
}
