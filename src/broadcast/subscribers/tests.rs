//! Transcripts of subscribers, and a model that remembers everything.

use super::super::Publications;
use super::*;
use crate::kernel::ReplicatedBounds;
use bytes::Bytes;
use std::collections::BTreeMap;

const BOUNDS: ReplicatedBounds = ReplicatedBounds { topic_entries: 4, ..ReplicatedBounds::MOST };
const SHARED: SharedBounds = SharedBounds { subscribers: 5, unacknowledged: 9, ..SharedBounds::DEFAULT };

/// Subscribers of topics that retain four publications each, on a log.
#[derive(Default)]
struct Log {
    end: u64,
    publications: Publications,
    subscribers: Subscribers,
    mutants: Mutants,
}

impl Log {
    fn next(&mut self) -> u64 {
        self.end += 1;
        self.end - 1
    }

    fn publish(&mut self, topic: &str) -> u64 {
        let index = self.next();
        let payload = Bytes::from(format!("m{index}"));
        self.publications.publish(index, topic, None, payload, &BOUNDS, self.mutants).unwrap()
    }

    /// With a window of three.
    fn subscribe(&mut self, name: &str, topic: &str, begin: Begin) -> Result<u64, SubscribeError> {
        let index = self.next();
        self.subscribers.subscribe(index, name, topic, (begin, 3), &self.publications, &SHARED)
    }

    fn acknowledge(&mut self, name: &str, position: u64) -> Result<(), AcknowledgeError> {
        self.next();
        self.subscribers.acknowledge(name, position, &self.publications, self.mutants)
    }

    fn pending(&self, name: &str) -> Result<Vec<u64>, FellOff> {
        let pending = self.subscribers.pending(name, &self.publications, self.mutants).unwrap()?;
        Ok(pending.into_iter().map(|p| p.position).collect())
    }

    fn never(name: &str, position: u64) -> Result<(), AcknowledgeError> {
        Err(AcknowledgeError::NeverDelivered { subscriber: name.to_owned(), position })
    }
}

#[test]
fn recurrence_what_is_not_stopped_is_pending_and_what_is_of_other_topics_never_was() {
    let mut log = Log::default();
    let first = log.publish("a");
    log.publish("b");
    assert_eq!(log.subscribe("s", "a", Begin::Oldest), Ok(0));
    let second = log.publish("a");
    assert_eq!(log.pending("s"), Ok(vec![first, second]));
    assert_eq!(log.pending("s"), Ok(vec![first, second]), "again");
    let payloads = log.subscribers.pending("s", &log.publications, log.mutants).unwrap().unwrap();
    assert_eq!(payloads[1].payload, format!("m{second}"));
    assert!(log.subscribers.pending("t", &log.publications, log.mutants).is_none());
}

#[test]
fn stop_is_for_good_in_whatever_order_and_however_often_it_comes() {
    let mut log = Log::default();
    log.subscribe("s", "a", Begin::Now).unwrap();
    let positions = [(); 3].map(|()| log.publish("a"));
    for stopped in [positions[1], positions[1], positions[0], positions[1], positions[0]] {
        assert_eq!(log.acknowledge("s", stopped), Ok(()));
    }
    assert_eq!(log.pending("s"), Ok(vec![positions[2]]));
    assert_eq!(log.subscribe("s", "a", Begin::Oldest), Ok(positions[1] + 1), "it stays where it is");
    let place = &log.subscribers.places()["s"];
    assert_eq!((place.low, place.stopped.len()), (positions[1] + 1, 0), "no set that grows");
}

#[test]
fn an_acknowledgement_of_what_was_never_delivered_is_refused_and_changes_nothing() {
    let mut log = Log::default();
    let before = log.publish("a");
    assert_eq!(log.subscribe("s", "a", Begin::Now), Ok(2));
    let first = log.publish("a");
    let others = log.publish("b");
    log.publish("a");
    log.publish("a");
    let past_the_window = log.publish("a");
    let state = log.subscribers.clone();
    for position in [before, others, past_the_window, 1, 100, u64::MAX] {
        assert_eq!(log.acknowledge("s", position), Log::never("s", position));
    }
    assert_eq!(log.acknowledge("t", 3), Err(UnknownSubscriber("t".to_owned()).into()));
    assert_eq!(log.subscribers, state);
    log.acknowledge("s", first).unwrap();
    assert_eq!(log.acknowledge("s", others), Log::never("s", others));
    assert_eq!(log.acknowledge("s", past_the_window), Ok(()), "the window has moved");
}

