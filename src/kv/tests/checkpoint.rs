//! Checkpoints: bounded pieces, what boot refuses, and that space is given back.

use super::*;

/// A store with a checkpoint of live, superseded and deleted keys in several rows.
fn saved() -> Store {
    let mut store = Store::default();
    for n in 0..200 {
        store.put(&format!("key {}", n % 50), &"x".repeat(n));
    }
    store.delete("key 1", "key 2");
    store.checkpoint();
    assert!(store.disk.rows.len() > 4);
    store
}

#[test]
fn a_crash_before_the_first_checkpoint_is_finished_leaves_nothing_behind() {
    let mut store = Store::default();
    ["a", "b", "c", "d"].iter().for_each(|key| _ = store.put(key, &"x".repeat(5000)));
    store.machine.checkpoint_begin();
    while store.disk.rows.is_empty() {
        assert!(!store.disk.store(store.machine.checkpoint_step(64)));
    }

    // The log that comes back may be another one: nothing was acknowledged.
    store.machine = store.disk.boot().unwrap();
    store.log = 0;
    assert_eq!((store.machine.applied(), store.revision()), (0, 1));
    store.put("c", "1");
    store.checkpoint();
    store.machine = store.disk.boot().unwrap();
    assert_eq!(store.range(all()).kvs, [kv("c", "1", 2, 2, 1)]);
    assert_eq!(store.disk.rows.len(), 1);
}

#[test]
fn every_step_is_bounded_by_its_budget() {
    let mut store = Store::default();
    for n in 0..300 {
        store.put("key", &"x".repeat(n * 7 % 900));
    }
    store.machine.checkpoint_begin();
    let mut steps = 0;
    loop {
        let piece = store.machine.checkpoint_step(2000);
        let (Piece::More { puts, .. } | Piece::Finished { puts, .. }) = &piece;
        let bytes: usize = puts.iter().map(|(_, row)| row.len()).sum();
        assert!(bytes <= 2000 + row::TARGET, "{bytes}");
        steps += 1;
        if store.disk.store(piece) {
            break;
        }
    }
    assert!(steps > 40, "{steps}");
    assert!(store.disk.rows.values().all(|row| row.len() <= row::TARGET));
}

#[test]
fn commands_go_on_beside_a_checkpoint_and_are_not_part_of_it() {
    let mut store = Store::default();
    store.put("a", "1");
    store.put("b", "1");
    store.machine.checkpoint_begin();
    assert!(store.machine.checkpointing());
    store.put("a", "2");
    store.delete("b", "");
    while !store.disk.store(store.machine.checkpoint_step(64)) {}
    assert_eq!((store.machine.checkpointed(), store.machine.applied()), (2, 4));
    assert_eq!(store.machine.unsaved_bytes(), 3);
    let booted = store.disk.boot().unwrap().view();
    assert_eq!((booted.revision(), booted.applied()), (3, 2));
    assert_eq!(values(&booted.range(&all(), &store.disk, u64::MAX).unwrap()), ["1", "1"]);
}

#[test]
fn a_missing_row_is_damage() {
    let store = saved();
    for key in store.disk.rows.keys() {
        let mut disk = store.disk.clone();
        disk.rows.remove(key);
        assert!(matches!(disk.boot(), Err(Damaged::Digest { .. })), "{key:?}");
    }
}

#[test]
fn every_flipped_bit_of_a_row_is_damage() {
    let store = saved();
    let (key, row) = store.disk.rows.iter().nth(1).unwrap();
    for bit in (0..row.len() * 8).step_by(7) {
        let mut disk = store.disk.clone();
        let mut bytes = row.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.rows.insert(*key, bytes.into());
        assert!(disk.boot().is_err(), "bit {bit}");
    }
}

#[test]
fn a_row_that_goes_bad_while_the_replica_runs_is_not_read() {
    let mut store = saved();
    while store.machine.scrub(1000) {}
    let (key, row) = store.disk.rows.first_key_value().map(|(k, v)| (*k, v.clone())).unwrap();
    let last = row::records(row.clone()).last().unwrap().unwrap().at;
    let past = || RangeRequest { revision: last.main, ..all() };
    store.range(past());
    let mut bytes = row.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    store.disk.rows.insert(key, bytes.into());
    let error = store.try_range(past()).unwrap_err();
    assert!(matches!(&error, Error::Disk(DiskError::Damaged(_))), "{error:?}");
    assert_eq!(error.code(), Code::DataLoss);
}

