//! Opens a data directory: refuses what is not ours, finishes or makes what is missing, and judges
//! what is there.

use super::codec::{FORMAT, Unreadable};
use super::identity::{Configuration, Identity};
use super::load::{self, Unsound};
use super::refused::Refused;
use super::rows::SledRows;
use super::sled_disk::{SledDisk, Store};
use super::space::{self, Gauge};
use super::steps::Steps;
use super::store::{self, OpenError, Sled};
use super::verdict::Verdict;
use super::witness::{self, Witness};
use super::writer::Writer;
use super::{files, generation, text};
use crate::kernel::{Origin, Rows, Stored};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a store is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much memory sled may use to cache pages, in bytes.
    pub cache: u64,
    /// The size of the ballast, which is freed to boot on a full disk, in bytes: for a boot, what the
    /// log may still take, and a checkpoint that gives it back.
    pub ballast: u64,
    /// How long a commit may take before the disk is taken for stuck.
    pub deadline: Duration,
    /// How often sled reclaims space (and flushes, which our commits do not rely on).
    pub flush_every: Duration,
    /// A store is rewritten at boot once it takes this many bytes and four times its content.
    pub rewrite: u64,
    /// Of a directory that is a copy: whether a person vouches that the original was stopped before it
    /// was copied, and never starts again.
    pub adopt_copy: bool,
    /// For tests: called at every step of the write path.
    pub steps: Steps,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache: 64 << 20,
            ballast: 32 << 20,
            deadline: Duration::from_secs(30),
            flush_every: Duration::from_millis(500),
            rewrite: 64 << 20,
            adopt_copy: false,
            steps: Steps::default(),
        }
    }
}

/// An open data directory.
pub struct Boot {
    /// Where the journal commits.
    pub disk: SledDisk,
    /// Where rows are read, on threads that may block.
    pub rows: Arc<dyn Rows>,
    /// Everything that was stored.
    pub stored: Stored,
    /// Whose store it is.
    pub identity: Identity,
    /// What was found.
    pub verdict: Verdict,
    /// Whether the directory is a copy.
    pub origin: Origin,
    /// Tells how full the disk is.
    pub gauge: Gauge,
}

/// Whose data directory it is, without opening or changing it; `None` when it has yet to be made.
pub fn peek(dir: &Path) -> Result<Option<Identity>, Refused> {
    match survey(dir)? {
        Found::Nothing | Found::Unfinished => Ok(None),
        Found::Store(identity) => Ok(Some(*identity)),
    }
}

/// Opens a data directory, or makes it. It blocks, for as long as it takes to read everything.
///
/// # Errors
/// A refusal says what a person can do, and has changed nothing on the disk.
pub fn open(dir: &Path, configuration: &Configuration, options: &Options) -> Result<Boot, Refused> {
    check(dir, &survey(dir)?, configuration)?;
    let not_writable = |source| Refused::NotWritable { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(not_writable)?;
    let lock = lock(dir)?;
    // Again: another process may have been here before we had the lock.
    let found = survey(dir)?;
    check(dir, &found, configuration)?;
    let boot = Booting { dir, options, gauge: Gauge::new(dir, options.ballast) };
    boot.run(found, configuration, lock).map_err(|e| boot.refusal(e))
}

/// What a look at a data directory shows.
enum Found {
    /// No directory, or nothing in it.
    Nothing,
    /// A first boot that did not finish: nothing was ever committed here.
    Unfinished,
    /// A store.
    Store(Box<Identity>),
}

/// There from before anything is made until the store can take its first commit.
const FORMING: &str = "forming";
const OURS: [&str; 4] = ["LOCK", "ballast", "lost+found", FORMING];

fn survey(dir: &Path) -> Result<Found, Refused> {
    let path = || dir.to_owned();
    match fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => return Err(Refused::NotADirectory { path: path() }),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(Refused::NotADirectory { path: path() });
        }
        Err(source) => return Err(Refused::Io { path: path(), source }),
    }
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => Refused::NotWritable { path: path(), source },
        _ => Refused::Io { path: path(), source },
    };
    let names = files::names(dir).map_err(io)?;
    if names.iter().any(|name| name == FORMING) {
        return Ok(Found::Unfinished);
    }
    let file = dir.join("identity");
    match Identity::read(&file).map_err(io)? {
        Some(Ok(identity)) => {
            // Whatever else a newer program wrote is refused before anything is touched.
            if let Some(Err(text::Unreadable::Newer(found))) = generation::current(dir).map_err(io)? {
                return Err(newer(dir, found));
            }
            if let Some(Err(Unreadable::Newer(found))) = witness::read(&dir.join("witness")).map_err(io)? {
                return Err(newer(dir, found.into()));
            }
            return Ok(Found::Store(Box::new(identity)));
        }
        Some(Err(text::Unreadable::Damaged(reason))) => {
            return Err(Refused::IdentityDamaged { path: file, reason });
        }
        Some(Err(text::Unreadable::Newer(found))) => return Err(newer(dir, found)),
        None => {}
    }
    let store =
        |name: &&String| *name == "CURRENT" || name.starts_with("gen-") || name.starts_with("witness");
    if names.iter().any(|name| store(&name)) {
        return Err(Refused::IdentityLost { path: path() });
    }
    match names.into_iter().find(|name| !OURS.contains(&name.as_str())) {
        Some(found) => Err(Refused::Foreign { path: path(), found }),
        None => Ok(Found::Nothing),
    }
}

