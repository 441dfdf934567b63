//! Power cuts: a process commits on a disk that forgets, at each cut, what was not synced. Nothing
//! acknowledged is lost, and the store always opens. Needs root and `/dev/fuse`; elsewhere the tests
//! say that they were skipped.

/// The image of the unit tests names the kernel so.
mod kernel {
    pub use kvorum::kernel::{Batch, LogId, RowKey, Store, Stored};
}
#[allow(dead_code)]
#[path = "../src/storage/tests/image.rs"]
mod image;
mod support;

use bytes::Bytes;
use image::{Image, normal, random_batch};
use kvorum::kernel::{Batch, Disk, Store, Var};
use kvorum::storage::{Configuration, Options, Verdict, open};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::forgetful::Forgetful;

/// Where the process that commits finds the data directory; without it there is nothing to do.
const DIR: &str = "KVORUM_TEST_POWER_CUT_DIR";
/// How many commits were acknowledged before the cut.
const ACKNOWLEDGED: &str = "KVORUM_TEST_POWER_CUT_ACKNOWLEDGED";
const PATIENCE: Duration = Duration::from_secs(60);

fn commits() -> Var {
    "test/commits".into()
}

/// The number of a commit, stored by it.
fn number(stored: Option<&Bytes>) -> u64 {
    stored.map_or(0, |bytes| u64::from_le_bytes(bytes.as_ref().try_into().expect("eight bytes")))
}

/// The images that commits lead through, always the same.
struct Script(Image, u64);

impl Script {
    fn next(&mut self) -> Batch {
        self.1 += 1;
        let batch = random_batch(&mut fastrand::Rng::with_seed(self.1), &self.0);
        let count = Store::Put { var: commits(), value: self.1.to_le_bytes().to_vec().into() };
        let batch = Batch::of([batch.stores(), &[count]].concat(), batch.is_vote());
        self.0.apply(&batch);
        batch
    }
}

/// Says something to the process that watches: a line of its own, whatever the test harness prints.
fn say(what: &str, number: u64) {
    let _ = std::io::stdout().write_all(format!("\n{what} {number}\n").as_bytes());
}

/// Not a test: what the process does that the tests below start.
#[test]
fn committing_process() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let acknowledged: u64 = std::env::var(ACKNOWLEDGED).unwrap().parse().unwrap();
    let configuration = Configuration { name: "a".into(), ..Configuration::default() };
    let options = Options { ballast: 0, flush_every: Duration::from_millis(20), ..Options::default() };
    let mut boot = match open(Path::new(&dir), &configuration, &options) {
        Ok(boot) => boot,
        Err(refused) => panic!("refused: {refused}"),
    };
    assert!(!matches!(boot.verdict, Verdict::Damaged { .. }), "{}", boot.verdict);
    assert_eq!(boot.identity.replaces, None);

    let count = number(boot.stored.vars.get(&commits()));
    let mut script = Script(Image::default(), 0);
    while script.1 < count {
        script.next();
    }
    // One commit may have been in flight.
    let lost = count < acknowledged || count > acknowledged + 1 || normal(boot.stored) != script.0.stored();
    if lost {
        say("LOST", count);
        panic!("{acknowledged} commits were acknowledged, {count} are there");
    }
    say("opened", count);
    loop {
        boot.disk.commit(&script.next()).unwrap();
        say("acknowledged", script.1);
    }
}

/// A process that runs one of the tests of this file, alone.
fn process(name: &str, dir: &Path) -> Command {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    process
}

/// Runs the process of that name on the disk until its power is cut: the last line that began with `word`, and
/// whether everything was well up to the cut.
fn run_until_cut(disk: &Forgetful, name: &str, dir: &Path, before: u64) -> Result<u64, String> {
    let mut child = process(name, dir).env(ACKNOWLEDGED, before.to_string()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut acknowledged, mut lost) = (before, false);
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            match line.split_once(' ') {
                // A commit in flight at the cut is acknowledged by being there afterwards.
                Some(("acknowledged" | "opened", n)) => acknowledged = n.parse().unwrap_or(acknowledged),
                Some(("LOST", _)) => lost = true,
                _ => {}
            }
        }
        (acknowledged, lost)
    });
    let mut waited = Duration::ZERO;
    let well = loop {
        if disk.wait_for_cut(Duration::from_millis(20)) {
            break true;
        }
        waited += Duration::from_millis(20);
        if child.try_wait().unwrap().is_some() || waited > PATIENCE {
            break disk.is_cut();
        }
    };
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let (acknowledged, lost) = reader.join().unwrap();
    if lost || !well {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(acknowledged)
}

