//! The delivery log of a replica, in memory: for those who follow its topics.

use crate::broadcast::{Cursor, CursorError, FellOff, Record, Topic};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::watch;

/// What a subscriber has not acknowledged, as the replica said last: positions, in order.
pub type Pending = Result<Vec<u64>, FellOff>;

/// A copy of the delivery log as it is durable, which its readers share; as bounded as the log.
///
/// Invariant: `records` are those at the positions from `kept` on.
#[derive(Debug)]
pub struct Mirror {
    /// The data directory whose log it is.
    log: u64,
    state: RwLock<State>,
    /// One past the last position; told anew when the replica halts.
    end: watch::Sender<u64>,
    /// Subscribers whose streams are open here. Of each the last word counts: what it leaves out is
    /// said again.
    pending: Mutex<BTreeMap<String, watch::Sender<Pending>>>,
}

#[derive(Debug, Default)]
struct State {
    kept: u64,
    records: VecDeque<Record>,
    halted: bool,
}

impl State {
    fn range(&self) -> Range<u64> {
        self.kept..self.kept + self.records.len() as u64
    }
}

/// What was read: where the records stand, and where to go on.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// Records of the topic, in order.
    pub records: Vec<(u64, Record)>,
    /// The first position that was not looked at.
    pub next: u64,
}

impl Mirror {
    /// Of a log that has told nothing yet.
    pub fn new(log: u64) -> Self {
        Self { log, state: RwLock::default(), end: watch::Sender::new(0), pending: Mutex::default() }
    }

    /// The log got longer, or was trimmed.
    pub fn delivered(&self, first: u64, records: Vec<Record>, kept: u64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.records.is_empty() {
            state.kept = first;
        }
        assert_eq!(state.range().end, first, "the delivery log has no holes");
        state.records.extend(records);
        let trimmed = kept.saturating_sub(state.kept).min(state.records.len() as u64);
        state.records.drain(..trimmed as usize);
        state.kept += trimmed;
        let end = state.range().end;
        drop(state);
        self.end.send_replace(end);
    }

    /// A subscriber has these pending.
    pub fn pending(&self, subscriber: &str, pending: Pending) {
        let mut open = self.open();
        if let Some(stream) = open.get(subscriber)
            && stream.send(pending).is_err()
        {
            open.remove(subscriber); // its stream has ended
        }
    }