#[test]
fn bounded_pending_nothing_more_is_delivered_until_the_oldest_is_stopped() {
    let mut log = Log::default();
    log.subscribe("s", "a", Begin::Now).unwrap();
    let p = [(); 4].map(|()| log.publish("a"));
    assert_eq!(log.pending("s"), Ok(vec![p[0], p[1], p[2]]));
    log.acknowledge("s", p[2]).unwrap();
    assert_eq!(log.pending("s"), Ok(vec![p[0], p[1]]), "past the window the publisher's last one waits");
    log.acknowledge("s", p[0]).unwrap();
    assert_eq!(log.pending("s"), Ok(vec![p[1], p[3]]));
    // A window is what was asked for, within what it may be.
    for (asked, window) in [(0, 1), (7, 7), (u64::MAX, SHARED.unacknowledged)] {
        let name = format!("of {asked}");
        log.subscribers.subscribe(9, &name, "a", (Begin::Now, asked), &log.publications, &SHARED).unwrap();
        assert_eq!(log.subscribers.places()[&*name].window, window);
    }
    log.subscribers.subscribe(9, "of 7", "a", (Begin::Now, 2), &log.publications, &SHARED).unwrap();
    assert_eq!(
        log.subscribers.places()["of 7"].window,
        7,
        "it stays, or what was delivered might lie outside"
    );
}

#[test]
fn who_fell_off_is_told_and_says_where_it_goes_on() {
    let mut log = Log::default();
    log.subscribe("s", "a", Begin::Now).unwrap();
    let p = [(); 5].map(|()| log.publish("a"));
    let fell = FellOff { position: 1, oldest: p[0] + 1 };
    assert_eq!(log.pending("s"), Err(fell));
    assert_eq!(log.acknowledge("s", p[1]), Err(fell.into()));
    assert_eq!(log.subscribe("s", "a", Begin::Now), Err(fell.into()), "who comes back is told, too");
    let lost = FellOff { position: p[0], oldest: fell.oldest };
    assert_eq!(log.subscribe("s", "a", Begin::At(p[0])), Err(lost.into()));
    assert_eq!(log.subscribe("s", "a", Begin::At(p[2])), Ok(p[2]));
    assert_eq!(log.pending("s"), Ok(vec![p[2], p[3], p[4]]));
    assert_eq!(log.acknowledge("s", p[1]), Log::never("s", p[1]), "it went on beyond");
}

#[test]
fn who_has_stopped_what_goes_does_not_fall_off() {
    let mut log = Log::default();
    log.subscribe("s", "a", Begin::Now).unwrap();
    let p = [(); 4].map(|()| log.publish("a"));
    log.acknowledge("s", p[0]).unwrap();
    log.acknowledge("s", p[2]).unwrap();
    log.publish("a");
    assert_eq!(log.pending("s"), Ok(vec![p[1], p[3]]), "the window is the one from the oldest on");
    assert_eq!(log.acknowledge("s", p[0]), Ok(()), "taken at its word: it is not retained any more");
    let last = log.publish("a");
    log.subscribe("s", "a", Begin::Now).unwrap_err();
    assert_eq!(
        log.acknowledge("s", p[2]),
        Ok(()),
        "stopped before it fell off: the answer was lost, perhaps"
    );
    // It goes on, and what it had stopped beyond is not delivered.
    assert_eq!(log.subscribe("s", "a", Begin::Oldest), Ok(p[2] + 1));
    assert_eq!(log.pending("s"), Ok(vec![p[3], last - 2, last]));
    assert_eq!(log.acknowledge("s", p[2]), Ok(()));
}

