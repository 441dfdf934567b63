//! Damage: whatever happens to the files, open does not panic, and nothing acknowledged is missing
//! from a store that is not called damaged.

use super::crash::copy_tree;
use super::image::{Image, normal, random_batch};
use super::*;
use crate::kernel::{Batch, Disk, Store};
use crate::storage::{Verdict, codec};
use std::fs;
use std::path::PathBuf;

/// A store that was closed in the middle of its work, and what it held.
struct Subject {
    tmp: tempfile::TempDir,
    image: Image,
    copies: usize,
}

impl Subject {
    fn new(seed: u64, commits: usize) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut image = Image::default();
        let mut now = boot(&tmp.path().join("data"));
        for _ in 0..commits {
            let batch = random_batch(&mut rng, &image);
            image.apply(&batch);
            now.disk.commit(&batch).unwrap();
        }
        Self { tmp, image, copies: 0 }
    }

    fn dir(&self) -> PathBuf {
        self.tmp.path().join("data")
    }

    /// A copy of the directory, changed.
    fn changed(&mut self, change: impl FnOnce(&Path)) -> PathBuf {
        self.copies += 1;
        let copy = self.tmp.path().join(self.copies.to_string());
        copy_tree(&self.dir(), &copy);
        change(&copy);
        copy
    }

    /// Opens a changed copy: it is refused, called damaged, or holds everything.
    fn judge(&self, copy: &Path, what: &str) -> &'static str {
        let outcome = match try_boot(copy) {
            Err(_) => "refused",
            Ok(found) => match found.verdict {
                Verdict::Damaged { ref aside, .. } => {
                    assert!(found.identity.replaces.is_some(), "{what}");
                    assert!(aside.as_ref().is_none_or(|aside| aside.exists()), "{what}");
                    assert!(found.stored.vars.is_empty(), "{what}");
                    "damaged"
                }
                ref verdict => {
                    let lost = normal(found.stored) != self.image.stored();
                    assert!(!lost, "{what}: acknowledged data is gone, and the verdict is: {verdict}");
                    "whole"
                }
            },
        };
        fs::remove_dir_all(copy).unwrap();
        outcome
    }
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 0x5a;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_damaged_byte_of_the_db_is_seen_wherever_it_matters() {
    let mut subject = Subject::new(1, 120);
    let len = fs::metadata(subject.dir().join("gen-1/db")).unwrap().len() as usize;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut outcomes = std::collections::BTreeMap::new();
    for _ in 0..100 {
        let offset = rng.usize(..len);
        let copy = subject.changed(|dir| flip(&dir.join("gen-1/db"), offset));
        *outcomes.entry(subject.judge(&copy, &format!("byte {offset} of db"))).or_insert(0) += 1;
    }
    println!("{len} bytes: {outcomes:?}");
    assert!(outcomes["damaged"] >= 10, "{outcomes:?}");
    assert!(outcomes["whole"] >= 10, "{outcomes:?}");
}

#[test]
fn a_torn_off_end_of_the_db_is_seen() {
    let mut subject = Subject::new(2, 60);
    let len = fs::metadata(subject.dir().join("gen-1/db")).unwrap().len();
    for cut in [0, 1, 4096, 100_000, 500_000, len - 1] {
        let copy = subject.changed(|dir| {
            fs::File::options().write(true).open(dir.join("gen-1/db")).unwrap().set_len(cut).unwrap();
        });
        subject.judge(&copy, &format!("db cut at {cut} of {len}"));
    }
}