fn cuts(wanted: usize, process: &str, seed: u64) -> Option<Result<(usize, u64), (usize, String)>> {
    let tmp = tempfile::tempdir().unwrap();
    let mut disk = match Forgetful::mount(tmp.path(), seed) {
        Ok(disk) => disk,
        Err(why) => {
            println!("skipped: {why}");
            return None;
        }
    };
    let dir = tmp.path().join("data");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut acknowledged = 0;
    for cut in 0..wanted {
        // Every other cut falls into the boot, or soon after it.
        disk.cut_after(if rng.bool() { rng.u64(1..60) } else { rng.u64(1..1500) });
        match run_until_cut(&disk, process, &dir, acknowledged) {
            Ok(now) => acknowledged = now,
            Err(why) => return Some(Err((cut, why))),
        }
        disk.power_on();
    }
    Some(Ok((wanted, acknowledged)))
}

#[test]
fn a_lone_disk_loses_nothing_acknowledged_at_200_power_cuts() {
    match cuts(200, "committing_process", 1) {
        None => {}
        Some(Ok((cuts, commits))) => {
            println!("{cuts} power cuts, {commits} commits acknowledged");
            assert!(commits > 1000, "only {commits} commits: the cuts fell too early");
        }
        Some(Err((cut, why))) => panic!("at cut {cut}: {why}"),
    }
}

/// The same on sled as its documentation has it: so the disk really forgets.
#[test]
fn naive_process() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let acknowledged: u64 = std::env::var(ACKNOWLEDGED).unwrap().parse().unwrap();
    let db = sled::open(dir).unwrap_or_else(|e| panic!("bricked: {e}"));
    let stored = db.get(b"commits").unwrap().map(|value| Bytes::copy_from_slice(&value));
    let mut count = number(stored.as_ref());
    if count < acknowledged {
        say("LOST", count);
    }
    say("opened", count);
    loop {
        count += 1;
        let mut batch = sled::Batch::default();
        batch.insert(b"commits", &count.to_le_bytes());
        batch.insert(&count.to_be_bytes(), vec![count as u8; 1000]);
        db.apply_batch(batch).unwrap();
        db.flush().unwrap();
        say("acknowledged", count);
    }
}

#[test]
fn sled_with_flush_alone_loses_data_at_these_power_cuts() {
    match cuts(50, "naive_process", 1) {
        None => {}
        Some(Ok(_)) => panic!("the forgetful disk forgets nothing"),
        Some(Err((cut, why))) => {
            println!("lost or bricked at cut {cut}: {}", why.lines().nth(1).unwrap_or(&why))
        }
    }
}

/// Not a test: a process that mounts a disk, and would unmount it at its end.
#[test]
fn mounting_process() {
    let Ok(dir) = std::env::var(DIR) else { return };
    match Forgetful::mount(Path::new(&dir), 1) {
        Err(_) => say("skipped", 0),
        Ok(_disk) => {
            std::fs::write(Path::new(&dir).join("file"), "content").unwrap();
            say("mounted", 1);
            std::thread::park();
        }
    }
}

#[test]
fn a_test_that_is_killed_leaves_no_mount_behind() {
    let tmp = tempfile::tempdir().unwrap();
    let mut child = process("mounting_process", tmp.path()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let said = out.lines().map_while(Result::ok).find(|line| matches!(&**line, "mounted 1" | "skipped 0"));
    if said.expect("the process says something").starts_with("skipped") {
        println!("skipped: nothing can be mounted here");
        child.wait().unwrap();
        return;
    }
    assert!(is_mounted(tmp.path()), "the process has not mounted anything");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_mounted(tmp.path()), "the mount is still there");
}

/// Whether any thread on this machine sees something mounted there.
fn is_mounted(dir: &Path) -> bool {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        entries.map_while(Result::ok).map(|entry| entry.path()).collect()
    };
    let tasks = folders(Path::new("/proc")).into_iter().flat_map(|process| folders(&process.join("task")));
    tasks
        .map(|task| std::fs::read_to_string(task.join("mounts")).unwrap_or_default())
        .any(|mounts| mounts.lines().any(|line| line.split(' ').nth(1) == dir.to_str()))
}