#[test]
fn a_subscription_that_cannot_be_is_refused_and_changes_nothing() {
    let mut log = Log::default();
    log.subscribe("s", "a", Begin::Now).unwrap();
    let state = log.subscribers.clone();
    let other = SubscribeError::OtherTopic { subscriber: "s".to_owned(), topic: "total/a".to_owned() };
    assert_eq!(log.subscribe("s", "b", Begin::Oldest), Err(other));
    let long = "n".repeat(MAX_NAME + 1);
    for (name, topic) in [("", "a"), ("t", ""), (&long, "a"), ("t", &long)] {
        assert_eq!(log.subscribe(name, topic, Begin::Now), Err(SubscribeError::Name { limit: MAX_NAME }));
    }
    let end = log.end + 1;
    let ahead = SubscribeError::Ahead { position: end + 1, end };
    assert_eq!(log.subscribe("t", "a", Begin::At(end + 1)), Err(ahead));
    assert_eq!(log.subscribers, state);
    for n in 1..SHARED.subscribers {
        log.subscribe(&n.to_string(), "a", Begin::Now).unwrap();
    }
    let too_many = SubscribeError::TooMany { limit: SHARED.subscribers };
    assert_eq!(log.subscribe("t", "a", Begin::Now), Err(too_many));
    log.subscribe("s", "a", Begin::Now).unwrap();
    assert_eq!(log.subscribers.unsubscribe("s"), Ok(()));
    assert_eq!(log.subscribers.unsubscribe("s"), Err(UnknownSubscriber("s".to_owned())));
    log.subscribe("t", "a", Begin::Now).unwrap();
}

/// What a subscriber that remembers everything would say of itself.
#[derive(Default)]
struct Model {
    /// Of the topic, by position: whether it is stopped. From where it began on.
    publications: BTreeMap<u64, bool>,
    fell: bool,
}

impl Model {
    fn pending(&self) -> Vec<u64> {
        let open = self.publications.iter().skip_while(|(_, stopped)| **stopped).take(3);
        open.filter(|(_, stopped)| !**stopped).map(|(position, _)| *position).collect()
    }
}

#[test]
fn on_random_logs_it_is_what_one_that_remembers_everything_would_be() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut log, mut model) = (Log::default(), Model::default());
        let mut told: Vec<u64> = Vec::new();
        log.subscribe("s", "a", Begin::Now).unwrap();
        for _ in 0..200 {
            match rng.u8(..8) {
                0 | 1 => {
                    let position = log.publish("a");
                    model.publications.insert(position, false);
                    let oldest = log.publications.oldest("a");
                    model.fell |= model.publications.range(..oldest).any(|(_, stopped)| !stopped);
                }
                2 => drop(log.publish("b")),
                3 if model.fell => {
                    log.subscribe("s", "a", Begin::Now).unwrap_err();
                    log.subscribe("s", "a", Begin::Oldest).unwrap();
                    let oldest = log.publications.oldest("a");
                    model.publications = model.publications.split_off(&oldest);
                    model.fell = false;
                }
                3 => assert!(log.subscribe("s", "a", Begin::Oldest).is_ok()),
                4 => {
                    let position = rng.u64(..log.end + 2);
                    let pending = model.pending().contains(&position);
                    let stopped = model.publications.get(&position) == Some(&true);
                    let outcome = log.acknowledge("s", position);
                    if pending && !model.fell {
                        model.publications.insert(position, true);
                    }
                    // Of what is neither retained nor remembered it is taken at its word.
                    let retained = position >= log.publications.oldest("a");
                    if retained || model.publications.contains_key(&position) {
                        assert_eq!(outcome.is_ok(), stopped || pending && !model.fell, "seed {seed}");
                    }
                }
                _ => {
                    let Some(position) = model.pending().first().copied().filter(|_| !model.fell) else {
                        continue;
                    };
                    log.acknowledge("s", position).unwrap();
                    model.publications.insert(position, true);
                    told.push(position);
                }
            }
            let pending = log.pending("s");
            assert_eq!(pending.is_err(), model.fell, "seed {seed}");
            if let Ok(pending) = pending {
                assert_eq!(pending, model.pending(), "seed {seed}");
                assert!(told.iter().all(|stopped| !pending.contains(stopped)), "seed {seed}");
            }
        }
        assert!(log.subscribers.places()["s"].stopped.len() <= 3);
    }
}
