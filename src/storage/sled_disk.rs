//! The committer: one thread that owns the write path of a store.

use super::head::Mark;
use super::space::Gauge;
use super::steps::{Step, Steps};
use super::store::{Sled, discard};
use super::witness::Witness;
use super::writer::Writer;
use crate::kernel::{Batch, Disk, DiskError};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often the committer looks at the space that there is.
const LOOK: Duration = Duration::from_secs(1);
/// How long nothing is committed before the committer clears away what truncations have left.
const IDLE: Duration = Duration::from_millis(50);
/// How many times its content a Db may be before sled takes the space from itself, not from the disk:
/// it frees a segment once two fifths of it are in use, or less.
const SPARSE: u64 = 3;
/// Below this size a Db may be as sparse as it likes.
const LARGE: u64 = 64 << 20;

/// Stable storage on sled.
///
/// Invariant: after any error, or a commit that overran its deadline, the store is poisoned: every
/// later commit fails with the same error, and the Db is never dropped, since that can hang.
pub struct SledDisk {
    store: Arc<Store>,
    deadline: Duration,
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Result<(), DiskError>>,
    thread: Option<JoinHandle<()>>,
}

/// An open store, shared by the committer and by those who read rows.
pub struct Store {
    open: RwLock<Option<Open>>,
    poison: OnceLock<DiskError>,
    live: AtomicU64,
}

/// Dropped in this order: the lock of the data directory outlives the Db.
struct Open {
    sled: Sled,
    _lock: File,
}

enum Job {
    Commit(Batch),
    Close,
}

impl Store {
    /// A store that was just opened, and the lock of its data directory.
    pub fn new(sled: Sled, lock: File) -> Arc<Self> {
        Arc::new(Self {
            open: RwLock::new(Some(Open { sled, _lock: lock })),
            poison: OnceLock::new(),
            live: AtomicU64::new(0),
        })
    }

    /// Calls `f` with the Db, if the store is still open.
    pub fn with<T>(&self, f: impl FnOnce(&Sled) -> Result<T, DiskError>) -> Result<T, DiskError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        match open.as_ref() {
            Some(open) => f(&open.sled),
            None => Err(DiskError::Failed("the store is closed".into())),
        }
    }

    fn poison(self: &Arc<Self>, e: DiskError) -> DiskError {
        if self.poison.set(e.clone()).is_ok() {
            tracing::error!(reason = %e, "stable storage failed");
            std::mem::forget(self.clone());
        }
        self.poison.get().cloned().unwrap_or(e)
    }

    /// Drops the Db and then the lock, unless the store is poisoned.
    fn close(&self, patience: Duration) {
        if self.poison.get().is_none() {
            let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
            discard(open, patience);
        }
    }
}

