//! Three stacks in memory, as they run in production, that take whatever frames they are given.

use bytes::Bytes;
use fastrand::Rng;
use kvorum::broadcast::StateMachine;
use kvorum::broadcast::{Guarantee, Topic, TopicRequest};
use kvorum::kernel::{
    Batch, Bounds, Config, Disk, DiskError, Journal, LogId, Mutants, Opened, Origin, Outgoing, ProcessId,
    Release, RowKey, Store, Stored, StoredLog, Timing, Var,
};
use kvorum::kv::{Command, Op, SessionCall};
use kvorum::ledger::Replicated;
use kvorum::proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest, request_op::Request,
};
use kvorum::register::Ask;
use kvorum::stack::{Event, Indication, Stack, Status};
use std::collections::{BTreeMap, VecDeque};

type Up = Indication<<Replicated as StateMachine>::Reply, <Replicated as StateMachine>::View>;

/// What is stored, as it was committed.
#[derive(Default)]
struct Memory {
    vars: BTreeMap<Var, Bytes>,
    logs: BTreeMap<LogId, StoredLog>,
    rows: BTreeMap<RowKey, Bytes>,
    commits: u64,
}

impl Memory {
    fn stored(&self) -> Stored {
        let rows = self.rows.iter().map(|(key, value)| (*key, value.clone())).collect();
        Stored { vars: self.vars.clone(), logs: self.logs.clone(), rows, commits: self.commits }
    }
}

impl Disk for Memory {
    fn commit(&mut self, batch: &Batch) -> Result<(), DiskError> {
        self.commits += 1;
        for store in batch.stores().iter().cloned() {
            match store {
                Store::Put { var, value } => drop(self.vars.insert(var, value)),
                Store::Remove { var } => drop(self.vars.remove(&var)),
                Store::Append { log, first, entries } => {
                    let log = self.logs.entry(log).or_default();
                    assert_eq!(first, log.first + log.entries.len() as u64, "an append that leaves a gap");
                    log.entries.extend(entries);
                }
                Store::TruncateSuffix { log, len } => {
                    let log = self.logs.entry(log).or_default();
                    log.entries.truncate((len - log.first) as usize);
                }
                Store::TruncatePrefix { log, before } => {
                    let log = self.logs.entry(log).or_default();
                    log.entries.drain(..(before - log.first) as usize);
                    log.first = before;
                }
                Store::Reset { log, first } => {
                    self.logs.insert(log, StoredLog { first, entries: Vec::new() });
                }
                Store::PutRow { key, value } => drop(self.rows.insert(key, value)),
                Store::DeleteRow { key } => drop(self.rows.remove(&key)),
                Store::DropOtherGenerations { keep, .. } => self.rows.retain(|key, _| key.generation == keep),
            }
        }
        Ok(())
    }
}

struct Victim {
    config: Config,
    stack: Stack<Replicated>,
    journal: Journal<Up>,
    disk: Memory,
    replies: u64,
}

/// A group of three.
pub struct Victims {
    victims: Vec<Victim>,
    wires: VecDeque<(ProcessId, Outgoing)>,
    silent: Option<usize>,
    requests: u64,
    /// Frames that they sent lately.
    pub recorded: Vec<Bytes>,
    /// Commands, and the like.
    pub blobs: Vec<Vec<u8>>,
}

fn start(config: &Config, disk: &Memory) -> (Stack<Replicated>, Journal<Up>, Release<Up>) {
    let mut journal = Journal::new(Mutants::default());
    let (stack, release) = journal.turn(|turn, up| Stack::start(config.clone(), disk.stored(), turn, up));
    let stack = stack.unwrap_or_else(|e| panic!("a replica does not come up any more: {e}"));
    (stack, journal, release)
}

impl Victims {
    pub fn new(seed: u64) -> Self {
        let bounds = Bounds {
            checkpoint_entries: 20,
            tail_entries: 5,
            registers: 8,
            topics: 8,
            undelivered: 8,
            relayed_entries: 16,
            delivery_entries: 16,
            ..Bounds::default()
        };
        let config = |me: u8| Config {
            me: ProcessId(me),
            processes: 3,
            configuration: 7,
            disk: 100 + u64::from(me),
            boot: Rng::with_seed(seed ^ u64::from(me)).u64(..),
            damaged: false,
            origin: Origin::Own,
            timing: Timing { heartbeat: 2, election: 10, resend: 4 },
            bounds,
            mutants: Mutants::default(),
        };
        let blobs = commands();
        let mut victims = Self {
            victims: Vec::new(),
            wires: VecDeque::new(),
            silent: None,
            requests: 0,
            recorded: Vec::new(),
            blobs,
        };
        for me in 0..3 {
            let (config, disk) = (config(me), Memory::default());
            let (stack, journal, release) = start(&config, &disk);
            victims.victims.push(Victim { config, stack, journal, disk, replies: 0 });
            victims.release(me.into(), release);
        }
        victims
    }

