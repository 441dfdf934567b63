//! The stack by itself: transcripts of small executions over a toy state machine.

mod snapshots;
mod space;

use super::*;
use crate::broadcast::{Load, Piece, StateMachine};
use crate::consensus::Distrust;
use crate::kernel::*;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Remembers every command.
#[derive(Debug, Default, Clone)]
struct Notes {
    notes: Vec<Bytes>,
    generation: u32,
    writing: Option<Vec<Bytes>>,
    saved: u64,
}

#[derive(Debug)]
struct NotesLoader(Notes);

fn encode(generation: u32, saved: u64) -> Bytes {
    [generation.to_be_bytes().as_slice(), saved.to_be_bytes().as_slice()].concat().into()
}

fn decode(meta: &Bytes) -> Option<(u32, u64)> {
    let (generation, saved) = meta.split_at_checked(4)?;
    Some((u32::from_be_bytes(generation.try_into().ok()?), u64::from_be_bytes(saved.try_into().ok()?)))
}

impl Load for NotesLoader {
    fn begin(meta: &Bytes) -> Option<Self> {
        let (generation, saved) = decode(meta)?;
        Some(Self(Notes { generation, saved, ..Notes::default() }))
    }

    fn rebase(meta: &Bytes, generation: u32) -> Option<Bytes> {
        Some(encode(generation, decode(meta)?.1))
    }

    fn row(&mut self, key: RowKey, value: Bytes) -> bool {
        if key.main < self.0.saved {
            self.0.notes.push(value);
        }
        true
    }
}

impl StateMachine for Notes {
    type Reply = usize;
    type View = Vec<Bytes>;
    type Loader = NotesLoader;

    fn apply(&mut self, _index: u64, command: Bytes) -> usize {
        self.notes.push(command);
        self.notes.len()
    }

    fn view(&self) -> Vec<Bytes> {
        self.notes.clone()
    }

    fn digest(&mut self) -> u64 {
        self.notes.iter().fold(Digest::default(), |digest, note| digest.bytes(note)).value()
    }

    fn begin_checkpoint(&mut self) {
        self.writing = Some(self.notes.clone());
    }

    /// Here a budget is one of rows.
    fn checkpoint_piece(&mut self, budget: usize) -> Piece {
        let notes = self.writing.take().unwrap();
        let rows = notes.iter().enumerate().skip(self.saved as usize).take(budget);
        let key = |i| RowKey { generation: self.generation, main: i as u64, sub: 0 };
        let puts: Vec<Row> = rows.map(|(i, note)| (key(i), note.clone())).collect();
        self.saved += puts.len() as u64;
        let finished = (self.saved == notes.len() as u64).then(|| encode(self.generation, self.saved));
        if finished.is_none() {
            self.writing = Some(notes);
        }
        Piece { puts, deletes: Vec::new(), finished }
    }

    fn hold_rows(&mut self, _hold: bool) {}

    /// What "full" and "room" say.
    fn is_full(&self) -> bool {
        let said = |note: &Bytes| (note == "full").then_some(true).or((note == "room").then_some(false));
        self.notes.iter().rev().find_map(said).unwrap_or(false)
    }

    fn grows(command: &Bytes) -> bool {
        command.starts_with(b"+")
    }