#[test]
fn a_damaged_witness_or_other_small_file_never_costs_data() {
    let mut subject = Subject::new(3, 20);
    let mut rng = fastrand::Rng::with_seed(3);
    for file in ["witness", "identity", "CURRENT", "gen-1/conf"] {
        let len = fs::metadata(subject.dir().join(file)).unwrap().len() as usize;
        for _ in 0..12 {
            // The slots of the witness are short: aim at them.
            let offset =
                if file == "witness" { rng.usize(..33) + 4096 * rng.usize(..2) } else { rng.usize(..len) };
            let copy = subject.changed(|dir| flip(&dir.join(file), offset));
            let outcome = subject.judge(&copy, &format!("byte {offset} of {file}"));
            let expected: &[&str] = match file {
                "witness" => &["whole"], // the other slot vouches
                "identity" => &["refused"],
                "CURRENT" => &["damaged"],
                _ => &["whole", "damaged", "refused"],
            };
            assert!(expected.contains(&outcome), "byte {offset} of {file}: {outcome}");
        }
    }
}

#[test]
fn a_file_that_is_gone_is_missed() {
    let mut subject = Subject::new(4, 20);
    for (file, expected) in [
        ("gen-1/db", "damaged"),
        ("gen-1", "damaged"),
        ("CURRENT", "damaged"),
        ("witness", "damaged"),
        ("identity", "refused"),
        ("gen-1/conf", "whole"),
        ("LOCK", "whole"),
    ] {
        let copy = subject.changed(|dir| crate::storage::files::remove(&dir.join(file)).unwrap());
        assert_eq!(subject.judge(&copy, file), expected, "{file}");
    }
}

#[test]
fn an_older_copy_of_the_db_is_behind_the_witness() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, old) = (tmp.path().join("data"), tmp.path().join("old"));
    let mut rng = fastrand::Rng::with_seed(5);
    let mut image = Image::default();
    for round in 0..2 {
        let mut now = boot(&dir);
        for _ in 0..5 {
            let batch = random_batch(&mut rng, &image);
            image.apply(&batch);
            now.disk.commit(&batch).unwrap();
        }
        drop(now);
        if round == 0 {
            copy_tree(&dir.join("gen-1"), &old);
        }
    }
    fs::remove_dir_all(dir.join("gen-1")).unwrap();
    copy_tree(&old, &dir.join("gen-1"));
    let found = boot(&dir);
    assert_eq!(
        found.verdict.to_string(),
        format!(
            "damaged: it ends at commit 5, but commit 10 was acknowledged; the store is set aside at {}, \
             this disk starts empty as a learner",
            dir.join(format!("gen-1.damaged-{:016x}", found.identity.replaces.unwrap())).display()
        )
    );
}

/// sled can skip the rest of a damaged segment without a word: a page comes back as it was before.
#[test]
fn a_page_that_went_back_in_time_is_seen() {
    let mut subject = Subject::new(7, 30);
    let batch = |value: u8| {
        let put = Store::Put { var: "consensus/prom".into(), value: vec![value].into() };
        Batch::of(vec![put], true)
    };
    let key = codec::chunk_key(&codec::Place::Var("consensus/prom".into()).base(), 0);
    let mut now = boot(&subject.dir());
    now.disk.commit(&batch(1)).unwrap();
    drop(now);
    let read = |dir: &Path| sled::open(dir.join("gen-1")).unwrap().get(&key).unwrap().unwrap();
    let before = read(&subject.dir());
    let mut now = boot(&subject.dir());
    now.disk.commit(&batch(2)).unwrap();
    drop(now);
    subject.image.apply(&batch(2));

    let copy = subject.changed(|dir| {
        sled::open(dir.join("gen-1")).unwrap().insert(&key, before).unwrap();
    });
    assert_eq!(subject.judge(&copy, "an old promise"), "damaged");
    let copy = subject.changed(|dir| {
        sled::open(dir.join("gen-1")).unwrap().remove(&key).unwrap();
    });
    assert_eq!(subject.judge(&copy, "a lost promise"), "damaged");
    let copy = subject.changed(|_| {});
    assert_eq!(subject.judge(&copy, "nothing"), "whole");
}

#[test]
fn an_unfinished_snapshot_does_not_brick_the_store() {
    let mut subject = Subject::new(6, 20);
    let copy = subject.changed(|dir| fs::write(dir.join("gen-1/snap.0000.generating"), b"half").unwrap());
    assert_eq!(subject.judge(&copy, "snap.generating"), "whole");
}
