//! The witness: a second place that knows how far the store got.
//!
//! sled drops what it finds damaged at its tail without a word, so a store that lost acknowledged
//! commits opens as if it had never had them. The witness holds the mark of a recent commit, in
//! one of two slots written in turn; it is written after the commit's sync, so after any crash
//! *witness ≤ store*, and a store behind it has lost something.
//!
//! A vote waits for the witness. A plain commit does not: the witness follows within a few
//! milliseconds and skips commits. It always overwrites the slot with the older valid mark: by the
//! parity of the commit's number, a torn write after a skip could leave only a mark from before a
//! vote.

use super::codec::{self, Reader, Unreadable};
use super::files;
use super::head::Mark;
use super::steps::{Step, Steps};
use super::store::io_error;
use crate::kernel::DiskError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a plain commit waits for later ones that the same write of the witness can cover. With
/// the write itself, the witness lags by less than 5 ms on a disk that is well.
const LAG: Duration = Duration::from_millis(2);

/// A slot has a page of its own, so that a torn write spoils one slot only.
const PAGE: usize = 4096;
const KEY: &[u8] = b"witness";

/// What a witness file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Testimony {
    /// The disk that it speaks of.
    pub disk: u64,
    /// The newest mark.
    pub mark: Mark,
    /// Whether the write of a slot was cut short.
    pub torn: bool,
}

#[derive(Clone, Copy)]
struct Slot {
    disk: u64,
    mark: Mark,
}

impl Slot {
    fn encode(self) -> Vec<u8> {
        let mut data = Vec::new();
        for number in [self.disk, self.mark.w, self.mark.chain] {
            data.extend(number.to_le_bytes());
        }
        codec::seal(KEY, data.len() as u32, &data)
    }

    const LEN: usize = 9 + 24;

    fn decode(page: &[u8]) -> Result<Self, Unreadable> {
        let damaged = || Unreadable::Damaged("a slot of the witness is unreadable".into());
        let slot = page.get(..Self::LEN).ok_or_else(damaged)?;
        let mut r = Reader(codec::unseal(KEY, slot)?.1);
        let mut number = || r.u64().ok_or_else(damaged);
        Ok(Slot { disk: number()?, mark: Mark { w: number()?, chain: number()? } })
    }
}

/// Makes the witness of a store that has no commit yet.
pub fn create(path: &Path, disk: u64, mark: Mark, steps: &Steps) -> io::Result<()> {
    let mut page = Slot { disk, mark }.encode();
    page.resize(PAGE, 0);
    files::replace(path, &page.repeat(2), steps)
}

/// Reads a witness file; `None` when there is none.
pub fn read(path: &Path) -> io::Result<Option<Result<Testimony, Unreadable>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(testimony(&bytes))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn slots(bytes: &[u8]) -> [Result<Slot, Unreadable>; 2] {
    [0, 1].map(|i| Slot::decode(bytes.get(i * PAGE..).unwrap_or_default()))
}

fn testimony(bytes: &[u8]) -> Result<Testimony, Unreadable> {
    let of = |slot: Slot, torn| Ok(Testimony { disk: slot.disk, mark: slot.mark, torn });
    match slots(bytes) {
        [Err(Unreadable::Newer(format)), _] | [_, Err(Unreadable::Newer(format))] => {
            Err(Unreadable::Newer(format))
        }
        [Ok(a), Ok(b)] if a.disk != b.disk => {
            Err(Unreadable::Damaged("the slots of the witness speak of two disks".into()))
        }
        [Ok(a), Ok(b)] => of(if a.mark.w > b.mark.w { a } else { b }, false),
        [Ok(slot), Err(_)] | [Err(_), Ok(slot)] => of(slot, true),
        [Err(_), Err(_)] => Err(Unreadable::Damaged("both slots of the witness are unreadable".into())),
    }
}

/// The witness of an open store, and the thread that writes it behind plain commits.
pub struct Witness {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    slots: Mutex<Slots>,
    pending: Mutex<Pending>,
    wake: Condvar,
    steps: Steps,
}

struct Slots {
    file: File,
    disk: u64,
    /// The numbers of the commits in the two slots; `None` where a slot is unreadable.
    held: [Option<u64>; 2],
}

#[derive(Default)]
struct Pending {
    mark: Option<Mark>,
    failed: Option<DiskError>,
    closing: bool,
}

