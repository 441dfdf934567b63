use super::*;
use crate::kernel::{
    Batch, Bounds, Disk, DiskError, Exposed, Held, Journal, Mutants, Opened, Outgoing, Release, Store, Timing,
};
use bytes::Bytes;
use std::collections::VecDeque;

/// A disk that holds variables.
#[derive(Default)]
struct Memory(Stored);

impl Disk for Memory {
    fn commit(&mut self, batch: &Batch) -> Result<(), DiskError> {
        for store in batch.stores() {
            match store {
                Store::Put { var, value } => self.0.vars.insert(var.clone(), value.clone()),
                other => panic!("a register stores {other:?}"),
            };
        }
        Ok(())
    }
}

/// Processes that are up, or not, and frames between them, delivered in order.
struct System {
    config: Vec<Config>,
    disks: Vec<Memory>,
    up: Vec<Option<(Registers, Journal<Return>)>>,
    frames: VecDeque<(ProcessId, Outgoing)>,
    returned: Vec<(ProcessId, Return)>,
    inc: Incarnation,
}

impl System {
    fn new(processes: u8, bounds: Bounds) -> Self {
        let config = |me| Config { boot: 0, bounds, ..Config::of(me, usize::from(processes)) };
        let mut system = Self {
            config: (0..processes).map(config).collect(),
            disks: (0..processes).map(|_| Memory::default()).collect(),
            up: (0..processes).map(|_| None).collect(),
            frames: VecDeque::new(),
            returned: Vec::new(),
            inc: 0,
        };
        (0..processes).for_each(|p| system.recover(p));
        system
    }

    fn recover(&mut self, p: u8) {
        self.inc += 1;
        let config = self.config[usize::from(p)].clone();
        let all = config.members().collect();
        let stored = &self.disks[usize::from(p)].0;
        let mut registers = Registers::start(config, self.inc, stored).unwrap();
        registers.set_voters(all);
        self.up[usize::from(p)] = Some((registers, Journal::new(Mutants::default())));
    }

    fn crash(&mut self, p: u8) {
        self.up[usize::from(p)] = None;
    }

    fn turn(&mut self, p: u8, react: impl FnOnce(&mut Registers, &mut Turn, &mut Held<Return>)) {
        let Some((registers, journal)) = &mut self.up[usize::from(p)] else { return };
        let ((), release) = journal.turn(|turn, held| react(registers, turn, held));
        let mut releases = vec![release];
        if let Some(commit) = journal.next_commit() {
            let synced = commit.run(&mut self.disks[usize::from(p)]).unwrap();
            releases.push(journal.synced(synced));
        }
        for Release { frames, indications } in releases {
            self.frames.extend(frames.into_iter().map(|f| (ProcessId(p), f.into_inner())));
            self.returned.extend(indications.into_iter().map(|r| (ProcessId(p), Exposed::into_inner(r))));
        }
    }

    fn ask(&mut self, p: u8, request: u64, ask: Ask) {
        self.turn(p, |r, turn, _| r.ask(request, "x", ask, 50, turn).unwrap());
    }

    fn write(&mut self, p: u8, request: u64, value: &'static str) {
        self.ask(p, request, Ask::Write(Bytes::from_static(value.as_bytes())));
    }

    /// Delivers frames that `may` pass; the others are lost.
    fn run(&mut self, may: impl Fn(ProcessId, ProcessId) -> bool) {
        while let Some((from, Outgoing { to, frame })) = self.frames.pop_front() {
            if may(from, to) {
                let message = Opened::check(frame.bytes().clone()).unwrap().message().unwrap();
                self.turn(to.0, |r, turn, held| {
                    r.upon(from, message, turn).into_iter().for_each(|returned| held.expose(returned));
                });
            }
        }
    }

    fn tick(&mut self, p: u8) {
        self.turn(p, |r, turn, held| r.tick(turn).into_iter().for_each(|returned| held.expose(returned)));
    }

    fn outcome(&self, request: u64) -> Option<Outcome> {
        self.returned.iter().find(|(_, r)| r.request == request).map(|(_, r)| r.outcome.clone())
    }

    fn value(&self, request: u64) -> Option<String> {
        let cell = self.outcome(request)?.ok()??;
        Some(String::from_utf8_lossy(&cell.value).into_owned())
    }
}

const ALL: fn(ProcessId, ProcessId) -> bool = |_, _| true;

#[test]
fn termination_with_a_majority_though_frames_are_lost() {
    let mut system = System::new(3, Bounds::default());
    system.crash(2);
    system.write(0, 1, "v");
    system.run(|_, _| false);
    assert_eq!(system.outcome(1), None);
    (0..Timing::default().resend).for_each(|_| system.tick(0));
    system.run(ALL);
    assert!(system.outcome(1).unwrap().is_ok());
    system.ask(1, 2, Ask::Read);
    system.run(ALL);
    assert_eq!(system.value(2).as_deref(), Some("v"));
}

