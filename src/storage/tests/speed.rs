//! A measurement: `cargo test --lib storage::tests::speed -- --ignored --nocapture`.

use super::*;
use crate::kernel::{Batch, Disk, LogId, Store};
use bytes::Bytes;
use std::fs::File;
use std::time::Instant;

const PERIOD: Duration = Duration::from_secs(2);

fn per_second(mut commit: impl FnMut(u64)) -> f64 {
    let began = Instant::now();
    let mut commits = 0;
    while began.elapsed() < PERIOD {
        commit(commits);
        commits += 1;
    }
    commits as f64 / began.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn commits_per_second() {
    println!(
        "entries of 256 bytes per commit: commits per second, alone / with a variable / one sled key per entry"
    );
    for count in [1u64, 16, 64, 256, 1024] {
        let entries: Vec<Bytes> = (0..count).map(|i| Bytes::from(vec![i as u8; 256])).collect();
        let [alone, with_variable] = [false, true].map(|variable| {
            let tmp = tempfile::tempdir().unwrap();
            let mut now = boot(tmp.path());
            per_second(|n| {
                let append = Store::Append { log: LogId(0), first: n * count, entries: entries.clone() };
                let decided = Store::Put { var: "decided".into(), value: n.to_le_bytes().to_vec().into() };
                let stores = if variable { vec![append, decided] } else { vec![append] };
                now.disk.commit(&Batch::of(stores, false)).unwrap();
            })
        });
        let tmp = tempfile::tempdir().unwrap();
        let db = sled::open(tmp.path()).unwrap();
        let file = File::options().write(true).open(tmp.path().join("db")).unwrap();
        let unpacked = per_second(|n| {
            let mut batch = sled::Batch::default();
            for (i, entry) in entries.iter().enumerate() {
                batch.insert(&(n * count + i as u64).to_be_bytes(), &entry[..]);
            }
            db.apply_batch(batch).unwrap();
            db.flush().unwrap();
            file.sync_data().unwrap();
        });
        println!(
            "{count:5}: {alone:7.0} {with_variable:7.0} {unpacked:7.0}   packing: x{:.1}",
            alone / unpacked
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn where_the_time_goes() {
    use crate::storage::{Step, Steps};
    use std::sync::{Arc, Mutex};
    for count in [1u64, 16, 256] {
        let entries: Vec<Bytes> = (0..count).map(|i| Bytes::from(vec![i as u8; 256])).collect();
        let spent = Arc::new(Mutex::new((Instant::now(), [Duration::ZERO; 5])));
        let clock = spent.clone();
        let steps = Steps::watched(move |step| {
            let at = match step {
                Step::Staged => 0,
                Step::Applied => 1,
                Step::Flushed => 2,
                Step::Synced => 3,
                _ => return,
            };
            let (last, sums) = &mut *clock.lock().unwrap();
            sums[at] += last.elapsed();
            *last = Instant::now();
        });
        let tmp = tempfile::tempdir().unwrap();
        let mut now = open(tmp.path(), &configuration(), &Options { steps, ..options() }).unwrap();
        let commits = 1000;
        for n in 0..commits {
            let append = Store::Append { log: LogId(0), first: n * count, entries: entries.clone() };
            spent.lock().unwrap().0 = Instant::now();
            now.disk.commit(&Batch::of(vec![append], false)).unwrap();
            let (last, sums) = &mut *spent.lock().unwrap();
            sums[4] += last.elapsed();
        }
        let mean = spent.lock().unwrap().1.map(|sum| sum / commits as u32);
        println!("{count} entries: stage, apply, flush, sync, return: {mean:?}");
    }
}

#[test]
#[ignore = "a measurement"]
fn boots_per_size() {
    for rows in [0u64, 1_000, 20_000, 100_000] {
        let tmp = tempfile::tempdir().unwrap();
        let mut now = boot(tmp.path());
        for first in (0..rows).step_by(100) {
            let key = |main| crate::kernel::RowKey { generation: 0, main, sub: 0 };
            let stores = (first..first + 100)
                .map(|main| Store::PutRow { key: key(main), value: vec![1; 300].into() })
                .collect();
            now.disk.commit(&Batch::of(stores, false)).unwrap();
        }
        now.disk.close().unwrap();
        let began = Instant::now();
        let now = boot(tmp.path());
        println!("{rows} rows: {:?} to open, {:?}", began.elapsed(), now.gauge.space().unwrap().used);
    }
}
