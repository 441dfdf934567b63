//! The ledger beside the store, on one log and one disk.

use super::*;
use crate::broadcast::Either;
use crate::kv::{self, Op};
use crate::proto::etcdserverpb::PutRequest;

fn put(n: u64) -> Bytes {
    let key = format!("key {}", n % 7);
    let put = PutRequest { key: key.into(), value: format!("value {n}").into(), ..Default::default() };
    kv::Command::from(Op::Put(put)).encode()
}

/// What both show.
fn shown(pair: &Replicated) -> (i64, u64, View) {
    let views = StateMachine::view(pair);
    (views.first.revision(), views.first.size().bytes, views.second)
}

/// Some commands of the one, some of the other, from an index on.
fn apply(pair: &mut Replicated, range: std::ops::Range<u64>) {
    let commands = commands(3, 200);
    for index in range {
        let command = match index % 2 {
            0 => put(index),
            _ => commands[index as usize / 2].encode(),
        };
        let reply = StateMachine::apply(pair, index, command);
        assert_eq!(matches!(reply, Either::First(_)), index % 2 == 0);
    }
}

#[test]
fn a_crash_at_every_step_leaves_the_last_finished_checkpoint_of_both() {
    let (mut pair, mut image) = (Replicated::default(), Image::default());
    let mut finished = (shown(&pair), 0);
    for round in 0..6 {
        let end = 60 * (round + 1);
        apply(&mut pair, 60 * round..end);
        pair.begin_checkpoint();
        let frozen = shown(&pair);
        loop {
            let mut crashed: Replicated = image.boot().unwrap();
            assert_eq!(shown(&crashed), finished.0);
            apply(&mut crashed, finished.1..end);
            assert_eq!(shown(&crashed), frozen);
            let mut disk = image.clone();
            checkpoint(&mut crashed, &mut disk);
            assert_eq!(shown(&disk.boot().unwrap()), frozen);
            if image.store(pair.checkpoint_piece(200)) {
                break;
            }
        }
        finished = (frozen, end);
    }
}

#[test]
fn a_checkpoint_of_the_store_alone_is_one_of_both() {
    let (mut machine, mut alone) = (kv::Machine::new(), Image::default());
    (0..50).for_each(|n| drop(StateMachine::apply(&mut machine, n, put(n))));
    checkpoint(&mut machine, &mut alone);
    // It may even have come as a snapshot.
    for mut image in [alone.clone(), alone.send::<kv::Machine>(5)] {
        let mut pair: Replicated = image.boot().unwrap();
        assert_eq!(shown(&pair), (51, machine.view().size().bytes, View::default()));
        assert_eq!(Replicated::checkpoint_end(image.meta.as_ref().unwrap()), 52);
        pair.apply(50, propose("i", "1").encode());
        pair.apply(51, put(51));
        // The first attempt to write the ledger's rows is cut short.
        pair.begin_checkpoint();
        image.store(pair.checkpoint_piece(1));
        let mut pair: Replicated = image.boot().unwrap();
        pair.apply(50, propose("j", "2").encode());
        checkpoint(&mut pair, &mut image);
        assert!(image.rows.keys().all(|key| key.generation == pair.generation()));
        let booted: Replicated = image.boot().unwrap();
        assert_eq!(shown(&booted), shown(&pair));
        assert_eq!(booted.view().second.decision("i"), None);
        assert_eq!(booted.view().second.decision("j"), Some("2".into()));
    }
}

#[test]
fn a_snapshot_holds_both() {
    let (mut pair, mut image) = (Replicated::default(), Image::default());
    apply(&mut pair, 0..100);
    checkpoint(&mut pair, &mut image);
    let mut received = image.send::<Replicated>(3);
    let mut learner: Replicated = received.boot().unwrap();
    assert_eq!(shown(&learner), shown(&pair));
    apply(&mut learner, 100..200);
    apply(&mut pair, 100..200);
    checkpoint(&mut learner, &mut received);
    assert!(received.rows.keys().all(|key| key.generation == 3));
    assert_eq!(shown(&received.boot().unwrap()), shown(&pair));
}

#[test]
fn a_damaged_part_is_damage_of_both() {
    let (mut pair, mut image) = (Replicated::default(), Image::default());
    apply(&mut pair, 0..40);
    checkpoint(&mut pair, &mut image);
    for key in image.rows.keys() {
        let mut disk = image.clone();
        disk.rows.remove(key);
        assert!(disk.boot::<Replicated>().is_none(), "{key:?}");
    }
}
