//! The inbox of the core: everything that waits to be reacted to.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A queue with many senders and one reader, a thread. Senders never wait: what they send is
/// bounded by permits of its own (requests, the room of a peer's frames, one commit at a time).
#[derive(Debug)]
pub(super) struct Inbox<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Inbox<T> {
    pub fn new() -> Self {
        Self { state: Mutex::new(State { items: VecDeque::new(), closed: false }), ready: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item; gives it back once nobody reads any more.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push_back(item);
        let was_empty = state.items.len() == 1;
        drop(state);
        if was_empty {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits until something is there or the time has come, then takes what is there, at most `max`
    /// items.
    pub fn take(&self, until: Instant, max: usize, into: &mut Vec<T>) {
        let mut state = self.lock();
        while state.items.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.ready.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let count = state.items.len().min(max);
        into.extend(state.items.drain(..count));
    }

    /// Takes nothing any more, and drops what waits.
    pub fn close(&self) {
        let items = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.items)
        };
        drop(items); // outside the lock: an item may send to this inbox as it goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn items_come_in_order_and_at_most_so_many() {
        let inbox = Inbox::new();
        (0..5).for_each(|n| inbox.push(n).unwrap());
        let mut taken = Vec::new();
        inbox.take(Instant::now(), 3, &mut taken);
        assert_eq!(taken, [0, 1, 2]);
        inbox.take(Instant::now(), 3, &mut taken);
        assert_eq!(taken, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_reader_wakes_for_an_item_or_when_its_time_has_come() {
        let inbox = Inbox::new();
        let mut taken = Vec::new();
        inbox.take(Instant::now() + Duration::from_millis(5), 1, &mut taken);
        assert!(taken.is_empty());
        std::thread::scope(|scope| {
            scope.spawn(|| inbox.push(7).unwrap());
            inbox.take(Instant::now() + Duration::from_secs(60), 1, &mut taken);
        });
        assert_eq!(taken, [7]);
    }

    #[test]
    fn a_closed_inbox_gives_items_back() {
        let inbox = Inbox::new();
        inbox.push(1).unwrap();
        inbox.close();
        assert_eq!(inbox.push(2), Err(2));
        let mut taken = Vec::new();
        inbox.take(Instant::now(), 9, &mut taken);
        assert!(taken.is_empty());
    }
}