#[test]
fn rows_of_another_generation_are_not_read() {
    let mut store = saved();
    let strange = RowKey { generation: 9, main: 2, sub: 0 };
    store.disk.rows.insert(strange, Bytes::from_static(b"not a row"));
    assert!(store.disk.boot().is_ok());
}

#[test]
fn metadata_of_a_newer_format_is_refused_in_one_line() {
    let mut meta = saved().disk.meta.unwrap().to_vec();
    meta[0] = 2;
    let end = meta.len() - 4;
    let sum = crc32fast::hash(&meta[..end]).to_le_bytes();
    meta[end..].copy_from_slice(&sum);
    let error = Loader::new(meta.into()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "a checkpoint of format 2, and this version reads up to 1: upgrade this replica"
    );
}

#[test]
fn an_endless_run_of_overwrites_with_compaction_needs_bounded_disk_and_memory() {
    let mut store = Store::default();
    store.put("cold", "stays");
    let (mut rows, mut versions) = (Vec::new(), Vec::new());
    for round in 0..30 {
        for n in 0..400 {
            store.put(&format!("key {}", n % 20), &"x".repeat(100));
            if n % 100 == 50 {
                store.put("gone", "");
                store.delete("gone", "");
            }
        }
        store.compact(store.revision() - 50).unwrap();
        store.checkpoint();
        if round >= 10 {
            rows.push(store.disk.rows.values().map(Bytes::len).sum::<usize>());
            versions.push(store.machine.size().versions);
        }
    }
    assert!(rows.iter().max() <= Some(&(4 * 400 * 150)), "{rows:?}");
    assert!(versions.iter().max() <= Some(&(5 * 420)), "{versions:?}");
    let half = rows.len() / 2;
    assert!(rows[half..].iter().max() <= rows[..half].iter().max(), "it does not grow: {rows:?}");
    assert_eq!(values(&store.range(range("cold", ""))), ["stays"]);
}

/// Compacts 2,000 versions away, and makes 60 checkpoints. Returns the store, and of how many pieces each was.
fn checkpoints_after_compaction(mutants: Mutants) -> (Store, Vec<usize>) {
    let mut store = Store::default();
    store.machine.bounds.checkpoint_bytes = 20_000;
    store.machine.mutants = mutants;
    for n in 0..2000 {
        store.put(&format!("key {}", n % 20), &"x".repeat(100));
    }
    store.checkpoint();
    store.compact(store.revision()).unwrap();
    let mut pieces = Vec::new();
    for _ in 0..60 {
        store.put("one more", "");
        while store.machine.scrub(1000) {}
        store.machine.checkpoint_begin();
        let mut steps = 1;
        while !store.disk.store(store.machine.checkpoint_step(1000)) {
            steps += 1;
        }
        pieces.push(steps);
        let _ = store.disk.boot().expect("what is on disk has the digest of the checkpoint");
    }
    (store, pieces)
}

#[test]
#[cfg(feature = "mutants")]
fn mutant_cleaned_whole() {
    let mutants = Mutants::only(crate::kernel::Mutant::CleanedWhole);
    let (_, pieces) = checkpoints_after_compaction(mutants);
    assert!(pieces.iter().max() > Some(&22), "{pieces:?}");
}

#[test]
fn what_was_compacted_delays_no_checkpoint_for_long_and_goes_all_the_same() {
    let (mut store, pieces) = checkpoints_after_compaction(Mutants::default());
    assert!(pieces.iter().max() <= Some(&22), "{pieces:?}");
    assert!(pieces.iter().filter(|steps| **steps > 15).count() >= 3, "there was much to clean: {pieces:?}");
    assert!(store.machine.size().versions <= 100, "{}", store.machine.size().versions);
    store.machine = store.disk.boot().unwrap();
    assert_eq!(keys(&store.range(all())).len(), 21);
}

#[test]
fn deleted_keys_leave_nothing_behind() {
    let mut store = Store::default();
    for n in 0..300 {
        store.put(&format!("key {n}"), &"x".repeat(50));
        if n % 100 == 0 {
            store.checkpoint();
        }
    }
    store.put("kept", "");
    store.delete("key", "key z");
    store.compact(store.revision()).unwrap();
    for _ in 0..5 {
        store.put("kept", "");
        store.compact(store.revision()).unwrap();
        store.checkpoint();
        store.machine = store.disk.boot().unwrap();
        assert_eq!(keys(&store.range(all())), ["kept"]);
    }
    assert!(store.disk.rows.len() <= 3, "{}, of the last checkpoints", store.disk.rows.len());
    assert!(store.machine.size().versions <= 6);
}