#[test]
fn without_a_majority_an_operation_says_whether_it_may_take_effect() {
    let mut system = System::new(3, Bounds::default());
    system.write(0, 1, "v");
    system.run(|from, to| from == to);
    system.write(0, 2, "w");
    // The second one consults everybody, and then nobody hears what it imposes.
    let mut rounds = 0;
    while let Some((from, Outgoing { to, frame })) = system.frames.pop_front() {
        let message: RegisterMessage = Opened::check(frame.bytes().clone()).unwrap().message().unwrap();
        rounds += 1;
        if !matches!(message, RegisterMessage::Impose { .. }) {
            system.turn(to.0, |r, turn, held| {
                r.upon(from, message, turn).into_iter().for_each(|returned| held.expose(returned));
            });
        }
    }
    assert!(rounds > 3);
    (0..60).for_each(|_| system.tick(0));
    assert_eq!(system.outcome(1), Some(Err(Failed::NoMajority)));
    assert_eq!(system.outcome(2), Some(Err(Failed::Unknown)));
}

#[test]
fn atomicity_what_one_read_returned_no_later_one_misses() {
    let mut system = System::new(3, Bounds::default());
    // A write reaches its writer only.
    system.write(0, 1, "v");
    while let Some((from, Outgoing { to, frame })) = system.frames.pop_front() {
        let message: RegisterMessage = Opened::check(frame.bytes().clone()).unwrap().message().unwrap();
        if to.0 == 0 || !matches!(message, RegisterMessage::Impose { .. }) {
            system.turn(to.0, |r, turn, held| {
                r.upon(from, message, turn).into_iter().for_each(|returned| held.expose(returned));
            });
        }
    }
    assert_eq!(system.outcome(1), None);
    // One read finds it, and so must a later one that asks the two others.
    system.ask(1, 2, Ask::Read);
    system.run(|from, to| from.0 < 2 && to.0 < 2);
    assert_eq!(system.value(2).as_deref(), Some("v"));
    system.ask(2, 3, Ask::Read);
    system.run(|from, to| from.0 > 0 && to.0 > 0);
    assert_eq!(system.value(3).as_deref(), Some("v"));
}

#[test]
fn a_recovered_process_has_what_it_acknowledged_and_chooses_above_it() {
    let mut system = System::new(3, Bounds::default());
    system.write(0, 1, "v");
    system.run(ALL);
    for p in 0..3 {
        system.crash(p);
        system.recover(p);
    }
    system.ask(1, 2, Ask::Read);
    system.run(ALL);
    assert_eq!(system.value(2).as_deref(), Some("v"));
    system.write(0, 3, "w");
    system.run(ALL);
    let tags = [1, 3].map(|r| tag(&system.outcome(r).unwrap().unwrap()));
    assert!(tags[0] < tags[1], "{tags:?}");
}

#[test]
fn a_register_too_many_is_refused_and_changes_nothing() {
    let mut system = System::new(3, Bounds { registers: 1, register_bytes: 4, ..Bounds::default() });
    system.write(0, 1, "v");
    system.run(ALL);
    system.turn(1, |r, turn, _| r.ask(2, "y", Ask::Write(Bytes::from_static(b"w")), 50, turn).unwrap());
    system.run(ALL);
    assert_eq!(system.outcome(2), Some(Err(Failed::Full)));
    assert!(system.disks.iter().all(|d| d.0.vars.len() == 1));
    system.turn(0, |r, turn, _| {
        let long = Ask::Write(Bytes::from_static(b"12345"));
        assert_eq!(r.ask(3, "x", long, 50, turn), Err(Failed::TooLarge { limit: 4 }));
        assert_eq!(r.ask(4, "", Ask::Read, 50, turn), Err(Failed::Name));
        assert_eq!(r.ask(5, &"n".repeat(MAX_NAME + 1), Ask::Read, 50, turn), Err(Failed::Name));
    });
    assert!(system.frames.is_empty());
}

#[test]
fn who_is_no_voter_is_not_counted_and_answers_nobody() {
    let mut system = System::new(3, Bounds::default());
    for p in 0..3 {
        let (registers, _) = system.up[p].as_mut().unwrap();
        registers.set_voters([ProcessId(0), ProcessId(1)].into_iter().collect());
    }
    system.write(0, 1, "v");
    system.run(|from, to| from.0 != 1 && to.0 != 1);
    assert_eq!(system.outcome(1), None, "one voter is no majority of three");
    assert!(system.disks[2].0.vars.is_empty());
}
