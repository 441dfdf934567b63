//! All versions of all keys: the index is in memory, and so are the values of live keys; values of
//! superseded versions move to disk with a checkpoint.

use super::revision::{KeyRange, Revision};
use super::view::Size;
use bytes::Bytes;
use imbl::OrdMap;
use std::cmp::Reverse;
use std::ops::Bound;

/// The versions, indexed three times. Cloning is O(1) and shares all structure.
///
/// Invariants:
/// * `history` and `changes` hold the same versions; `live` the newest of each key that exists.
/// * Every version in a row of a finished checkpoint is in `history` until that row is deleted or
///   rewritten: the index knows all that is on disk, also what no reader can see any more.
/// * The value of a version that a reader may see is in `live`, or in `recent`, or in the row that
///   `rows` says.
#[derive(Clone, Default)]
pub(super) struct Keyspace {
    live: OrdMap<Bytes, Live>,
    history: OrdMap<At, Version>,
    changes: OrdMap<Revision, Bytes>,
    /// Superseded values that no finished checkpoint holds.
    recent: OrdMap<Revision, Bytes>,
    /// The rows of state on disk, by their first version.
    rows: OrdMap<Revision, Extent>,
    /// The generation of the rows.
    pub(super) generation: u32,
    /// A finished checkpoint holds the versions up to this revision.
    pub(super) saved: i64,
    /// Sum of the hashes of all versions that ever were, since boot.
    pub(super) digest: u64,
    /// Sum of the hashes of the live versions.
    pub(super) alive: u64,
    /// Keys and values that no finished checkpoint holds.
    pub(super) unsaved: u64,
    /// Keys and values of all versions.
    bytes: u64,
    /// Keys and values of the live ones.
    live_bytes: u64,
    /// Values in `recent`.
    recent_bytes: u64,
    /// All rows.
    row_bytes: u64,
}

/// The newest version of a key that exists.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub at: Revision,
    pub create: i64,
    pub version: i64,
    pub lease: i64,
    pub value: Bytes,
}

/// One version of one key. A tombstone has version 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub create: i64,
    pub version: i64,
    pub lease: i64,
    /// Bytes of the value.
    pub size: u32,
    /// Over the key, the revision and everything above, the value included.
    pub hash: u64,
}

impl Version {
    pub(super) fn put(at: Revision, key: &[u8], live: &Live) -> Self {
        let numbers = [at.main, i64::from(at.sub), live.create, live.version, live.lease];
        Version {
            create: live.create,
            version: live.version,
            lease: live.lease,
            size: u32::try_from(live.value.len()).unwrap_or(u32::MAX),
            hash: hash(numbers, key, &live.value),
        }
    }

    pub(super) fn tombstone(at: Revision, key: &[u8]) -> Self {
        let numbers = [at.main, i64::from(at.sub), 0, 0, 0];
        Version { create: 0, version: 0, lease: 0, size: 0, hash: hash(numbers, key, b"") }
    }

    pub(super) fn is_tombstone(&self) -> bool {
        self.version == 0
    }
}

/// The checksum of the bytes, spread over 64 bits together with the numbers (the finalizer of
/// Steele, Lea, Flood, *Fast Splittable Pseudorandom Number Generators*, 2014).
fn hash(numbers: [i64; 5], key: &[u8], value: &[u8]) -> u64 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value);
    let lengths = (key.len() as u64) << 32 | u64::from(crc.finalize());
    numbers.into_iter().fold(lengths, |sum, n| {
        let mut x = (sum ^ n.cast_unsigned()).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    })
}

/// The place of a version in the history: the versions of a key stand together, newest first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    key: Bytes,
    revision: Reverse<Revision>,
}

impl At {
    fn new(key: &Bytes, revision: Revision) -> Self {
        At { key: key.clone(), revision: Reverse(revision) }
    }
}

/// A row of state on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The last version that was written to it.
    pub last: Revision,
    bytes: u64,
}

/// A version that a reader sees.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub key: &'a Bytes,
    pub at: Revision,
    pub create: i64,
    pub version: i64,
    pub lease: i64,
    value: Value<'a>,
}

