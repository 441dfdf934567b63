//! Checkpoints: a crash at every step, what boot refuses, and that space is given back.

use super::*;

/// A ledger and its disk, after some commands and checkpoints.
fn saved(seed: u64) -> (Ledger, Image) {
    let (mut ledger, mut image) = (Ledger::default(), Image::default());
    for (index, command) in commands(seed, 400).into_iter().enumerate() {
        let _ = ledger.execute(index as u64, command); // refusals are part of it
        if index % 100 == 99 {
            checkpoint(&mut ledger, &mut image);
        }
    }
    (ledger, image)
}

#[test]
fn a_checkpoint_boots_as_it_was() {
    for seed in 0..20 {
        let (ledger, image) = saved(seed);
        let booted: Ledger = image.boot().unwrap();
        assert_eq!(booted.view(), ledger.view(), "seed {seed}");
        assert_eq!((booted.rows, booted.next, booted.digest), (ledger.rows, ledger.next, ledger.digest));
    }
}

#[test]
fn the_digest_is_that_of_the_state_however_it_came_about() {
    for seed in 0..20 {
        let (mut asked_often, mut image) = (Ledger::default(), Image::default());
        let mut asked_once = Ledger::default();
        let mut digests = std::collections::BTreeSet::new();
        for (index, command) in (0..).zip(commands(seed, 300)) {
            let before = asked_often.view();
            let _ = asked_often.execute(index, command.clone());
            let _ = asked_once.execute(index, command);
            if asked_often.view() != before {
                assert!(
                    digests.insert(asked_often.digest()),
                    "another state, and the digest of an earlier one"
                );
            }
            if index == 200 {
                checkpoint(&mut asked_often, &mut image);
            }
        }
        let mut booted: Ledger = image.boot().unwrap();
        for (index, command) in (0..).zip(commands(seed, 300)).skip(201) {
            let _ = booted.execute(index, command);
        }
        let digest = asked_often.digest();
        assert_eq!((asked_once.digest(), booted.digest()), (digest, digest), "seed {seed}");
        assert!(!booted.differs(&asked_once));
    }
}

#[test]
fn a_crash_at_every_step_leaves_the_last_finished_checkpoint() {
    for seed in 0..6 {
        let log = commands(seed, 300);
        let (mut ledger, mut image) = (Ledger::default(), Image::default());
        let mut finished = ledger.view();
        for (index, command) in log.iter().enumerate() {
            let _ = ledger.execute(index as u64, command.clone());
            if index % 50 != 49 {
                continue;
            }
            ledger.checkpoint_begin();
            let frozen = ledger.view();
            loop {
                let crashed: Ledger = image.boot().unwrap_or_else(|| panic!("seed {seed} at {index}"));
                assert_eq!(crashed.view(), finished, "seed {seed} at {index}");
                goes_on(crashed, image.clone(), &log);
                if image.store(ledger.checkpoint_step(100)) {
                    break;
                }
            }
            finished = frozen;
        }
    }
}

/// A process that recovers executes the log after its checkpoint, and writes the next one.
fn goes_on(mut ledger: Ledger, mut image: Image, log: &[Command]) {
    let applied = ledger.view().end();
    for (index, command) in (0..).zip(log).skip(applied as usize) {
        let _ = ledger.execute(index, command.clone());
    }
    checkpoint(&mut ledger, &mut image);
    assert_eq!(image.boot::<Ledger>().unwrap().view(), ledger.view());
}

#[test]
fn what_changes_while_a_checkpoint_is_written_is_in_the_next_one() {
    let (mut ledger, mut image) = (Ledger::default(), Image::default());
    (0..20).for_each(|i| drop(ledger.execute(i, propose(&format!("i{i}"), "1"))));
    ledger.checkpoint_begin();
    assert!(!image.store(ledger.checkpoint_step(64)));
    ledger.execute(20, propose("late", "1")).unwrap();
    while !image.store(ledger.checkpoint_step(64)) {}
    assert_eq!(image.boot::<Ledger>().unwrap().view().decision("late"), None);
    checkpoint(&mut ledger, &mut image);
    assert_eq!(image.boot::<Ledger>().unwrap().view().decision("late"), Some("1".into()));
}

#[test]
fn a_missing_or_a_damaged_row_is_damage() {
    let (mut ledger, mut image) = saved(1);
    // Once more, so that nothing superseded is left.
    checkpoint(&mut ledger, &mut image);
    for (key, row) in &image.rows {
        let mut disk = image.clone();
        disk.rows.remove(key);
        let missing = disk.boot::<Ledger>();
        let mut bytes = row.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        disk.rows.insert(*key, bytes.into());
        assert!(missing.is_none() && disk.boot::<Ledger>().is_none(), "{key:?}");
    }
    let mut meta = image.meta.take().unwrap().to_vec();
    meta[3] ^= 1;
    image.meta = Some(meta.into());
    assert!(image.boot::<Ledger>().is_none());
}

#[test]
fn superseded_rows_are_deleted_and_what_is_gone_leaves_nothing() {
    let (mut ledger, mut image) = (Ledger::default(), Image::default());
    let mut index = 0;
    let mut most = 0;
    ledger.execute(index, small()).unwrap();
    for _ in 0..50 {
        for n in 0..40 {
            index += 1;
            let topic = format!("p{}", n % 2);
            ledger.execute(index, publish(&topic, None, "x")).unwrap();
        }
        checkpoint(&mut ledger, &mut image);
        most = most.max(image.rows.len());
    }
    // Two topics of three publications each; beside them what the last checkpoint superseded.
    assert!(most <= 2 * 8 + 8, "{most}");
    for _ in 0..2 {
        checkpoint(&mut ledger, &mut image);
    }
    assert_eq!(image.rows.len(), 8);
}

#[test]
fn while_rows_are_held_none_is_deleted_and_a_snapshot_is_whole() {
    for seed in 0..10 {
        let (mut ledger, mut image) = saved(seed);
        let before = image.clone();
        StateMachine::hold_rows(&mut ledger, true);
        for (n, command) in commands(seed + 100, 100).into_iter().enumerate() {
            let _ = ledger.execute(400 + n as u64, command);
        }
        checkpoint(&mut ledger, &mut image);
        checkpoint(&mut ledger, &mut image);
        assert!(before.rows.iter().all(|(key, row)| image.rows.get(key) == Some(row)));
        let learner: Ledger = before.send::<Ledger>(7).boot().unwrap();
        assert_eq!(learner.view(), before.boot::<Ledger>().unwrap().view());
        assert_eq!(StateMachine::generation(&learner), 7);
        StateMachine::hold_rows(&mut ledger, false);
        (0..2).for_each(|_| checkpoint(&mut ledger, &mut image));
        assert_eq!(image.boot::<Ledger>().unwrap().view(), ledger.view());
        assert_eq!(image.rows.len(), ledger.rows.len(), "seed {seed}");
    }
}

#[test]
fn every_step_is_bounded_by_its_budget() {
    let mut ledger = Ledger::default();
    (0..500).for_each(|i| drop(ledger.execute(i, propose(&format!("i{i}"), &"x".repeat(50)))));
    ledger.checkpoint_begin();
    let mut steps = 1;
    loop {
        let piece = ledger.checkpoint_step(1000);
        let bytes: usize = piece.puts.iter().map(|(_, row)| row.len()).sum();
        assert!(bytes <= 1100, "{bytes}");
        if piece.finished.is_some() {
            break;
        }
        steps += 1;
    }
    assert!(steps > 50, "{steps}");
}