impl Witness {
    /// Opens the witness of a store that agrees with it.
    pub fn open(path: &Path, disk: u64, steps: &Steps) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let held = slots(&std::fs::read(path)?).map(|slot| slot.ok().map(|slot| slot.mark.w));
        let shared = Arc::new(Shared {
            slots: Mutex::new(Slots { file, disk, held }),
            pending: Mutex::default(),
            wake: Condvar::new(),
            steps: steps.clone(),
        });
        let follower = shared.clone();
        let thread = thread::Builder::new().name("witness".into()).spawn(move || follower.follow())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Writes the mark of a durable commit, durably, before it returns.
    pub fn write(&self, mark: Mark) -> Result<(), DiskError> {
        self.check()?;
        self.shared.write(mark)
    }

    /// Has the mark of a durable commit written soon.
    pub fn note(&self, mark: Mark) -> Result<(), DiskError> {
        self.check()?;
        let mut pending = lock(&self.shared.pending);
        if pending.mark.replace(mark).is_none() {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    fn check(&self) -> Result<(), DiskError> {
        lock(&self.shared.pending).failed.clone().map_or(Ok(()), Err)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let mut pending = lock(&self.shared.pending);
        pending.closing = true;
        let failed = pending.failed.is_some();
        drop(pending);
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take().filter(|_| !failed) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn follow(&self) {
        let mut pending = lock(&self.pending);
        loop {
            while pending.mark.is_none() && !pending.closing {
                pending = self.wake.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            if !pending.closing {
                let more = self.wake.wait_timeout_while(pending, LAG, |pending| !pending.closing);
                pending = more.unwrap_or_else(PoisonError::into_inner).0;
            }
            let Some(mark) = pending.mark.take() else { return };
            drop(pending);
            let written = self.write(mark);
            pending = lock(&self.pending);
            if let Err(e) = written {
                pending.failed = Some(e);
                return;
            }
        }
    }

    fn write(&self, mark: Mark) -> Result<(), DiskError> {
        let mut slots = lock(&self.slots);
        if slots.held.iter().flatten().any(|held| *held >= mark.w) {
            return Ok(());
        }
        let older = usize::from(slots.held[1] < slots.held[0]);
        let bytes = Slot { disk: slots.disk, mark }.encode();
        let failed = |e: io::Error| io_error("writing the witness", &e);
        slots.file.write_all_at(&bytes, (older * PAGE) as u64).map_err(failed)?;
        self.steps.at(Step::WitnessWritten);
        slots.file.sync_data().map_err(failed)?;
        slots.held[older] = Some(mark.w);
        self.steps.at(Step::WitnessSynced);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(w: u64) -> Mark {
        Mark { w, chain: w * 3 }
    }

    fn seen(path: &Path) -> Testimony {
        read(path).unwrap().unwrap().unwrap()
    }

    /// Commit 10 is a vote, and 11 is skipped: by parity, 12 would overwrite 10, and a torn write
    /// would leave only 9, from before the vote.
    #[test]
    fn a_torn_write_never_leaves_only_a_mark_from_before_a_vote() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("witness");
        create(&path, 1, mark(0), &Steps::default()).unwrap();
        let witness = Witness::open(&path, 1, &Steps::default()).unwrap();
        for w in [9, 10, 12] {
            let before = std::fs::read(&path).unwrap();
            let known = seen(&path).mark;
            witness.write(mark(w)).unwrap();
            let after = std::fs::read(&path).unwrap();
            let changed: Vec<usize> = (0..after.len()).filter(|i| before[*i] != after[*i]).collect();
            for torn in 1..changed.len() {
                let mut bytes = before.clone();
                changed[..torn].iter().for_each(|i| bytes[*i] = after[*i]);
                let found = testimony(&bytes).unwrap();
                assert_eq!(found, Testimony { disk: 1, mark: known, torn: true }, "{torn} bytes of mark {w}");
            }
            assert_eq!(seen(&path), Testimony { disk: 1, mark: mark(w), torn: false });
        }
    }

    #[test]
    fn a_torn_slot_is_the_next_to_be_written() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("witness");
        create(&path, 1, mark(5), &Steps::default()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[PAGE + 20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(seen(&path).torn);
        Witness::open(&path, 1, &Steps::default()).unwrap().write(mark(6)).unwrap();
        assert_eq!(seen(&path), Testimony { disk: 1, mark: mark(6), torn: false });
    }

    #[test]
    fn what_was_noted_is_written_soon_and_the_last_note_before_the_end() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("witness");
        create(&path, 1, mark(0), &Steps::default()).unwrap();
        let witness = Witness::open(&path, 1, &Steps::default()).unwrap();
        (1..=50).for_each(|w| witness.note(mark(w)).unwrap());
        drop(witness);
        assert_eq!(seen(&path).mark, mark(50));
    }
}