impl<'a> Seen<'a> {
    /// Bytes of the value.
    pub(super) fn size(&self) -> usize {
        match self.value {
            Value::Live(value) => value.len(),
            Value::Indexed { size, .. } => size as usize,
        }
    }

    /// The value, if the key was visited as it is now.
    pub(super) fn live_value(&self) -> Option<&'a Bytes> {
        match self.value {
            Value::Live(value) => Some(value),
            Value::Indexed { .. } => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Live(&'a Bytes),
    Indexed { size: u32, hash: u64 },
}

/// Where the value of a version is.
pub(super) enum Place {
    Memory(Bytes),
    /// In the row that begins with this version; in none, if it was deleted since.
    Disk {
        row: Option<Revision>,
        hash: u64,
    },
}

// Changes.
impl Keyspace {
    /// Nothing yet, of a finished checkpoint.
    pub(super) fn saved(generation: u32, revision: i64) -> Self {
        Keyspace { generation, saved: revision, ..Keyspace::default() }
    }

    /// Sets a key; returns what it was.
    pub(super) fn put(&mut self, at: Revision, key: &Bytes, value: Bytes, lease: i64) -> Option<Live> {
        let before = self.live.get_key_value(key);
        let (create, version) = before.map_or((at.main, 1), |(_, l)| (l.create, l.version + 1));
        // Copied once, for as long as the key exists: the request's bytes are a slice of a frame,
        // and a small key must not keep a large frame in memory.
        let key = before.map_or_else(|| Bytes::copy_from_slice(key), |(key, _)| key.clone());
        let live = Live { at, create, version, lease, value };
        let version = Version::put(at, &key, &live);
        self.alive = self.alive.wrapping_add(version.hash);
        self.record(at, &key, version);
        self.live_bytes += (key.len() + live.value.len()) as u64;
        let before = self.live.insert(key.clone(), live);
        if let Some(before) = &before {
            self.supersede(&key, before);
        }
        before
    }

    /// Deletes a key; returns what it was, or nothing (and changes nothing) if it did not exist.
    pub(super) fn delete(&mut self, at: Revision, key: &Bytes) -> Option<Live> {
        let (key, before) = self.live.remove_with_key(key)?;
        self.record(at, &key, Version::tombstone(at, &key));
        self.supersede(&key, &before);
        Some(before)
    }

    fn record(&mut self, at: Revision, key: &Bytes, version: Version) {
        let bytes = key.len() as u64 + u64::from(version.size);
        self.bytes += bytes;
        self.unsaved += bytes;
        self.digest = self.digest.wrapping_add(version.hash);
        self.history.insert(At::new(key, at), version);
        self.changes.insert(at, key.clone());
    }

    fn supersede(&mut self, key: &Bytes, before: &Live) {
        self.alive = self.alive.wrapping_sub(Version::put(before.at, key, before).hash);
        self.live_bytes -= (key.len() + before.value.len()) as u64;
        if before.at.main > self.saved && !before.value.is_empty() {
            self.recent_bytes += before.value.len() as u64;
            self.recent.insert(before.at, before.value.clone());
        }
    }

    /// Takes a version as a row has it, at boot. Versions come in the order of their revisions, and
    /// a finished checkpoint holds them: only live values stay in memory.
    pub(super) fn restore(&mut self, at: Revision, key: &[u8], live: Option<Live>) {
        let before = self.live.get_key_value(key);
        let key = before.map_or_else(|| Bytes::copy_from_slice(key), |(key, _)| key.clone());
        if let Some((_, before)) = before {
            self.live_bytes -= (key.len() + before.value.len()) as u64;
            self.alive = self.alive.wrapping_sub(Version::put(before.at, &key, before).hash);
        }
        let version = match live {
            Some(live) => {
                // Copied, as in `put`: here it is a slice of a row.
                let live = Live { value: Bytes::copy_from_slice(&live.value), ..live };
                let version = Version::put(at, &key, &live);
                self.alive = self.alive.wrapping_add(version.hash);
                self.live_bytes += (key.len() + live.value.len()) as u64;
                self.live.insert(key.clone(), live);
                version
            }
            None => {
                self.live.remove(&key);
                Version::tombstone(at, &key)
            }
        };
        self.record(at, &key, version);
    }

    /// Removes a version from the index, which no reader can see and no row holds any more.
    pub(super) fn forget(&mut self, at: Revision) {
        let Some(key) = self.changes.remove(&at) else { return };
        let Some(version) = self.history.remove(&At::new(&key, at)) else { return };
        self.bytes -= key.len() as u64 + u64::from(version.size);
    }

    /// Notes a row: its first version when it was written at first, its last one now.
    pub(super) fn set_row(&mut self, first: Revision, last: Revision, row: &Bytes) {
        let bytes = row.len() as u64;
        let before = self.rows.insert(first, Extent { last, bytes });
        self.row_bytes += bytes;
        self.row_bytes -= before.map_or(0, |before| before.bytes);
    }

    /// Notes that a row is no more.
    pub(super) fn remove_row(&mut self, first: Revision) {
        let before = self.rows.remove(&first);
        self.row_bytes -= before.map_or(0, |before| before.bytes);
    }

    /// Drops one superseded value that a finished checkpoint holds; false when there is none.
    pub(super) fn drop_saved_value(&mut self) -> bool {
        match self.recent.get_min() {
            Some((at, value)) if at.main <= self.saved => {
                let at = *at;
                self.recent_bytes -= value.len() as u64;
                self.recent.remove(&at).is_some()
            }
            Some(_) | None => false,
        }
    }
}

// Reads.
impl Keyspace {
    /// The newest version of a key, if it exists.
    pub(super) fn live(&self, key: &[u8]) -> Option<&Live> {
        self.live.get(key)
    }

    /// The keys of a range that exist as of the end of a revision, or now, in order.
    pub(super) fn seen<'a>(
        &'a self,
        range: KeyRange<'a>,
        at: Option<i64>,
    ) -> Box<dyn Iterator<Item = Seen<'a>> + 'a> {
        match (range.bounds(), at) {
            (None, _) => Box::new(std::iter::empty()),
            (Some(_), Some(revision)) => Box::new(self.seen_at(range, revision)),
            (Some(bounds), None) => Box::new(self.live.range::<_, [u8]>(bounds).map(|(key, live)| Seen {
                key,
                at: live.at,
                create: live.create,
                version: live.version,
                lease: live.lease,
                value: Value::Live(&live.value),
            })),
        }
    }

    /// Walks the history; skips what is newer than the revision, then what is older than the
    /// version that it found, with a fresh search once that is more than a few.
    fn seen_at<'a>(&'a self, range: KeyRange<'a>, revision: i64) -> impl Iterator<Item = Seen<'a>> {
        const STEPS: u32 = 8;
        let newest = Revision::end_of(i64::MAX);
        let from = At { key: Bytes::copy_from_slice(range.start()), revision: Reverse(newest) };
        let mut walk = self.history.range(from..);
        let mut done: Option<&Bytes> = None;
        let mut steps = 0;
        std::iter::from_fn(move || {
            loop {
                let (at, version) = walk.next().filter(|(at, _)| range.reaches(&at.key))?;
                let older = done == Some(&at.key);
                if older || at.revision.0.main > revision {
                    steps += 1;
                    if steps > STEPS {
                        let next = if older { Revision::ZERO } else { Revision::end_of(revision) };
                        walk = self.history.range(At::new(&at.key, next)..);
                        steps = 0;
                    }
                    continue;
                }
                done = Some(&at.key);
                steps = 0;
                if !version.is_tombstone() {
                    return Some(Self::indexed(at, version));
                }
            }
        })
    }

    fn indexed<'a>(at: &'a At, v: &Version) -> Seen<'a> {
        Seen {
            key: &at.key,
            at: at.revision.0,
            create: v.create,
            version: v.version,
            lease: v.lease,
            value: Value::Indexed { size: v.size, hash: v.hash },
        }
    }

    /// How many keys exist.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Where the value of a version is.
    pub(super) fn place(&self, seen: &Seen<'_>) -> Place {
        let (size, hash) = match seen.value {
            Value::Live(value) => return Place::Memory(value.clone()),
            Value::Indexed { size, hash } => (size, hash),
        };
        let live = || self.live.get(seen.key).filter(|live| live.at == seen.at).map(|live| &live.value);
        if size == 0 {
            Place::Memory(Bytes::new())
        } else if let Some(value) = live().or_else(|| self.recent.get(&seen.at)) {
            Place::Memory(value.clone())
        } else {
            Place::Disk { row: self.row_of(seen.at), hash }
        }
    }

    /// The row whose extent a version lies in.
    pub(super) fn row_of(&self, at: Revision) -> Option<Revision> {
        self.rows.get_prev(&at).filter(|(_, extent)| at <= extent.last).map(|(first, _)| *first)
    }
}

