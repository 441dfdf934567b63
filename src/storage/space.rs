//! How full the disk is, and the ballast that is thrown off to boot on a full one.

use super::files;
use rustix::fs::FallocateFlags;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// With less than this left, a failed write is put down to the full disk.
const FULL: u64 = 1 << 20;
/// What a disk that is not full takes, to try it.
const TRIAL: usize = 64 << 10;

/// The space of the file system that holds a data directory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// The size of the file system.
    pub total: u64,
    /// What is free for us.
    pub free: u64,
    /// What the data directory takes, the ballast included.
    pub used: u64,
    /// What the ballast takes: a boot on a full disk frees it.
    pub ballast: u64,
}

/// What must be free on the disk before free space inside the store counts as well, and beside the
/// ballast before that is taken on board.
const FLOOR: u64 = 16 << 20;

/// Reports the space of a data directory, and keeps its ballast.
///
/// The ballast is space of the replica's own for a boot on a full disk: that a person can free space
/// takes a replica that runs, and to run it has to write. It is thrown off at such a boot only, and
/// taken on board again as soon as there is space. What a running replica has to write is kept free
/// by refusing in time what grows.
#[derive(Clone, Debug)]
pub struct Gauge {
    dir: PathBuf,
    size: u64,
    /// What is free inside the store's own file.
    slack: Arc<AtomicU64>,
}

impl Gauge {
    /// The gauge of a data directory whose ballast is to be of `size` bytes.
    pub fn new(dir: &Path, size: u64) -> Self {
        Self { dir: dir.to_owned(), size, slack: Arc::default() }
    }

    /// The space now. It walks the data directory: not on an async task.
    pub fn space(&self) -> io::Result<Space> {
        let (total, free) = self.file_system()?;
        let ballast = fs::metadata(self.ballast()).map_or(0, |meta| meta.blocks() * 512);
        Ok(Space { total, free, used: usage(&self.dir)?, ballast })
    }

    /// The size that the ballast is to have.
    pub fn reserve(&self) -> u64 {
        self.size
    }

    /// What is free for us on the disk.
    pub fn free(&self) -> io::Result<u64> {
        Ok(self.file_system()?.1)
    }

    /// What may still be written: what is free on the disk, and, unless that is next to nothing, what
    /// the store has free in its own file, which hardly ever shrinks.
    pub fn room(&self) -> io::Result<u64> {
        let free = self.free()?;
        let slack = if free < FLOOR { 0 } else { self.slack.load(Ordering::Relaxed) };
        Ok(free.saturating_add(slack))
    }

    /// Notes what is free inside the store's own file.
    pub(super) fn note_slack(&self, bytes: u64) {
        self.slack.store(bytes, Ordering::Relaxed);
    }

    /// Whether the disk takes nothing more. A quota does not show in what the file system says is
    /// free: only a write tells.
    pub fn is_full(&self) -> bool {
        self.free().is_ok_and(|free| free < FULL) || self.try_disk().is_err_and(|e| is_lack(&e))
    }

    fn try_disk(&self) -> io::Result<()> {
        let path = self.dir.join("trial.tmp");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&[0; TRIAL])?;
            file.sync_all()
        });
        let _ = fs::remove_file(&path); // or the next boot does
        written
    }

    /// Frees the ballast if less than its size is left on the disk: whether it did.
    pub fn relieve(&self) -> io::Result<bool> {
        if self.free()? >= self.size {
            return Ok(false);
        }
        match fs::remove_file(self.ballast()) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes the ballast on board, unless it is, where there is space: whether it did. Afterwards the
    /// space is really taken, also after a power cut.
    pub fn load(&self) -> io::Result<bool> {
        let is = fs::metadata(self.ballast()).map_or(0, |meta| meta.blocks() * 512);
        if is >= self.size || self.free()? < self.size - is + FLOOR {
            return Ok(false);
        }
        let file = File::options().create(true).truncate(false).write(true).open(self.ballast())?;
        let taken = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.size) {
            Ok(()) => Ok(()),
            // A file system without fallocate: what is written takes space as well.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.fill(&file),
            Err(e) => Err(e.into()),
        };
        let taken = taken.and_then(|()| file.sync_all()).and_then(|()| files::sync_dir(&self.dir));
        if let Err(e) = taken {
            fs::remove_file(self.ballast())?;
            return Err(e);
        }
        Ok(true)
    }

    /// Fills it with what no file system can make smaller.
    fn fill(&self, mut file: &File) -> io::Result<()> {
        let mut noise = vec![0; 1 << 20];
        let mut rng = fastrand::Rng::new();
        let mut left = self.size;
        while left > 0 {
            rng.fill(&mut noise);
            let piece = left.min(noise.len() as u64);
            file.write_all(&noise[..piece as usize])?;
            left -= piece;
        }
        Ok(())
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    fn file_system(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
    }
}

/// Whether a write failed for want of space, or of a larger quota.
pub fn is_lack(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What a file or a directory takes on the disk. A file that goes away meanwhile does not count.
pub fn usage(path: &Path) -> io::Result<u64> {
    let gone = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Ok(0) } else { Err(e) };
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) => return gone(e),
    };
    let mut sum = meta.blocks() * 512;
    if meta.is_dir() {
        match fs::read_dir(path) {
            Ok(entries) => {
                for entry in entries {
                    sum += usage(&entry?.path())?;
                }
            }
            Err(e) => return gone(e),
        }
    }
    Ok(sum)
}
