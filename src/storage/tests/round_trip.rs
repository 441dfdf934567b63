//! What was committed is read back, and nothing else.

use super::image::{Image, normal, random_batch};
use super::*;
use crate::kernel::{Batch, Disk, LogId, Row, RowKey, Store};
use crate::storage::Verdict;
use bytes::Bytes;

#[test]
fn a_new_directory_is_fresh_then_recovered_then_clean() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("some/where");
    let put = Batch::of(vec![Store::Put { var: "a/b".into(), value: Bytes::from_static(b"1") }], true);

    let mut first = boot(&dir);
    assert_eq!(first.verdict, Verdict::Fresh);
    first.disk.commit(&put).unwrap();
    let disk_id = first.identity.disk_id;
    drop(first);

    let second = boot(&dir);
    assert_eq!(second.verdict, Verdict::Recovered { entries: 0, torn: false });
    assert_eq!(second.identity.disk_id, disk_id);
    assert_eq!(second.stored.vars["a/b"], "1");
    second.disk.close().unwrap();

    let third = boot(&dir);
    assert_eq!(third.verdict, Verdict::Clean);
    drop(third);
    assert_eq!(boot(&dir).verdict, Verdict::Clean, "nothing was committed since");
}

#[test]
fn random_batches_are_read_back_after_every_reopening() {
    for seed in 0..12 {
        let tmp = tempfile::tempdir().unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut image = Image::default();
        for reopening in 0..8 {
            let mut now = boot(tmp.path());
            assert_eq!(normal(now.stored.clone()), image.stored(), "seed {seed}, reopening {reopening}");
            for _ in 0..rng.usize(1..60) {
                let batch = random_batch(&mut rng, &image);
                image.apply(&batch);
                now.disk.commit(&batch).unwrap();
            }
            rows_are_read(&mut rng, &now, &image);
            if rng.bool() {
                now.disk.close().unwrap();
            }
        }
    }
}

fn rows_are_read(rng: &mut fastrand::Rng, boot: &Boot, image: &Image) {
    for _ in 0..20 {
        let from = RowKey { generation: rng.u32(..3), main: rng.u64(..40), sub: rng.u32(..3) };
        let end = rng.u64(..45);
        let max_bytes = rng.usize(..10_000);
        assert_eq!(boot.rows.row(from).unwrap().as_ref(), image.rows().get(&from));
        let mut size = 0;
        let expected: Vec<Row> = image
            .rows()
            .range(from..)
            .take_while(|(key, _)| key.generation == from.generation && key.main < end)
            .take_while(|(_, value)| {
                let before = size;
                size += value.len();
                before <= max_bytes
            })
            .map(|(key, value)| (*key, value.clone()))
            .collect();
        assert_eq!(boot.rows.scan(from, end, max_bytes).unwrap(), expected);
    }
}

#[test]
fn a_trim_of_a_long_log_is_swept_up_a_little_at_a_time() {
    let tmp = tempfile::tempdir().unwrap();
    let log = LogId::REPLICATED;
    let mut now = boot(tmp.path());
    let entry = Bytes::from(vec![1; 3000]);
    for first in 0..300 {
        now.disk
            .commit(&Batch::of(vec![Store::Append { log, first, entries: vec![entry.clone()] }], false))
            .unwrap();
    }
    now.disk.commit(&Batch::of(vec![Store::TruncatePrefix { log, before: 299 }], false)).unwrap();
    assert!(now.disk.live_bytes() > 700_000, "one commit removes few records");
    drop(now);
    let mut now = boot(tmp.path());
    assert_eq!(now.stored.logs[&log].first, 299);
    assert_eq!(now.stored.logs[&log].entries.len(), 1);
    for i in 0..10u8 {
        let put = Store::Put { var: "x/y".into(), value: vec![i].into() };
        now.disk.commit(&Batch::of(vec![put], false)).unwrap();
    }
    assert!(now.disk.live_bytes() < 10_000, "{} bytes live", now.disk.live_bytes());
}

#[test]
fn a_store_that_contradicts_the_log_halts_the_disk() {
    let tmp = tempfile::tempdir().unwrap();
    let mut now = boot(tmp.path());
    let gap = Store::Append { log: LogId(1), first: 5, entries: vec![Bytes::new()] };
    let error = now.disk.commit(&Batch::of(vec![gap], false)).unwrap_err();
    let put = Store::Put { var: "x/y".into(), value: Bytes::new() };
    assert_eq!(now.disk.commit(&Batch::of(vec![put], false)), Err(error), "and it stays halted");
}
