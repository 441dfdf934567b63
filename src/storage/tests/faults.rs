//! A disk that fails, hangs or is full: the store stops at once, says why, and opens again later.

use super::image::{Image, normal, random_batch};
use super::*;
use crate::kernel::{Batch, Disk, DiskError, RowKey, Store};
use crate::storage::{Step, Steps, Verdict};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

fn put(value: &'static [u8]) -> Batch {
    Batch::of(vec![Store::Put { var: "test/var".into(), value: value.into() }], false)
}

/// Long for a commit, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(3);

/// A disk on which `fault` happens at a step, once it is armed.
fn faulty(dir: &Path, step: Step, fault: impl Fn() + Send + Sync + 'static) -> (Boot, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let watched = armed.clone();
    let steps = Steps::watched(move |now| {
        if now == step && watched.load(Ordering::SeqCst) {
            fault();
        }
    });
    let options = Options { steps, deadline: DEADLINE, ..options() };
    (open(dir, &configuration(), &options).unwrap(), armed)
}

#[test]
fn a_commit_that_overruns_its_deadline_halts_the_disk_for_good() {
    let tmp = tempfile::tempdir().unwrap();
    let stuck = Arc::new(Mutex::new(()));
    let held = stuck.lock().unwrap();
    let waits = stuck.clone();
    let (mut now, armed) = faulty(tmp.path(), Step::Applied, move || drop(waits.lock()));
    now.disk.commit(&put(b"1")).unwrap();
    armed.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let error = now.disk.commit(&put(b"2")).unwrap_err();
    assert!(began.elapsed() < 5 * DEADLINE, "it waited for the stuck disk");
    assert!(error.to_string().contains("the disk is stuck"), "{error}");
    armed.store(false, Ordering::SeqCst);
    drop(held); // the disk answers after all, too late
    assert_eq!(now.disk.commit(&put(b"3")), Err(error.clone()));
    assert_eq!(now.disk.commit(&Batch::default()), Err(error));
    drop(now);
    let Err(refused) = try_boot(tmp.path()) else { panic!("a failed disk was opened again") };
    assert!(refused.to_string().contains("its disk has failed"), "{refused}");
}

#[test]
fn a_panic_inside_a_commit_halts_the_disk() {
    let tmp = tempfile::tempdir().unwrap();
    let (mut now, armed) = faulty(tmp.path(), Step::Staged, || panic!("as sled does"));
    armed.store(true, Ordering::SeqCst);
    let error = now.disk.commit(&put(b"1")).unwrap_err();
    assert_eq!(error, DiskError::Failed("the committer panicked".into()));
    armed.store(false, Ordering::SeqCst);
    assert_eq!(now.disk.commit(&put(b"2")), Err(error));
}

#[test]
fn a_witness_that_cannot_be_written_halts_the_disk() {
    let tmp = tempfile::tempdir().unwrap();
    let (mut now, armed) = faulty(tmp.path(), Step::WitnessWritten, || panic!("an I/O thread dies"));
    armed.store(true, Ordering::SeqCst);
    now.disk.commit(&Batch::of(put(b"1").stores().to_vec(), true)).unwrap_err();
}

#[test]
fn nobody_waits_for_the_witness_but_votes() {
    let tmp = tempfile::tempdir().unwrap();
    let witness = Arc::new(Mutex::new(()));
    let held = witness.lock().unwrap();
    let waits = witness.clone();
    let (mut now, armed) = faulty(tmp.path(), Step::WitnessWritten, move || drop(waits.lock()));
    armed.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        now.disk.commit(&put(b"plain")).unwrap();
    }
    let vote = Batch::of(put(b"vote").stores().to_vec(), true);
    let voting = thread::spawn(move || now.disk.commit(&vote));
    assert!(voting.join().unwrap().is_err(), "a vote was durable before the witness held it");
    drop(held);
}

#[test]
fn the_ballast_takes_space_and_gives_it_back() {
    let tmp = tempfile::tempdir().unwrap();
    let options = Options { ballast: 1 << 20, ..options() };
    let now = open(tmp.path(), &configuration(), &options).unwrap();
    let space = now.gauge.space().unwrap();
    assert!(space.ballast >= 1 << 20, "{space:?}");
    assert!(space.used > space.ballast, "{space:?}");
    assert!(space.free > 0 && space.total > space.free, "{space:?}");
    assert!(!now.gauge.relieve().unwrap(), "there is space enough");
    assert!(!now.gauge.load().unwrap(), "it is on board");
    fs::remove_file(tmp.path().join("ballast")).unwrap();
    assert!(now.gauge.load().unwrap());
    assert!(now.gauge.space().unwrap().ballast >= 1 << 20);
}

