//! A directory knows whether it is the one that was made, or a copy.

use super::crash::copy_tree;
use super::*;
use crate::kernel::Origin;
use crate::storage::{Identity, Member};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A member of a cluster of two.
fn member() -> Configuration {
    let member = |name: &str| Member { name: name.into(), ..Member::default() };
    Configuration { members: vec![member("a"), member("b")], ..configuration() }
}

fn origin_of(dir: &Path, configuration: &Configuration, adopt_copy: bool) -> Origin {
    let options = Options { adopt_copy, ..options() };
    open(dir, configuration, &options).unwrap_or_else(|refused| panic!("{refused}")).origin
}

/// What a member's directory takes itself for.
fn origin(dir: &Path) -> Origin {
    origin_of(dir, &member(), false)
}

/// A member's directory, and a place for others.
fn made() -> (TempDir, PathBuf, PathBuf) {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, other) = (tmp.path().join("data"), tmp.path().join("other"));
    assert_eq!((origin(&dir), origin(&dir)), (Origin::Own, Origin::Own));
    (tmp, dir, other)
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}: {status}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_copy_knows_that_it_is_one_until_it_is_adopted() {
    let (_tmp, dir, copy) = made();
    run("cp", &["-a", text(&dir), text(&copy)]);
    assert_eq!((origin(&copy), origin(&copy)), (Origin::Copied, Origin::Copied));
    assert_eq!(origin_of(&copy, &member(), true), Origin::Adopted);
    assert_eq!(origin(&copy), Origin::Own);
    assert_eq!(origin(&dir), Origin::Own, "the original is none the wiser");
}

#[test]
fn what_was_restored_from_an_archive_is_a_copy() {
    let (tmp, dir, other) = made();
    let archive = tmp.path().join("backup.tar");
    fs::create_dir(&other).unwrap();
    run("tar", &["-cf", text(&archive), "-C", text(&dir), "."]);
    run("tar", &["-xf", text(&archive), "-C", text(&other)]);
    assert_eq!(origin(&other), Origin::Copied);
    // Also in place of the original, and over it.
    fs::rename(&other, tmp.path().join("away")).unwrap();
    run("tar", &["-xf", text(&archive), "-C", text(&dir)]);
    assert_eq!(origin(&dir), Origin::Copied);
}

/// As `rsync` does it: what is the same stays, what differs is replaced.
#[test]
fn a_copy_that_is_put_back_over_the_original_is_a_copy() {
    let (tmp, dir, copy) = made();
    copy_tree(&dir, &copy);
    drop(open(&dir, &member(), &options()).unwrap());
    let fresh = tmp.path().join("fresh");
    fs::copy(copy.join("witness"), &fresh).unwrap();
    fs::rename(&fresh, dir.join("witness")).unwrap();
    assert_eq!(origin(&dir), Origin::Copied);
}

#[test]
fn a_directory_that_is_renamed_moved_or_linked_is_the_same() {
    let (tmp, dir, other) = made();
    fs::rename(&dir, &other).unwrap();
    assert_eq!(origin(&other), Origin::Own);
    let below = tmp.path().join("below");
    fs::create_dir(&below).unwrap();
    fs::rename(&other, below.join("data")).unwrap();
    assert_eq!(origin(&below.join("data")), Origin::Own);
    // Another name for the same files, and for the same lock.
    run("cp", &["-al", text(&below.join("data")), text(&dir)]);
    assert_eq!(origin(&dir), Origin::Own);
    let _open = open(&below.join("data"), &member(), &options()).unwrap();
    assert!(matches!(open(&dir, &member(), &options()), Err(Refused::InUse { .. })));
}

#[test]
fn a_replica_alone_adopts_a_copy_by_itself() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, copy) = (tmp.path().join("data"), tmp.path().join("copy"));
    drop(boot(&dir));
    copy_tree(&dir, &copy);
    assert_eq!(boot(&copy).origin, Origin::Adopted);
    assert_eq!(boot(&copy).origin, Origin::Own);
}

/// The rest of the file says everything that it did before its place was kept.
#[test]
fn a_directory_from_before_places_were_kept_learns_its_own() {
    let (_tmp, dir, copy) = made();
    let path = dir.join("identity");
    let known = Identity::read(&path).unwrap().unwrap().unwrap();
    fs::write(&path, Identity { place: None, ..known.clone() }.encode()).unwrap();
    assert_eq!(origin(&dir), Origin::Own);
    let learned = Identity::read(&path).unwrap().unwrap().unwrap();
    assert!(learned.place.as_ref().unwrap().is(&dir).unwrap());
    assert_eq!(Identity { place: None, ..learned }, Identity { place: None, ..known });
    copy_tree(&dir, &copy);
    assert_eq!(origin(&copy), Origin::Copied);
}

#[test]
fn a_copy_that_is_damaged_is_damaged() {
    let (_tmp, dir, copy) = made();
    copy_tree(&dir, &copy);
    fs::write(copy.join("witness"), b"nothing").unwrap();
    let found = open(&copy, &member(), &options()).unwrap();
    assert_eq!(found.origin, Origin::Own);
    assert!(matches!(found.verdict, crate::storage::Verdict::Damaged { .. }));
}
