//! Places for connections. When none is free, the connection that has kept us waiting longest makes room: slow clients,
//! however many there are, push out each other and not those that ask and go.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How often it is looked for room while all connections are being answered.
const LOOK: Duration = Duration::from_millis(50);
/// An idle connection that was answered before is let go after so many times the patience with a new one.
const IDLE: u32 = 6;

/// The places of one listener.
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<BTreeMap<u64, Arc<State>>>>,
    /// Counts what happens, as a clock that only knows what was before what.
    turn: Arc<AtomicU64>,
}

/// One connection.
struct State {
    /// Requests that are worked on and do not wait for their client.
    busy: AtomicUsize,
    /// A request has begun.
    begun: AtomicBool,
    /// A request was answered.
    served: AtomicBool,
    /// Since which turn it waits for its client.
    since: AtomicU64,
    turn: Arc<AtomicU64>,
    end: CancellationToken,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), taken: Arc::default(), turn: Arc::default() }
    }

    /// A place, if need be that of another connection. Cancel-safe.
    pub(super) async fn take(&self) -> Place {
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                return self.give(permit);
            }
            self.make_room();
            if let Ok(Ok(permit)) = tokio::time::timeout(LOOK, Arc::clone(&self.free).acquire_owned()).await {
                return self.give(permit);
            }
        }
    }

    fn give(&self, permit: OwnedSemaphorePermit) -> Place {
        let number = self.turn.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(State {
            busy: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
            served: AtomicBool::new(false),
            since: AtomicU64::new(number),
            turn: Arc::clone(&self.turn),
            end: CancellationToken::new(),
        });
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&state));
        Place { number, state, taken: Arc::clone(&self.taken), _permit: permit }
    }

    /// Ends a connection that waits for its client: rather one that never was answered, and the one that waits longest.
    fn make_room(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = taken.values().filter(|state| state.waits() && !state.end.is_cancelled());
        let order = |state: &&Arc<State>| (state.served.load(Ordering::Relaxed), state.since.load(Ordering::Relaxed));
        if let Some(slowest) = waiting.min_by_key(order) {
            slowest.end.cancel();
        }
    }
}

impl State {
    fn waits(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    fn work(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    fn wait(&self) {
        self.since.store(self.turn.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's place; free again when this is dropped.
pub(super) struct Place {
    number: u64,
    state: Arc<State>,
    taken: Arc<Mutex<BTreeMap<u64, Arc<State>>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Place {
    /// What the connection's requests are told by.
    pub(super) fn requests(&self) -> Requests {
        Requests(Arc::clone(&self.state))
    }

    /// Ends when the connection has to: another one needs its place; no request began in `patience`; or it has been idle
    /// for long. Says which.
    pub(super) async fn ended(&self, patience: Duration) -> &'static str {
        tokio::select! {
            () = self.state.end.cancelled() => "full",
            () = self.idle(patience) => "slow",
        }
    }

    async fn idle(&self, patience: Duration) {
        let mark = || self.state.waits().then(|| self.state.since.load(Ordering::Relaxed));
        tokio::time::sleep(patience).await;
        if !self.state.begun.load(Ordering::Relaxed) {
            return;
        }
        let (mut seen, mut times) = (mark(), 0);
        while times < IDLE {
            tokio::time::sleep(patience).await;
            let now = mark();
            times = if now.is_some() && now == seen { times + 1 } else { 0 };
            seen = now;
        }
    }
}

/// Notes which requests a connection has.
#[derive(Clone)]
pub(super) struct Requests(Arc<State>);

impl Requests {
    /// A request whose headers are there, until what this gives is dropped.
    pub(super) fn begin(&self) -> Running {
        self.0.begun.store(true, Ordering::Relaxed);
        self.0.work();
        Running(Arc::clone(&self.0))
    }

    /// A body while whose bytes are not there the request waits for its client.
    pub(super) fn body(&self, body: Body) -> Body {
        Body::new(Awaited { body, state: Arc::clone(&self.0), waits: false })
    }
}

/// A request that is worked on.
pub(super) struct Running(Arc<State>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.served.store(true, Ordering::Relaxed);
        self.0.wait();
    }
}

struct Awaited {
    body: Body,
    state: Arc<State>,
    waits: bool,
}

impl Awaited {
    fn goes_on(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.state.work();
        }
    }
}

impl HttpBody for Awaited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match polled.is_pending() {
            true if !self.waits => {
                self.waits = true;
                self.state.wait();
            }
            true => {}
            false => self.goes_on(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.goes_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn is_ended(place: &Place) -> bool {
        place.state.end.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_longest_makes_room_and_who_is_answered_never() {
        let places = Places::new(3);
        let (served, slow, busy) = (places.take().await, places.take().await, places.take().await);
        drop(served.requests().begin());
        let request = busy.requests().begin();
        assert!(tokio::time::timeout(Duration::from_secs(1), places.take()).await.is_err(), "nobody has gone yet");
        assert!(is_ended(&slow), "it was never answered");
        assert!(is_ended(&served), "idle, and the next one to make room");
        assert!(!is_ended(&busy), "it is being answered");
        drop(slow);
        let fourth = places.take().await;
        assert!(!is_ended(&fourth));
        drop(request);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_waiting() {
        let places = Places::new(1);
        let place = places.take().await;
        let requests = place.requests();
        let request = requests.begin();
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let mut body = requests.body(never);
        assert!(!place.state.waits(), "its headers are there");
        let polled = futures::poll!(std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
        assert!(polled.is_pending() && place.state.waits());
        drop(body);
        assert!(!place.state.waits(), "the request goes on without its body");
        drop(request);
        assert!(place.state.waits());

        let mut whole = requests.body(Body::from("text"));
        let request = requests.begin();
        let frame = std::future::poll_fn(|cx| Pin::new(&mut whole).poll_frame(cx)).await;
        assert!(frame.is_some_and(|frame| frame.is_ok()) && !place.state.waits());
        drop((whole, request));
        assert!(place.state.waits());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_asks_nothing_and_one_that_is_idle_are_let_go() {
        let places = Places::new(3);
        let silent = places.take().await;
        assert_eq!(silent.ended(PATIENCE).await, "slow");
        let idle = places.take().await;
        drop(idle.requests().begin());
        let waits = idle.ended(PATIENCE);
        tokio::pin!(waits);
        assert!(tokio::time::timeout(PATIENCE * 5, &mut waits).await.is_err(), "a client may ask again for a minute");
        assert_eq!(waits.await, "slow");
        let busy = places.take().await;
        let request = busy.requests().begin();
        assert!(tokio::time::timeout(PATIENCE * 100, busy.ended(PATIENCE)).await.is_err());
        drop(request);
    }
}
