//! The queue of logins whose password has to be hashed.
//!
//! A hash takes a core for tens of milliseconds, and before that it is not known who sends the login. So a few hashes run at a
//! time, and the others wait in turn: one for each machine at the other end of a connection, there one for each address that it tells as
//! a proxy, and there one for each user name. A client that guesses passwords delays a login from another address, or of another user, by
//! one hash and not by its whole list. The logins of users who have logged in from their address before wait in a queue of their own,
//! which has every second turn. So they do not wait behind all the names that a client at their address invents.
//!
//! Each of the two queues is bounded. When one is full, one login is refused at once: of the machine with the most logins in it, and there
//! of the address and of the user with the most.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::oneshot;

use super::ring::{Ring, WaitingLine};
use crate::sys::ClientAddress;

/// The logins that wait in a queue, in all, of one address, and of one user at one address.
const MAX_WAITING: usize = 512;
const MAX_OF_ADDRESS: usize = 128;
const MAX_OF_USER: usize = 8;
/// The number of users that are known to log in from an address, and the time after which each is forgotten.
const MAX_KNOWN: u64 = 10_000;
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// The queue has no place for this login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowded;

/// A queue of logins.
#[derive(Debug)]
pub(super) struct LoginQueue {
    /// A std mutex, because it is held for a few steps in memory and never across an await.
    state: Mutex<QueueState>,
    /// The users that have logged in, with their addresses.
    known: Cache<(IpAddr, String), ()>,
}

#[derive(Debug)]
struct QueueState {
    /// The number of hashes that may begin now.
    free: usize,
    /// The logins of users who have logged in from their address before.
    known: Machines,
    others: Machines,
    next: Queue,
}

/// The queue that has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Known,
    Others,
}

/// The waiting logins, by the machine at the other end of the connection, the client's address, and the user.
type Machines = Ring<IpAddr, Addresses>;
type Addresses = Ring<IpAddr, Users>;
type Users = Ring<String, Waiting>;

/// The waiting logins of one user at one address.
#[derive(Debug, Default)]
struct Waiting(VecDeque<oneshot::Sender<LoginTurn>>);

/// The permission to compute one hash. Dropping it lets the next login begin.
#[derive(Debug)]
pub(super) struct LoginTurn {
    queue: Arc<LoginQueue>,
}

impl LoginQueue {
    /// Makes a queue that lets this many hashes run at a time.
    pub(super) fn new(at_a_time: usize) -> Arc<Self> {
        let (known, others) = (Ring::default(), Ring::default());
        Arc::new(Self {
            state: Mutex::new(QueueState { free: at_a_time, known, others, next: Queue::Known }),
            known: Cache::builder().max_capacity(MAX_KNOWN).time_to_live(KNOWN_FOR).build(),
        })
    }

    /// Waits for the turn of a login. Fails if the queue is full, or if the place is given to a client with fewer logins.
    pub(super) async fn turn(self: &Arc<Self>, address: ClientAddress, user: &str) -> Result<LoginTurn, Crowded> {
        let is_known = self.known.contains_key(&(address.client(), user.to_owned()));
        let waiting = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(LoginTurn { queue: Arc::clone(self) });
            }
            let queue = if is_known { &mut state.known } else { &mut state.others };
            enqueue(queue, address, user)?
        };
        waiting.await.map_err(|_| Crowded)
    }

    /// Records that a user has logged in from an address.
    pub(super) fn note_login(&self, address: ClientAddress, user: &str) {
        self.known.insert((address.client(), user.to_owned()), ());
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Each holder leaves a valid state, so a panic of another one changes nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends a login to a queue.
fn enqueue(
    machines: &mut Machines,
    address: ClientAddress,
    user: &str,
) -> Result<oneshot::Receiver<LoginTurn>, Crowded> {
    machines.forget_gone();
    let (is_full, of_machine) = (machines.len() >= MAX_WAITING, machines.len_of(&address.peer()));
    let addresses = machines.line(address.peer());
    let of_address = addresses.len_of(&address.client());
    let users = addresses.line(address.client());
    let of_user = users.len_of(&user.to_owned());
    let has_room = if of_user >= MAX_OF_USER {
        false
    } else if of_address >= MAX_OF_ADDRESS {
        users.make_room(of_user)
    } else {
        !is_full || addresses.make_room(of_address) || machines.make_room(of_machine)
    };
    if !has_room {
        return Err(Crowded);
    }
    let (sender, receiver) = oneshot::channel();
    machines.line(address.peer()).line(address.client()).line(user.to_owned()).0.push_back(sender);
    Ok(receiver)
}

impl QueueState {
    /// Takes the login whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<LoginTurn>> {
        self.known.forget_gone();
        self.others.forget_gone();
        let (first, second, next) = match self.next {
            Queue::Known => (&mut self.known, &mut self.others, Queue::Others),
            Queue::Others => (&mut self.others, &mut self.known, Queue::Known),
        };
        self.next = next;
        first.next().or_else(|| second.next())
    }
}

impl WaitingLine for Waiting {
    type Item = oneshot::Sender<LoginTurn>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn forget_gone(&mut self) {
        self.0.retain(|waiting| !waiting.is_closed());
    }

    fn next(&mut self) -> Option<Self::Item> {
        self.0.pop_front()
    }

