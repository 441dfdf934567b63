//! Boot: the state machine as a finished checkpoint has it.

use super::Machine;
use super::error::Malformed;
use super::keyspace::Keyspace;
use super::meta::Meta;
use super::revision::Revision;
use super::row;
use super::scrub::Scrub;
use super::view::View;
use crate::kernel::RowKey;
use bytes::Bytes;
use thiserror::Error;

/// Why a checkpoint cannot be booted from.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Damaged {
    /// The metadata cannot be read.
    #[error(transparent)]
    Meta(#[from] Malformed),
    /// A row cannot be read.
    #[error("row {}.{} of generation {}: {why}", key.main, key.sub, key.generation)]
    Row {
        /// Its place.
        key: RowKey,
        /// What is wrong with it.
        why: String,
    },
    /// The rows are not those that the checkpoint was made of.
    #[error(
        "the rows have the digest {found:016x} and the checkpoint of revision {revision} {expected:016x}: rows are missing, stale or damaged"
    )]
    Digest {
        /// The revision of the checkpoint.
        revision: i64,
        /// The digest in its metadata.
        expected: u64,
        /// The digest of the rows.
        found: u64,
    },
}

/// Builds a state machine from the rows and the metadata of a checkpoint, the replica's own or one
/// received from a peer. Give it every row of the generation, in order, then finish.
pub struct Loader {
    meta: Option<Meta>,
    space: Keyspace,
    leftover: Vec<RowKey>,
    last: Revision,
}

impl Loader {
    /// For a checkpoint with this metadata.
    pub fn new(meta: Bytes) -> Result<Loader, Damaged> {
        let meta = Meta::decode(&meta)?;
        let space = Keyspace::saved(meta.generation, meta.revision);
        Ok(Loader { meta: Some(meta), space, leftover: Vec::new(), last: Revision::ZERO })
    }

    /// Without a checkpoint: there may be rows of one that was not finished, to be deleted.
    pub fn empty() -> Loader {
        Loader { meta: None, space: Keyspace::default(), leftover: Vec::new(), last: Revision::ZERO }
    }

    /// Takes a row. Rows of other generations, and of a checkpoint that was not finished, are not
    /// read.
    pub fn row(&mut self, key: RowKey, value: Bytes) -> Result<(), Damaged> {
        if key.generation != self.space.generation {
            return Ok(());
        }
        let first = Revision::of_row(key);
        let damaged = |why: String| Damaged::Row { key, why };
        let Some(meta) = self.meta.as_ref().filter(|meta| first.main <= meta.revision) else {
            self.leftover.push(key);
            return Ok(());
        };
        for record in row::records(value.clone()) {
            let record = record.map_err(|e| damaged(e.to_string()))?;
            if record.at <= self.last || record.at < first || record.at.main > meta.revision {
                return Err(damaged(format!("it holds {:?}, which is out of order", record.at)));
            }
            self.last = record.at;
            self.space.restore(record.at, &record.key, record.live);
        }
        self.space.set_row(first, self.last, &value);
        Ok(())
    }

    /// The state machine, if the rows are the checkpoint's. The log goes on from
    /// [`Machine::applied`].
    pub fn finish(self) -> Result<Machine, Damaged> {
        let Loader { meta, mut space, leftover, .. } = self;
        let Some(meta) = meta else { return Ok(Machine { leftover, ..Machine::new() }) };
        let mut scrub = Scrub::restored(meta.settled());
        scrub.settle(&space, meta.settled(), usize::MAX);
        let found = scrub.digest(&space);
        if found != meta.digest {
            return Err(Damaged::Digest { revision: meta.revision, expected: meta.digest, found });
        }
        // What was compacted since counts from the next checkpoint on, however soon it comes.
        scrub.settle(&space, Revision::end_of(meta.compacted), usize::MAX);
        space.unsaved = 0;
        Ok(Machine {
            sessions: meta.sessions(),
            scrub,
            leftover,
            checkpointed: meta.applied,
            now: View {
                space,
                revision: meta.revision,
                compacted: meta.compacted,
                applied: meta.applied,
                alarms: meta.alarms(),
                ..View::new()
            },
            ..Machine::new()
        })
    }
}
