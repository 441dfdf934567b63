//! What gives space back, and what is refused while it is short.

use super::*;
use crate::broadcast::{CatchUpMessage, Context, Guarantee, Topic, TopicRequest};
use crate::register::Ask;

fn world(n: usize, change: impl Fn(&mut Bounds)) -> World {
    let mut world = World::new(n);
    for i in 0..n {
        world.crash(i);
        change(&mut world.processes[i].config.bounds);
    }
    (0..n).for_each(|i| world.boot(i));
    world.run(60);
    world
}

impl World {
    fn say(&mut self, i: usize, request: u64, command: &str) {
        let command = Bytes::from(command.to_owned());
        self.upon(i, vec![Event::Execute { request, command, patience: 1000 }]);
    }

    fn stack(&self, i: usize) -> &Stack<Notes> {
        &self.processes[i].stack.as_ref().unwrap().0
    }

    fn answer(&self, i: usize, request: u64) -> Option<Result<usize, Refusal>> {
        self.processes[i].replies.get(&request).copied()
    }

    /// Whether some log has a command.
    fn logs(&self, command: &str) -> bool {
        (0..self.processes.len()).any(|i| {
            let log = self.stack(i).log();
            let entries = (log.first()..log.len()).filter_map(|index| log.get(index));
            entries.filter_map(crate::broadcast::Entry::decode).any(|entry| entry.command == command)
        })
    }
}

#[test]
fn while_space_is_short_what_grows_reaches_no_log() {
    let mut world = world(3, |_| ());
    let leader = world.leader().unwrap();
    let follower = (leader + 1) % 3;
    world.say(follower, 1, "full");
    world.run(10);
    for (i, request) in [(leader, 2), (follower, 3)] {
        world.say(i, request, "+a");
        assert_eq!(world.answer(i, request), Some(Err(Refusal::NoSpace)), "at once");
        world.say(i, request + 10, "-b");
    }
    world.run(20);
    assert!(!world.logs("+a"));
    assert_eq!([world.answer(leader, 12), world.answer(follower, 13)].map(|a| a.unwrap().is_ok()), [true; 2]);
    world.say(leader, 20, "room");
    world.run(10);
    world.say(follower, 21, "+c");
    world.run(10);
    assert!(world.answer(follower, 21).unwrap().is_ok() && world.logs("+c"));
}

#[test]
fn who_does_not_know_that_space_is_short_is_not_kept_waiting() {
    let mut world = world(3, |_| ());
    let leader = world.leader().unwrap();
    let (late, other) = ((leader + 1) % 3, (leader + 2) % 3);
    world.cut = vec![(late as u8, leader as u8), (late as u8, other as u8)];
    world.say(leader, 1, "full");
    world.run(3);
    assert!(world.answer(leader, 1).unwrap().is_ok());
    world.cut.clear();
    world.say(late, 2, "+a");
    assert_eq!(world.answer(late, 2), None, "it is forwarded");
    world.run(60);
    // Its leader dropped it; nobody can be sure that there is no other copy.
    assert_eq!(world.answer(late, 2), Some(Err(Refusal::TimedOut)));
    assert!(!world.logs("+a"));
}

#[test]
fn what_waits_at_its_leader_when_space_gets_short_is_surely_not_executed() {
    let mut world = world(1, |bounds| bounds.undecided_bytes = 1);
    world.sync = 5;
    world.say(0, 1, "full");
    world.run(1);
    world.say(0, 2, "+a");
    world.say(0, 3, "-b");
    world.run(40);
    assert!(world.answer(0, 1).unwrap().is_ok() && world.answer(0, 3).unwrap().is_ok());
    assert_eq!(world.answer(0, 2), Some(Err(Refusal::NoSpace)));
    assert!(!world.logs("+a"));
}

