//! Looks up the names of hosts.
//!
//! The system's resolver blocks a thread, for as long as it waits for a name server. So requests that need the same name
//! share a look-up, and the look-ups have few threads. A look-up that waits counts for the limit of its connection.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::sys::{BlockingLimit, Clock, Moment};

/// The threads for all look-ups …
static THREADS: BlockingLimit = BlockingLimit::new(64);
/// … and for those of one client. So the names of one upstream, which may hang, leave threads to the others.
const PER_CLIENT: usize = 8;

/// A look-up that takes longer than this may hang for good. The next request begins another one.
const JOINED_FOR: Duration = Duration::from_secs(5);

/// The addresses of a name. The error is shared, so it is kept as its kind and its text.
type Found = Result<Vec<SocketAddr>, (io::ErrorKind, String)>;
type LookUp = Shared<BoxFuture<'static, Found>>;
type WeakLookUp = WeakShared<BoxFuture<'static, Found>>;

/// The resolver of one client.
#[derive(Debug)]
pub(super) struct NameResolver {
    clock: Clock,
    threads: Arc<Semaphore>,
    /// The last look-up of each name, while a request waits for it. A std `Mutex`: held for map operations only.
    running: Mutex<HashMap<String, (Moment, WeakLookUp)>>,
}

impl NameResolver {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, threads: Arc::new(Semaphore::new(PER_CLIENT)), running: Mutex::default() })
    }

    /// Joins the running look-up of a name, or begins one.
    fn look_up(&self, name: &str, ask: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static) -> LookUp {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.moment();
        running.retain(|_, (_, look_up)| look_up.upgrade().is_some_and(|look_up| look_up.peek().is_none()));
        let joined = running.get(name).filter(|(began, _)| self.clock.since(*began) < JOINED_FOR);
        if let Some(look_up) = joined.and_then(|(_, look_up)| look_up.upgrade()) {
            return look_up;
        }
        let (threads, asked) = (Arc::clone(&self.threads), name.to_owned());
        let look_up = async move {
            let thread = threads.acquire_owned().await.expect("the semaphore is never closed");
            let asking = move || {
                let _thread = thread;
                ask(&asked)
            };
            THREADS.run(asking).await.map_err(|error| (error.kind(), error.to_string()))
        };
        let look_up = look_up.boxed().shared();
        if let Some(weak) = look_up.downgrade() {
            running.insert(name.to_owned(), (now, weak));
        }
        look_up
    }
}

impl Resolve for NameResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.look_up(name.as_str(), |name| Ok((name, 0).to_socket_addrs()?.collect()));
        Box::pin(async move {
            let found = found.await.map_err(|(kind, text)| io::Error::new(kind, text))?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn hanging(released: mpsc::Receiver<()>) -> impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static {
        move |_| {
            let _ = released.recv();
            Ok(vec![([127, 0, 0, 1], 1).into()])
        }
    }

    fn never(_: &str) -> io::Result<Vec<SocketAddr>> {
        unreachable!("the look-up of the name is running")
    }

    #[tokio::test]
    async fn requests_share_the_look_up_of_a_name_until_it_takes_long() {
        let clock = Clock::system();
        let resolver = NameResolver::new(clock.clone());
        let (release, released) = mpsc::channel();
        let first = resolver.look_up("a", hanging(released));
        assert!(first.clone().now_or_never().is_none());
        let second = resolver.look_up("a", never);
        let other = resolver.look_up("b", |_| Err(io::Error::other("no such name")));
        assert_eq!(other.await, Err((io::ErrorKind::Other, "no such name".to_owned())));
        clock.advance(JOINED_FOR);
        let third = resolver.look_up("a", |_| Ok(vec![([127, 0, 0, 1], 3).into()]));
        assert_eq!(third.await.unwrap()[0].port(), 3);
        drop(release);
        assert_eq!((first.await.unwrap()[0].port(), second.await.unwrap()[0].port()), (1, 1));
        // A look-up that has ended is not used again.
        let fourth = resolver.look_up("a", |_| Ok(vec![([127, 0, 0, 1], 4).into()]));
        assert_eq!(fourth.await.unwrap()[0].port(), 4);
    }

    #[tokio::test]
    async fn names_that_hang_leave_threads_to_other_clients() {
        let (bad, good) = (NameResolver::new(Clock::system()), NameResolver::new(Clock::system()));
        let mut hanging_names = Vec::new();
        for number in 0..100 {
            let (release, released) = mpsc::channel();
            let look_up = bad.look_up(&format!("name{number}"), hanging(released));
            assert!(look_up.clone().now_or_never().is_none());
            hanging_names.push((release, look_up));
        }
        let found = good.look_up("a", |_| Ok(Vec::new())).await;
        assert_eq!(found, Ok(Vec::new()));
        for (release, look_up) in hanging_names {
            drop(release);
            assert!(look_up.await.is_ok());
        }
    }
}