/// Fills a small disk to the brim; started by the test below as a process of its own, since a
/// failed Db is never dropped.
#[test]
fn filling_process() {
    let Ok(dir) = std::env::var(FULL_DIR) else { return };
    let mut now = open(Path::new(&dir), &configuration(), &small()).unwrap();
    let mut image = Image::default();
    for main in 0.. {
        let key = RowKey { generation: 0, main, sub: 0 };
        let batch = Batch::of(vec![Store::PutRow { key, value: vec![main as u8; 30_000].into() }], false);
        match now.disk.commit(&batch) {
            Ok(()) => image.apply(&batch),
            Err(e) => {
                println!("\nfull {} {e}", image.rows().len());
                return;
            }
        }
    }
}

const FULL_DIR: &str = "KVORUM_TEST_FULL_DIR";

fn small() -> Options {
    Options { ballast: 4 << 20, flush_every: Duration::from_millis(100), ..options() }
}

#[test]
fn a_full_disk_stops_the_store_and_the_ballast_opens_it_again() {
    let tmp = tempfile::tempdir().unwrap();
    let Ok(()) = mount("tmpfs", tmp.path(), "tmpfs", MountFlags::NODEV, c"size=24m") else {
        println!("skipped: only root can mount a small disk");
        return;
    };
    let dir = tmp.path().join("data");
    let outcome = std::panic::catch_unwind(|| {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::tests::faults::filling_process", "--nocapture"])
            .env(FULL_DIR, &dir)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        let line =
            said.lines().find_map(|line| line.strip_prefix("full ")).unwrap_or_else(|| panic!("{said}"));
        println!("{line}");
        let (rows, error) = line.split_once(' ').unwrap();
        assert!(error.starts_with("the disk is full"), "{error}");
        // Whatever the failed commit has left free.
        let _ = fs::write(tmp.path().join("filler"), vec![0; 16 << 20]);

        let mut again = open(&dir, &configuration(), &small()).unwrap_or_else(|e| panic!("{e}"));
        assert!(matches!(again.verdict, Verdict::Recovered { .. }), "{}", again.verdict);
        let rows: usize = rows.parse().unwrap();
        assert!((rows..=rows + 1).contains(&again.stored.rows.len()), "acknowledged rows are gone");
        assert!(!dir.join("ballast").exists());
        again.disk.commit(&put(b"a little")).unwrap();
    });
    unmount(tmp.path(), UnmountFlags::DETACH).unwrap();
    outcome.unwrap();
}

#[test]
fn a_store_that_has_outgrown_its_content_is_rewritten_at_boot() {
    let tmp = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(8);
    let mut image = Image::default();
    let mut now = boot(tmp.path());
    let keep = random_batch(&mut rng, &image);
    image.apply(&keep);
    now.disk.commit(&keep).unwrap();
    let value: Vec<u8> = (0..4_000_000).map(|_| rng.u8(..)).collect();
    for main in 0..20 {
        let key = RowKey { generation: 1000, main, sub: 0 };
        now.disk.commit(&Batch::of(vec![Store::PutRow { key, value: value.clone().into() }], false)).unwrap();
    }
    for main in 0..20 {
        let key = RowKey { generation: 1000, main, sub: 0 };
        now.disk.commit(&Batch::of(vec![Store::DeleteRow { key }], false)).unwrap();
    }
    now.disk.close().unwrap();
    let before = now_size(tmp.path());
    let again = open(tmp.path(), &configuration(), &Options { rewrite: 16 << 20, ..options() }).unwrap();
    assert_eq!(normal(again.stored), image.stored());
    assert_eq!(again.verdict, Verdict::Clean);
    let after = now_size(tmp.path());
    println!("{before} bytes before, {after} after");
    assert!(before > 32 << 20 && after < 8 << 20, "{before} before, {after} after");
}

fn now_size(dir: &Path) -> u64 {
    crate::storage::space::usage(dir).unwrap()
}
