//! The links of two or three processes, and what becomes of their frames. Also for the tests of
//! what stands on them.

use super::*;
use crate::kernel::{
    Batch, Bounds, Config, Disk, DiskError, Exposed, Frame, Held, Incarnation, Journal, Mutants, Opened,
    Outgoing, ProcessId, ProcessSet, Release, Store, Stored, StoredLog, Timing, Turn,
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
                Store::Put { var, value } => drop(self.0.vars.insert(var.clone(), value.clone())),
                Store::Append { log, entries, .. } => {
                    self.0.logs.entry(*log).or_default().entries.extend(entries.iter().cloned());
                }
                Store::TruncatePrefix { log, before } => {
                    let StoredLog { first, entries } = self.0.logs.entry(*log).or_default();
                    entries.drain(..(before - *first) as usize);
                    *first = *before;
                }
                other => panic!("a link stores {other:?}"),
            }
        }
        Ok(())
    }
}

/// What is tried: a link, or what stands on links.
pub(crate) trait Tried: Sized {
    fn boot(config: Config, inc: Incarnation, stored: &Stored) -> Self;
    /// What it delivers.
    fn upon(&mut self, from: ProcessId, message: LinkMessage, turn: &mut Turn) -> Vec<(ProcessId, Bytes)>;
    fn tick(&mut self, turn: &mut Turn);
}

/// Acknowledges nothing by itself.
impl Tried for Stubborn {
    fn boot(config: Config, inc: Incarnation, _stored: &Stored) -> Self {
        Self::start(config, inc, Channel(1))
    }

    fn upon(&mut self, from: ProcessId, message: LinkMessage, turn: &mut Turn) -> Vec<(ProcessId, Bytes)> {
        match Self::upon(self, from, message, turn) {
            Some(Taken::Packet(packet)) => vec![(from, packet.message)],
            Some(Taken::Acknowledged(_)) | None => Vec::new(),
        }
    }

    fn tick(&mut self, turn: &mut Turn) {
        Self::tick(self, turn);
    }
}

impl Tried for Fifo {
    fn boot(config: Config, inc: Incarnation, _stored: &Stored) -> Self {
        Self::start(config, inc, Channel(1))
    }

    fn upon(&mut self, from: ProcessId, message: LinkMessage, turn: &mut Turn) -> Vec<(ProcessId, Bytes)> {
        Self::upon(self, from, message, turn).delivered.into_iter().map(|m| (from, m)).collect()
    }

    fn tick(&mut self, turn: &mut Turn) {
        Self::tick(self, turn);
    }
}

impl Tried for LoggedPerfect {
    fn boot(config: Config, inc: Incarnation, stored: &Stored) -> Self {
        let everybody = config.members().collect();
        let mut links = Self::start(config, inc, stored).unwrap();
        links.set_voters(everybody);
        links
    }

    fn upon(&mut self, from: ProcessId, message: LinkMessage, turn: &mut Turn) -> Vec<(ProcessId, Bytes)> {
        Self::upon(self, from, message, turn).into_iter().map(|d| (d.from, d.message)).collect()
    }

    fn tick(&mut self, turn: &mut Turn) {
        Self::tick(self, turn);
    }
}

/// A process that is up: what is tried, and its journal.
type Host<L> = (L, Journal<(ProcessId, Bytes)>);

/// Processes that are up, or not, and the frames between them.
pub(crate) struct System<L> {
    config: Vec<Config>,
    disks: Vec<Memory>,
    up: Vec<Option<Host<L>>>,
    lives: Vec<Incarnation>,
    frames: VecDeque<(ProcessId, Outgoing)>,
    delivered: Vec<(ProcessId, ProcessId, String)>,
    /// Whether what a turn stores becomes durable at once.
    pub(crate) syncing: bool,
}

impl<L: Tried> System<L> {
    pub(crate) fn new(processes: u8, bounds: Bounds) -> Self {
        let timing = Timing { resend: 2, ..Timing::default() };
        let config = |me| Config { boot: 0, timing, bounds, ..Config::of(me, usize::from(processes)) };
        let mut system = Self {
            config: (0..processes).map(config).collect(),
            disks: (0..processes).map(|_| Memory::default()).collect(),
            up: (0..processes).map(|_| None).collect(),
            lives: vec![0; usize::from(processes)],
            frames: VecDeque::new(),
            delivered: Vec::new(),
            syncing: true,
        };
        (0..processes).for_each(|p| system.recover(p));
        system
    }

