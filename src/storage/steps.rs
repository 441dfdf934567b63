//! The instants of the write path at which a crash makes a difference, for tests to look at.

use std::fmt;
use std::sync::Arc;

/// An instant of the write path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// A commit is staged; sled knows nothing of it.
    Staged,
    /// sled has applied it, in memory.
    Applied,
    /// The operating system has it.
    Flushed,
    /// It is durable.
    Synced,
    /// A slot of the witness is written, not synced.
    WitnessWritten,
    /// The slot is durable.
    WitnessSynced,
    /// The new content of a small file is written beside the old one.
    FileWritten,
    /// And durable.
    FileSynced,
    /// A file or a directory has its new name.
    Renamed,
    /// And the name is durable.
    DirSynced,
}

/// Called at every step; nothing in production.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Watch>>);

type Watch = dyn Fn(Step) + Send + Sync;

impl Steps {
    /// Calls `watch` at every step, on the thread that takes it.
    pub fn watched(watch: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(watch)))
    }

    pub(super) fn at(&self, step: Step) {
        if let Some(watch) = &self.0 {
            watch(step);
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "watched" } else { "unwatched" })
    }
}