#[test]
fn rows_are_held_while_someone_reads_them() {
    let mut store = Store::default();
    for _ in 0..100 {
        store.put("a", &"x".repeat(500));
    }
    store.checkpoint();
    let before = store.disk.clone();
    store.machine.hold_rows(true);
    for _ in 0..6 {
        store.put("a", "");
        store.compact(store.revision()).unwrap();
        store.checkpoint();
    }
    let now = |disk: &Image| before.rows.iter().all(|(key, row)| disk.rows.get(key) == Some(row));
    assert!(now(&store.disk));
    // So the snapshot that was being sent is whole, whenever its rows were read.
    let sent = Image { meta: before.meta.clone(), ..store.disk.clone() };
    assert_eq!(sent.boot().unwrap().view().revision(), 101);
    store.machine.hold_rows(false);
    store.checkpoint();
    assert!(!now(&store.disk));
}

#[test]
fn a_late_reply_says_that_its_command_was_executed() {
    let mut store = Store::default();
    store.put("a", "old");
    store.put("a", "new");
    store.checkpoint();
    while store.machine.scrub(100) {}
    let past = op(Request::RequestRange(RangeRequest { revision: 2, ..range("a", "") }));
    let txn = Op::Txn(TxnRequest { success: vec![past, put_op("b", "")], ..Default::default() });
    let mut reply = store.machine.apply(store.log, &txn.into()).unwrap();
    store.log += 1;
    let Response::Txn(_, unresolved) = &reply else { panic!("{reply:?}") };
    assert!(!unresolved.is_empty());
    store.compact(3).unwrap();
    while store.machine.scrub(100) {}
    store.checkpoint();
    for _ in 0..2 {
        store.checkpoint();
        assert_eq!(
            reply.clone().resolve(&store.disk, u64::MAX),
            Ok(()),
            "the row stays for two more checkpoints"
        );
    }
    store.checkpoint();
    assert_eq!(reply.resolve(&store.disk, u64::MAX), Err(Error::ReplyLost));
}

#[test]
fn a_tombstone_stays_until_no_older_version_of_its_key_is_left_on_disk() {
    let mut store = Store::default();
    store.put("deleted", "1"); // revision 2, in one row with
    store.put("blocks", "the value is on disk only, so that the row cannot be rewritten");
    store.checkpoint();
    store.delete("deleted", "");
    store.checkpoint();
    store.compact(4).unwrap();
    store.put("blocks", "");
    for _ in 0..6 {
        while store.machine.scrub(100) {}
        store.checkpoint();
        assert_eq!(
            keys(&store.disk.boot().unwrap().view().range(&all(), &store.disk, u64::MAX).unwrap()),
            ["blocks"]
        );
        let first = RangeRequest { revision: 4, ..all() };
        assert_eq!(keys(&store.range(first)), ["blocks"]);
    }
    let tombstone = RowKey { generation: 0, main: 4, sub: 0 };
    assert!(store.disk.rows.contains_key(&tombstone));

    store.compact(5).unwrap();
    for _ in 0..5 {
        while store.machine.scrub(100) {}
        store.checkpoint();
        assert!(store.disk.boot().is_ok());
    }
    assert_eq!(store.disk.rows.keys().map(|key| key.main).collect::<Vec<_>>(), [5], "both at once, then");
}

#[test]
fn a_tombstone_makes_its_key_leave_rows_of_many_survivors() {
    let mut store = Store::default();
    for row in 0..3 {
        (0..5).for_each(|n| _ = store.put(&format!("live {row} {n}"), &"x".repeat(200)));
        if row < 2 {
            store.put("deleted", "");
        }
        store.checkpoint();
    }
    store.delete("deleted", "");
    store.checkpoint();
    store.compact(store.revision()).unwrap();
    for _ in 0..6 {
        while store.machine.scrub(100) {}
        store.checkpoint();
        assert_eq!(store.disk.boot().unwrap().view().range(&all(), &store.disk, u64::MAX).unwrap().count, 15);
    }
    let size = store.machine.size();
    assert_eq!((size.keys, size.versions, store.disk.rows.len()), (15, 15, 3), "the last version went first");
}
