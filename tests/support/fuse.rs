//! The kernel's side of a file system in user space: just enough of the FUSE protocol (7.31) to
//! serve one directory tree to a replica, without a library. Source: `linux/fuse.h`.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// An error number of the system, as the kernel wants to hear it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

pub const ENOENT: Errno = Errno(2);
pub const EIO: Errno = Errno(5);
pub const EEXIST: Errno = Errno(17);
pub const ENOTDIR: Errno = Errno(20);
pub const EISDIR: Errno = Errno(21);
pub const ENOTEMPTY: Errno = Errno(39);
const EINVAL: Errno = Errno(22);
const ENOSYS: Errno = Errno(38);
const ENODEV: i32 = 19;

/// The largest write that the kernel sends at once.
const MAX_WRITE: u32 = 1 << 20;

/// What `stat` shows of a node.
#[derive(Clone, Copy, Debug)]
pub struct Attr {
    pub node: u64,
    pub size: u64,
    pub is_dir: bool,
}

/// A file system. Nodes are numbered; the root is 1. The kernel looks after permissions, caches,
/// open files and locks.
pub trait FileSystem {
    fn lookup(&mut self, dir: u64, name: &str) -> Result<Attr, Errno>;
    fn attr(&mut self, node: u64) -> Result<Attr, Errno>;
    fn truncate(&mut self, node: u64, size: u64) -> Result<Attr, Errno>;
    fn allocate(&mut self, node: u64, size: u64) -> Result<(), Errno>;
    fn make(&mut self, dir: u64, name: &str, is_dir: bool) -> Result<Attr, Errno>;
    fn remove(&mut self, dir: u64, name: &str, is_dir: bool) -> Result<(), Errno>;
    fn rename(&mut self, from: (u64, &str), to: (u64, &str)) -> Result<(), Errno>;
    fn read(&mut self, node: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno>;
    fn write(&mut self, node: u64, offset: u64, data: &[u8]) -> Result<(), Errno>;
    fn sync(&mut self, node: u64) -> Result<(), Errno>;
    fn list(&mut self, dir: u64) -> Result<Vec<(String, Attr)>, Errno>;
}

/// Mounts a file system that does not answer yet: [`serve`] must follow.
pub fn connect(dir: &Path) -> io::Result<File> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    let options = CString::new(options).expect("no zero byte in it");
    mount("forgetful", dir, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?;
    Ok(device)
}

/// Takes the file system away from whoever still uses it.
pub fn disconnect(dir: &Path) {
    let _ = unmount(dir, UnmountFlags::DETACH);
}

/// Answers the kernel until the file system is unmounted.
pub fn serve(mut device: File, mut with: impl FnMut(&mut dyn FnMut(&mut dyn FileSystem))) {
    let mut buffer = vec![0; MAX_WRITE as usize + (64 << 10)];
    loop {
        let len = match device.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => len,
            Err(e) if e.raw_os_error() == Some(ENODEV) => return,
            // The caller was killed before its request was read.
            Err(e) if matches!(e.raw_os_error(), Some(2 | 4 | 11)) => continue,
            Err(e) => panic!("/dev/fuse: {e}"),
        };
        let request = Request::parse(&buffer[..len]);
        if matches!(request.opcode, FORGET | BATCH_FORGET | INTERRUPT) {
            continue; // they expect no answer
        }
        let mut outcome = Err(ENOSYS);
        with(&mut |fs| outcome = request.answer(fs));
        let (error, body) = match outcome {
            Ok(body) => (0, body),
            Err(Errno(number)) => (-number, Vec::new()),
        };
        let mut reply = Vec::with_capacity(16 + body.len());
        reply.extend((16 + body.len() as u32).to_le_bytes());
        reply.extend(error.to_le_bytes());
        reply.extend(request.unique.to_le_bytes());
        reply.extend(body);
        let _ = device.write_all(&reply); // whoever asked may be dead by now
    }
}

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const MKDIR: u32 = 9;
const UNLINK: u32 = 10;
const RMDIR: u32 = 11;
const RENAME: u32 = 12;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const FSYNCDIR: u32 = 30;
const CREATE: u32 = 35;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
const FALLOCATE: u32 = 43;
const RENAME2: u32 = 45;

