//! Serves a [`Disk`] to the kernel over `/dev/fuse`. The kernel looks after permissions, caches,
//! open files and locks.

use super::forgetful::{Attr, Disk, Shared};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, Session, SessionACL,
    TimeOrNow, WriteFlags,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The largest write that the kernel sends at once.
const MAX_WRITE: u32 = 1 << 20;
/// For how long the kernel may remember what it was told: nobody else changes anything.
const VALID: Duration = Duration::from_secs(3600);
const BLOCK: u32 = 4096;

/// Mounts the disk at a directory and serves it in the background.
pub fn connect(dir: &Path, disk: Arc<Shared>) -> io::Result<BackgroundSession> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    let options = CString::new(options).expect("no zero byte in it");
    mount("forgetful", dir, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?;
    Session::from_fd(Served(disk), device.into(), SessionACL::All, Config::default())
        .and_then(Session::spawn)
        .inspect_err(|_| unmount(dir, UnmountFlags::DETACH).unwrap_or_default())
}

/// Takes the disk away from whoever still uses it.
///
/// # Panics
/// If the disk did. An error of the system is only how the kernel says that the connection ended:
/// ENODEV, or ECONNABORTED if a request was on its way.
pub fn disconnect(dir: &Path, session: BackgroundSession) {
    let _ = unmount(dir, UnmountFlags::DETACH);
    if let Err(error) = session.join() {
        assert!(error.raw_os_error().is_some(), "the file system does not serve any more: {error}");
    }
}

struct Served(Arc<Shared>);

impl Served {
    fn with<T>(&self, operation: impl FnOnce(&mut Disk) -> Result<T, Errno>) -> Result<T, Errno> {
        self.0.with(operation)
    }

    fn open(&self, node: INodeNo, reply: ReplyOpen) {
        match self.with(|disk| disk.attr(node.0)) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn sync(&self, node: INodeNo, reply: ReplyEmpty) {
        empty(self.with(|disk| disk.sync(node.0)), reply);
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        config.set_max_write(MAX_WRITE).map_err(|_| io::ErrorKind::Unsupported)?;
        Ok(())
    }

    fn lookup(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.with(|disk| disk.lookup(dir.0, text(name)?)), reply);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attributes(self.with(|disk| disk.attr(node.0)), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let outcome = self.with(|disk| match size {
            None => disk.attr(node.0),
            Some(size) => disk.truncate(node.0, size),
        });
        attributes(outcome, reply);
    }

    fn mkdir(&self, _: &Request, dir: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        entry(self.with(|disk| disk.make(dir.0, text(name)?, true)), reply);
    }

    fn create(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.with(|disk| disk.make(dir.0, text(name)?, false)) {
            Ok(attr) => {
                reply.created(&VALID, &stat(attr), Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.with(|disk| disk.remove(dir.0, text(name)?, false)), reply);
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.with(|disk| disk.remove(dir.0, text(name)?, true)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        dir: INodeNo,
        from: &OsStr,
        to_dir: INodeNo,
        to: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let outcome = match flags.is_empty() {
            true => self.with(|disk| disk.rename((dir.0, text(from)?), (to_dir.0, text(to)?))),
            false => Err(Errno::EINVAL),
        };
        empty(outcome, reply);
    }

    fn open(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.open(node, reply);
    }

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.open(node, reply);
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.with(|disk| disk.read(node.0, offset, size)) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.with(|disk| disk.write(node.0, offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        self.sync(node, reply);
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        self.sync(node, reply);
    }

    fn fallocate(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let outcome = match mode {
            0 => self.with(|disk| disk.allocate(node.0, offset + length)),
            _ => Err(Errno::EINVAL),
        };
        empty(outcome, reply);
    }

    fn readdir(&self, _: &Request, dir: INodeNo, _: FileHandle, from: u64, mut reply: ReplyDirectory) {
        let entries = match self.with(|disk| disk.list(dir.0)) {
            Ok(entries) => entries,
            Err(error) => return reply.error(error),
        };
        for (offset, (name, attr)) in (1..).zip(entries).skip(from as usize) {
            if reply.add(INodeNo(attr.node), offset, kind(attr), name) {
                break; // full
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 24, 1 << 23, 1 << 23, 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }
}

fn text(name: &OsStr) -> Result<&str, Errno> {
    name.to_str().ok_or(Errno::EINVAL)
}

fn empty(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(outcome: Result<Attr, Errno>, reply: ReplyEntry) {
    match outcome {
        Ok(attr) => reply.entry(&VALID, &stat(attr), Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attributes(outcome: Result<Attr, Errno>, reply: ReplyAttr) {
    match outcome {
        Ok(attr) => reply.attr(&VALID, &stat(attr)),
        Err(error) => reply.error(error),
    }
}

fn kind(attr: Attr) -> FileType {
    if attr.is_dir { FileType::Directory } else { FileType::RegularFile }
}

fn stat(attr: Attr) -> FileAttr {
    let never = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(attr.node),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: never,
        mtime: never,
        ctime: never,
        crtime: never,
        kind: kind(attr),
        perm: if attr.is_dir { 0o755 } else { 0o644 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}