    pub(crate) fn recover(&mut self, p: u8) {
        let at = usize::from(p);
        self.lives[at] += 1;
        let link = L::boot(self.config[at].clone(), self.lives[at], &self.disks[at].0);
        self.up[at] = Some((link, Journal::new(Mutants::default())));
    }

    pub(crate) fn crash(&mut self, p: u8) {
        self.up[usize::from(p)] = None;
    }

    pub(crate) fn at<R>(&mut self, p: u8, react: impl FnOnce(&mut L, &mut Turn) -> R) -> R {
        self.turn(p, |link, turn, _| react(link, turn)).expect("a process that is up")
    }

    fn turn<R>(
        &mut self,
        p: u8,
        react: impl FnOnce(&mut L, &mut Turn, &mut Held<(ProcessId, Bytes)>) -> R,
    ) -> Option<R> {
        let at = usize::from(p);
        let (link, journal) = self.up[at].as_mut()?;
        let (result, release) = journal.turn(|turn, held| react(link, turn, held));
        let mut releases = vec![release];
        if self.syncing
            && let Some(commit) = journal.next_commit()
        {
            let synced = commit.run(&mut self.disks[at]).unwrap();
            releases.push(journal.synced(synced));
        }
        for Release { frames, indications } in releases {
            self.frames.extend(frames.into_iter().map(|f| (ProcessId(p), f.into_inner())));
            for (from, message) in indications.into_iter().map(Exposed::into_inner) {
                self.delivered.push((from, ProcessId(p), String::from_utf8_lossy(&message).into_owned()));
            }
        }
        Some(result)
    }

    /// A frame arrives, if its receiver is up.
    fn arrive(&mut self, from: ProcessId, to: ProcessId, frame: &Frame) {
        let message = FairLoss::default().deliver(&Opened::check(frame.bytes().clone()).unwrap()).unwrap();
        self.turn(to.0, |link, turn, held| {
            link.upon(from, message, turn).into_iter().for_each(|delivered| held.expose(delivered));
        });
    }

    /// Everything that is on its way, and what follows from it, arrives where `may` lets it.
    pub(crate) fn run(&mut self, may: impl Fn(ProcessId, ProcessId) -> bool) {
        while let Some((from, Outgoing { to, frame })) = self.frames.pop_front() {
            if may(from, to) {
                self.arrive(from, to, &frame);
            }
        }
    }

    /// Time passes, and frames arrive.
    pub(crate) fn rounds(&mut self, ticks: usize) {
        for _ in 0..ticks {
            for p in 0..self.up.len() as u8 {
                self.turn(p, |link, turn, _| link.tick(turn));
            }
            self.run(ALL);
        }
    }

    /// What was delivered at a process.
    pub(crate) fn delivered(&self, at: u8) -> Vec<&str> {
        self.delivered.iter().filter(|(_, to, _)| to.0 == at).map(|(_, _, m)| m.as_str()).collect()
    }

    fn stored(&self, p: u8) -> &Stored {
        &self.disks[usize::from(p)].0
    }
}

pub(crate) const ALL: fn(ProcessId, ProcessId) -> bool = |_, _| true;
const NONE: fn(ProcessId, ProcessId) -> bool = |_, _| false;

fn text(message: &'static str) -> Bytes {
    Bytes::from_static(message.as_bytes())
}

mod stubborn {
    use super::*;

    fn send(system: &mut System<Stubborn>, message: &'static str) {
        system.at(0, |link, turn| link.send(ProcessId(1), text(message), turn)).unwrap();
    }

    fn acknowledge(system: &mut System<Stubborn>, of: Incarnation, below: u64) {
        system.at(1, |link, turn| link.acknowledge(ProcessId(0), of, below, turn));
    }

    #[test]
    fn stubborn_delivery_until_it_is_acknowledged() {
        let mut system = System::<Stubborn>::new(2, Bounds::default());
        send(&mut system, "m");
        system.run(NONE);
        system.rounds(6);
        assert_eq!(system.delivered(1), ["m", "m", "m"]);
        acknowledge(&mut system, 1, 1);
        system.rounds(6);
        assert_eq!(system.delivered(1), ["m", "m", "m"], "the receiver's layer above has it");
    }