    fn shrink(&mut self) {
        self.0.pop_back();
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

    type Login = BoxFuture<'static, Result<LoginTurn, Crowded>>;

    fn address(last: u8) -> ClientAddress {
        ClientAddress::new([192, 0, 2, last].into(), None)
    }

    /// Returns the address of a client behind a proxy.
    fn forwarded(proxy: u8, client: u16) -> ClientAddress {
        let [high, low] = client.to_be_bytes();
        ClientAddress::new([10, 0, 0, proxy].into(), Some([198, 51, high, low].into()))
    }

    /// Lets a login wait. Returns `None` if it was refused at once.
    fn wait(queue: &Arc<LoginQueue>, last: u8, user: &str) -> Option<Login> {
        wait_at(queue, address(last), user)
    }

    fn wait_at(queue: &Arc<LoginQueue>, address: ClientAddress, user: &str) -> Option<Login> {
        let (queue, user) = (Arc::clone(queue), user.to_owned());
        let mut waiting: Login = async move { queue.turn(address, &user).await }.boxed();
        match waiting.as_mut().now_or_never() {
            None => Some(waiting),
            Some(Err(Crowded)) => None,
            Some(Ok(_)) => panic!("there was a free place"),
        }
    }

    /// Counts the hashes that run before this login has its turn.
    fn hashes_before(running: LoginTurn, mut others: Vec<Login>, mut login: Login) -> usize {
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
            let guesses: Vec<Login> = (0..300).filter_map(|_| wait(&queue, 1, "guessed")).collect();
            assert_eq!(guesses.len(), MAX_OF_USER, "the others are refused");
            let login = wait(&queue, from, user).expect("the login of another client waits");
            assert!(hashes_before(running, guesses, login) <= 2, "{from} {user}");
        }
    }

    #[tokio::test]
    async fn guesser_of_names_gives_its_places_to_other_addresses() {
        let queue = LoginQueue::new(1);
        let running = queue.turn(address(1), "a").await.unwrap();
        let guesses: Vec<Login> = (0..300).filter_map(|number| wait(&queue, 1, &format!("name{number}"))).collect();
        assert_eq!(guesses.len(), MAX_OF_ADDRESS);
        let login = wait(&queue, 2, "alice").unwrap();
        assert_eq!(hashes_before(running, guesses, login), 2);

        // Of one address, a user with several logins gives a place to one with fewer.
        let queue = LoginQueue::new(1);
        let _running = queue.turn(address(1), "a").await.unwrap();
        let mut guesses: Vec<Login> = (0..MAX_OF_ADDRESS)
            .filter_map(|number| wait(&queue, 1, &format!("name{}", number / MAX_OF_USER)))
            .collect();
        assert_eq!(guesses.len(), MAX_OF_ADDRESS);
        assert!(wait(&queue, 1, "alice").is_some());
        assert_eq!(guesses.iter_mut().filter_map(|guess| guess.as_mut().now_or_never()).count(), 1, "one is refused");
    }

    #[tokio::test]
    async fn full_queue_takes_a_new_address_for_one_login_of_the_longest_line() {
        let queue = LoginQueue::new(1);
        let _running = queue.turn(address(1), "a").await.unwrap();
        let names = (2..6).flat_map(|from| (0..MAX_OF_ADDRESS).map(move |number| (from, format!("n{number}"))));
        let mut guesses: Vec<Login> = names.filter_map(|(from, user)| wait(&queue, from, &user)).collect();
        assert_eq!(guesses.len(), MAX_WAITING);
        assert!(wait(&queue, 2, "alice").is_none(), "this address has as many as the others");
        assert!(wait(&queue, 100, "alice").is_some());
        assert_eq!(guesses.iter_mut().filter_map(|guess| guess.as_mut().now_or_never()).count(), 1, "one is refused");
    }

    #[tokio::test]
    async fn invented_addresses_behind_one_proxy_have_one_turn_together() {
        let queue = LoginQueue::new(1);
        let running = queue.turn(address(1), "a").await.unwrap();
        let guesses: Vec<Login> =
            (0..600).filter_map(|number| wait_at(&queue, forwarded(1, number), "alice")).collect();
        assert_eq!(guesses.len(), MAX_WAITING);
        let others = [wait(&queue, 2, "alice").unwrap(), wait_at(&queue, forwarded(2, 7), "alice").unwrap()];
        let [direct, proxied] = others;
        assert_eq!(hashes_before(running, [guesses, vec![direct]].into_iter().flatten().collect(), proxied), 3);
    }

    #[tokio::test]
    async fn known_user_does_not_wait_behind_invented_names() {
        let queue = LoginQueue::new(1);
        let running = queue.turn(address(1), "a").await.unwrap();
        let guesses: Vec<Login> = (0..300).filter_map(|number| wait(&queue, 1, &format!("n{number}"))).collect();
        assert_eq!(guesses.len(), MAX_OF_ADDRESS);
        assert!(wait(&queue, 1, "alice").is_none());
        queue.note_login(address(1), "alice");
        let login = wait(&queue, 1, "alice").expect("a known user has a place");
        assert_eq!(hashes_before(running, guesses, login), 1);
    }

    #[tokio::test]
    async fn clients_that_leave_free_their_places() {
        let queue = LoginQueue::new(1);
        let running = queue.turn(address(1), "a").await.unwrap();
        let gone: Vec<Login> = (0..MAX_OF_USER).filter_map(|_| wait(&queue, 1, "a")).collect();
        assert!(wait(&queue, 1, "a").is_none());
        drop(gone);
        let login = wait(&queue, 1, "a").expect("the places are free");
        assert_eq!(hashes_before(running, Vec::new(), login), 1);
        assert_eq!(queue.lock().free, 1);
    }
}
