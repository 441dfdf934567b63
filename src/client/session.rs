//! Exactly-once writes: every write has a number within a session, and a retry carries it again.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tonic::metadata::MetadataMap;

/// Numbers between the lowest unanswered write and the next one, at most: the server keeps as many
/// replies. A bound on the writes in flight alone would not do, since one write that is slow to be
/// answered would let the replies of all after it pile up.
pub(super) const WINDOW: usize = 32;

/// The session of a client, opened at the first write.
#[derive(Debug, Default)]
pub(super) struct Slot(AsyncMutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open(Arc<Session>),
    /// A server that knows no sessions.
    Unsupported,
}

/// What opening one came to.
pub(super) enum Opened {
    Session(u64),
    Unsupported,
}

#[derive(Debug)]
pub(super) struct Session {
    id: u64,
    numbers: Mutex<Numbers>,
    /// One permit per number that may still be given: returned when the *low watermark* passes.
    room: Semaphore,
}

/// `unanswered` lies within `low..next`; `low` is its first, or `next` when it is empty.
#[derive(Debug)]
struct Numbers {
    next: u64,
    low: u64,
    unanswered: BTreeSet<u64>,
}

/// The number of one write. Dropped when the write is answered or given up: then nobody will repeat
/// it, so the server may forget it, and must refuse copies of it that are still on their way.
#[derive(Debug)]
pub(super) struct Number {
    session: Arc<Session>,
    seq: u64,
}

impl Slot {
    /// A number in the current session; `open` opens one if there is none. None: no sessions here.
    ///
    /// Cancel safe: at worst a session stays open that nobody uses.
    pub(super) async fn number<E>(
        &self,
        open: impl AsyncFnOnce() -> Result<Opened, E>,
    ) -> Result<Option<Number>, E> {
        let session = {
            let mut state = self.0.lock().await;
            if let State::Closed = *state {
                *state = match open().await? {
                    Opened::Session(id) => State::Open(Arc::new(Session::new(id))),
                    Opened::Unsupported => State::Unsupported,
                };
            }
            match &*state {
                State::Open(session) => session.clone(),
                State::Unsupported | State::Closed => return Ok(None),
            }
        };
        Ok(Some(session.number().await))
    }

    /// The session of `number` has ended: the next write opens another.
    pub(super) async fn expired(&self, number: &Number) {
        let mut state = self.0.lock().await;
        if matches!(&*state, State::Open(session) if session.id == number.session.id) {
            *state = State::Closed;
        }
    }

    /// The open session, which is forgotten here.
    pub(super) async fn take(&self) -> Option<u64> {
        let mut state = self.0.lock().await;
        let State::Open(session) = &*state else { return None };
        let id = session.id;
        *state = State::Closed;
        Some(id)
    }
}

impl Session {
    fn new(id: u64) -> Self {
        let numbers = Numbers { next: 1, low: 1, unanswered: BTreeSet::new() };
        Self { id, numbers: Mutex::new(numbers), room: Semaphore::new(WINDOW) }
    }

    async fn number(self: Arc<Self>) -> Number {
        match self.room.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => unreachable!("the semaphore is never closed"),
        }
        let seq = {
            let mut numbers = self.lock();
            let seq = numbers.next;
            numbers.next += 1;
            numbers.unanswered.insert(seq);
            assert!(numbers.next - numbers.low <= WINDOW as u64, "more writes than the server remembers");
            seq
        };
        Number { session: self, seq }
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Number {
    pub(super) fn write_to(&self, metadata: &mut MetadataMap) {
        let low = self.session.lock().low;
        metadata.insert("kvorum-session", self.session.id.into());
        metadata.insert("kvorum-seq", self.seq.into());
        metadata.insert("kvorum-low", low.into());
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let mut numbers = self.session.lock();
        numbers.unanswered.remove(&self.seq);
        let low = numbers.unanswered.first().copied().unwrap_or(numbers.next);
        let passed = low - numbers.low;
        numbers.low = low;
        drop(numbers);
        self.session.room.add_permits(passed as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(slot: &Slot) -> Number {
        slot.number(async || Ok::<_, ()>(Opened::Session(7))).await.unwrap().unwrap()
    }

    fn metadata(number: &Number, key: &str) -> u64 {
        let mut map = MetadataMap::new();
        number.write_to(&mut map);
        map.get(key).unwrap().to_str().unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn the_low_watermark_is_the_lowest_unanswered_number() {
        let slot = Slot::default();
        let (one, two, three) = (take(&slot).await, take(&slot).await, take(&slot).await);
        assert_eq!((one.seq, two.seq, three.seq), (1, 2, 3));
        drop(two);
        assert_eq!(metadata(&three, "kvorum-low"), 1);
        drop(one);
        assert_eq!(metadata(&three, "kvorum-low"), 3);
        assert_eq!(metadata(&three, "kvorum-session"), 7);
        assert_eq!(metadata(&three, "kvorum-seq"), 3);
    }

    #[tokio::test]
    async fn one_slow_write_holds_the_window_however_many_others_are_answered() {
        let slot = Slot::default();
        let slow = take(&slot).await;
        for _ in 1..WINDOW {
            take(&slot).await;
        }
        let mut next = Box::pin(take(&slot));
        std::future::poll_fn(|cx| {
            assert!(next.as_mut().poll(cx).is_pending(), "the window has moved past an unanswered write");
            std::task::Poll::Ready(())
        })
        .await;
        drop(slow);
        assert_eq!(next.await.seq, WINDOW as u64 + 1);
    }

    #[tokio::test]
    async fn an_expired_session_is_left_once() {
        let slot = Slot::default();
        let (old, older) = (take(&slot).await, take(&slot).await);
        slot.expired(&old).await;
        let new = slot.number(async || Ok::<_, ()>(Opened::Session(8))).await.unwrap().unwrap();
        slot.expired(&older).await;
        assert_eq!((new.session.id, new.seq), (8, 1));
        assert_eq!(slot.take().await, Some(8));
    }
}
