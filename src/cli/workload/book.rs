//! What the clients of a run asked and were told.

use std::time::{Duration, Instant};

use crate::{
    client::{self, Fate, Header},
    history::{Call, Full, Handle, Operation, Outcome, Recorder, Reply},
};

/// One for all clients of a run, with the one clock that a history needs.
pub(super) struct Book {
    begun: Instant,
    /// None: nobody asked for a history.
    recorder: Option<Recorder>,
    pub(super) tally: Tally,
}

/// An operation under way.
pub(super) struct Entry {
    handle: Option<Handle>,
}

#[derive(Default)]
pub(super) struct Tally {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) unknown: u64,
    /// Writes acknowledged.
    pub(super) writes: u64,
    /// When the last of them was, since the beginning.
    last_write: Duration,
    longest_pause: Duration,
    pub(super) last_error: Option<String>,
}

impl Book {
    /// `capacity` is that of the history, if there is to be one.
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Self { begun: Instant::now(), recorder: capacity.map(Recorder::new), tally: Tally::default() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Call it before the request leaves.
    pub(super) fn begin(&mut self, client: u64, call: &Call) -> Result<Entry, Full> {
        let now = nanos(self.elapsed());
        let handle = match &mut self.recorder {
            Some(recorder) => Some(recorder.invoke(client, call.clone(), now)?),
            None => None,
        };
        Ok(Entry { handle })
    }

    /// Call it after the answer came.
    pub(super) fn end(&mut self, entry: Entry, call: &Call, answer: Result<(Reply, Header), client::Error>) {
        let now = self.elapsed();
        let outcome = match answer {
            Ok((reply, header)) => {
                self.tally.ok += 1;
                if changed(call, &reply) {
                    self.tally.acknowledge(now);
                }
                let told = |number: u64| Some(number).filter(|n| *n != 0);
                let revision = u64::try_from(header.revision).ok().and_then(told);
                Outcome::Ok { reply, revision, replica: told(header.member) }
            }
            Err(error) => {
                self.tally.last_error = Some(error.to_string());
                match error.fate() {
                    Fate::NotExecuted => {
                        self.tally.failed += 1;
                        Outcome::Fail
                    }
                    Fate::Unknown => {
                        self.tally.unknown += 1;
                        Outcome::Unknown
                    }
                }
            }
        };
        if let (Some(recorder), Some(handle)) = (&mut self.recorder, entry.handle) {
            recorder.complete(handle, outcome, nanos(now));
        }
    }

    /// The history, if there is one. What is still under way in it is of unknown fate.
    pub(super) fn into_history(self) -> Option<Vec<Operation>> {
        self.recorder.map(Recorder::finish)
    }
}

impl Tally {
    fn acknowledge(&mut self, now: Duration) {
        self.longest_pause = self.longest_pause(now);
        self.last_write = now;
        self.writes += 1;
    }

    /// The longest time without an acknowledged write so far, the one that lasts included.
    pub(super) fn longest_pause(&self, now: Duration) -> Duration {
        self.longest_pause.max(now.saturating_sub(self.last_write))
    }
}

/// Whether the operation needed the log, as every change of the store does.
fn changed(call: &Call, reply: &Reply) -> bool {
    match (call, reply) {
        (_, Reply::Put | Reply::Delete(_)) => true,
        (_, Reply::Get(_)) => false,
        (_, Reply::Cas(succeeded)) => *succeeded,
        (Call::Txn { writes, .. }, Reply::Txn(_)) => !writes.is_empty(),
        (_, Reply::Txn(_)) => false,
    }
}

/// Enough for 584 years.
fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put() -> Call {
        Call::Put { key: "k".into(), value: "v".into() }
    }

    #[test]
    fn the_longest_pause_counts_from_write_to_write_and_from_the_last_one_to_now() {
        let mut tally = Tally::default();
        let at = Duration::from_secs;
        tally.acknowledge(at(2));
        tally.acknowledge(at(5));
        tally.acknowledge(at(6));
        assert_eq!(tally.longest_pause(at(7)), at(3));
        assert_eq!(tally.longest_pause(at(10)), at(4));
    }

    #[test]
    fn an_error_is_recorded_with_the_fate_that_the_sdk_gives_it() {
        let mut book = Book::new(Some(4));
        let unavailable = client::Error::Unavailable {
            endpoint: "a:1".into(),
            message: "refused".into(),
            after: Duration::from_secs(1),
        };
        let header = Header { revision: 7, member: 3, ..Header::default() };
        for answer in [Err(unavailable), Err(client::Error::ReplyLost), Ok((Reply::Put, header))] {
            let entry = book.begin(1, &put()).unwrap();
            book.end(entry, &put(), answer);
        }
        book.begin(1, &put()).unwrap();
        assert!(book.begin(1, &put()).is_err(), "it is bounded");
        let outcomes: Vec<Outcome> = book.into_history().unwrap().into_iter().map(|o| o.outcome).collect();
        let told = Outcome::Ok { reply: Reply::Put, revision: Some(7), replica: Some(3) };
        assert_eq!(outcomes, [Outcome::Fail, Outcome::Unknown, told, Outcome::Unknown]);
    }
}
