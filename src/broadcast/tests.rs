use super::*;
use crate::kernel::{
    Batch, Bounds, Config, Disk, DiskError, Exposed, Held, Journal, Mutants, Opened, Outgoing, ProcessId,
    ProcessSet, Protocol, Release, Store, Stored, Timing, Upon,
};
use bytes::Bytes;
use std::collections::VecDeque;

/// A disk that holds variables and logs.
#[derive(Default)]
struct Memory(Stored);

impl Disk for Memory {
    fn commit(&mut self, batch: &Batch) -> Result<(), DiskError> {
        for store in batch.stores() {
            match store {
                Store::Put { var, value } => {
                    self.0.vars.insert(var.clone(), value.clone());
                }
                Store::Remove { var } => {
                    self.0.vars.remove(var);
                }
                Store::Append { log, first, entries } => {
                    let log = self.0.logs.entry(*log).or_default();
                    assert_eq!(*first, log.first + log.entries.len() as u64);
                    log.entries.extend(entries.iter().cloned());
                }
                Store::TruncatePrefix { log, before } => {
                    let log = self.0.logs.entry(*log).or_default();
                    log.entries.drain(..(before - log.first) as usize);
                    log.first = *before;
                }
                other => panic!("a broadcast stores {other:?}"),
            };
        }
        Ok(())
    }
}

/// Processes that are up, or not, and frames between them, delivered in order.
struct System {
    config: Vec<Config>,
    disks: Vec<Memory>,
    up: Vec<Option<(Topics, Journal<TopicIndication>)>>,
    frames: VecDeque<(ProcessId, Outgoing)>,
    told: Vec<Vec<TopicIndication>>,
    next: u64,
    boots: u64,
}

const ALL: fn(u8, u8) -> bool = |_, _| true;
const NONE: fn(u8, u8) -> bool = |_, _| false;

fn topic(guarantee: Guarantee) -> Topic {
    Topic { guarantee, name: "news".into() }
}

impl System {
    fn new(processes: u8, bounds: Bounds) -> Self {
        let timing = Timing { heartbeat: 2, election: 8, resend: 4 };
        let config = |me| Config { boot: 0, timing, bounds, ..Config::of(me, usize::from(processes)) };
        let mut system = Self {
            config: (0..processes).map(config).collect(),
            disks: (0..processes).map(|_| Memory::default()).collect(),
            up: (0..processes).map(|_| None).collect(),
            frames: VecDeque::new(),
            told: vec![Vec::new(); usize::from(processes)],
            next: 1,
            boots: 0,
        };
        (0..processes).for_each(|p| system.recover(p));
        system
    }

    fn recover(&mut self, p: u8) {
        let at = usize::from(p);
        self.boots += 1;
        let inc = self.boots;
        let mut journal = Journal::new(Mutants::default());
        let (config, stored) = (self.config[at].clone(), &self.disks[at].0);
        let (topics, release) =
            journal.turn(|turn, up| <Topics as Protocol>::start(config, inc, stored, turn, up).unwrap());
        self.up[at] = Some((topics, journal));
        self.release(p, release);
    }

    fn crash(&mut self, p: u8) {
        self.up[usize::from(p)] = None;
        self.told[usize::from(p)].clear();
    }

    fn react(&mut self, p: u8, upon: Upon<TopicRequest>) {
        let at = usize::from(p);
        let Some((topics, journal)) = &mut self.up[at] else { return };
        let ((), release) = journal.turn(|turn, up: &mut Held<_>| Protocol::upon(topics, upon, turn, up));
        self.release(p, release);
    }

    fn release(&mut self, p: u8, release: Release<TopicIndication>) {
        let at = usize::from(p);
        let mut releases = vec![release];
        if let Some((_, journal)) = &mut self.up[at]
            && let Some(commit) = journal.next_commit()
        {
            releases.push(journal.synced(commit.run(&mut self.disks[at]).unwrap()));
        }
        for Release { frames, indications } in releases {
            self.frames.extend(frames.into_iter().map(|f| (ProcessId(p), f.into_inner())));
            self.told[at].extend(indications.into_iter().map(Exposed::into_inner));
        }
    }