    /// The end: nothing is shown any more.
    pub fn halt(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).halted = true;
        self.end.send_modify(|_| ());
    }

    /// The data directory whose log it is.
    pub fn log(&self) -> u64 {
        self.log
    }

    /// Whether the replica has halted.
    pub fn halted(&self) -> bool {
        self.read_state(|state| state.halted)
    }

    /// The positions that are kept.
    pub fn range(&self) -> Range<u64> {
        self.read_state(State::range)
    }

    /// The record at a position, while it is kept.
    pub fn record(&self, position: u64) -> Option<Record> {
        self.read_state(|state| {
            let at = position.checked_sub(state.kept)?;
            state.records.get(at as usize).cloned()
        })
    }

    /// Records of a topic from a cursor on: at most so many and, but for the first, so many bytes.
    ///
    /// # Errors
    /// When there never will be any at this place.
    pub fn read(
        &self,
        topic: &Topic,
        cursor: Cursor,
        entries: usize,
        bytes: usize,
    ) -> Result<Read, CursorError> {
        self.read_state(|state| {
            let range = state.range();
            cursor.check(self.log, range.start, range.end)?;
            let mut read = Read { records: Vec::new(), next: cursor.position };
            let mut taken = 0;
            for record in state.records.iter().skip((cursor.position - range.start) as usize) {
                if record.is_of(topic) {
                    taken += size(record);
                    if !read.records.is_empty() && (taken > bytes || read.records.len() >= entries) {
                        break;
                    }
                    read.records.push((read.next, record.clone()));
                }
                read.next += 1;
            }
            Ok(read)
        })
    }

    /// Tells when there is more, or the replica halts.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Tells what a subscriber has pending, from now on.
    pub fn follow(&self, subscriber: &str) -> watch::Receiver<Pending> {
        let mut open = self.open();
        // Of as many streams as there may be.
        open.retain(|_, stream| !stream.is_closed());
        open.entry(subscriber.to_owned()).or_insert_with(|| watch::Sender::new(Ok(Vec::new()))).subscribe()
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<Pending>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_state<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn size(record: &Record) -> usize {
    match record {
        Record::Delivery(delivery) => delivery.payload.len(),
        Record::Gap { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::{Context, Delivery, Guarantee, MessageId};
    use crate::kernel::ProcessId;

    fn topic(name: &str) -> Topic {
        Topic { guarantee: Guarantee::Reliable, name: name.into() }
    }

    fn record(name: &str, seq: u64) -> Record {
        Record::Delivery(Delivery {
            topic: topic(name),
            id: MessageId { origin: ProcessId(0), seq },
            context: Context::default(),
            payload: "12345".into(),
        })
    }

    fn at(position: u64) -> Cursor {
        Cursor { log: 7, position }
    }

    #[test]
    fn a_topic_is_read_in_pieces_and_others_are_passed_over() {
        let mirror = Mirror::new(7);
        mirror.delivered(10, vec![record("a", 0), record("b", 1), record("a", 2), record("a", 3)], 10);
        let read = mirror.read(&topic("a"), at(10), 2, 100).unwrap();
        assert_eq!(read, Read { records: vec![(10, record("a", 0)), (12, record("a", 2))], next: 13 });
        let read = mirror.read(&topic("a"), at(11), 9, 1).unwrap();
        assert_eq!(read, Read { records: vec![(12, record("a", 2))], next: 13 }, "at least one");
        assert_eq!(mirror.read(&topic("c"), at(10), 9, 9).unwrap(), Read { records: vec![], next: 14 });
        assert_eq!((mirror.record(12), mirror.record(9)), (Some(record("a", 2)), None));
    }

    #[test]
    fn what_is_trimmed_is_gone_and_said_so() {
        let mirror = Mirror::new(7);
        mirror.delivered(0, vec![record("a", 0), record("a", 1)], 0);
        mirror.delivered(2, vec![record("a", 2)], 2);
        assert_eq!(mirror.range(), 2..3);
        let fell = CursorError::FellOff(FellOff { position: 1, oldest: 2 });
        assert_eq!(mirror.read(&topic("a"), at(1), 9, 9), Err(fell));
        assert_eq!(mirror.read(&topic("a"), at(3), 9, 9).unwrap().next, 3);
        let ahead = CursorError::Ahead { position: 4, end: 3 };
        assert_eq!(mirror.read(&topic("a"), at(4), 9, 9), Err(ahead));
        let other = mirror.read(&topic("a"), Cursor { log: 8, position: 2 }, 9, 9);
        assert_eq!(other, Err(CursorError::OtherLog { oldest: 2 }));
    }

    #[test]
    fn an_empty_log_begins_where_the_first_word_says() {
        let mirror = Mirror::new(7);
        mirror.delivered(5, vec![], 5);
        assert_eq!(mirror.range(), 5..5);
        mirror.delivered(5, vec![record("a", 0)], 5);
        assert_eq!(mirror.range(), 5..6);
    }

    #[test]
    fn of_what_is_pending_the_last_word_counts_and_nobody_listens_to_a_stream_that_ended() {
        let mirror = Mirror::new(7);
        mirror.pending("s", Ok(vec![1]));
        let mut stream = mirror.follow("s");
        mirror.pending("s", Ok(vec![1]));
        mirror.pending("s", Ok(vec![1, 2]));
        assert_eq!(*stream.borrow_and_update(), Ok(vec![1, 2]));
        drop(stream);
        mirror.pending("s", Ok(vec![2]));
        assert!(mirror.open().is_empty());
    }
}
