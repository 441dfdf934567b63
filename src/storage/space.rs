//! How full the disk is, and the ballast that is thrown off when it is nearly full.

use rustix::fs::FallocateFlags;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The space of the file system that holds a data directory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// The size of the file system.
    pub total: u64,
    /// What is free for us.
    pub free: u64,
    /// What the data directory takes, the ballast included.
    pub used: u64,
    /// What the ballast takes: it is freed before the disk is full.
    pub ballast: u64,
}

/// Reports the space of a data directory, and throws the ballast off.
#[derive(Clone, Debug)]
pub struct Gauge {
    dir: PathBuf,
    size: u64,
}

impl Gauge {
    /// The gauge of a data directory whose ballast is to be of `size` bytes.
    pub fn new(dir: &Path, size: u64) -> Self {
        Self { dir: dir.to_owned(), size }
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

    /// What is free for us.
    pub fn free(&self) -> io::Result<u64> {
        Ok(self.file_system()?.1)
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

    /// Takes the ballast on board again, where four times its size is free.
    pub fn load(&self) -> io::Result<()> {
        if self.size == 0 || self.free()? < 4 * self.size {
            return Ok(());
        }
        let file = File::options().create(true).truncate(false).write(true).open(self.ballast())?;
        if file.metadata()?.blocks() * 512 >= self.size {
            return Ok(());
        }
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.size) {
            Ok(()) => Ok(()),
            // A file system without fallocate: zeros take space as well.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                fs::write(self.ballast(), vec![0; self.size as usize])
            }
            Err(e) => {
                fs::remove_file(self.ballast())?;
                Err(e.into())
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    fn file_system(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
    }
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
