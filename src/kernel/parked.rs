//! Conditional handlers: `upon event E such that C`.
//!
//! Such a handler is two plain ones and a bounded place to park: upon the event, it parks; upon
//! whatever may change the condition, those leave for which it holds. Parking is volatile, and what
//! waits has a deadline: an event that must survive a crash is parked in a log instead.

use super::process::Ticks;
use std::collections::VecDeque;

/// Events that wait for a condition, in the order in which they came.
///
/// Bounds: there are at most as many as it was told, and none for longer than its patience.
#[derive(Clone, Debug)]
pub struct Parked<E> {
    events: VecDeque<(E, Ticks)>,
    bound: usize,
}

impl<E> Parked<E> {
    /// Room for so many.
    pub fn new(bound: usize) -> Self {
        Self { events: VecDeque::new(), bound }
    }

    /// Parks an event for at most so many ticks.
    ///
    /// # Errors
    /// When there is no room: the event comes back.
    pub fn park(&mut self, event: E, patience: Ticks) -> Result<(), E> {
        if self.events.len() >= self.bound {
            return Err(event);
        }
        self.events.push_back((event, patience));
        Ok(())
    }

    /// What is parked.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &E> {
        self.events.iter().map(|(event, _)| event)
    }

    /// The first event for which the condition holds now leaves, with the patience that is left.
    pub fn release(&mut self, holds: impl Fn(&E) -> bool) -> Option<(E, Ticks)> {
        let at = self.events.iter().position(|(event, _)| holds(event))?;
        self.events.remove(at)
    }

    /// Time passes: the events that waited for too long.
    pub fn tick(&mut self) -> Vec<E> {
        let (late, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.events).into_iter().partition(|(_, patience)| *patience == 0);
        self.events = rest;
        self.events.iter_mut().for_each(|(_, patience)| *patience -= 1);
        late.into_iter().map(|(event, _)| event).collect()
    }

    /// Those for which this does not hold are forgotten.
    pub fn retain(&mut self, wanted: impl Fn(&E) -> bool) {
        self.events.retain(|(event, _)| wanted(event));
    }

    /// Everything that waits leaves.
    pub fn take(&mut self) -> Vec<E> {
        std::mem::take(&mut self.events).into_iter().map(|(event, _)| event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_leaves_once_its_condition_holds_and_in_its_turn() {
        let mut parked = Parked::new(3);
        [5, 2, 3].into_iter().for_each(|n| parked.park(n, 10).unwrap());
        assert_eq!(parked.park(1, 10), Err(1), "there is no room for a fourth");
        assert_eq!(parked.release(|n| *n < 2), None);
        assert_eq!(parked.release(|n| *n < 4), Some((2, 10)));
        assert_eq!(parked.release(|n| *n < 4), Some((3, 10)));
        assert_eq!(parked.release(|n| *n < 4), None);
    }

    #[test]
    fn none_waits_for_longer_than_its_patience() {
        let mut parked = Parked::new(2);
        parked.park("a", 0).unwrap();
        parked.park("b", 2).unwrap();
        assert_eq!(parked.tick(), ["a"]);
        assert!(parked.tick().is_empty());
        assert_eq!(parked.tick(), ["b"]);
    }
}