    fn gives_back(&self) -> bool {
        self.is_full() && self.saved < self.notes.len() as u64
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    fn checkpoint_end(meta: &Bytes) -> u64 {
        decode(meta).map_or(0, |(_, saved)| saved)
    }

    fn empty_loader() -> NotesLoader {
        NotesLoader(Notes::default())
    }

    fn maintain(&mut self) {}

    fn load(loader: NotesLoader) -> Option<Self> {
        (loader.0.notes.len() as u64 == loader.0.saved).then_some(loader.0)
    }
}

/// A disk that keeps everything that was committed.
#[derive(Default)]
struct Memory(Stored);

impl Disk for Memory {
    fn commit(&mut self, batch: &Batch) -> Result<(), DiskError> {
        self.0.commits += 1;
        for store in batch.stores().iter().cloned() {
            match store {
                Store::Put { var, value } => drop(self.0.vars.insert(var, value)),
                Store::Remove { var } => drop(self.0.vars.remove(&var)),
                Store::Append { log, first, entries } => {
                    let log = self.0.logs.entry(log).or_default();
                    assert_eq!(first, log.first + log.entries.len() as u64);
                    log.entries.extend(entries);
                }
                Store::TruncateSuffix { log, len } => {
                    let log = self.0.logs.entry(log).or_default();
                    log.entries.truncate((len - log.first) as usize);
                }
                Store::TruncatePrefix { log, before } => {
                    let log = self.0.logs.entry(log).or_default();
                    log.entries.drain(..(before - log.first) as usize);
                    log.first = before;
                }
                Store::Reset { log, first } => {
                    self.0.logs.insert(log, StoredLog { first, entries: Vec::new() });
                }
                Store::PutRow { key, value } => {
                    self.0.rows.retain(|(k, _)| *k != key);
                    self.0.rows.push((key, value));
                    self.0.rows.sort();
                }
                Store::DeleteRow { key } => self.0.rows.retain(|(k, _)| *k != key),
                Store::DropOtherGenerations { keep, .. } => self.0.rows.retain(|(k, _)| k.generation == keep),
            }
        }
        Ok(())
    }
}

type Up = Indication<usize, Vec<Bytes>>;

struct Process {
    flight: Option<(crate::kernel::Commit, u64)>,
    config: Config,
    stack: Option<(Stack<Notes>, Journal<Up>)>,
    disk: Memory,
    replies: BTreeMap<u64, Result<usize, Refusal>>,
    readable: Vec<u64>,
    view: Option<Vec<Bytes>>,
}

/// Processes on one perfect network, each turn synced at once.
struct World {
    processes: Vec<Process>,
    wires: VecDeque<(ProcessId, Outgoing)>,
    cut: Vec<(u8, u8)>,
    sync: u64,
    clock: u64,
}

impl World {
    fn new(n: usize) -> Self {
        let config = |me: u8| Config {
            configuration: 7,
            disk: 100 + u64::from(me),
            timing: Timing { heartbeat: 2, election: 10, resend: 4 },
            bounds: Bounds {
                checkpoint_entries: 20,
                digest_entries: 10,
                tail_entries: 5,
                ..Bounds::default()
            },
            ..Config::of(me, n)
        };
        let process = |me| Process {
            flight: None,
            config: config(me),
            stack: None,
            disk: Memory::default(),
            replies: BTreeMap::new(),
            readable: Vec::new(),
            view: None,
        };
        let processes = (0..n as u8).map(process).collect();
        let mut world = Self { processes, wires: VecDeque::new(), cut: Vec::new(), sync: 0, clock: 0 };
        (0..n).for_each(|i| world.boot(i));
        world
    }

    fn boot(&mut self, i: usize) {
        let process = &mut self.processes[i];
        process.config.boot += 1;
        let (config, stored) = (process.config.clone(), process.disk.0.clone());
        let mut journal = Journal::start(&config, stored.commits);
        let (stack, release) = journal.turn(|turn, up| Stack::start(config, stored, turn, up));
        process.stack = Some((stack.unwrap(), journal));
        self.release(i, release);
    }

    fn crash(&mut self, i: usize) {
        self.processes[i].stack = None;
        self.processes[i].flight = None;
        self.processes[i].view = None;
        self.wires.retain(|(_, out)| out.to.index() != i);
    }

    fn release(&mut self, i: usize, mut release: Release<Up>) {
        let process = &mut self.processes[i];
        let (_, journal) = process.stack.as_mut().unwrap();
        let mut later = Release::default();
        if self.sync > 0 {
            if let Some(commit) = journal.next_commit() {
                process.flight = Some((commit, self.clock + self.sync));
            }
        } else if let Some(commit) = journal.next_commit() {
            later = journal.synced(commit.run(&mut process.disk).unwrap());
        }
        release.frames.extend(later.frames);
        release.indications.extend(later.indications);
        for frame in release.frames {
            self.wires.push_back((ProcessId(i as u8), frame.into_inner()));
        }
        let mut events = Vec::new();
        for up in release.indications {
            match up.into_inner() {
                Indication::Reply { request, reply } => drop(process.replies.insert(request, Ok(reply))),
                Indication::Refused { request, why } => drop(process.replies.insert(request, Err(why))),
                Indication::Readable { request } => process.readable.push(request),
                Indication::Publish { view, .. } => process.view = Some(view),
                Indication::Fetch { ticket, from, end, .. } => {
                    let rows = process.disk.0.rows.iter();
                    let wanted = rows.filter(|(k, _)| *k >= from && k.main < end).take(3).cloned();
                    events.push(Event::Rows { ticket, rows: Some(wanted.collect()) });
                }
                Indication::Diverged => process.view = None,
                Indication::LogsDiffer(divergence) => panic!("{divergence}"),
                Indication::Returned { .. } | Indication::Topics(_) | Indication::HandedOver => {}
            }
        }
        if !events.is_empty() {
            self.upon(i, events);
        }
    }

    fn upon(&mut self, i: usize, events: Vec<Event>) {
        let Some((stack, journal)) = self.processes[i].stack.as_mut() else { return };
        let ((), release) = journal.turn(|turn, up| stack.upon(events, turn, up));
        self.release(i, release);
    }

    fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.clock += 1;
            for i in 0..self.processes.len() {
                if self.processes[i].flight.as_ref().is_some_and(|f| f.1 <= self.clock) {
                    let process = &mut self.processes[i];
                    let (commit, _) = process.flight.take().unwrap();
                    let done = commit.run(&mut process.disk).unwrap();
                    let release = process.stack.as_mut().unwrap().1.synced(done);
                    self.release(i, release);
                }
            }
            (0..self.processes.len()).for_each(|i| self.upon(i, vec![Event::Tick]));
            while let Some((from, Outgoing { to, frame })) = self.wires.pop_front() {
                if self.cut.contains(&(from.0, to.0)) || self.cut.contains(&(to.0, from.0)) {
                    continue;
                }
                let frame = Opened::check(frame.bytes().clone()).unwrap();
                self.upon(to.index(), vec![Event::Frame { from, frame }]);
            }
        }
    }

    fn execute(&mut self, i: usize, request: u64) {
        let command = Bytes::from(request.to_string());
        self.upon(i, vec![Event::Execute { request, command, patience: 1000 }]);
    }

    fn leader(&self) -> Option<usize> {
        let leads = |p: &Process| p.stack.as_ref().is_some_and(|(s, _)| s.status().role == Role::Leader);
        self.processes.iter().position(leads)
    }
}

#[test]
fn a_lone_replica_executes_reads_and_recovers() {
    let mut world = World::new(1);
    world.run(5);
    for request in 0..50 {
        world.execute(0, request);
    }
    world.run(20);
    assert_eq!(world.processes[0].replies.len(), 50);
    world.upon(0, vec![Event::Read { request: 99, patience: 100 }]);
    assert_eq!(world.processes[0].readable, [99]);
    let before = world.processes[0].view.clone().unwrap();
    world.crash(0);
    world.boot(0);
    world.run(10);
    let (stack, _) = world.processes[0].stack.as_ref().unwrap();
    assert_eq!(stack.status().incarnation, 2);
    assert!(stack.status().checkpoint >= 20 && stack.status().log_first > 0);
    assert_eq!(world.processes[0].view, Some(before));
}

#[test]
fn three_elect_a_leader_and_execute_from_anywhere() {
    let mut world = World::new(3);
    world.run(40);
    assert!(world.leader().is_some());
    for request in 0..30 {
        world.execute(request as usize % 3, request);
    }
    world.run(20);
    let answered: usize = world.processes.iter().map(|p| p.replies.len()).sum();
    assert_eq!(answered, 30);
    world.upon(2, vec![Event::Read { request: 99, patience: 100 }]);
    world.run(10);
    assert_eq!(world.processes[2].readable, [99]);
    let views: Vec<_> = world.processes.iter().map(|p| p.view.clone().unwrap()).collect();
    assert_eq!(views[0].len(), 30);
    assert!(views.iter().all(|v| *v == views[0]));
}

#[test]
fn a_crashed_leader_is_replaced_and_catches_up_by_snapshot() {
    let mut world = World::new(3);
    world.run(40);
    let old = world.leader().unwrap();
    world.crash(old);
    world.run(60);
    let new = world.leader().unwrap();
    assert_ne!(new, old);
    for request in 0..100 {
        world.execute(new, request);
        world.run(1);
    }
    world.boot(old);
    world.run(60);
    assert_eq!(world.processes[old].view.as_ref().map(Vec::len), Some(100));
    assert_eq!(world.processes[old].view, world.processes[new].view);
    let (stack, _) = world.processes[old].stack.as_ref().unwrap();
    assert!(stack.status().checkpoint > 20, "it was beyond the log: {:?}", stack.status());
}

#[test]
fn leadership_is_handed_over() {
    let mut world = World::new(3);
    world.run(40);
    let old = world.leader().unwrap();
    world.execute(old, 1);
    world.run(2);
    world.upon(old, vec![Event::HandOver]);
    world.run(3);
    assert_ne!(world.leader().unwrap(), old);
}

#[test]
fn a_chain_elects_its_middle_and_stays() {
    let mut world = World::new(3);
    world.run(40);
    world.cut = vec![(0, 2)];
    world.run(100);
    let leader = world.leader().unwrap();
    world.run(300);
    assert_eq!(world.leader(), Some(leader));
    world.execute(leader, 1);
    world.run(10);
    assert_eq!(world.processes[leader].replies.get(&1), Some(&Ok(1)));
}

#[test]
fn a_wiped_replica_is_a_learner() {
    let mut world = World::new(3);
    world.run(40);
    let leader = world.leader().unwrap();
    world.execute(leader, 1);
    world.run(5);
    let wiped = (leader + 1) % 3;
    world.crash(wiped);
    world.processes[wiped].disk = Memory::default();
    world.processes[wiped].config.disk = 999;
    world.boot(wiped);
    world.run(60);
    let (stack, _) = world.processes[wiped].stack.as_ref().unwrap();
    assert!(matches!(stack.status().role, Role::Learner(_)), "{:?}", stack.status());
    assert_eq!(world.processes[wiped].view.as_ref().map(Vec::len), Some(1), "it still receives the log");
    world.crash((leader + 2) % 3);
    world.run(60);
    world.execute(leader, 2);
    world.run(60);
    assert_eq!(world.processes[leader].replies.get(&2), None, "and counts in no majority");
}

