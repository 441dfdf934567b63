//! The program `kvorum`.

use std::process::ExitCode;

use kvorum::cli::Cli;

fn main() -> ExitCode {
    give_memory_back();
    Cli::from_args(std::env::args_os()).run()
}

/// Blocks of this size and above are given back to the system when they are freed. By itself glibc raises
/// the size up to 32 MiB as it sees larger ones freed, and keeps what is below in an arena for each
/// thread: a few long replies at a time then hold many times their length.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_memory_back() {
    const BYTES: libc::c_int = 256 << 10;
    // SAFETY: no other thread runs yet, and the size is one that glibc takes.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, BYTES) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_memory_back() {}