    #[test]
    fn past_the_window_the_caller_is_told() {
        let bounds = Bounds { link_window: 2, ..Bounds::default() };
        let mut system = System::<Stubborn>::new(2, bounds);
        send(&mut system, "a");
        send(&mut system, "b");
        let full = Full { to: ProcessId(1), window: 2 };
        system.at(0, |link, turn| assert_eq!(link.send(ProcessId(1), text("c"), turn), Err(full)));
        acknowledge(&mut system, 1, 1);
        system.run(ALL);
        send(&mut system, "c");
    }

    #[test]
    fn a_receiver_that_recovered_gets_the_window_at_once() {
        let mut system = System::<Stubborn>::new(2, Bounds::default());
        acknowledge(&mut system, 1, 0);
        system.run(ALL);
        send(&mut system, "a");
        send(&mut system, "b");
        system.run(NONE);
        system.crash(1);
        system.recover(1);
        acknowledge(&mut system, 1, 0);
        system.run(ALL);
        assert_eq!(system.delivered(1), ["a", "b"]);
    }

    #[test]
    fn an_acknowledgement_of_an_earlier_life_counts_for_nothing() {
        let mut system = System::<Stubborn>::new(2, Bounds::default());
        send(&mut system, "a");
        system.run(ALL);
        acknowledge(&mut system, 1, 1);
        let late = system.frames.pop_front().unwrap();
        system.crash(0);
        system.recover(0);
        send(&mut system, "b");
        system.run(NONE);
        system.frames.push_back(late);
        system.rounds(2);
        assert_eq!(system.delivered(1), ["a", "b"]);
    }

    #[test]
    fn links_of_other_channels_hear_nothing() {
        let mut system = System::<Stubborn>::new(2, Bounds::default());
        send(&mut system, "a");
        system.run(ALL);
        system.at(0, |link, turn| {
            let ack = LinkMessage::Ack { channel: Channel(2), inc: 1, of: 1, below: 1 };
            assert_eq!(link.upon(ProcessId(1), ack, turn), None);
            let stranger = LinkMessage::Ack { channel: Channel(1), inc: 1, of: 1, below: 1 };
            assert_eq!(link.upon(ProcessId(7), stranger, turn), None);
            let ahead = LinkMessage::Ack { channel: Channel(1), inc: 1, of: 1, below: 9 };
            assert_eq!(link.upon(ProcessId(1), ahead, turn), None);
        });
    }
}

mod fifo {
    use super::*;

    fn send(system: &mut System<Fifo>, message: &'static str) {
        system.at(0, |link, turn| link.send(ProcessId(1), text(message), turn)).unwrap();
    }

    #[test]
    fn fifo_delivery_though_frames_overtake_each_other() {
        let mut system = System::<Fifo>::new(2, Bounds::default());
        ["a", "b", "c"].into_iter().for_each(|m| send(&mut system, m));
        let first = system.frames.pop_front().unwrap();
        system.run(ALL);
        assert!(system.delivered(1).is_empty(), "b and c wait for a");
        system.frames.push_back(first);
        system.run(ALL);
        assert_eq!(system.delivered(1), ["a", "b", "c"]);
    }

    #[test]
    fn reliable_delivery_though_every_other_frame_is_lost() {
        let mut system = System::<Fifo>::new(2, Bounds::default());
        ["a", "b", "c"].into_iter().for_each(|m| send(&mut system, m));
        system.frames.remove(1);
        system.run(|from, _| from.0 == 0);
        assert_eq!(system.delivered(1), ["a"]);
        system.rounds(2);
        assert_eq!(system.delivered(1), ["a", "b", "c"]);
        assert_eq!(system.at(0, |link, _| link.room(ProcessId(1))), Bounds::default().link_window);
    }

    #[test]
    fn no_duplication_where_frames_arrive_twice() {
        let mut system = System::<Fifo>::new(2, Bounds::default());
        send(&mut system, "a");
        send(&mut system, "b");
        let again: Vec<_> = system.frames.iter().cloned().collect();
        system.frames.extend(again);
        system.run(ALL);
        assert_eq!(system.delivered(1), ["a", "b"]);
    }

