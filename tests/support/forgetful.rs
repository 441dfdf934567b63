//! A disk that forgets, at each power cut, what was not synced: page by page, at random.
//!
//! What it promises is what POSIX promises, and no more:
//! * `fsync` and `fdatasync` of a file make its content durable, not its name;
//! * `fsync` of a directory makes the names in it durable;
//! * of the rest, each written page is there after a cut or not, also in an earlier version; the
//!   length of a file is the old or the new one; of the changes of a directory a prefix is there.
//!
//! [`Forgetful::mount`] needs root and `/dev/fuse`. Use it like this: mount, run processes in the
//! directory, [`Forgetful::cut_after`] some operations, wait, kill the processes,
//! [`Forgetful::power_on`], run them again.

use super::fuse;
use super::mounts;
use fuser::{BackgroundSession, Errno};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PAGE: usize = 4096;
const ROOT: u64 = 1;

/// A mounted forgetful disk. Dropping it unmounts it. Only the thread that mounted it, and the
/// threads and processes that this thread starts afterwards, can see what is in it.
pub struct Forgetful {
    dir: PathBuf,
    shared: Arc<Shared>,
    server: Option<BackgroundSession>,
}

pub struct Shared {
    disk: Mutex<Disk>,
    is_cut: Condvar,
}

impl Forgetful {
    /// Mounts an empty disk at an existing directory. The error says why that is not possible here.
    pub fn mount(dir: &Path, seed: u64) -> Result<Self, String> {
        let shared = Arc::new(Shared { disk: Mutex::new(Disk::new(seed)), is_cut: Condvar::new() });
        let mut this = Self { dir: dir.to_owned(), shared, server: None };
        mounts::own().and_then(|()| this.connect()).map_err(|e| format!("cannot mount over FUSE: {e}"))?;
        Ok(this)
    }

    fn connect(&mut self) -> std::io::Result<()> {
        self.server = Some(fuse::connect(&self.dir, self.shared.clone())?);
        Ok(())
    }

    /// Arms a power cut, after so many more writes, syncs and changes of names.
    pub fn cut_after(&self, operations: u64) {
        self.shared.lock().left = Some(operations);
    }

    /// Cuts the power now: every access fails from here on.
    pub fn cut(&self) {
        self.cut_after(0);
    }

    /// Whether the power is cut.
    pub fn is_cut(&self) -> bool {
        self.shared.lock().is_cut()
    }

    /// Waits for an armed cut: whether it came in time.
    pub fn wait_for_cut(&self, patience: Duration) -> bool {
        let disk = self.shared.lock();
        let waited = self.shared.is_cut.wait_timeout_while(disk, patience, |disk| !disk.is_cut());
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Forgets what was not synced, and goes on with the rest. Whoever used the disk before must
    /// be dead.
    pub fn power_on(&mut self) {
        self.disconnect();
        self.shared.lock().forget();
        self.connect().expect("it was mounted before");
    }

    /// From now on files may take so many bytes together, beside what they take; what goes beyond is
    /// refused with this error. The file system does not show it among its free space, as it does not
    /// show a quota.
    pub fn refuse_beyond(&self, more: usize, error: Errno) {
        let mut disk = self.shared.lock();
        disk.room = Some((disk.used() + more, error));
    }

    /// The bytes of all files.
    pub fn used(&self) -> usize {
        self.shared.lock().used()
    }

    /// Nothing is refused any more.
    pub fn refuse_nothing(&self) {
        self.shared.lock().room = None;
    }

    /// How many writes, syncs and changes of names there have been.
    pub fn operations(&self) -> u64 {
        self.shared.lock().operations
    }

    fn disconnect(&mut self) {
        if let Some(server) = self.server.take() {
            fuse::disconnect(&self.dir, server);
        }
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        self.disconnect();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the kernel asks for.
    pub fn with<T>(&self, operation: impl FnOnce(&mut Disk) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut disk = self.lock();
        let outcome = operation(&mut disk);
        if disk.is_cut() {
            self.is_cut.notify_all();
        }
        outcome
    }
}

/// What `stat` shows of a node.
#[derive(Clone, Copy, Debug)]
pub struct Attr {
    pub node: u64,
    pub size: u64,
    pub is_dir: bool,
}

/// The files and directories. Nodes are numbered; the root is 1.
pub struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    rng: fastrand::Rng,
    operations: u64,
    /// How many operations are left until the power is cut.
    left: Option<u64>,
    /// How many bytes files may take, and what is said beyond.
    room: Option<(usize, Errno)>,
}

enum Node {
    File(Content),
    Dir(Names),
}

/// A file: what its readers see, and what is durable.
#[derive(Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// The pages that differ, perhaps.
    dirty: BTreeSet<usize>,
}

