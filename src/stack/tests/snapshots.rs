//! Snapshots, of processes that work meanwhile.

use super::*;

/// Under load one checkpoint follows the other, and whoever asks meets one that is being written.
#[test]
fn a_snapshot_can_be_had_though_checkpoints_follow_each_other() {
    let mut world = World::new(3);
    for process in &mut world.processes {
        process.config.bounds.checkpoint_entries = 1;
        process.config.bounds.checkpoint_step = 1;
    }
    (0..3).for_each(|i| {
        world.crash(i);
        world.boot(i);
    });
    world.run(40);
    let leader = world.leader().unwrap();
    let behind = (leader + 1) % 3;
    world.crash(behind);
    let mut request = 0;
    let mut load = |world: &mut World| {
        for _ in 0..3 {
            request += 1;
            world.execute(leader, request);
        }
        world.run(1);
    };
    let checkpoint = |world: &World| world.processes[leader].stack.as_ref().unwrap().0.status().checkpoint;
    let mut asks = 0;
    let mut fetched = 0;
    let mut before = 0;
    for _ in 0..400 {
        load(&mut world);
        let now = checkpoint(&world);
        // The tick after one was finished has begun the next.
        if now == before && now > 10 {
            let ask = crate::broadcast::CatchUpMessage::Ask { from: 0, snapshot: None };
            let frame = Opened::check(Frame::seal(&ask).bytes().clone()).unwrap();
            asks += 1;
            world.upon(leader, vec![Event::Frame { from: ProcessId(behind as u8), frame }]);
            let piece = |(_, out): &&(ProcessId, Outgoing)| {
                let frame = Opened::check(out.frame.bytes().clone()).unwrap();
                out.to.index() == behind && frame.component() == Component::CatchUp
            };
            fetched += world.wires.iter().filter(piece).count();
        }
        before = now;
    }
    assert!(asks > 10, "{asks} asks");
    assert!(fetched > 0, "{asks} asks, and no snapshot");
}

#[test]
fn who_has_another_state_than_a_majority_serves_nothing_for_ever_and_the_others_go_on() {
    let mut world = World::new(3);
    world.run(40);
    let bad = world.leader().unwrap();
    for request in 0..30 {
        world.execute(bad, request);
        world.run(1);
    }
    world.run(20);
    world.crash(bad);
    world.run(60);
    // Its checkpoint rots, and nothing of the state machine sees that.
    world.processes[bad].disk.0.rows[0].1 = Bytes::from_static(b"rotten");
    world.boot(bad);
    let other = (bad + 1) % 3;
    for request in 100..120 {
        world.execute(other, request);
        world.run(1);
    }
    world.run(40);
    let role = |world: &World| world.processes[bad].stack.as_ref().unwrap().0.status().role;
    assert_eq!(role(&world), Role::Learner(Distrust::Diverged));
    assert_eq!(world.processes[bad].view, None);

    world.execute(bad, 200);
    world.upon(bad, vec![Event::Read { request: 201, patience: 100 }]);
    world.run(10);
    for request in [200, 201] {
        assert_eq!(world.processes[bad].replies.get(&request), Some(&Err(Refusal::Corrupt)));
    }
    assert!((100..120).all(|request| world.processes[other].replies[&request].is_ok()));
    assert!(world.leader().is_some_and(|leader| leader != bad));

    world.crash(bad);
    world.boot(bad);
    world.run(40);
    assert_eq!(role(&world), Role::Learner(Distrust::Diverged), "it is durable");
    assert_eq!(world.processes[bad].view, None);
}
