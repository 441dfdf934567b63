//! Logged total-order broadcast by topic, for programs.
//!
//! Request: Broadcast(topic, payload), from any process. Delivery: publications in the order of the
//! log, read from one's own cursor, at any process.
//!
//! Properties, beside validity and no creation: *uniform total order*: a publication's position is
//! the index of its log entry, so that every process shows the same ones in the same order, also
//! across topics; *no duplication*: what a publisher sends again under the same number has one
//! effect. *Retention*: a topic keeps the last publications, within bounds; a cursor below them is
//! told so, and never just finds less.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 6.1 (uniform total-order broadcast), in fail-recovery.
//!
//! **Durable first**: the log entry. A cursor is the position of the first publication that is
//! wanted: who stores it together with the effects of those before it, has processed each once.

use crate::kernel::{MAX_NAME, Mutant, Mutants, ReplicatedBounds};
use bytes::Bytes;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thiserror::Error;

/// Why a publication or a read was refused. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PublicationError {
    /// The topic has no name, or too long a one.
    #[error("the name of a topic must have 1 to {MAX_NAME} bytes, and this one has {0}")]
    Name(usize),
    /// The payload is too large.
    #[error("a publication of {size} bytes, and at most {limit} can be retained: publish a reference to it")]
    TooLarge {
        /// Its bytes.
        size: u64,
        /// The most.
        limit: u64,
    },
    /// There are as many topics as there may be, and this one is new.
    #[error("there are {limit} total-order topics already: publish to one of them, or raise the bound")]
    TooManyTopics {
        /// The most.
        limit: u64,
    },
    /// The publisher is unknown, or was forgotten: whether it published under this number is unknown.
    #[error(
        "publisher {id} is unknown or was forgotten: open another one; it may have published this already"
    )]
    PublisherUnknown {
        /// Its id.
        id: u64,
    },
    /// The publisher has published under a higher number.
    #[error("publisher {id} has published up to number {last}, and {seq} is not its last")]
    Superseded {
        /// Its id.
        id: u64,
        /// The number.
        seq: u64,
        /// The last number.
        last: u64,
    },
    /// What the cursor wants first is not retained any more.
    #[error(
        "cursor {cursor} fell off topic {topic:?}: its oldest publication may be at {oldest}, go on there"
    )]
    FellOff {
        /// The topic.
        topic: String,
        /// The cursor.
        cursor: u64,
        /// The first cursor for which everything is retained.
        oldest: u64,
    },
    /// The cursor lies beyond what was ever published.
    #[error("cursor {cursor} is ahead: the log ends at {end}")]
    Ahead {
        /// The cursor.
        cursor: u64,
        /// One past the last entry.
        end: u64,
    },
}

/// A publication that is retained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// Its place in the order of all publications of all topics.
    pub position: u64,
    /// What was published.
    pub payload: Bytes,
}

/// Names a publication of a publisher, so that it can be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Publisher {
    /// The publisher.
    pub id: u64,
    /// Counts its publications; one at a time.
    pub seq: u64,
}

/// What a topic retains.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Topic {
    /// Everything at and above is retained.
    pub oldest: u64,
    entries: u64,
    bytes: u64,
}

/// The last publication of a publisher.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Last {
    /// Its number.
    pub seq: u64,
    /// Where it is.
    pub position: u64,
    /// The log entry at which the publisher was last heard of: no two have the same.
    pub used: u64,
}

/// What was published, and by whom. Cloning is O(1).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Publications {
    topics: OrdMap<Arc<str>, Topic>,
    /// By topic and position.
    retained: OrdMap<(Arc<str>, u64), Bytes>,
    publishers: OrdMap<u64, Last>,
    by_use: OrdMap<u64, u64>,
}

impl Publications {
    /// A publisher opens: its id, which is that of its log entry. Where there are too many, the one
    /// that has been silent for longest is forgotten.
    pub fn open(&mut self, index: u64, bounds: &ReplicatedBounds) -> u64 {
        self.restore_publisher(index, Last { seq: 0, position: 0, used: index });
        while self.publishers.len() as u64 > bounds.publishers {
            let Some((used, id)) = self.by_use.get_min().cloned() else { break };
            self.by_use.remove(&used);
            self.publishers.remove(&id);
        }
        index
    }

    /// The log delivers a publication, at `index`. Returns its position: that of before, where its
    /// publisher sends its last one again.
    ///
    /// # Errors
    /// Nothing was published.
    pub fn publish(
        &mut self,
        index: u64,
        topic: &str,
        publisher: Option<Publisher>,
        payload: Bytes,
        bounds: &ReplicatedBounds,
        mutants: Mutants,
    ) -> Result<u64, PublicationError> {
        if let Some(Publisher { id, seq }) = publisher {
            let last = *self.publishers.get(&id).ok_or(PublicationError::PublisherUnknown { id })?;
            if seq == last.seq && !mutants.on(Mutant::PublishedAgain) {
                return Ok(last.position);
            }
            if seq < last.seq {
                return Err(PublicationError::Superseded { id, seq, last: last.seq });
            }
        }
        let size = payload.len() as u64;
        if topic.is_empty() || topic.len() > MAX_NAME {
            return Err(PublicationError::Name(topic.len()));
        }
        if size > bounds.publication_bytes {
            return Err(PublicationError::TooLarge { size, limit: bounds.publication_bytes });
        }
        let name = match self.topics.get_key_value(topic) {
            Some((name, _)) => name.clone(),
            None if self.topics.len() as u64 >= bounds.topics => {
                return Err(PublicationError::TooManyTopics { limit: bounds.topics });
            }
            None => topic.into(),
        };
        let position = match mutants.on(Mutant::PositionOfRetained) {
            true => self.retained.len() as u64,
            false => index,
        };
        self.restore(name.clone(), position, payload);
        self.trim(&name, bounds);
        if let Some(Publisher { id, seq }) = publisher {
            self.restore_publisher(id, Last { seq, position, used: index });
        }
        Ok(position)
    }

