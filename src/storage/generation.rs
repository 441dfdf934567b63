//! Generations: the sled Dbs of a data directory, of which `CURRENT` names the live one.
//!
//! A generation is made beside the others as `gen-N.new` and renamed once it is durable, so that a
//! `gen-N` is always a whole one. One that has lost something is kept as `gen-N.damaged-…`.

use super::boot::Options;
use super::codec::Hex;
use super::files;
use super::steps::Steps;
use super::store::{OpenError, Scan, Sled, discard};
use super::text::{self, Unreadable};
use crate::kernel::DiskError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const TITLE: &str = "kvorum live generation";
const DAMAGED: &str = ".damaged-";
/// How many pairs of a rewrite go into one batch: one in sled holds up readers meanwhile.
const PAIRS: usize = 256;

/// The directory of a generation.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("gen-{number}"))
}

/// The number of the live generation; `None` when there is no `CURRENT`.
pub fn current(dir: &Path) -> io::Result<Option<Result<u64, Unreadable>>> {
    match fs::read(dir.join("CURRENT")) {
        Ok(bytes) => Ok(Some(text::open(TITLE, &bytes).and_then(|name| {
            number_of(name).ok_or_else(|| Unreadable::Damaged(format!("it names {name:?}")))
        }))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes a generation the live one, at once and durably.
pub fn make_current(dir: &Path, number: u64, steps: &Steps) -> io::Result<()> {
    let text = text::seal(TITLE, &format!("gen-{number}"));
    files::replace(&dir.join("CURRENT"), text.as_bytes(), steps)
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("gen-")?.parse().ok()
}

/// The whole generations of a data directory.
pub fn whole(dir: &Path) -> io::Result<Vec<u64>> {
    Ok(files::names(dir)?.iter().filter_map(|name| number_of(name)).collect())
}

/// A number that no generation has had.
pub fn unused(dir: &Path) -> io::Result<u64> {
    let used = files::names(dir)?;
    let numbers = used.iter().filter_map(|name| number_of(name.split('.').next().unwrap_or(name)));
    Ok(numbers.max().unwrap_or(0) + 1)
}

/// Makes a generation, and fills it; it is not live yet.
pub fn create(
    dir: &Path,
    number: u64,
    options: &Options,
    fill: impl FnOnce(&Sled) -> Result<(), DiskError>,
) -> Result<(), OpenError> {
    let new = dir.join(format!("gen-{number}.new"));
    let build = || -> Result<(), OpenError> {
        files::remove(&new).map_err(OpenError::Io)?;
        fs::create_dir(&new).map_err(OpenError::Io)?;
        let sled = Sled::open(&new, options.cache, options.flush_every)?;
        let filled = fill(&sled).and_then(|()| sled.flush()).and_then(|()| sled.sync());
        discard(sled, options.deadline);
        filled.map_err(|e| OpenError::Io(into_io(e)))?;
        files::sync_tree(&new).map_err(OpenError::Io)?;
        files::rename(&new, &path(dir, number), &options.steps).map_err(OpenError::Io)
    };
    build().inspect_err(|_| {
        let _ = files::remove(&new); // what is left of it goes at the next boot
    })
}

/// Fills a generation with all that another one holds.
pub fn copy(from: &Sled, to: &Sled) -> Result<(), DiskError> {
    let mut pairs = Vec::with_capacity(PAIRS);
    from.scan(&[], None, |key, value| {
        pairs.push((key.to_vec(), Some(value.to_vec())));
        if pairs.len() == PAIRS {
            to.apply(&pairs)?;
            pairs.clear();
        }
        Ok(Scan::More)
    })?;
    to.apply(&pairs)
}

/// Sets every generation aside, untouched: where the newest one is now.
pub fn set_aside(dir: &Path, disk: u64, steps: &Steps) -> io::Result<Option<PathBuf>> {
    let mark = format!("{DAMAGED}{}", Hex(&disk.to_be_bytes()));
    let mut numbers = whole(dir)?;
    numbers.sort();
    for number in numbers {
        let from = path(dir, number);
        files::rename(&from, &dir.join(format!("gen-{number}{mark}")), steps)?;
    }
    let witness = dir.join("witness");
    if witness.exists() {
        files::rename(&witness, &dir.join(format!("witness{mark}")), steps)?;
    }
    let aside =
        files::names(dir)?.into_iter().filter(|name| name.starts_with("gen-") && name.contains(DAMAGED));
    Ok(aside
        .max_by_key(|name| fs::metadata(dir.join(name)).and_then(|m| m.modified()).ok())
        .map(|name| dir.join(name)))
}

/// Removes what unfinished boots and rewrites have left, and every generation but `live`.
pub fn tidy(dir: &Path, live: u64) -> io::Result<()> {
    for name in files::names(dir)? {
        let unfinished = name.ends_with(".tmp") || (name.starts_with("gen-") && name.ends_with(".new"));
        if unfinished || number_of(&name).is_some_and(|number| number != live) {
            files::remove(&dir.join(name))?;
        }
    }
    Ok(())
}

fn into_io(e: DiskError) -> io::Error {
    let kind = match e {
        DiskError::Full(_) => io::ErrorKind::StorageFull,
        DiskError::Failed(_) | DiskError::Damaged(_) | DiskError::Crashed => io::ErrorKind::Other,
    };
    io::Error::new(kind, e)
}