#[test]
fn a_leader_stays_while_nothing_fails() {
    let mut world = World::new(3);
    world.run(40);
    let (stack, _) = world.processes[world.leader().unwrap()].stack.as_ref().unwrap();
    let ballot = stack.status().promised;
    world.run(500);
    for process in &world.processes {
        let (stack, _) = process.stack.as_ref().unwrap();
        assert_eq!(stack.status().promised, ballot);
    }
}

#[test]
fn a_slow_disk_lets_a_restarted_follower_serve() {
    for sync in [1, 10, 20, 35, 50, 70] {
        let mut world = World::new(3);
        for i in 0..3 {
            world.crash(i);
            world.processes[i].config.timing = Timing::default();
            world.processes[i].config.bounds = Bounds::default();
            world.boot(i);
        }
        world.run(400);
        let leader = world.leader().unwrap();
        world.sync = sync;
        let f = (leader + 1) % 3;
        let mut request = 0;
        let mut load = |world: &mut World, ticks| {
            for _ in 0..ticks {
                request += 1;
                world.execute(leader, request);
                world.run(1);
            }
        };
        load(&mut world, 200);
        let ballot = world.processes[leader].stack.as_ref().unwrap().0.status().promised;
        world.crash(f);
        load(&mut world, 300);
        world.boot(f);
        load(&mut world, 3000);
        let status = world.processes[f].stack.as_ref().unwrap().0.status();
        let now = world.processes[leader].stack.as_ref().unwrap().0.status();
        assert_eq!(now.promised, ballot, "nothing happened to the leader");
        assert!(
            status.serving,
            "a sync takes {sync} ticks, the leader has decided {}: {status:?}",
            now.decided
        );
    }
}

#[test]
fn a_learner_does_not_keep_a_leader_without_a_quorum() {
    let mut world = World::new(5);
    world.run(40);
    let leader = world.leader().unwrap();
    let others: Vec<usize> = (0..5).filter(|i| *i != leader).collect();
    let [f, a, b, c] = others[..] else { panic!() };
    let old = world.processes[f].disk.0.clone();
    world.crash(f);
    world.boot(f);
    world.run(60);
    world.crash(f);
    world.processes[f].disk = Memory(old);
    world.boot(f);
    world.run(60);
    assert!(matches!(world.processes[f].stack.as_ref().unwrap().0.status().role, Role::Learner(_)));
    assert_eq!(world.leader(), Some(leader));
    world.cut = vec![(leader as u8, b as u8), (leader as u8, c as u8)];
    world.run(400);
    world.execute(a, 1);
    world.run(600);
    assert_eq!(
        world.processes[a].replies.get(&1),
        Some(&Ok(1)),
        "a, b and c are a connected majority that votes"
    );
}

#[test]
fn a_damaged_replica_is_a_learner_from_the_start() {
    let mut world = World::new(3);
    world.run(40);
    world.crash(0);
    world.processes[0].disk = Memory::default();
    world.processes[0].config.damaged = true;
    world.cut = vec![(0, 1), (0, 2)];
    world.boot(0);
    world.run(10);
    let role = world.processes[0].stack.as_ref().unwrap().0.status().role;
    assert!(matches!(role, Role::Learner(_)), "{role:?}");
}

#[test]
fn a_read_is_readable_only_with_a_view() {
    // Nothing is decided; a follower that has just booted has no view yet.
    let mut world = World::new(3);
    world.run(40);
    let leader = world.leader().unwrap();
    let f = (leader + 1) % 3;
    world.crash(f);
    world.boot(f);
    for i in 0..40 {
        world.upon(f, vec![Event::Read { request: 100 + i, patience: 100 }]);
        // Step frame by frame.
        (0..3).for_each(|i| world.upon(i, vec![Event::Tick]));
        // The consensus frames are late: they are held back.
        let mut held = VecDeque::new();
        while let Some((from, Outgoing { to, frame })) = world.wires.pop_front() {
            let opened = Opened::check(frame.bytes().clone()).unwrap();
            let sync = opened.component() == crate::kernel::Component::Consensus && opened.kind() == 5;
            if sync {
                held.push_back((from, Outgoing { to, frame }));
                continue;
            }
            world.upon(to.index(), vec![Event::Frame { from, frame: opened }]);
        }
        drop(held);
    }
    let p = &world.processes[f];
    assert!(p.view.is_some() || p.readable.is_empty(), "readable {:?} without any view", p.readable);
}