// What checkpoints and cleaning ask.
impl Keyspace {
    /// The changes after `after`, up to `last`.
    pub(super) fn changes(
        &self,
        after: Revision,
        last: Revision,
    ) -> impl Iterator<Item = (Revision, &Bytes)> {
        let bounds = (Bound::Excluded(after), Bound::Included(last.max(after)));
        let some = after < last;
        some.then(|| self.changes.range(bounds)).into_iter().flatten().map(|(at, key)| (*at, key))
    }

    /// The rows on disk, by the first version of each.
    pub(super) fn rows(&self) -> &OrdMap<Revision, Extent> {
        &self.rows
    }

    /// A version of a key, and the one before it.
    pub(super) fn and_older(&self, key: &Bytes, at: Revision) -> (&Version, Option<(Revision, &Version)>) {
        pair(key, at, self.history.range(At::new(key, at)..))
    }

    /// A version of a key, and the one after it.
    pub(super) fn and_newer(&self, key: &Bytes, at: Revision) -> (&Version, Option<(Revision, &Version)>) {
        pair(key, at, self.history.range(..=At::new(key, at)).rev())
    }

    /// The oldest version of a key.
    pub(super) fn oldest(&self, key: &Bytes) -> Option<Revision> {
        let last = At::new(key, Revision::ZERO);
        self.history.get_prev(&last).filter(|(at, _)| at.key == key).map(|(at, _)| at.revision.0)
    }

