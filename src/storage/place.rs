//! Which directory it is: a copy has the same content, and lies elsewhere.

use serde::{Deserialize, Serialize};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Which file it is among those of its file system. Not which file system it is: the number of a
/// device may be another one after the next boot of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileId {
    /// Its inode. Used again once the file is gone.
    inode: u64,
    /// When it was made, in nanoseconds since 1970, where the file system knows.
    born: Option<u64>,
}

impl FileId {
    /// The file that this was read of.
    pub fn of(file: &Metadata) -> Self {
        let born = file.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Self { inode: file.ino(), born: born.and_then(|born| born.as_nanos().try_into().ok()) }
    }

    /// Whether both are one file, as far as can be told.
    fn is(self, other: Self) -> bool {
        let born_apart = self.born.zip(other.born).is_some_and(|(a, b)| a != b);
        self.inode == other.inode && !born_apart
    }
}

/// Where a data directory lies: files of it that are never replaced while its store lives. To rename
/// or to move the directory changes none of them; to copy it, or to put a copy back, makes others.
///
/// The witness is one of them because of copies that are put back over the directory: what restores
/// only files that differ leaves the identity as it is, and replaces the witness.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The identity itself.
    pub identity: FileId,
    /// The witness.
    pub witness: FileId,
}

impl Place {
    /// Whether a directory is the one that lies here.
    pub fn is(&self, dir: &Path) -> io::Result<bool> {
        let found = |name: &str| match std::fs::metadata(dir.join(name)) {
            Ok(found) => Ok(Some(FileId::of(&found))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        };
        let same = |known: FileId, found: Option<FileId>| found.is_none_or(|found| known.is(found));
        Ok(same(self.identity, found("identity")?) && same(self.witness, found("witness")?))
    }
}
