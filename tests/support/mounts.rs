//! Mounts that end with the test, however it ends.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};
use std::io;

/// From here on, what this thread mounts is seen only by this thread, and by the threads and
/// processes that it starts. The kernel unmounts it when the last of them is gone: also when all
/// are killed, and nothing could run that cleans up.
pub fn own() -> io::Result<()> {
    thread_local! {
        // Once: a second namespace would copy, and keep, what is mounted in the first.
        static OWN: Result<(), Errno> = unshare(CloneFlags::CLONE_NEWNS);
    }
    OWN.with(|outcome| *outcome)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}