    /// Kills one, and boots it again from what it stored.
    pub fn restart(&mut self, n: usize) {
        let victim = &mut self.victims[n];
        victim.config.boot = victim.config.boot.wrapping_add(1);
        let (stack, journal, release) = start(&victim.config, &victim.disk);
        (victim.stack, victim.journal) = (stack, journal);
        self.release(n, release);
    }

    /// It says nothing more, and hears nothing.
    pub fn silence(&mut self, n: usize) {
        self.silent = Some(n);
    }

    fn release(&mut self, n: usize, mut release: Release<Up>) {
        loop {
            let victim = &mut self.victims[n];
            if let Some(commit) = victim.journal.next_commit() {
                let more = victim.journal.synced(commit.run(&mut victim.disk).unwrap());
                release.frames.extend(more.frames);
                release.indications.extend(more.indications);
            }
            let mut events = Vec::new();
            for frame in std::mem::take(&mut release.frames) {
                let out = frame.into_inner();
                if out.to.index() == n {
                    let frame = Opened::check(out.frame.bytes().clone()).unwrap();
                    events.push(Event::Frame { from: out.to, frame });
                } else if out.to.index() < 3 && Some(n) != self.silent && Some(out.to.index()) != self.silent
                {
                    self.recorded.push(out.frame.bytes().clone());
                    self.wires.push_back((ProcessId(n as u8), out));
                }
            }
            for up in std::mem::take(&mut release.indications) {
                match up.into_inner() {
                    Indication::Reply { .. } => victim.replies += 1,
                    Indication::Fetch { ticket, from, end, .. } => {
                        let rows = victim.disk.rows.range(from..);
                        let wanted =
                            rows.take_while(|(k, _)| k.generation == from.generation && k.main < end);
                        let rows = wanted.take(3).map(|(k, v)| (*k, v.clone())).collect();
                        events.push(Event::Rows { ticket, rows: Some(rows) });
                    }
                    _ => {}
                }
            }
            self.recorded.drain(..self.recorded.len().saturating_sub(400));
            self.wires.drain(..self.wires.len().saturating_sub(2000));
            if events.is_empty() {
                return;
            }
            release = self.turn(n, events);
        }
    }

    fn turn(&mut self, n: usize, events: Vec<Event>) -> Release<Up> {
        let Victim { stack, journal, .. } = &mut self.victims[n];
        journal.turn(|turn, up| stack.upon(events, turn, up)).1
    }

    fn upon(&mut self, n: usize, event: Event) {
        let release = self.turn(n, vec![event]);
        self.release(n, release);
    }

    /// A frame arrives.
    pub fn hear(&mut self, from: ProcessId, to: ProcessId, frame: Opened) {
        self.upon(to.index(), Event::Frame { from, frame });
    }

    /// Some of what is on its way arrives.
    pub fn deliver(&mut self, rng: &mut Rng) {
        for _ in 0..rng.usize(..20) {
            let Some((from, Outgoing { to, frame })) = self.wires.pop_front() else { return };
            self.hear(from, to, Opened::check(frame.bytes().clone()).unwrap());
        }
    }

    /// Time passes, and what is on its way arrives.
    pub fn tick(&mut self) {
        for n in (0..3).filter(|n| Some(*n) != self.silent).collect::<Vec<_>>() {
            self.upon(n, Event::Tick);
        }
        for _ in 0..self.wires.len() {
            let Some((from, Outgoing { to, frame })) = self.wires.pop_front() else { return };
            if Some(to.index()) != self.silent && Some(from.index()) != self.silent {
                self.hear(from, to, Opened::check(frame.bytes().clone()).unwrap());
            }
        }
    }