    /// Drops the oldest publications of a topic beyond what it may retain; never the last one.
    fn trim(&mut self, name: &Arc<str>, bounds: &ReplicatedBounds) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        while topic.entries > 1 && (topic.entries > bounds.topic_entries || topic.bytes > bounds.topic_bytes)
        {
            let Some((key, size)) = self
                .retained
                .range((name.clone(), 0)..)
                .next()
                .filter(|((of, _), _)| of == name)
                .map(|(key, payload)| (key.clone(), payload.len() as u64))
            else {
                return;
            };
            self.retained.remove(&key);
            topic.entries -= 1;
            topic.bytes -= size;
            topic.oldest = key.1 + 1;
        }
    }

    /// Publications of a topic from a cursor on: at most so many and, but for the first, so many
    /// bytes; none, where nobody has published yet. `end` is one past the last entry applied.
    ///
    /// # Errors
    /// When the cursor is not one that can be read from here.
    pub fn read(
        &self,
        topic: &str,
        cursor: u64,
        end: u64,
        (max_entries, max_bytes): (usize, usize),
        mutants: Mutants,
    ) -> Result<Vec<Publication>, PublicationError> {
        if cursor > end {
            return Err(PublicationError::Ahead { cursor, end });
        }
        let Some(known) = self.topics.get(topic) else { return Ok(Vec::new()) };
        if cursor < known.oldest && !mutants.on(Mutant::FellOffSilently) {
            let (topic, oldest) = (topic.to_owned(), known.oldest);
            return Err(PublicationError::FellOff { topic, cursor, oldest });
        }
        let mut bytes = 0;
        let fits = |found: &Publication| {
            let first = bytes == 0;
            bytes += found.payload.len().max(1);
            first || bytes <= max_bytes
        };
        Ok(self.from(topic, cursor).take(max_entries).take_while(fits).collect())
    }

    /// What is retained of a topic, from a position on.
    pub fn from(&self, topic: &str, position: u64) -> impl Iterator<Item = Publication> + '_ {
        let known = self.topics.get_key_value(topic).map(|(name, _)| name.clone());
        let retained = known
            .into_iter()
            .flat_map(move |name| self.retained.range((name.clone(), position)..=(name, u64::MAX)));
        retained.map(|((_, position), payload)| Publication { position: *position, payload: payload.clone() })
    }

    /// Whether surely no publication of a topic was ever at a position: one would be retained.
    pub fn lacks(&self, topic: &str, position: u64) -> bool {
        let is_there = || self.from(topic, position).next().is_some_and(|p| p.position == position);
        position >= self.oldest(topic) && !is_there()
    }

    /// Everything of a topic at and above this cursor is retained.
    pub fn oldest(&self, topic: &str) -> u64 {
        self.topics.get(topic).map_or(0, |t| t.oldest)
    }

    /// How many publications a topic retains.
    pub fn entries(&self, topic: &str) -> u64 {
        self.topics.get(topic).map_or(0, |t| t.entries)
    }

    /// The topics.
    pub fn topics(&self) -> &OrdMap<Arc<str>, Topic> {
        &self.topics
    }

    /// What is retained, by topic and position.
    pub fn retained(&self) -> &OrdMap<(Arc<str>, u64), Bytes> {
        &self.retained
    }

    /// The publishers, by id.
    pub fn publishers(&self) -> &OrdMap<u64, Last> {
        &self.publishers
    }

    /// Takes a publication as a checkpoint has it.
    pub fn restore(&mut self, topic: Arc<str>, position: u64, payload: Bytes) {
        let known = self.topics.entry(topic.clone()).or_default();
        known.entries += 1;
        known.bytes += payload.len() as u64;
        self.retained.insert((topic, position), payload);
    }

    /// Takes a topic as a checkpoint has it, before its publications.
    pub fn restore_topic(&mut self, topic: Arc<str>, oldest: u64) {
        self.topics.insert(topic, Topic { oldest, ..Topic::default() });
    }

    /// Takes a publisher as a checkpoint has it.
    pub fn restore_publisher(&mut self, id: u64, last: Last) {
        if let Some(before) = self.publishers.insert(id, last) {
            self.by_use.remove(&before.used);
        }
        self.by_use.insert(last.used, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ReplicatedBounds = ReplicatedBounds {
        topics: 2,
        topic_entries: 3,
        topic_bytes: 10,
        publication_bytes: 12,
        publishers: 2,
        ..ReplicatedBounds::MOST
    };

    fn publish(
        to: &mut Publications,
        index: u64,
        topic: &str,
        publisher: Option<(u64, u64)>,
    ) -> Result<u64, PublicationError> {
        let publisher = publisher.map(|(id, seq)| Publisher { id, seq });
        to.publish(index, topic, publisher, format!("m{index}").into(), &BOUNDS, Mutants::default())
    }

    fn read(from: &Publications, topic: &str, cursor: u64) -> Result<Vec<u64>, PublicationError> {
        let read = from.read(topic, cursor, 100, (10, 1000), Mutants::default())?;
        Ok(read.into_iter().map(|p| p.position).collect())
    }

    #[test]
    fn uniform_total_order_positions_are_those_of_the_log() {
        let mut publications = Publications::default();
        for (index, topic) in [(3, "a"), (5, "b"), (9, "a")] {
            assert_eq!(publish(&mut publications, index, topic, None), Ok(index));
        }
        assert_eq!(read(&publications, "a", 0).unwrap(), [3, 9]);
        assert_eq!(read(&publications, "a", 4).unwrap(), [9]);
        assert_eq!(read(&publications, "b", 0).unwrap(), [5]);
        assert_eq!(read(&publications, "nobody's", 0).unwrap(), [0; 0]);
    }

    #[test]
    fn no_duplication_a_number_of_a_publisher_has_one_effect() {
        let mut publications = Publications::default();
        let id = publications.open(1, &BOUNDS);
        assert_eq!(publish(&mut publications, 2, "a", Some((id, 1))), Ok(2));
        assert_eq!(publish(&mut publications, 3, "a", Some((id, 1))), Ok(2), "sent again");
        assert_eq!(publish(&mut publications, 4, "a", Some((id, 2))), Ok(4));
        let superseded = PublicationError::Superseded { id, seq: 1, last: 2 };
        assert_eq!(publish(&mut publications, 5, "a", Some((id, 1))), Err(superseded));
        assert_eq!(read(&publications, "a", 0).unwrap(), [2, 4]);
    }

    #[test]
    fn a_publisher_that_was_forgotten_publishes_nothing() {
        let mut publications = Publications::default();
        let (first, second) = (publications.open(1, &BOUNDS), publications.open(2, &BOUNDS));
        publish(&mut publications, 3, "a", Some((first, 1))).unwrap();
        publications.open(4, &BOUNDS);
        let unknown = PublicationError::PublisherUnknown { id: second };
        assert_eq!(publish(&mut publications, 5, "a", Some((second, 1))), Err(unknown));
        assert_eq!(publish(&mut publications, 6, "a", Some((first, 2))), Ok(6), "it was heard of later");
    }

    #[test]
    fn retention_a_cursor_that_fell_off_is_told_so() {
        let mut publications = Publications::default();
        (1..=5).for_each(|index| assert!(publish(&mut publications, index, "a", None).is_ok()));
        let fell_off =
            |cursor, oldest| Err(PublicationError::FellOff { topic: "a".to_owned(), cursor, oldest });
        assert_eq!(read(&publications, "a", 0), fell_off(0, 3));
        assert_eq!(read(&publications, "a", 2), fell_off(2, 3));
        assert_eq!(read(&publications, "a", 3).unwrap(), [3, 4, 5]);
        assert_eq!(read(&publications, "a", 100).unwrap(), [0; 0]);
        assert_eq!(read(&publications, "a", 101), Err(PublicationError::Ahead { cursor: 101, end: 100 }));
        // A large one pushes out more than one.
        let large = Bytes::from_static(b"0123456789ab");
        publications.publish(7, "a", None, large, &BOUNDS, Mutants::default()).unwrap();
        assert_eq!(read(&publications, "a", 7).unwrap(), [7]);
        assert_eq!(publications.oldest("a"), 6);
    }

    #[test]
    fn past_the_bounds_nothing_changes() {
        let mut publications = Publications::default();
        assert_eq!(publish(&mut publications, 1, "", None), Err(PublicationError::Name(0)));
        let large = vec![0; 13].into();
        let too_large = publications.publish(2, "a", None, large, &BOUNDS, Mutants::default());
        assert_eq!(too_large, Err(PublicationError::TooLarge { size: 13, limit: 12 }));
        ["a", "b"].iter().for_each(|topic| assert!(publish(&mut publications, 3, topic, None).is_ok()));
        assert_eq!(
            publish(&mut publications, 4, "c", None),
            Err(PublicationError::TooManyTopics { limit: 2 })
        );
        assert_eq!(publications.retained().len(), 2);
    }

    #[test]
    fn a_read_is_bounded() {
        let mut publications = Publications::default();
        (1..=3).for_each(|index| assert!(publish(&mut publications, index, "a", None).is_ok()));
        let read = |limits| publications.read("a", 0, 9, limits, Mutants::default()).unwrap().len();
        assert_eq!((read((2, 100)), read((9, 4)), read((9, 1))), (2, 2, 1));
    }
}
