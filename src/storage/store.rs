//! One sled Db, with everything that sled does not do for us: our own descriptor to sync, panics
//! turned into errors, files that brick an open removed, and the directory synced.

use super::codec::{self, Place, Unreadable};
use super::{files, space};
use crate::kernel::DiskError;
use sled::{Db, IVec};
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a Db cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Its content is damaged.
    #[error("its content is damaged: {0}")]
    Damaged(String),
    /// It is open already.
    #[error("it is open already")]
    InUse,
    /// The disk failed, which says nothing about the content.
    #[error(transparent)]
    Io(io::Error),
}

/// An open sled Db, and our own descriptor of its file.
pub struct Sled {
    db: Db,
    file: File,
    dir: PathBuf,
}

impl Sled {
    /// Opens or creates the Db in `dir`, which exists, and makes durable what sled's open left
    /// behind unsynced: without it the first power cut may brick the Db.
    pub fn open(dir: &Path, cache: u64, flush_every: Duration) -> Result<Self, OpenError> {
        remove_unfinished_snapshots(dir).map_err(OpenError::Io)?;
        // Before sled writes: only a descriptor older than a write reports its write-back error.
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("db"))
            .map_err(OpenError::Io)?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache)
            .flush_every_ms(Some(flush_every.as_millis() as u64));
        let patience = Instant::now() + Duration::from_secs(3);
        let db = loop {
            match catch_unwind(AssertUnwindSafe(|| config.open())) {
                Ok(Ok(db)) => break db,
                // The lock of a Db that was just dropped lingers for a moment.
                Ok(Err(sled::Error::Io(e))) if e.to_string().contains("could not acquire lock") => {
                    if Instant::now() > patience {
                        return Err(OpenError::InUse);
                    }
                    thread::sleep(Duration::from_millis(10));
                }
                Ok(Err(sled::Error::Io(e))) if !is_damage(&e) => return Err(OpenError::Io(e)),
                Ok(Err(e)) => return Err(OpenError::Damaged(e.to_string())),
                Err(panic) => return Err(OpenError::Damaged(panic_text(panic.as_ref()))),
            }
        };
        file.sync_all().and_then(|()| files::sync_tree(dir)).map_err(OpenError::Io)?;
        Ok(Self { db, file, dir: dir.to_owned() })
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<IVec>, DiskError> {
        reading(|| self.db.get(key))
    }

    /// Visits pairs from `from` on and below `to`, in order, until the visitor has enough.
    pub fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        mut visit: impl FnMut(&IVec, &IVec) -> Result<Scan, DiskError>,
    ) -> Result<(), DiskError> {
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut pairs = reading(|| Ok(self.db.range::<&[u8], _>((Bound::Included(from), to))))?;
        while let Some((key, value)) = reading(|| pairs.next().transpose())? {
            if visit(&key, &value)? == Scan::Enough {
                break;
            }
        }
        Ok(())
    }

    /// A whole blob, put together from its chunks.
    pub fn blob(&self, place: &Place) -> Result<Option<Vec<u8>>, DiskError> {
        read_blob(place, |key| self.get(key))
    }

    /// Applies a batch atomically; it is not durable yet.
    pub fn apply(&self, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), DiskError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        guarded(|| self.db.apply_batch(batch))
    }

    /// Hands everything applied to the operating system. It survives the end of the process, not
    /// a power cut: [`Sled::sync`] must follow.
    pub fn flush(&self) -> Result<(), DiskError> {
        guarded(|| self.db.flush()).map(|_| ())
    }

    /// Makes everything flushed durable.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|e| io_error("syncing the db file", &e))
    }

    /// The size of the Db's file, in bytes.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether sled has put pages into files of their own, which it never syncs.
    pub fn has_blobs(&self) -> io::Result<bool> {
        Ok(fs::read_dir(self.dir.join("blobs"))?.next().is_some())
    }
}

/// Drops a Db, or what holds one, that is no longer wanted. Dropping one whose disk has failed can
/// hang: then it is left behind.
pub fn discard(db: impl Send + 'static, patience: Duration) {
    let (done, wait) = mpsc::channel();
    let dropping = thread::Builder::new().name("sled-drop".into()).spawn(move || {
        drop(db);
        let _ = done.send(());
    });
    if dropping.is_ok() {
        let _ = wait.recv_timeout(patience);
    }
}

/// Whether a scan goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// It does.
    More,
    /// It does not.
    Enough,
}

/// Puts a blob together from its chunks.
pub fn read_blob<V: AsRef<[u8]>>(
    place: &Place,
    get: impl Fn(&[u8]) -> Result<Option<V>, DiskError>,
) -> Result<Option<Vec<u8>>, DiskError> {
    let base = place.base();
    let key = codec::chunk_key(&base, 0);
    let Some(value) = get(&key)? else { return Ok(None) };
    let (total, data) = codec::unseal(&key, value.as_ref()).map_err(damaged)?;
    let mut blob = data.to_vec();
    for chunk in 1..codec::chunks(total as usize) {
        let key = codec::chunk_key(&base, chunk);
        let value = get(&key)?.ok_or_else(|| {
            DiskError::Damaged(format!("chunk {chunk} of key {} is gone", codec::Hex(&base)))
        })?;
        blob.extend(codec::unseal(&key, value.as_ref()).map_err(damaged)?.1);
    }
    if blob.len() != total as usize {
        return Err(DiskError::Damaged(format!("the chunks of key {} do not add up", codec::Hex(&base))));
    }
    Ok(Some(blob))
}

/// What cannot be read of a store that was sound when it was opened.
pub fn damaged(what: Unreadable) -> DiskError {
    DiskError::Damaged(what.to_string())
}

/// An I/O error as the kernel sees it.
pub fn io_error(doing: &str, e: &io::Error) -> DiskError {
    let what = format!("{doing}: {e}");
    if space::is_lack(e) { DiskError::Full(what) } else { DiskError::Failed(what) }
}

/// sled panics where others return errors: in `apply_batch`, on damaged pages, after a failed write.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, DiskError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(e))) if !is_damage(&e) => Err(io_error("sled", &e)),
        Ok(Err(e @ (sled::Error::Corruption { .. } | sled::Error::Io(_)))) => {
            Err(DiskError::Damaged(e.to_string()))
        }
        Ok(Err(e)) => Err(DiskError::Failed(e.to_string())),
        Err(panic) => Err(DiskError::Failed(panic_text(panic.as_ref()))),
    }
}

/// While reading, a panic of sled is damage that it did not expect.
fn reading<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, DiskError> {
    let mut returned = false;
    guarded(|| {
        let value = call();
        returned = true;
        value
    })
    .map_err(|e| match e {
        DiskError::Failed(what) if !returned => DiskError::Damaged(what),
        e => e,
    })
}

/// Errors of reading that stem from what the file says, not from the disk.
fn is_damage(e: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    matches!(e.kind(), UnexpectedEof | InvalidData | InvalidInput | Other) && e.raw_os_error().is_none()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    format!("sled panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given"))
}

/// A crash while sled opened leaves them, and they brick every open after it (sled issue 1527).
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