/// A directory: what its readers see, what is durable, and the changes between.
#[derive(Default)]
struct Names {
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    changes: Vec<Change>,
}

enum Change {
    Set(String, u64),
    Unset(String),
    Rename(String, String),
}

impl Content {
    fn resize(&mut self, size: usize) {
        let from = self.live.len().min(size);
        self.live.resize(size, 0);
        self.dirty.extend(from / PAGE..size.div_ceil(PAGE));
    }

    fn write(&mut self, offset: usize, data: &[u8], rng: &mut fastrand::Rng) {
        let end = offset + data.len();
        for page in offset / PAGE..end.div_ceil(PAGE) {
            // The kernel may have written a dirty page back just before it changes again.
            if self.dirty.contains(&page) && rng.bool() {
                self.write_back(page);
            }
        }
        if self.live.len() < end {
            self.resize(end);
        }
        self.live[offset..end].copy_from_slice(data);
        self.dirty.extend(offset / PAGE..end.div_ceil(PAGE));
    }

    /// Makes a page durable, as far as the durable length reaches.
    fn write_back(&mut self, page: usize) {
        let from = page * PAGE;
        let to = (from + PAGE).min(self.live.len()).min(self.durable.len());
        if from < to {
            self.durable[from..to].copy_from_slice(&self.live[from..to]);
        }
    }

    fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            self.write_back(page);
        }
    }

    fn forget(&mut self, rng: &mut fastrand::Rng) {
        if rng.bool() {
            self.durable.resize(self.live.len(), 0);
        }
        for page in std::mem::take(&mut self.dirty) {
            if rng.bool() {
                self.write_back(page);
            }
        }
        self.live = self.durable.clone();
    }
}