#[test]
fn space_that_is_short_is_given_back_without_traffic() {
    let mut world = world(1, |bounds| bounds.tail_entries = 0);
    for request in 0..7 {
        world.execute(0, request);
    }
    world.run(100);
    assert_eq!(world.stack(0).status().checkpoint, 0, "nothing asks for one");
    world.say(0, 8, "full");
    world.run(100);
    let status = world.stack(0).status();
    assert_eq!((status.checkpoint, status.log_first), (8, 8));
}

#[test]
fn the_tail_of_the_log_is_bounded_in_bytes() {
    let mut world = world(1, |bounds| bounds.tail_bytes = 120);
    let large = "x".repeat(50);
    for request in 0..40 {
        world.say(0, request, &large);
        world.run(1);
    }
    world.run(20);
    let (status, log) = (world.stack(0).status(), world.stack(0).log());
    assert!(status.checkpoint >= 20);
    assert_eq!(status.checkpoint - status.log_first, 2, "five are allowed, but not of this size");
    assert!(log.bytes_between(status.log_first, status.checkpoint) <= 120);
}

#[test]
fn who_reads_a_snapshot_and_does_not_get_on_holds_nothing_for_long() {
    for (pinned_bytes, held) in [(100, false), (1 << 20, true)] {
        let mut world = world(3, |bounds| bounds.pinned_bytes = pinned_bytes);
        let leader = world.leader().unwrap();
        let asker = ProcessId(((leader + 1) % 3) as u8);
        let mut next = 0;
        let mut write = |world: &mut World, ticks: usize| {
            for _ in 0..ticks {
                next += 1;
                world.execute(leader, next);
                world.run(1);
            }
        };
        write(&mut world, 60);
        world.run(5);
        let ask = |world: &mut World| {
            let frame = Frame::seal(&CatchUpMessage::Ask { from: 0, snapshot: None });
            let frame = Opened::check(frame.bytes().clone()).unwrap();
            world.upon(leader, vec![Event::Frame { from: asker, frame }]);
        };
        let first = world.stack(leader).status().log_first;
        ask(&mut world);
        write(&mut world, 30);
        let after = world.stack(leader).status().log_first;
        assert_eq!(after <= first + 5, held, "{pinned_bytes}: from {first} to {after}");
        // It asks for the same piece for ever.
        for _ in 0..100 {
            ask(&mut world);
            write(&mut world, 1);
        }
        let status = world.stack(leader).status();
        assert!(status.log_first > first + 50, "{pinned_bytes}: {status:?}");
    }
}

#[test]
fn a_disk_that_hangs_leaves_no_more_waiting_however_long() {
    let mut world = world(1, |bounds| {
        bounds.frame_bytes = 4096;
        bounds.message_bytes = 1024;
        bounds.journal_bytes = 4096;
    });
    let topic = Topic { guarantee: Guarantee::Reliable, name: "news".into() };
    let publish = |request, guarantee, bytes| TopicRequest::Publish {
        request,
        topic: Topic { guarantee, ..topic.clone() },
        context: Context::default(),
        payload: vec![b'x'; bytes].into(),
        patience: 1000,
    };
    let (subscriber, from) = ("reader".to_owned(), Some(0));
    let subscribe = TopicRequest::Subscribe { request: 2, subscriber, topic: topic.clone(), from };
    world.upon(0, vec![Event::Topics(publish(1, Guarantee::Reliable, 10)), Event::Topics(subscribe)]);
    world.run(10);
    world.sync = u64::MAX / 2;
    let (name, ask) = ("x".to_owned(), Ask::Write("v".into()));
    world.upon(0, vec![Event::Register { request: 3, name, ask, patience: 100_000 }]);
    for request in 4..9 {
        world.upon(0, vec![Event::Topics(publish(request, Guarantee::BestEffort, 1000))]);
    }
    let waits = |world: &World| {
        let (_, journal) = world.processes[0].stack.as_ref().unwrap();
        journal.memory(0).map(|memory| memory.bytes).iter().sum::<usize>()
    };
    world.run(300);
    let before = waits(&world);
    assert!(before >= 4096, "{before} bytes wait");
    world.run(3000);
    assert_eq!(waits(&world), before);
}