    fn ask(&mut self, p: u8, request: TopicRequest) {
        self.react(p, Upon::Request(request));
    }

    fn publish_after(&mut self, p: u8, guarantee: Guarantee, context: Context, payload: &'static str) -> u64 {
        let request = self.next;
        self.next += 1;
        let payload = Bytes::from_static(payload.as_bytes());
        let topic = topic(guarantee);
        self.ask(p, TopicRequest::Publish { request, topic, context, payload, patience: 20 });
        request
    }

    fn publish(&mut self, p: u8, guarantee: Guarantee, payload: &'static str) -> u64 {
        self.publish_after(p, guarantee, Context::default(), payload)
    }

    /// Delivers the frames that may pass, and those that follow from them; the others are lost.
    fn run(&mut self, may: impl Fn(u8, u8) -> bool) {
        while let Some((from, Outgoing { to, frame })) = self.frames.pop_front() {
            if may(from.0, to.0) {
                let frame = Opened::check(frame.bytes().clone()).unwrap();
                self.react(to.0, Upon::Frame { from, frame });
            }
        }
    }

    fn pass(&mut self, ticks: u64, may: impl Fn(u8, u8) -> bool) {
        for _ in 0..ticks {
            (0..self.up.len() as u8).for_each(|p| self.react(p, Upon::Tick));
            self.run(&may);
        }
    }

    /// The payloads delivered at a process in its present life, gaps by their size.
    fn delivered(&self, p: u8) -> Vec<String> {
        let records = self.told[usize::from(p)].iter().filter_map(|told| match told {
            TopicIndication::Delivered { records, .. } => Some(records),
            _ => None,
        });
        let text = |record: &Record| match record {
            Record::Delivery(delivery) => String::from_utf8_lossy(&delivery.payload).into_owned(),
            Record::Gap { from, to, .. } => format!("gap of {}", to - from),
        };
        records.flatten().map(text).collect()
    }

    fn published(&self, p: u8, request: u64) -> Option<Result<Published, PublishError>> {
        self.told[usize::from(p)].iter().find_map(|told| match told {
            TopicIndication::Published { request: r, outcome } if *r == request => Some(outcome.clone()),
            _ => None,
        })
    }

