//! Records: the state, cut into what is stored and replaced as one.

use super::view::View;
use crate::atomic_commit::Transaction;
use crate::broadcast::{Last, Place};
use crate::kernel::Mutant;
use bytes::Bytes;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Names a record. Topics come before their publications, as they are loaded. The place of a variant
/// in this list is its number on disk: new ones come last.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) enum Key {
    Topic(Arc<str>),
    Publication(Arc<str>, u64),
    Publisher(u64),
    Decision(Arc<str>),
    Transaction(Arc<str>),
    Subscriber(Arc<str>),
}

/// A row: a record, or that there is none of this name any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub key: Key,
    pub content: Option<Bytes>,
}

impl Row {
    pub fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("records are plain data, which always encodes").into()
    }

    pub fn decode(bytes: &Bytes) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// What a row adds to the digest of a checkpoint.
pub(super) fn digest(row: &[u8]) -> u64 {
    let sum = u64::from(crc32fast::hash(row)) | (row.len() as u64) << 32;
    (sum ^ sum >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

impl View {
    /// What a record says now; nothing where there is none.
    pub(super) fn content(&self, key: &Key) -> Option<Bytes> {
        match key {
            Key::Topic(name) => self.publications.topics().get(name).map(|topic| encode(&topic.oldest)),
            Key::Publication(topic, at) => self.publications.retained().get(&(topic.clone(), *at)).cloned(),
            Key::Publisher(id) => self.publications.publishers().get(id).map(encode),
            Key::Decision(name) => self.instances.decisions().get(name).cloned(),
            Key::Transaction(name) => self.transactions.table().get(name).map(|t| encode(&**t)),
            Key::Subscriber(name) => self.subscribers.places().get(name).map(|place| {
                match self.mutants.on(Mutant::StoppedUnsaved) {
                    true => encode(&Place { stopped: BTreeSet::new(), ..Place::clone(place) }),
                    false => encode(&**place),
                }
            }),
        }
    }

    /// Takes a record as a checkpoint has it; false where it does not decode.
    pub(super) fn restore(&mut self, key: Key, content: Bytes) -> bool {
        match key {
            Key::Topic(name) => {
                let Some(oldest) = decode(&content) else { return false };
                self.publications.restore_topic(name, oldest);
            }
            Key::Publication(topic, at) => self.publications.restore(topic, at, content),
            Key::Publisher(id) => {
                let Some(last) = decode::<Last>(&content) else { return false };
                self.publications.restore_publisher(id, last);
            }
            Key::Decision(name) => self.instances.restore(name, content),
            Key::Transaction(name) => {
                let Some(transaction) = decode::<Transaction>(&content) else { return false };
                self.transactions.restore(name, transaction);
            }
            Key::Subscriber(name) => {
                let Some(place) = decode::<Place>(&content) else { return false };
                self.subscribers.restore(name, place);
            }
        }
        true
    }

    /// The records that are not as they were before: O(changes), since states share what they have
    /// in common.
    pub(super) fn changed(&self, before: &View) -> Vec<Key> {
        let mut keys = Vec::new();
        let (now, was) = (&self.publications, &before.publications);
        differing(was.topics(), now.topics(), |name| keys.push(Key::Topic(name.clone())));
        differing(was.retained(), now.retained(), |(topic, at)| {
            keys.push(Key::Publication(topic.clone(), *at));
        });
        differing(was.publishers(), now.publishers(), |id| keys.push(Key::Publisher(*id)));
        let (now, was) = (self.instances.decisions(), before.instances.decisions());
        differing(was, now, |name| keys.push(Key::Decision(name.clone())));
        let (now, was) = (self.transactions.table(), before.transactions.table());
        differing(was, now, |name| keys.push(Key::Transaction(name.clone())));
        let (now, was) = (self.subscribers.places(), before.subscribers.places());
        differing(was, now, |name| keys.push(Key::Subscriber(name.clone())));
        keys
    }
}

fn differing<K: Ord + Clone, V: PartialEq + Clone>(
    before: &OrdMap<K, V>,
    now: &OrdMap<K, V>,
    mut note: impl FnMut(&K),
) {
    for difference in before.diff(now) {
        match difference {
            DiffItem::Add(key, _) | DiffItem::Remove(key, _) => note(key),
            DiffItem::Update { new: (key, _), .. } => note(key),
        }
    }
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    postcard::to_allocvec(value).expect("records are plain data, which always encodes").into()
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &Bytes) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}