impl Names {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.changes.push(change);
    }

    fn sync(&mut self) {
        self.durable = self.live.clone();
        self.changes.clear();
    }

    fn forget(&mut self, rng: &mut fastrand::Rng) {
        let kept = rng.usize(..=self.changes.len());
        for change in std::mem::take(&mut self.changes).iter().take(kept) {
            change.apply(&mut self.durable);
        }
        self.live = self.durable.clone();
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Change::Set(name, node) => drop(names.insert(name.clone(), *node)),
            Change::Unset(name) => drop(names.remove(name)),
            Change::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl Disk {
    fn new(seed: u64) -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(Names::default()))]);
        Self {
            nodes,
            next: ROOT + 1,
            rng: fastrand::Rng::with_seed(seed),
            operations: 0,
            left: None,
            room: None,
        }
    }

    fn is_cut(&self) -> bool {
        self.left == Some(0)
    }

    fn powered(&self) -> Result<(), Errno> {
        if self.is_cut() { Err(Errno::EIO) } else { Ok(()) }
    }

    /// Counts an operation that a power cut may fall before.
    fn operate(&mut self) -> Result<(), Errno> {
        self.powered()?;
        self.operations += 1;
        self.left = self.left.map(|left| left - 1);
        self.powered()
    }

    /// The power is back: only what is durable, or lucky, and can be reached by a durable name.
    fn forget(&mut self) {
        let mut reached = BTreeMap::new();
        let mut todo = vec![ROOT];
        while let Some(number) = todo.pop() {
            if let Some(mut node) = self.nodes.remove(&number) {
                match &mut node {
                    Node::File(content) => content.forget(&mut self.rng),
                    Node::Dir(names) => {
                        names.forget(&mut self.rng);
                        todo.extend(names.live.values());
                    }
                }
                reached.insert(number, node);
            }
        }
        self.nodes = reached;
        self.left = None;
    }

    /// The bytes of all files that have a name.
    fn used(&self) -> usize {
        let (mut used, mut todo) = (0, vec![ROOT]);
        while let Some(number) = todo.pop() {
            match self.nodes.get(&number) {
                Some(Node::File(content)) => used += content.live.len(),
                Some(Node::Dir(names)) => todo.extend(names.live.values()),
                None => {}
            }
        }
        used
    }

    /// Whether a file may reach so far.
    fn has_room(&mut self, node: u64, end: usize) -> Result<(), Errno> {
        let grows = end.saturating_sub(self.file(node)?.live.len());
        match self.room {
            Some((room, error)) if grows > 0 && self.used() + grows > room => Err(error),
            Some(_) | None => Ok(()),
        }
    }

    fn file(&mut self, node: u64) -> Result<&mut Content, Errno> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir(_)) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn dir(&mut self, node: u64) -> Result<&mut Names, Errno> {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(names)) => Ok(names),
            Some(Node::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn child(&mut self, dir: u64, name: &str) -> Result<u64, Errno> {
        self.dir(dir)?.live.get(name).copied().ok_or(Errno::ENOENT)
    }

    fn stat(&self, node: u64) -> Result<Attr, Errno> {
        match self.nodes.get(&node) {
            Some(Node::File(content)) => Ok(Attr { node, size: content.live.len() as u64, is_dir: false }),
            Some(Node::Dir(_)) => Ok(Attr { node, size: 0, is_dir: true }),
            None => Err(Errno::ENOENT),
        }
    }

    pub fn lookup(&mut self, dir: u64, name: &str) -> Result<Attr, Errno> {
        self.powered()?;
        let node = self.child(dir, name)?;
        self.stat(node)
    }

    pub fn attr(&mut self, node: u64) -> Result<Attr, Errno> {
        if node != ROOT {
            self.powered()?;
        }
        self.stat(node)
    }

    pub fn truncate(&mut self, node: u64, size: u64) -> Result<Attr, Errno> {
        self.operate()?;
        self.has_room(node, size as usize)?;
        self.file(node)?.resize(size as usize);
        self.stat(node)
    }

    pub fn allocate(&mut self, node: u64, size: u64) -> Result<(), Errno> {
        self.operate()?;
        self.has_room(node, size as usize)?;
        let file = self.file(node)?;
        if file.live.len() < size as usize {
            file.resize(size as usize);
        }
        Ok(())
    }

    pub fn make(&mut self, dir: u64, name: &str, is_dir: bool) -> Result<Attr, Errno> {
        self.operate()?;
        let node = self.next;
        let names = self.dir(dir)?;
        if names.live.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        names.change(Change::Set(name.to_owned(), node));
        let made = if is_dir { Node::Dir(Names::default()) } else { Node::File(Content::default()) };
        self.nodes.insert(node, made);
        self.next += 1;
        self.stat(node)
    }

    pub fn remove(&mut self, dir: u64, name: &str, is_dir: bool) -> Result<(), Errno> {
        self.operate()?;
        let node = self.child(dir, name)?;
        if is_dir && !self.dir(node)?.live.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        // The node stays: it may be open, and the name may come back with the next cut.
        self.dir(dir)?.change(Change::Unset(name.to_owned()));
        Ok(())
    }

    pub fn rename(&mut self, (dir, from): (u64, &str), (to_dir, to): (u64, &str)) -> Result<(), Errno> {
        self.operate()?;
        let node = self.child(dir, from)?;
        if dir == to_dir {
            self.dir(dir)?.change(Change::Rename(from.to_owned(), to.to_owned()));
        } else {
            self.dir(to_dir)?.change(Change::Set(to.to_owned(), node));
            self.dir(dir)?.change(Change::Unset(from.to_owned()));
        }
        Ok(())
    }

    pub fn read(&mut self, node: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        self.powered()?;
        let live = &self.file(node)?.live;
        let from = live.len().min(offset as usize);
        Ok(live[from..live.len().min(from + size as usize)].to_vec())
    }

    pub fn write(&mut self, node: u64, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.operate()?;
        self.has_room(node, offset as usize + data.len())?;
        let mut rng = self.rng.fork();
        self.file(node)?.write(offset as usize, data, &mut rng);
        Ok(())
    }

    pub fn sync(&mut self, node: u64) -> Result<(), Errno> {
        self.operate()?;
        match self.nodes.get_mut(&node) {
            Some(Node::File(content)) => content.sync(),
            Some(Node::Dir(names)) => names.sync(),
            None => return Err(Errno::ENOENT),
        }
        Ok(())
    }

    pub fn list(&mut self, dir: u64) -> Result<Vec<(String, Attr)>, Errno> {
        self.powered()?;
        let names = self.dir(dir)?.live.clone();
        names.into_iter().map(|(name, node)| Ok((name, self.stat(node)?))).collect()
    }
}