    fn last_redelivered(&self, p: u8) -> Option<Result<Vec<u64>, FellOff>> {
        self.told[usize::from(p)].iter().rev().find_map(|told| match told {
            TopicIndication::Redelivered { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
    }

    fn acknowledge(&mut self, p: u8, position: u64) -> Result<(), AcknowledgeError> {
        let subscriber = "s".to_owned();
        let before = self.told[usize::from(p)].len();
        self.ask(p, TopicRequest::Acknowledge { request: 0, subscriber, position });
        match self.told[usize::from(p)].get(before) {
            Some(TopicIndication::Acknowledged { outcome, .. }) => outcome.clone(),
            other => panic!("an acknowledgement is answered by {other:?}"),
        }
    }

    fn subscribe(&mut self, p: u8, from: Option<u64>) -> Result<u64, SubscribeError> {
        let (subscriber, topic) = ("s".to_owned(), topic(Guarantee::Reliable));
        let before = self.told[usize::from(p)].len();
        self.ask(p, TopicRequest::Subscribe { request: 0, subscriber, topic, from });
        match self.told[usize::from(p)].get(before) {
            Some(TopicIndication::Subscribed { outcome, .. }) => outcome.clone(),
            other => panic!("a subscription is answered by {other:?}"),
        }
    }
}

#[test]
fn validity_what_is_published_is_delivered_everywhere_once_and_then_confirmed() {
    let mut system = System::new(3, Bounds::default());
    let request = system.publish(0, Guarantee::Reliable, "m");
    assert_eq!(system.published(0, request), None);
    system.run(ALL);
    assert!(system.published(0, request).unwrap().is_ok());
    system.pass(30, ALL);
    for p in 0..3 {
        assert_eq!(system.delivered(p), ["m"]);
    }
}

#[test]
fn validity_a_recovered_process_offers_again_what_it_relayed() {
    let mut system = System::new(3, Bounds::default());
    system.publish(0, Guarantee::Reliable, "m");
    system.run(NONE);
    system.crash(0);
    system.recover(0);
    system.pass(10, ALL);
    for p in 0..3 {
        assert_eq!(system.delivered(p), ["m"]);
    }
}

#[test]
fn without_a_majority_nothing_is_delivered_and_the_publisher_is_told_that_it_may_be() {
    let mut system = System::new(3, Bounds::default());
    let request = system.publish(0, Guarantee::Reliable, "m");
    system.pass(25, NONE);
    assert_eq!(system.published(0, request), Some(Err(PublishError::Unknown)));
    assert!(system.delivered(0).is_empty());
    system.pass(10, ALL);
    assert_eq!(system.delivered(0), ["m"]);
}

#[test]
fn uniform_agreement_though_the_only_one_to_deliver_never_comes_back() {
    let mut system = System::new(3, Bounds::default());
    system.publish(0, Guarantee::Reliable, "m");
    // It reaches one other process, whose word reaches nobody but the publisher.
    system.run(|from, to| from + to == 1);
    assert_eq!(system.delivered(0), ["m"]);
    system.crash(0);
    system.crash(1);
    system.recover(1);
    system.pass(20, ALL);
    assert_eq!(system.delivered(1), ["m"]);
    assert_eq!(system.delivered(2), ["m"]);
}

#[test]
fn a_chain_and_a_star_are_enough() {
    for links in [|a: u8, b: u8| a.abs_diff(b) == 1, |a: u8, b: u8| a == 0 || b == 0] {
        let mut system = System::new(5, Bounds::default());
        let last = system.publish(4, Guarantee::Fifo, "m");
        system.pass(60, links);
        for p in 0..5 {
            assert_eq!(system.delivered(p), ["m"], "at {p}");
        }
        assert!(system.published(4, last).unwrap().is_ok());
    }
}

#[test]
fn a_process_that_lost_its_memory_counts_nowhere_and_receives() {
    let mut system = System::new(3, Bounds::default());
    let others: ProcessSet = [ProcessId(0), ProcessId(1)].into_iter().collect();
    system.crash(1);
    if let Some((topics, _)) = &mut system.up[2] {
        topics.set_voters(others);
    }
    let refused = system.publish(2, Guarantee::Reliable, "x");
    assert_eq!(system.published(2, refused), Some(Err(PublishError::NotAVoter)));
    system.publish(0, Guarantee::Reliable, "m");
    system.pass(30, ALL);
    assert!(system.delivered(0).is_empty(), "it alone and one that counts nowhere are no majority");
    system.recover(1);
    system.pass(30, ALL);
    for p in 0..3 {
        assert_eq!(system.delivered(p), ["m"], "at {p}");
    }
}

#[test]
fn best_effort_is_confirmed_once_it_is_stored_and_delivered_whoever_crashes() {
    let mut system = System::new(3, Bounds::default());
    let request = system.publish(0, Guarantee::BestEffort, "m");
    assert!(system.published(0, request).unwrap().is_ok(), "though nobody else is heard");
    system.run(NONE);
    system.crash(0);
    system.pass(5, ALL);
    assert!(system.delivered(1).is_empty());
    system.recover(0);
    system.pass(10, ALL);
    for p in 0..3 {
        assert_eq!(system.delivered(p), ["m"], "at {p}");
    }
    system.crash(1);
    system.recover(1);
    system.pass(10, ALL);
    assert_eq!(system.delivered(1), ["m"], "once, for ever");
}

#[test]
fn fifo_delivery_waits_for_a_message_that_was_lost() {
    let mut system = System::new(3, Bounds::default());
    system.publish(0, Guarantee::Fifo, "a");
    system.run(|from, to| from != 0 || to == 1);
    system.publish(0, Guarantee::Fifo, "b");
    system.publish(0, Guarantee::Reliable, "u");
    system.run(ALL);
    assert_eq!(system.delivered(2), ["u"], "which waits for nothing");
    system.pass(10, ALL);
    assert_eq!(system.delivered(2), ["u", "a", "b"]);
}

#[test]
fn causal_delivery_an_answer_waits_for_its_question() {
    let mut system = System::new(3, Bounds::default());
    let question = system.publish(0, Guarantee::Causal, "question");
    system.run(|from, to| to != 2 && from != 2);
    assert!(system.published(0, question).unwrap().is_ok());
    assert_eq!(system.delivered(1), ["question"]);
    system.publish(1, Guarantee::Causal, "answer");
    // The question has not reached the third process, which hears of nobody but the second.
    system.run(|from, to| from != 0 && to != 0);
    assert!(system.delivered(2).is_empty());
    system.pass(10, ALL);
    assert_eq!(system.delivered(2), ["question", "answer"]);
}

#[test]
fn a_publication_waits_until_what_its_context_knows_of_is_delivered() {
    let mut system = System::new(3, Bounds::default());
    let question = system.publish(0, Guarantee::Causal, "question");
    system.run(|from, to| to != 2 && from != 2);
    let context = system.published(0, question).unwrap().unwrap().context;
    // A program saw it at process 0, and goes on at process 2.
    let answer = system.publish_after(2, Guarantee::Causal, context.clone(), "answer");
    assert_eq!(system.published(2, answer), None);
    system.pass(10, ALL);
    assert!(system.published(2, answer).unwrap().is_ok());
    for p in 0..3 {
        assert_eq!(system.delivered(p), ["question", "answer"]);
    }
    let mut unknown = context;
    unknown.add(MessageId { origin: ProcessId(1), seq: 7 });
    let late = system.publish_after(2, Guarantee::Causal, unknown, "late");
    system.pass(30, ALL);
    assert_eq!(system.published(2, late), Some(Err(PublishError::ContextAhead)));
}

#[test]
fn publications_that_wait_for_their_context_are_bounded() {
    let mut system = System::new(3, Bounds { requests: 2, ..Bounds::default() });
    let mut unknown = Context::default();
    unknown.add(MessageId { origin: ProcessId(1), seq: 7 });
    let mut publish = |m| system.publish_after(2, Guarantee::Causal, unknown.clone(), m);
    let requests = ["a", "b", "c"].map(&mut publish);
    let outcome = |request: u64| system.published(2, request);
    assert_eq!(requests.map(outcome), [None, None, Some(Err(PublishError::TooMany))]);
}

#[test]
fn what_cannot_be_delivered_is_bounded_and_pushed_back() {
    let mut system = System::new(3, Bounds { undelivered: 2, ..Bounds::default() });
    let requests = ["a", "b", "c"].map(|m| system.publish(0, Guarantee::Fifo, m));
    assert_eq!(system.published(0, requests[2]), Some(Err(PublishError::TooMany)));
    system.run(ALL);
    assert!(requests[..2].iter().all(|r| system.published(0, *r).unwrap().is_ok()));
    let again = system.publish(0, Guarantee::Fifo, "c");
    system.run(ALL);
    assert!(system.published(0, again).unwrap().is_ok());
}

#[test]
fn a_topic_too_many_and_a_message_too_long_are_refused() {
    let mut system = System::new(3, Bounds { topics: 1, message_bytes: 2, ..Bounds::default() });
    system.publish(0, Guarantee::Fifo, "a");
    system.run(ALL);
    let other = system.publish(0, Guarantee::Causal, "b");
    assert_eq!(system.published(0, other), Some(Err(PublishError::TooManyTopics { limit: 1 })));
    let long = system.publish(0, Guarantee::Fifo, "abc");
    assert_eq!(system.published(0, long), Some(Err(PublishError::TooLarge { limit: 2 })));
}

#[test]
fn who_comes_back_later_than_messages_are_kept_learns_of_a_gap() {
    let bounds = Bounds { relayed_entries: 4, undelivered: 4, ..Bounds::default() };
    let mut system = System::new(3, bounds);
    system.publish(0, Guarantee::Fifo, "first");
    system.pass(10, ALL);
    system.crash(2);
    for message in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        system.publish(0, Guarantee::Fifo, message);
        system.pass(2, ALL);
    }
    system.recover(2);
    system.pass(60, ALL);
    assert_eq!(system.delivered(2), ["first", "gap of 4", "e", "f", "g", "h"]);
    system.publish(0, Guarantee::Fifo, "next");
    system.pass(10, ALL);
    assert_eq!(system.delivered(2).last().unwrap(), "next");
    system.crash(2);
    system.recover(2);
    assert_eq!(system.delivered(2), ["first", "gap of 4", "e", "f", "g", "h", "next"], "the same for ever");
}

#[test]
fn two_who_lack_the_same_do_not_wait_for_each_other() {
    let bounds = Bounds { relayed_entries: 2, undelivered: 4, ..Bounds::default() };
    let mut system = System::new(5, bounds);
    let chain = |a: u8, b: u8| a.abs_diff(b) == 1;
    [3, 4].into_iter().for_each(|p| system.crash(p));
    for message in ["a", "b", "c", "d", "e"] {
        system.publish(0, Guarantee::Reliable, message);
        system.pass(20, chain);
    }
    [3, 4].into_iter().for_each(|p| system.recover(p));
    system.pass(200, chain);
    for p in [3, 4] {
        let mut delivered = system.delivered(p);
        delivered.sort();
        assert_eq!(delivered, ["d", "e", "gap of 3"], "at {p}");
    }
}

#[test]
fn a_crash_at_any_time_changes_no_position() {
    let mut system = System::new(3, Bounds { delivery_entries: 4, relayed_entries: 4, ..Bounds::default() });
    let messages = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    for (i, message) in messages.into_iter().enumerate() {
        let guarantee = [Guarantee::Reliable, Guarantee::Fifo, Guarantee::Causal][i % 3];
        system.publish((i % 3) as u8, guarantee, message);
        system.run(|from, to| from.abs_diff(to) == 1);
        let p = (i % 3) as u8;
        let before = system.up[usize::from(p)].as_ref().unwrap().0.deliveries().clone();
        system.crash(p);
        system.recover(p);
        let after = system.up[usize::from(p)].as_ref().unwrap().0.deliveries();
        assert_eq!((before.first(), before.len()), (after.first(), after.len()));
        assert_eq!(before.delivered(), after.delivered());
        assert_eq!(before.causal(), after.causal());
        for position in before.first()..before.len() {
            assert_eq!(before.record(position), after.record(position));
        }
        system.pass(10, ALL);
    }
    for p in 0..3u8 {
        let log = system.up[usize::from(p)].as_ref().unwrap().0.deliveries();
        assert_eq!((log.first(), log.len()), (8, 12));
    }
}

#[test]
fn redelivery_until_it_is_stopped_and_never_after() {
    let mut system = System::new(1, Bounds { unacknowledged: 2, ..Bounds::default() });
    assert_eq!(system.subscribe(0, None), Ok(0));
    ["a", "b", "c"].into_iter().for_each(|m| {
        system.publish(0, Guarantee::Reliable, m);
    });
    assert_eq!(system.last_redelivered(0), Some(Ok(vec![0, 1])), "no more than its window");
    assert_eq!(
        system.acknowledge(0, 2),
        Err(AcknowledgeError::NeverDelivered { subscriber: "s".into(), position: 2 })
    );
    system.told[0].clear();
    system.pass(20, ALL);
    assert_eq!(system.last_redelivered(0), Some(Ok(vec![0, 1])), "again and again");
    assert_eq!(system.acknowledge(0, 1), Ok(()));
    assert_eq!(system.acknowledge(0, 1), Ok(()), "twice is as good as once");
    system.crash(0);
    system.recover(0);
    assert_eq!(system.last_redelivered(0), Some(Ok(vec![0])), "the third is beyond the window of the first");
    assert_eq!(system.subscribe(0, None), Ok(0), "a subscriber that exists stays where it is");
    assert_eq!(system.acknowledge(0, 0), Ok(()));
    system.pass(1, ALL);
    assert_eq!(system.last_redelivered(0), Some(Ok(vec![2])));
}

#[test]
fn the_log_waits_for_a_subscriber_and_then_says_that_it_fell_off() {
    let bounds = Bounds { delivery_entries: 2, unacknowledged: 2, ..Bounds::default() };
    let mut system = System::new(1, bounds);
    assert_eq!(system.subscribe(0, None), Ok(0));
    for message in ["a", "b", "c", "d"] {
        system.publish(0, Guarantee::Reliable, message);
        system.pass(1, ALL);
    }
    assert_eq!(system.last_redelivered(0), Some(Ok(vec![0, 1])), "kept beyond the bound of two");
    system.publish(0, Guarantee::Reliable, "e");
    system.pass(2, ALL);
    let fell = FellOff { position: 0, oldest: 1 };
    assert_eq!(system.last_redelivered(0), Some(Err(fell)));
    assert_eq!(system.acknowledge(0, 1), Err(AcknowledgeError::FellOff(fell)));
    system.crash(0);
    system.recover(0);
    assert_eq!(system.last_redelivered(0), Some(Err(fell)), "a crash does not hide it");
    // What is kept is told anew before it is trimmed.
    system.pass(2, ALL);
    assert_eq!(system.subscribe(0, None), Err(SubscribeError::FellOff(fell)), "who comes back is told, too");
    assert_eq!(
        system.subscribe(0, Some(0)),
        Err(SubscribeError::FellOff(FellOff { position: 0, oldest: 3 }))
    );
    assert_eq!(system.subscribe(0, Some(9)), Err(SubscribeError::Ahead { position: 9, end: 5 }));
    assert_eq!(system.subscribe(0, Some(4)), Ok(4));
    assert_eq!(system.last_redelivered(0), Some(Ok(vec![4])));
}

#[test]
fn a_cursor_says_whether_there_will_ever_be_something() {
    let at = |log, position| Cursor { log, position }.check(7, 10, 20);
    assert_eq!(at(7, 10), Ok(()));
    assert_eq!(at(7, 20), Ok(()), "the next one");
    assert_eq!(at(7, 21), Err(CursorError::Ahead { position: 21, end: 20 }));
    assert_eq!(at(7, 9), Err(CursorError::FellOff(FellOff { position: 9, oldest: 10 })));
    assert_eq!(at(8, 15), Err(CursorError::OtherLog { oldest: 10 }));
}

#[test]
fn a_message_that_nobody_keeps_is_lost_though_one_before_it_never_came_to_anybody() {
    let bounds = Bounds { relayed_entries: 2, ..Bounds::default() };
    let mut system = System::new(5, bounds);
    let without_3 = |a: u8, b: u8| a != 3 && b != 3;
    system.publish(2, Guarantee::Reliable, "a");
    system.pass(20, ALL);
    // The second message of p2 dies with it; the third is delivered, and everybody has it but p3.
    system.publish(2, Guarantee::Reliable, "b");
    system.run(NONE);
    system.publish(2, Guarantee::Reliable, "c");
    system.run(without_3);
    system.crash(2);
    for _ in 0..6 {
        system.publish(0, Guarantee::Reliable, "x");
        system.pass(10, without_3);
    }
    assert!(system.delivered(0).contains(&"c".into()));
    system.pass(100, ALL);
    let lost = Record::Gap { origin: ProcessId(2), from: 2, to: 3 };
    let told = system.told[3].iter().any(|told| match told {
        TopicIndication::Delivered { records, .. } => records.contains(&lost),
        _ => false,
    });
    assert!(told, "{:?}", system.told[3]);
    assert!(!system.delivered(3).contains(&"c".into()));
    // It is lost in the next life, too.
    system.crash(3);
    system.recover(3);
    system.pass(100, ALL);
    assert_eq!(system.delivered(3), ["a", "x", "x", "gap of 4", "gap of 1"]);
}