    /// The value of a version that no row holds, or that is live.
    pub(super) fn value_in_memory(&self, key: &[u8], at: Revision) -> Option<&Bytes> {
        let live = self.live.get(key).filter(|live| live.at == at).map(|live| &live.value);
        live.or_else(|| self.recent.get(&at))
    }

    /// The versions that can be read once this revision is compacted: of each key those above it, and
    /// the one that holds at it.
    pub(super) fn readable(&self, compacted: i64) -> impl Iterator<Item = (&[u8], Revision, Version)> {
        let mut held: Option<&Bytes> = None;
        self.history.iter().filter_map(move |(At { key, revision: Reverse(at) }, version)| {
            let newest = at.main <= compacted && held != Some(key);
            if newest {
                held = Some(key);
            }
            let readable = at.main > compacted || (newest && !version.is_tombstone());
            readable.then_some((&key[..], *at, *version))
        })
    }

    /// How much there is.
    pub(super) fn size(&self) -> Size {
        /// What one entry takes in each index: key handles, numbers, and the slack of nodes that
        /// are three quarters full.
        const LIVE: u64 = 170;
        const VERSION: u64 = 230;
        const RECENT: u64 = 70;
        let (keys, versions) = (self.live.len() as u64, self.history.len() as u64);
        let recent = self.recent.len() as u64;
        Size {
            keys,
            versions,
            bytes: self.bytes,
            live_bytes: self.live_bytes,
            row_bytes: self.row_bytes,
            memory: self.live_bytes + self.recent_bytes + keys * LIVE + versions * VERSION + recent * RECENT,
        }
    }
}

/// The first two of a walk that begins at a version, as far as they are of its key.
fn pair<'a>(
    key: &Bytes,
    at: Revision,
    mut walk: impl Iterator<Item = (&'a At, &'a Version)>,
) -> (&'a Version, Option<(Revision, &'a Version)>) {
    let first = walk.next().filter(|(first, _)| first.key == key && first.revision.0 == at);
    let (_, version) = first.expect("the history has every change");
    let next = walk.next().filter(|(next, _)| next.key == key);
    (version, next.map(|(next, version)| (next.revision.0, version)))
}
