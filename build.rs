//! Compiles the protos in pure Rust (no `protoc` needed) and names the commit for `--version`.

use std::{env, error::Error, fs, path::Path, path::PathBuf, process::Command};

use prost::Message;

const PROTOS: [&str; 8] = [
    "etcd/api/etcdserverpb/rpc.proto",
    "kvorum/v1/atomic_commit.proto",
    "kvorum/v1/bounds.proto",
    "kvorum/v1/broadcast.proto",
    "kvorum/v1/consensus.proto",
    "kvorum/v1/register.proto",
    "kvorum/v1/sessions.proto",
    "kvorum/peer/v2/peer.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_server(env::var_os("CARGO_FEATURE_NODE").is_some())
        .build_transport(false)
        .compile_fds(descriptors)?;

    println!("cargo:rustc-env=KVORUM_COMMIT={}", commit());
    Ok(())
}

/// The commit that is checked out, or "unknown" outside a checkout.
fn commit() -> String {
    for path in ["HEAD", "logs/HEAD"] {
        // Asked of git, since in a linked worktree `.git` is a file.
        if let Some(path) = git(&["rev-parse", "--git-path", path]).filter(|p| Path::new(p).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".into())
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