impl SledDisk {
    /// Starts the committer of a store.
    pub fn start(
        store: Arc<Store>,
        writer: Writer,
        witness: Witness,
        gauge: Gauge,
        steps: Steps,
        deadline: Duration,
    ) -> std::io::Result<Self> {
        let (jobs, todo) = mpsc::sync_channel(1);
        let (tell, done) = mpsc::sync_channel(1);
        let mut committer = Committer {
            store: store.clone(),
            writer,
            witness,
            gauge,
            steps,
            looked: Instant::now(),
            warned: 0,
        };
        committer.store.live.store(committer.writer.live, Ordering::Relaxed);
        let thread = thread::Builder::new().name("committer".into()).spawn(move || {
            loop {
                match todo.recv_timeout(IDLE) {
                    Ok(job) => {
                        // Nothing may follow the mark of a clean end.
                        let last = matches!(job, Job::Close);
                        if tell.send(committer.run(job)).is_err() || last {
                            break;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => committer.idle(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        })?;
        Ok(Self { store, deadline, jobs: Some(jobs), done, thread: Some(thread) })
    }

    /// Commits the mark of a clean shutdown and closes the store: the next boot finds it clean.
    pub fn close(self) -> Result<(), DiskError> {
        self.submit(Job::Close)
    }

    /// The bytes of all keys and values of the store.
    pub fn live_bytes(&self) -> u64 {
        self.store.live.load(Ordering::Relaxed)
    }

    fn submit(&self, job: Job) -> Result<(), DiskError> {
        if let Some(e) = self.store.poison.get() {
            return Err(e.clone());
        }
        let gone = || DiskError::Failed("the committer is gone".into());
        let outcome = match self.jobs.as_ref().map(|jobs| jobs.send(job)) {
            Some(Ok(())) => match self.done.recv_timeout(self.deadline) {
                Ok(outcome) => outcome,
                Err(RecvTimeoutError::Timeout) => {
                    Err(DiskError::Failed(format!("no commit within {:?}, the disk is stuck", self.deadline)))
                }
                Err(RecvTimeoutError::Disconnected) => Err(gone()),
            },
            Some(Err(_)) | None => Err(gone()),
        };
        outcome.map_err(|e| self.store.poison(e))
    }
}

impl Disk for SledDisk {
    fn commit(&mut self, batch: &Batch) -> Result<(), DiskError> {
        if batch.is_empty() {
            return self.store.poison.get().cloned().map_or(Ok(()), Err);
        }
        self.submit(Job::Commit(batch.clone()))
    }
}

impl Drop for SledDisk {
    fn drop(&mut self) {
        self.jobs = None;
        if self.store.poison.get().is_some() {
            return; // the committer may hang for ever
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.store.close(self.deadline);
    }
}

struct Committer {
    store: Arc<Store>,
    writer: Writer,
    witness: Witness,
    gauge: Gauge,
    steps: Steps,
    looked: Instant,
    /// The size of the Db at which its growth was last complained of.
    warned: u64,
}

impl Committer {
    fn run(&mut self, job: Job) -> Result<(), DiskError> {
        let outcome = catch_unwind(AssertUnwindSafe(|| match job {
            Job::Commit(batch) => self.commit(&batch, false),
            Job::Close => self.commit(&Batch::of(Vec::new(), true), true),
        }));
        match outcome {
            Ok(Err(DiskError::Failed(why))) if self.gauge.is_full() => Err(DiskError::Full(why)),
            Ok(outcome) => outcome,
            Err(_) => Err(DiskError::Failed("the committer panicked".into())),
        }
    }

    /// Removes a few records of truncated logs: else, without traffic, they would stay for ever.
    fn idle(&mut self) {
        if self.store.poison.get().is_some() {
            return;
        }
        if self.writer.has_leftovers() {
            let outcome = self.run(Job::Commit(Batch::of(Vec::new(), false)));
            let _ = outcome.map_err(|e| self.store.poison(e)); // the next commit reports it
        } else if self.looked.elapsed() > LOOK {
            let store = self.store.clone();
            let _ = store.with(|sled| {
                self.look(sled);
                Ok(())
            });
        }
    }

    fn commit(&mut self, batch: &Batch, clean: bool) -> Result<(), DiskError> {
        let store = self.store.clone();
        store.with(|sled| {
            let mark = self.write(sled, batch, clean)?;
            if batch.is_vote() {
                self.witness.write(mark)?;
            } else {
                self.witness.note(mark)?;
            }
            if self.looked.elapsed() > LOOK {
                self.look(sled);
            }
            Ok(())
        })
    }

    fn write(&mut self, sled: &Sled, batch: &Batch, clean: bool) -> Result<Mark, DiskError> {
        let staged = self.writer.stage(sled, batch, clean)?;
        self.steps.at(Step::Staged);
        sled.apply(&staged.changes)?;
        self.steps.at(Step::Applied);
        sled.flush()?;
        self.steps.at(Step::Flushed);
        sled.sync()?;
        self.steps.at(Step::Synced);
        self.store.live.store(self.writer.live, Ordering::Relaxed);
        Ok(staged.mark)
    }

    fn look(&mut self, sled: &Sled) {
        self.looked = Instant::now();
        // Never thrown off here: it is there for the boot after a halt.
        match self.gauge.load() {
            Ok(true) => tracing::info!("there is space for the ballast again"),
            Ok(false) => {}
            Err(e) => tracing::warn!(error = %e, "no ballast on this disk"),
        }
        if let Ok(size) = sled.size() {
            self.gauge.note_slack(size.saturating_sub(SPARSE * self.writer.live));
        }
        // sled's thread that reclaims space ends silently on some errors.
        if let (Ok(size), live) = (sled.size(), self.writer.live)
            && size > LARGE.max(8 * live).max(2 * self.warned)
        {
            self.warned = size;
            tracing::warn!(size, live, "sled reclaims no space; a restart rewrites the store");
        }
        if sled.has_blobs().unwrap_or(false) {
            tracing::error!("sled keeps pages in files that it never syncs; a restart rewrites the store");
        }
    }
}
