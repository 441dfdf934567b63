//! A bound on the memory of processes, kept by the kernel where the test may ask it to.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A control group with a bound on memory; removed when dropped, after its processes have ended.
pub struct Group {
    path: Option<PathBuf>,
}

impl Group {
    /// A group of so many bytes. Without the right to make one, the kernel bounds nothing, and the
    /// test only measures.
    pub fn of(bytes: u64) -> Group {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("kvorum-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let versions = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        for (root, limit) in versions {
            sweep(root);
            let path = PathBuf::from(root).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            if fs::write(path.join(limit), bytes.to_string()).is_ok() {
                return Group { path: Some(path) };
            }
            let _ = fs::remove_dir(&path);
        }
        println!("no control group can be made here: memory is measured, not bounded");
        Group { path: None }
    }

    /// Takes a process in.
    pub fn take(&self, process: u32) {
        if let Some(path) = &self.path {
            fs::write(path.join("cgroup.procs"), process.to_string()).unwrap();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_dir(path); // processes of it may still end
        }
    }
}

/// Removes the groups of tests that were killed.
fn sweep(root: &str) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let process = name.strip_prefix("kvorum-").and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !PathBuf::from("/proc").join(process).exists()) {
            let _ = fs::remove_dir(entry.path()); // another test may be faster
        }
    }
}