struct Request<'a> {
    opcode: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(bytes: &'a [u8]) -> Self {
        let header = Request { opcode: 0, unique: 0, node: 0, body: bytes };
        Self { opcode: header.u32(4), unique: header.u64(8), node: header.u64(16), body: &bytes[40..] }
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.body[at..at + 4].try_into().expect("four bytes"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.body[at..at + 8].try_into().expect("eight bytes"))
    }

    /// The names that follow the fixed part of the request.
    fn names(&self, at: usize) -> impl Iterator<Item = &'a str> {
        self.body[at..]
            .split(|byte| *byte == 0)
            .map(|name| std::str::from_utf8(name).expect("names are text"))
    }

    fn name(&self, at: usize) -> &'a str {
        self.names(at).next().unwrap_or_default()
    }

    fn answer(&self, fs: &mut dyn FileSystem) -> Result<Vec<u8>, Errno> {
        match self.opcode {
            INIT => Ok(self.init()),
            LOOKUP => fs.lookup(self.node, self.name(0)).map(entry),
            GETATTR => fs.attr(self.node).map(attributes),
            SETATTR => {
                const SIZE: u32 = 1 << 3;
                let attr = match self.u32(0) & SIZE {
                    0 => fs.attr(self.node),
                    _ => fs.truncate(self.node, self.u64(16)),
                };
                attr.map(attributes)
            }
            MKDIR => fs.make(self.node, self.name(8), true).map(entry),
            CREATE => {
                let attr = fs.make(self.node, self.name(16), false)?;
                Ok([entry(attr), opened()].concat())
            }
            UNLINK => fs.remove(self.node, self.name(0), false).map(|()| Vec::new()),
            RMDIR => fs.remove(self.node, self.name(0), true).map(|()| Vec::new()),
            RENAME | RENAME2 => {
                let mut names = self.names(if self.opcode == RENAME { 8 } else { 16 });
                if self.opcode == RENAME2 && self.u32(8) != 0 {
                    return Err(EINVAL);
                }
                let (from, to) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
                fs.rename((self.node, from), (self.u64(0), to)).map(|()| Vec::new())
            }
            OPEN | OPENDIR => fs.attr(self.node).map(|_| opened()),
            READ => fs.read(self.node, self.u64(8), self.u32(16)),
            WRITE => {
                let size = self.u32(16);
                fs.write(self.node, self.u64(8), &self.body[40..40 + size as usize])?;
                Ok([size.to_le_bytes(), [0; 4]].concat())
            }
            FSYNC | FSYNCDIR => fs.sync(self.node).map(|()| Vec::new()),
            FALLOCATE => match self.u32(24) {
                0 => fs.allocate(self.node, self.u64(8) + self.u64(16)).map(|()| Vec::new()),
                _ => Err(EINVAL),
            },
            READDIR => self.readdir(fs),
            STATFS => Ok(statfs()),
            FLUSH | RELEASE | RELEASEDIR => Ok(Vec::new()),
            _ => Err(ENOSYS),
        }
    }

    fn init(&self) -> Vec<u8> {
        const BIG_WRITES: u32 = 1 << 5;
        const MAX_PAGES: u32 = 1 << 22;
        let mut out = Vec::new();
        for number in [7, 31, self.u32(8), BIG_WRITES | MAX_PAGES] {
            out.extend(u32::to_le_bytes(number));
        }
        out.extend([16, 0, 12, 0]); // requests in the background, congestion from
        out.extend(MAX_WRITE.to_le_bytes());
        out.extend(1u32.to_le_bytes()); // granularity of times
        out.extend(((MAX_WRITE / 4096) as u16).to_le_bytes());
        out.resize(64, 0);
        out
    }

    fn readdir(&self, fs: &mut dyn FileSystem) -> Result<Vec<u8>, Errno> {
        let (from, limit) = (self.u64(8) as usize, self.u32(16) as usize);
        let mut out = Vec::new();
        for (offset, (name, attr)) in fs.list(self.node)?.into_iter().enumerate().skip(from) {
            let size = (24 + name.len()).next_multiple_of(8);
            if out.len() + size > limit {
                break;
            }
            let end = out.len() + size;
            out.extend(attr.node.to_le_bytes());
            out.extend((offset as u64 + 1).to_le_bytes());
            out.extend((name.len() as u32).to_le_bytes());
            out.extend((mode(attr) >> 12).to_le_bytes());
            out.extend(name.as_bytes());
            out.resize(end, 0);
        }
        Ok(out)
    }
}

/// For how long the kernel may remember what it was told: nobody else changes anything.
const VALID: u64 = 3600;

fn mode(attr: Attr) -> u32 {
    if attr.is_dir { 0o040755 } else { 0o100644 }
}

fn stat(attr: Attr) -> Vec<u8> {
    let mut out = Vec::with_capacity(88);
    for number in [attr.node, attr.size, attr.size.div_ceil(512), 0, 0, 0] {
        out.extend(number.to_le_bytes());
    }
    for number in [0, 0, 0, mode(attr), 1, 0, 0, 0, 4096, 0] {
        out.extend(u32::to_le_bytes(number));
    }
    out
}

fn entry(attr: Attr) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    for number in [attr.node, 0, VALID, VALID, 0] {
        out.extend(number.to_le_bytes());
    }
    out.extend(stat(attr));
    out
}

fn attributes(attr: Attr) -> Vec<u8> {
    [VALID.to_le_bytes().to_vec(), vec![0; 8], stat(attr)].concat()
}

fn opened() -> Vec<u8> {
    vec![0; 16]
}

fn statfs() -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    for number in [1u64 << 24, 1 << 23, 1 << 23, 1 << 20, 1 << 20] {
        out.extend(number.to_le_bytes());
    }
    for number in [4096u32, 255, 4096] {
        out.extend(number.to_le_bytes());
    }
    out.resize(80, 0);
    out
}
