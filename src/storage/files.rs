//! Small files, and their directories, on a disk that may lose power at any moment.

use super::steps::{Step, Steps};
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::Path;

/// Replaces a file at once: after a crash it has the old content or the new one.
pub fn replace(path: &Path, content: &[u8], steps: &Steps) -> io::Result<()> {
    replace_with(path, |_| content, steps)
}

/// Replaces a file at once, by one whose content depends on which file it is.
pub fn replace_with<C: AsRef<[u8]>>(
    path: &Path,
    content: impl FnOnce(&Metadata) -> C,
    steps: &Steps,
) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut file = File::create(&tmp)?;
    file.write_all(content(&file.metadata()?).as_ref())?;
    steps.at(Step::FileWritten);
    file.sync_all()?;
    steps.at(Step::FileSynced);
    rename(&tmp, path, steps)
}

/// Renames, durably.
pub fn rename(from: &Path, to: &Path, steps: &Steps) -> io::Result<()> {
    fs::rename(from, to)?;
    steps.at(Step::Renamed);
    sync_parent(to)?;
    steps.at(Step::DirSynced);
    Ok(())
}

/// Makes the names in the directory of `path` durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes all files in a directory durable, and their names. Files may go away meanwhile.
pub fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let synced = match entry.file_type()?.is_dir() {
            true => sync_tree(&entry.path()),
            false => File::open(entry.path()).and_then(|file| file.sync_all()),
        };
        match synced {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    sync_dir(dir)
}

/// Makes a directory's own name durable, and those of the directories above it as far as we may
/// look: a directory may have been made just before a crash, by an earlier boot.
pub fn sync_ancestors(dir: &Path) -> io::Result<()> {
    let dir = std::path::absolute(dir)?;
    for ancestor in dir.ancestors().skip(1) {
        match sync_dir(ancestor) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => break,
            // Some file systems of the machine itself know no fsync of a directory.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Removes a file or a directory with all that is in it; it may be absent.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The names in a directory, sorted.
pub fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