    /// A client asks for something.
    pub fn ask(&mut self, rng: &mut Rng) {
        self.requests += 1;
        let request = self.requests;
        let (n, patience) = (rng.usize(..3), 50);
        let name = format!("name{}", rng.u8(..4));
        let payload = Bytes::from(request.to_string());
        let guarantee =
            [Guarantee::BestEffort, Guarantee::Reliable, Guarantee::Fifo, Guarantee::Causal][rng.usize(..4)];
        let event = match rng.u8(..5) {
            0 => Event::Read { request, patience },
            1 => Event::Register { request, name, ask: Ask::Write(payload), patience },
            2 => Event::Topics(TopicRequest::Publish {
                request,
                topic: Topic { guarantee, name },
                context: Default::default(),
                payload,
                patience,
            }),
            3 => Event::Connected { peer: ProcessId(((n + 1) % 3) as u8) },
            _ => {
                let command = rng.choice(&self.blobs).cloned().unwrap().into();
                Event::Execute { request, command, patience }
            }
        };
        self.upon(n, event);
    }

    /// Whether a command of a process is executed.
    pub fn executes(&mut self, n: usize) -> bool {
        let before = self.victims[n].replies;
        self.requests += 1;
        let put = PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
        let command = Command::from(Op::Put(put)).encode();
        self.upon(n, Event::Execute { request: self.requests, command, patience: 1000 });
        for _ in 0..500 {
            self.tick();
            if self.victims[n].replies > before {
                return true;
            }
        }
        false
    }

    pub fn states(&self) -> Vec<Status> {
        self.victims.iter().map(|v| v.stack.status()).collect()
    }

    /// The ballots that they have promised or accepted: their fields in order.
    pub fn ballots(&self) -> Vec<[u64; 4]> {
        let ballots = self.states().into_iter().flat_map(|status| [status.promised, status.accepted]);
        ballots.map(|b| [b.config.into(), b.counter, b.process.0.into(), b.boot]).collect()
    }

    /// Numbers that mean something to them, and now and then those of their boots, which whoever is told
    /// of them can use.
    pub fn numbers(&self, boots: bool, rng: &mut Rng) -> Vec<u64> {
        let mut numbers = vec![7, 100, 101, 102];
        for status in self.states() {
            numbers.extend([
                status.decided,
                status.log_len,
                status.log_first,
                status.checkpoint,
                status.incarnation,
            ]);
            numbers.extend([status.promised.counter, status.accepted.counter, status.promised.counter]);
        }
        if boots && rng.u8(..50) == 0 {
            numbers.extend(self.victims.iter().map(|v| v.config.boot));
        }
        numbers
    }
}

/// Commands with numbers at their ends.
pub fn commands() -> Vec<Vec<u8>> {
    let (low, high) = (i64::MIN, i64::MAX);
    let put = |key: &str, lease| PutRequest {
        key: key.to_owned().into(),
        value: "v".into(),
        lease,
        ..Default::default()
    };
    let range = |revision, limit| RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        revision,
        limit,
        min_mod_revision: limit,
        max_create_revision: revision,
        ..Default::default()
    };
    let delete = DeleteRangeRequest { key: vec![0].into(), range_end: vec![0].into(), prev_kv: true };
    let nested = |request| RequestOp { request: Some(request) };
    let txn = TxnRequest {
        compare: vec![Compare { result: i32::MAX, target: i32::MIN, key: "k".into(), ..Default::default() }],
        success: vec![
            nested(Request::RequestPut(put("a", 0))),
            nested(Request::RequestRange(range(high, low))),
        ],
        failure: vec![nested(Request::RequestDeleteRange(delete.clone())), RequestOp { request: None }],
    };
    let compact = |revision| Op::Compact(CompactionRequest { revision, physical: false });
    let ops = [
        Op::Put(put("a", 0)),
        Op::Put(put("b", high)),
        Op::Put(put("", low)),
        Op::DeleteRange(delete),
        Op::Txn(txn),
        compact(low),
        compact(high),
        compact(2),
        Op::Alarm(AlarmRequest { action: 1, member_id: u64::MAX, alarm: i32::MAX }),
        Op::OpenSession,
        Op::CloseSession(u64::MAX),
    ];
    let mut commands: Vec<Vec<u8>> =
        ops.iter().map(|op| Command::from(op.clone()).encode().to_vec()).collect();
    for (id, seq, low) in [(0, u64::MAX, 0), (u64::MAX, 0, u64::MAX), (3, 1, 1), (3, u64::MAX, u64::MAX)] {
        let session = Some(SessionCall { id, seq, low });
        commands.push(Command { session, op: ops[0].clone() }.encode().to_vec());
    }
    commands
}