    #[test]
    fn a_receiver_that_is_not_ready_holds_back_and_loses_nothing() {
        let bounds = Bounds { link_window: 2, ..Bounds::default() };
        let mut system = System::<Fifo>::new(2, bounds);
        system.at(1, |link, _| link.hold());
        send(&mut system, "a");
        send(&mut system, "b");
        system.rounds(6);
        assert!(system.delivered(1).is_empty());
        system.at(0, |link, turn| {
            assert!(link.send(ProcessId(1), text("c"), turn).is_err(), "the sender is held back too");
        });
        let waited = system.at(1, |link, turn| link.ready(turn));
        assert_eq!(waited, [(ProcessId(0), vec![text("a"), text("b")])]);
        system.run(ALL);
        send(&mut system, "c");
        system.run(ALL);
        assert_eq!(system.delivered(1), ["c"]);
    }

    #[test]
    fn after_a_crash_of_the_sender_the_stream_is_another_one() {
        let mut system = System::<Fifo>::new(2, Bounds::default());
        send(&mut system, "a");
        system.run(ALL);
        send(&mut system, "lost with its sender");
        let late = system.frames.pop_front().unwrap();
        system.crash(0);
        system.recover(0);
        send(&mut system, "b");
        system.run(ALL);
        system.frames.push_back(late);
        system.rounds(4);
        assert_eq!(system.delivered(1), ["a", "b"]);
    }

    #[test]
    fn a_receiver_that_recovered_begins_where_its_earlier_life_had_acknowledged() {
        let mut system = System::<Fifo>::new(2, Bounds::default());
        send(&mut system, "a");
        let early = system.frames.front().cloned().unwrap();
        system.run(ALL);
        system.crash(1);
        send(&mut system, "b");
        system.run(ALL);
        system.recover(1);
        // It meets a frame from before its crash first: it begins there, and goes on all the same.
        system.frames.push_back(early);
        system.rounds(2);
        assert_eq!(system.delivered(1), ["a", "a", "b"]);
    }
}

mod logged_perfect {
    use super::*;

    fn send(system: &mut System<LoggedPerfect>, message: &'static str) -> Mark {
        let to = ProcessSet::from_iter([ProcessId(1)]);
        system.at(0, |link, turn| link.send(to, &text(message), turn)).unwrap()
    }

    #[test]
    fn confirmed_at_a_sender_that_recovers_is_delivered() {
        let mut system = System::<LoggedPerfect>::new(2, Bounds::default());
        let marks = ["a", "b"].map(|m| send(&mut system, m));
        assert!(marks[0] < marks[1]);
        system.run(NONE);
        system.crash(0);
        system.recover(0);
        system.rounds(3);
        assert_eq!(system.delivered(1), ["a", "b"]);
    }

    #[test]
    fn no_duplication_across_crashes_of_both() {
        let mut system = System::<LoggedPerfect>::new(2, Bounds::default());
        send(&mut system, "a");
        // It is delivered; the acknowledgement is lost, and then both memories are.
        system.run(|from, _| from.0 == 0);
        [0, 1].into_iter().for_each(|p| system.crash(p));
        [0, 1].into_iter().for_each(|p| system.recover(p));
        system.rounds(3);
        send(&mut system, "b");
        system.rounds(3);
        assert_eq!(system.delivered(1), ["a", "b"]);
        assert_eq!(system.at(0, |link, _| link.len()), 0, "and the sender has got rid of both");
    }

    #[test]
    fn nothing_is_acknowledged_before_it_is_stored() {
        let mut system = System::<LoggedPerfect>::new(2, Bounds::default());
        send(&mut system, "a");
        system.syncing = false;
        system.run(ALL);
        assert!(system.delivered(1).is_empty() && system.frames.is_empty());
        system.crash(1);
        system.syncing = true;
        system.recover(1);
        system.rounds(3);
        assert_eq!(system.delivered(1), ["a"]);
    }