fn check(dir: &Path, found: &Found, asked: &Configuration) -> Result<(), Refused> {
    let Found::Store(identity) = found else { return Ok(()) };
    let stored = &identity.configuration;
    let path = || dir.to_owned();
    if stored.cluster_id != asked.cluster_id {
        return Err(Refused::OtherCluster {
            path: path(),
            stored: stored.cluster_id,
            asked: asked.cluster_id,
        });
    }
    if stored.name != asked.name {
        let (stored, asked) = (stored.name.clone(), asked.name.clone());
        return Err(Refused::OtherReplica { path: path(), stored, asked });
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, Refused> {
    let path = || dir.to_owned();
    let not_writable = |source| Refused::NotWritable { path: path(), source };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("LOCK"))
        .map_err(not_writable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "unknown".to_owned(),
                pid if pid == std::process::id().to_string() => {
                    format!("{pid} (this one: it is open already, or its disk has failed)")
                }
                pid => pid.to_owned(),
            };
            return Err(Refused::InUse { path: path(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(Refused::Io { path: path(), source }),
    }
    let pid = std::process::id();
    // For people only: a full disk must not keep us from freeing the ballast.
    let _ = file.set_len(0).and_then(|()| file.write_all(format!("{pid}\n").as_bytes()));
    Ok(file)
}

fn newer(dir: &Path, found: u64) -> Refused {
    Refused::Newer { path: dir.to_owned(), found, known: u64::from(FORMAT) }
}

struct Booting<'a> {
    dir: &'a Path,
    options: &'a Options,
    gauge: Gauge,
}

/// A store that holds everything that was ever acknowledged.
struct Sound {
    number: u64,
    sled: Sled,
    stored: Stored,
    writer: Writer,
    torn: bool,
}

/// Why there is no [`Sound`] store.
enum Unfit {
    Damaged(String),
    Newer(u64),
    InUse,
    Io(io::Error),
}

impl From<io::Error> for Unfit {
    fn from(e: io::Error) -> Self {
        Unfit::Io(e)
    }
}

impl From<OpenError> for Unfit {
    fn from(e: OpenError) -> Self {
        match e {
            OpenError::Damaged(reason) => Unfit::Damaged(reason),
            OpenError::InUse => Unfit::InUse,
            OpenError::Io(e) => Unfit::Io(e),
        }
    }
}

impl Booting<'_> {
    fn run(&self, found: Found, configuration: &Configuration, lock: File) -> Result<Boot, Unfit> {
        files::sync_dir(self.dir)?;
        files::sync_ancestors(self.dir)?;
        if self.gauge.relieve()? {
            tracing::warn!("the disk is nearly full: the ballast is thrown off");
        }
        let identity = match found {
            Found::Store(identity) => *identity,
            Found::Nothing | Found::Unfinished => self.first_boot(configuration)?,
        };
        let copied = identity.place.as_ref().map_or(Ok(false), |place| place.is(self.dir).map(|is| !is))?;
        let (identity, sound, damage) =
            match self.judge(&identity).and_then(|sound| self.rewrite(&identity, sound)) {
                Ok(sound) => (identity, sound, None),
                Err(Unfit::Damaged(reason)) => {
                    let (identity, aside) = self.start_over(identity)?;
                    let sound = self.judge(&identity)?;
                    (identity, sound, Some(Verdict::Damaged { reason, aside }))
                }
                Err(other) => return Err(other),
            };
        let (identity, origin) = match damage {
            None => self.origin(identity, copied)?,
            Some(_) => (identity, Origin::Own),
        };
        generation::tidy(self.dir, sound.number)?;
        if let Err(e) = self.gauge.load() {
            tracing::warn!(error = %e, "no ballast on this disk");
        }
        let verdict = damage.unwrap_or_else(|| sound.verdict());
        match verdict {
            Verdict::Damaged { .. } => tracing::error!(disk = identity.disk_id, "{verdict}"),
            Verdict::Fresh | Verdict::Clean | Verdict::Recovered { .. } => {
                tracing::info!(disk = identity.disk_id, "{verdict}");
            }
        }
        let witness = Witness::open(&self.dir.join("witness"), identity.disk_id, &self.options.steps)?;
        let store = Store::new(sound.sled, lock);
        let disk = SledDisk::start(
            store.clone(),
            sound.writer,
            witness,
            self.gauge.clone(),
            self.options.steps.clone(),
            self.options.deadline,
        )?;
        let rows = Arc::new(SledRows(store));
        Ok(Boot { disk, rows, stored: sound.stored, identity, verdict, origin, gauge: self.gauge.clone() })
    }

    /// What to make of a directory that may be a copy. A replica alone has no peers whose log a copy
    /// could contradict.
    fn origin(&self, identity: Identity, copied: bool) -> Result<(Identity, Origin), Unfit> {
        let (dir, alone) = (self.dir.display(), identity.configuration.members.len() <= 1);
        let vouched = self.options.adopt_copy;
        let origin = match (copied, vouched || alone) {
            (true, false) => {
                tracing::error!(
                    "{dir} is a copy of a data directory: what the original promised and stored after it was copied \
                     is unknown here, so this replica receives the log and counts in no majority; if the original \
                     was stopped before it was copied, and never starts again, start once with \
                     --adopt-copied-directory"
                );
                return Ok((identity, Origin::Copied));
            }
            (true, true) => {
                tracing::warn!("{dir} is a copy of a data directory, and takes the place of the original");
                Origin::Adopted
            }
            (false, true) if vouched => {
                tracing::warn!(
                    "{dir} is no copy, or was adopted before: start without --adopt-copied-directory"
                );
                Origin::Adopted
            }
            (false, _) => Origin::Own,
        };
        let identity = match copied || identity.place.is_none() {
            true => identity.write(self.dir, &self.options.steps)?,
            false => identity,
        };
        Ok((identity, origin))
    }

    /// Makes a store. Until `forming` is gone nothing in the directory has a meaning, so a crash
    /// on the way costs nothing; the identity comes last, so that it never stands alone.
    fn first_boot(&self, configuration: &Configuration) -> Result<Identity, Unfit> {
        let forming = self.dir.join(FORMING);
        File::create(&forming)?;
        files::sync_dir(self.dir)?;
        for name in files::names(self.dir)? {
            if !OURS.contains(&name.as_str()) {
                files::remove(&self.dir.join(name))?;
            }
        }
        let identity = Identity::new(configuration.clone(), None);
        self.make_store(&identity)?;
        let identity = identity.write(self.dir, &self.options.steps)?;
        files::remove(&forming)?;
        files::sync_dir(self.dir)?;
        Ok(identity)
    }

    fn make_store(&self, identity: &Identity) -> Result<(), Unfit> {
        let steps = &self.options.steps;
        let number = generation::unused(self.dir)?;
        generation::create(self.dir, number, self.options, |_| Ok(()))?;
        witness::create(&self.dir.join("witness"), identity.disk_id, Default::default(), steps)?;
        generation::make_current(self.dir, number, steps)?;
        Ok(())
    }

    /// Sets a damaged store aside and makes an empty one with a new disk id. A crash on the way
    /// leaves a store whose generation or witness is missing or another disk's: damaged again.
    fn start_over(&self, identity: Identity) -> Result<(Identity, Option<PathBuf>), Unfit> {
        let aside = generation::set_aside(self.dir, identity.disk_id, &self.options.steps)?;
        let fresh = Identity::new(identity.configuration, Some(identity.disk_id));
        self.make_store(&fresh)?;
        let fresh = fresh.write(self.dir, &self.options.steps)?;
        Ok((fresh, aside))
    }

    /// Opens the live generation and compares it with the witness.
    fn judge(&self, identity: &Identity) -> Result<Sound, Unfit> {
        let damaged = |what: &str| Unfit::Damaged(what.to_owned());
        let number = match generation::current(self.dir)? {
            Some(Ok(number)) => number,
            Some(Err(text::Unreadable::Damaged(why))) => {
                return Err(Unfit::Damaged(format!("CURRENT: {why}")));
            }
            Some(Err(text::Unreadable::Newer(format))) => return Err(Unfit::Newer(format)),
            None => return Err(damaged("CURRENT is missing")),
        };
        let testimony = match witness::read(&self.dir.join("witness"))? {
            Some(Ok(testimony)) => testimony,
            Some(Err(Unreadable::Damaged(why))) => return Err(Unfit::Damaged(why)),
            Some(Err(Unreadable::Newer(format))) => return Err(Unfit::Newer(format.into())),
            None => return Err(damaged("the witness is missing")),
        };
        if testimony.disk != identity.disk_id {
            return Err(damaged("the witness speaks of another disk"));
        }
        let path = generation::path(self.dir, number);
        if !path.join("db").exists() {
            return Err(Unfit::Damaged(format!("gen-{number}/db is missing")));
        }
        let sled = Sled::open(&path, self.options.cache, self.options.flush_every).map_err(|e| match e {
            OpenError::Damaged(_) if self.gauge.is_full() => Unfit::Io(io::ErrorKind::StorageFull.into()),
            e => Unfit::from(e),
        })?;
        let judged = match load::load(&sled) {
            Ok((stored, writer)) => against(&writer, &testimony).map(|()| (stored, writer)),
            Err(Unsound::Damaged(reason)) => Err(Unfit::Damaged(reason)),
            Err(Unsound::Newer(format)) => Err(Unfit::Newer(format.into())),
            Err(Unsound::Disk(e)) => Err(Unfit::Io(io::Error::other(e))),
        };
        match judged {
            Ok((stored, writer)) => Ok(Sound { number, sled, stored, writer, torn: testimony.torn }),
            Err(unfit) => {
                store::discard(sled, self.options.deadline);
                Err(unfit)
            }
        }
    }

    /// Copies a generation that has grown far beyond its content, or has pages in files that sled
    /// never syncs, into a fresh one.
    fn rewrite(&self, identity: &Identity, sound: Sound) -> Result<Sound, Unfit> {
        let size = sound.sled.size()?;
        let blobs = sound.sled.has_blobs()?;
        if blobs {
            tracing::warn!("sled keeps pages in files that it never syncs: rewriting the store");
        }
        if !blobs && (size <= self.options.rewrite || size / 4 <= sound.writer.live) {
            return Ok(sound);
        }
        if self.gauge.free()? < 3 * sound.writer.live + self.gauge.reserve() {
            tracing::warn!(size, live = sound.writer.live, "too little space to rewrite the store");
            return Ok(sound);
        }
        let number = generation::unused(self.dir)?;
        let Sound { sled, .. } = sound;
        let copied = generation::create(self.dir, number, self.options, |to| generation::copy(&sled, to));
        store::discard(sled, self.options.deadline);
        match copied {
            Ok(()) => generation::make_current(self.dir, number, &self.options.steps)?,
            // Whatever ails the copy, the store itself is sound, and stays.
            Err(e) => tracing::warn!(error = %e, "cannot rewrite the store"),
        }
        self.judge(identity)
    }

    fn refusal(&self, e: Unfit) -> Refused {
        let path = self.dir.to_owned();
        match e {
            Unfit::Io(e) if space::is_lack(&e) || self.gauge.is_full() => Refused::Full { path },
            Unfit::Io(source) => Refused::Io { path, source },
            Unfit::Damaged(reason) => Refused::Io { path, source: io::Error::other(reason) },
            Unfit::Newer(found) => newer(&path, found),
            Unfit::InUse => Refused::InUse { path, holder: "unknown".into() },
        }
    }
}

/// A store behind its witness has lost acknowledged commits.
fn against(writer: &Writer, testimony: &witness::Testimony) -> Result<(), Unfit> {
    let (stored, seen) = (writer.head.mark(), testimony.mark);
    if stored.w < seen.w {
        let what = format!("it ends at commit {}, but commit {} was acknowledged", stored.w, seen.w);
        return Err(Unfit::Damaged(what));
    }
    if stored.w == seen.w && stored.chain != seen.chain {
        return Err(Unfit::Damaged(format!("commit {} is not the one that was acknowledged", seen.w)));
    }
    Ok(())
}

impl Sound {
    fn verdict(&self) -> Verdict {
        match &self.writer.head {
            head if head.w == 0 => Verdict::Fresh,
            head if head.clean => Verdict::Clean,
            _ => Verdict::Recovered { entries: load::entries(&self.stored), torn: self.torn },
        }
    }
}
