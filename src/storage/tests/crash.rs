//! A crash at every storage operation: at each step of a scripted run the directory is copied, as
//! a killed process would leave it, and every copy is opened.

use super::image::{Image, normal, random_batch};
use super::*;
use crate::kernel::Disk;
use crate::storage::{Step, Steps, Verdict, generation};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// A copy of the directory, and what had happened when it was taken.
#[derive(Clone, Debug)]
struct Shot {
    step: Step,
    copy: PathBuf,
    /// How many commits had returned.
    acknowledged: usize,
    /// How many had been called.
    attempted: usize,
}

#[derive(Clone)]
struct Camera(Arc<Mutex<Roll>>);

struct Roll {
    subject: PathBuf,
    album: PathBuf,
    acknowledged: usize,
    attempted: usize,
    shots: Vec<Shot>,
}

impl Camera {
    fn new(subject: &Path, album: &Path) -> Self {
        let (subject, album) = (subject.to_owned(), album.to_owned());
        Self(Arc::new(Mutex::new(Roll { subject, album, acknowledged: 0, attempted: 0, shots: Vec::new() })))
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.0.lock().unwrap()
    }

    fn options(&self) -> Options {
        let camera = self.clone();
        let watch = move |step| {
            // The witness follows plain commits on a thread of its own, while the committer goes
            // on: a copy taken there would mix two instants. Votes take the same steps in line.
            if thread::current().name() != Some("witness") {
                camera.roll().shoot(step);
            }
        };
        Options { steps: Steps::watched(watch), flush_every: Duration::from_secs(60), ..options() }
    }

    fn shots(&self) -> Vec<Shot> {
        self.roll().shots.clone()
    }
}

impl Roll {
    fn shoot(&mut self, step: Step) {
        let copy = self.album.join(self.shots.len().to_string());
        copy_tree(&self.subject, &copy);
        self.keep(step, copy);
        if step == Step::WitnessWritten {
            self.shoot_torn(step);
        }
    }

    fn keep(&mut self, step: Step, copy: PathBuf) {
        let (acknowledged, attempted) = (self.acknowledged, self.attempted);
        self.shots.push(Shot { step, copy, acknowledged, attempted });
    }

    /// The same instant, with the slot of the witness written in part.
    fn shoot_torn(&mut self, step: Step) {
        let before =
            self.shots.iter().rev().skip(1).find_map(|shot| fs::read(shot.copy.join("witness")).ok());
        let copy = self.album.join(self.shots.len().to_string());
        copy_tree(&self.subject, &copy);
        let (old, mut new) = (before.unwrap(), fs::read(copy.join("witness")).unwrap());
        let changed: Vec<usize> = (0..new.len()).filter(|i| old[*i] != new[*i]).collect();
        for &i in &changed[changed.len() / 2..] {
            new[i] = old[i];
        }
        fs::write(copy.join("witness"), new).unwrap();
        self.keep(step, copy);
    }
}

pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn steps_of(shots: &[Shot]) -> Vec<Step> {
    let mut steps: Vec<Step> = shots.iter().map(|shot| shot.step).collect();
    steps.sort();
    steps.dedup();
    steps
}

#[test]
fn a_crash_at_every_operation_loses_nothing_acknowledged_and_tears_no_batch() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, mut rng) = (tmp.path().join("data"), fastrand::Rng::with_seed(3));
    let camera = Camera::new(&dir, &tmp.path().join("album"));
    let mut images = vec![Image::default()];
    for _ in 0..3 {
        let mut now = open(&dir, &configuration(), &camera.options()).unwrap();
        for _ in 0..12 {
            let mut image = images.last().unwrap().clone();
            let batch = random_batch(&mut rng, &image);
            let vote = rng.bool();
            let batch = crate::kernel::Batch::of(batch.stores().to_vec(), vote);
            image.apply(&batch);
            images.push(image);
            camera.roll().attempted += 1;
            now.disk.commit(&batch).unwrap();
            camera.roll().acknowledged += 1;
        }
    }
    let shots = camera.shots();
    println!("{} crashes, at the steps {:?}", shots.len(), steps_of(&shots));
    assert_eq!(steps_of(&shots).len(), 10, "a step was never taken");
    for shot in &shots {
        let found = boot(&shot.copy);
        let stored = normal(found.stored);
        let prefix = &images[shot.acknowledged..=shot.attempted];
        assert!(prefix.iter().any(|image| image.stored() == stored), "{shot:?}");
        assert!(!matches!(found.verdict, Verdict::Damaged { .. }), "{shot:?}: {}", found.verdict);
        assert_eq!(found.identity.replaces, None, "{shot:?}");
    }
}

#[test]
fn a_crash_while_a_damaged_store_is_set_aside_leaves_it_set_aside() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("data");
    let disk_id = boot(&dir).identity.disk_id;
    fs::remove_file(dir.join("gen-1/db")).unwrap();

    let camera = Camera::new(&dir, &tmp.path().join("album"));
    let found = open(&dir, &configuration(), &camera.options()).unwrap();
    assert!(matches!(found.verdict, Verdict::Damaged { aside: Some(_), .. }), "{}", found.verdict);
    for shot in camera.shots() {
        let again = boot(&shot.copy);
        assert!(matches!(again.verdict, Verdict::Damaged { .. } | Verdict::Fresh), "{}", again.verdict);
        assert_ne!(again.identity.disk_id, disk_id, "{shot:?}: the old disk would vote again");
        assert!(again.identity.replaces.is_some());
        let names = crate::storage::files::names(&shot.copy).unwrap();
        assert!(names.iter().any(|name| name.starts_with("gen-1.damaged-")), "{shot:?}: {names:?}");
    }
}

#[test]
fn a_crash_while_a_store_is_rewritten_loses_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, mut rng) = (tmp.path().join("data"), fastrand::Rng::with_seed(4));
    let mut image = Image::default();
    let mut now = boot(&dir);
    for _ in 0..40 {
        let batch = random_batch(&mut rng, &image);
        image.apply(&batch);
        now.disk.commit(&batch).unwrap();
    }
    drop(now);
    // What sled would do with a page beyond 128 KiB.
    fs::write(dir.join("gen-1/blobs/12345"), b"a page").unwrap();

    let camera = Camera::new(&dir, &tmp.path().join("album"));
    let found = open(&dir, &configuration(), &camera.options()).unwrap();
    assert_eq!(normal(found.stored), image.stored());
    assert_eq!(generation::whole(&dir).unwrap(), [2], "a fresh generation, and no other");
    let shots = camera.shots();
    assert!(shots.len() >= 6, "{shots:?}");
    for shot in shots {
        let again = boot(&shot.copy);
        assert_eq!(normal(again.stored), image.stored(), "{shot:?}");
        assert!(matches!(again.verdict, Verdict::Recovered { .. }), "{shot:?}: {}", again.verdict);
        assert_eq!(generation::whole(&shot.copy).unwrap().len(), 1, "{shot:?}");
    }
}