    #[test]
    fn an_outbox_that_is_full_says_who_holds_it_up() {
        let bounds = Bounds { outbox_entries: 2, ..Bounds::default() };
        let mut system = System::<LoggedPerfect>::new(3, bounds);
        system.crash(2);
        let everybody: ProcessSet = (0..3).map(ProcessId).collect();
        let broadcast = |link: &mut LoggedPerfect, turn: &mut Turn| link.send(everybody, &text("m"), turn);
        system.at(0, broadcast).unwrap();
        system.at(0, broadcast).unwrap();
        system.rounds(4);
        assert_eq!(system.at(0, broadcast), Err(Refused::Full { entries: 2, waits_for: ProcessId(2) }));
        system.recover(2);
        system.rounds(4);
        system.at(0, broadcast).unwrap();
        system.rounds(4);
        (0..3).for_each(|p| assert_eq!(system.delivered(p), ["m", "m", "m"]));
        assert!(system.at(0, |link, _| link.is_empty()));
    }

    #[test]
    fn a_window_is_smaller_than_an_outbox() {
        let bounds = Bounds { link_window: 2, ..Bounds::default() };
        let mut system = System::<LoggedPerfect>::new(2, bounds);
        for message in ["a", "b", "c", "d", "e"] {
            send(&mut system, message);
        }
        assert_eq!(system.frames.len(), 2);
        system.run(ALL);
        assert_eq!(system.delivered(1), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn a_receiver_that_is_not_ready_keeps_the_message_at_the_sender() {
        let mut system = System::<LoggedPerfect>::new(2, Bounds::default());
        system.at(1, |link, _| link.hold());
        send(&mut system, "a");
        system.rounds(4);
        system.crash(1);
        system.recover(1);
        system.rounds(4);
        assert_eq!(system.delivered(1), ["a"]);
    }

    #[test]
    fn a_process_that_lost_its_memory_sends_nothing_and_receives() {
        let mut system = System::<LoggedPerfect>::new(2, Bounds::default());
        send(&mut system, "a");
        system.rounds(2);
        [0, 1].into_iter().for_each(|p| system.crash(p));
        system.disks = (0..2).map(|_| Memory::default()).collect();
        [0, 1].into_iter().for_each(|p| system.recover(p));
        system.at(0, |link, turn| {
            link.set_voters(ProcessSet::from_iter([ProcessId(1)]));
            let to = ProcessSet::from_iter([ProcessId(1)]);
            assert_eq!(link.send(to, &text("b"), turn), Err(Refused::Forgot));
        });
        system
            .at(1, |link, turn| link.send(ProcessSet::from_iter([ProcessId(0)]), &text("c"), turn))
            .unwrap();
        system.rounds(2);
        assert_eq!((system.delivered(0), system.delivered(1)), (vec!["c"], vec!["a"]));
    }

    #[test]
    fn a_position_that_is_used_again_holds_another_message() {
        let mut system = System::<LoggedPerfect>::new(2, Bounds::default());
        send(&mut system, "a");
        // The sender's disk loses what it had promised to keep, and the sender goes on.
        system.disks[0] = Memory::default();
        system.run(ALL);
        system.crash(0);
        system.recover(0);
        let again = send(&mut system, "b");
        assert_eq!(again, Mark { inc: 2, index: 0 });
        system.rounds(2);
        assert_eq!(system.delivered(1), ["a", "b"]);
    }

    #[test]
    fn a_message_too_long_is_refused_and_changes_nothing() {
        let mut system = System::<LoggedPerfect>::new(2, Bounds { frame_bytes: 4, ..Bounds::default() });
        system.at(0, |link, turn| {
            let to = ProcessSet::from_iter([ProcessId(1)]);
            assert_eq!(link.send(to, &text("12345"), turn), Err(Refused::TooLarge { limit: 4 }));
        });
        assert!(system.frames.is_empty() && system.stored(0).logs.is_empty());
    }
}

#[test]
fn fair_loss_no_creation_what_is_damaged_on_its_way_is_as_good_as_lost() {
    let mut system = System::<Stubborn>::new(2, Bounds::default());
    system.at(0, |link, turn| link.send(ProcessId(1), text("m"), turn)).unwrap();
    let (_, Outgoing { frame, .. }) = system.frames.pop_front().unwrap();
    let arrives = |bytes: Vec<u8>| {
        Opened::check(bytes.into()).ok().and_then(|frame| FairLoss::<LinkMessage>::default().deliver(&frame))
    };
    let sent = frame.bytes().to_vec();
    assert!(arrives(sent.clone()).is_some());
    for byte in 0..sent.len() {
        let mut damaged = sent.clone();
        damaged[byte] ^= 0x10;
        assert_eq!(arrives(damaged), None);
    }
}
