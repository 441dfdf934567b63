//! Random commands, checkpoints and crashes, against the model.
//!
//! After every step: replies and everything that can be read are the model's; and whatever of the
//! checkpoint in progress is on disk, a replica that boots from it and replays the log is equal.

use super::model::{Model, SESSIONS};
use super::*;
use crate::broadcast::StateMachine;
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Debug)]
enum Step {
    Do(Draft),
    /// A piece of the checkpoint in progress, or of a new one.
    Piece(usize),
    Checkpoint,
    Scrub(usize),
    /// The replica goes on from what is on disk.
    Crash,
    /// The replica goes on from a snapshot of its own, as a peer would install it.
    Install,
    HoldRows(bool),
}

/// A command whose revisions and sessions are drawn in relation to the state.
#[derive(Clone, Debug)]
struct Draft {
    op: Op,
    session: Option<(usize, u64, u64)>,
}

fn key() -> impl Strategy<Value = Bytes> {
    select(vec!["a", "b", "ba", "c", "d"]).prop_map(bytes)
}

fn end() -> impl Strategy<Value = Bytes> {
    select(vec!["", "", "b", "bb", "d", "z", "\0", "a"]).prop_map(bytes)
}

/// Small values are packed, some fill a row, some are too large for one.
fn value() -> impl Strategy<Value = Bytes> {
    let len = prop_oneof![4 => 0..4usize, 1 => 1500..1600usize, 1 => 4000..4100usize];
    (len, any::<u8>()).prop_map(|(len, byte)| Bytes::from(vec![byte % 3; len]))
}

/// Counted back from the current revision; 0 and below: the newest.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(i64::MIN), 3 => -1..12i64]
}

fn put_request() -> impl Strategy<Value = PutRequest> {
    (key(), value(), any::<bool>(), 0..8u8, 0..20i64).prop_map(|(key, value, prev_kv, ignore, lease)| {
        PutRequest {
            key,
            value: if ignore == 1 { Bytes::new() } else { value },
            prev_kv,
            ignore_value: ignore == 1,
            ignore_lease: ignore == 2,
            lease: i64::from(lease == 19 && ignore != 2),
        }
    })
}

fn range_request() -> impl Strategy<Value = RangeRequest> {
    let bound = || prop_oneof![3 => Just(0i64), 1 => 1..30i64];
    (
        (key(), end(), -1..4i64, revision()),
        (0..3i32, 0..5i32, any::<bool>(), 0..5u8),
        (bound(), bound(), bound(), bound()),
    )
        .prop_map(
            |((key, range_end, limit, revision), (order, target, keys_only, count), (a, b, c, d))| {
                RangeRequest {
                    key,
                    range_end,
                    limit,
                    revision,
                    sort_order: order,
                    sort_target: target,
                    serializable: false,
                    keys_only,
                    count_only: count == 0,
                    min_mod_revision: a,
                    max_mod_revision: b,
                    min_create_revision: c,
                    max_create_revision: d,
                }
            },
        )
}

fn delete_request() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn comparison() -> impl Strategy<Value = Compare> {
    let operand = prop_oneof![
        Just(None),
        (0..4i64).prop_map(|n| Some(TargetUnion::Version(n))),
        (0..20i64).prop_map(|n| Some(TargetUnion::CreateRevision(n))),
        (0..20i64).prop_map(|n| Some(TargetUnion::ModRevision(n))),
        (0..2i64).prop_map(|n| Some(TargetUnion::Lease(n))),
        value().prop_map(|v| Some(TargetUnion::Value(v))),
    ];
    (key(), end(), 0..4i32, 0..5i32, operand).prop_map(|(key, range_end, result, target, target_union)| {
        Compare { key, range_end, result, target, target_union }
    })
}

fn txn_request() -> impl Strategy<Value = TxnRequest> {
    let leaf = prop_oneof![
        put_request().prop_map(Request::RequestPut),
        range_request().prop_map(Request::RequestRange),
        delete_request().prop_map(Request::RequestDeleteRange),
    ];
    let nested = leaf.prop_recursive(2, 12, 3, |inner| txn_of(inner).prop_map(Request::RequestTxn));
    txn_of(nested)
}

fn txn_of(request: impl Strategy<Value = Request> + Clone) -> impl Strategy<Value = TxnRequest> {
    let ops = prop::collection::vec(request.prop_map(op), 0..4);
    (prop::collection::vec(comparison(), 0..3), ops.clone(), ops)
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
}

fn draft() -> impl Strategy<Value = Draft> {
    let op = prop_oneof![
        8 => put_request().prop_map(Op::Put),
        4 => delete_request().prop_map(Op::DeleteRange),
        4 => txn_request().prop_map(Op::Txn),
        2 => (-1..6i64).prop_map(|revision| Op::Compact(CompactionRequest { revision, physical: false })),
        1 => (1..3i32, 1..3u64).prop_map(|(action, member_id)| Op::Alarm(AlarmRequest { action, member_id, alarm: 1 })),
        2 => Just(Op::OpenSession),
        1 => (0..3u64).prop_map(Op::CloseSession),
    ];
    (op, prop::option::of((0..3usize, 0..4u64, 0..3u64))).prop_map(|(op, session)| Draft { op, session })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => draft().prop_map(Step::Do),
        6 => (0..6000usize).prop_map(Step::Piece),
        3 => Just(Step::Checkpoint),
        2 => (0..100usize).prop_map(Step::Scrub),
        2 => Just(Step::Crash),
        1 => Just(Step::Install),
        1 => any::<bool>().prop_map(Step::HoldRows),
    ]
}

/// Revisions of a draft are counted back from the current one.
fn place(op: &mut Op, now: i64) {
    fn range(r: &mut RangeRequest, now: i64) {
        r.revision = if r.revision == i64::MIN { 0 } else { now - r.revision };
    }
    fn txn(r: &mut TxnRequest, now: i64) {
        for op in r.success.iter_mut().chain(&mut r.failure) {
            match op.request.as_mut().unwrap() {
                Request::RequestRange(r) => range(r, now),
                Request::RequestTxn(r) => txn(r, now),
                Request::RequestPut(_) | Request::RequestDeleteRange(_) => {}
            }
        }
    }
    match op {
        Op::Txn(r) => txn(r, now),
        Op::Compact(r) => r.revision = now - r.revision,
        _ => {}
    }
}

/// Which bound a transaction meets first, where it meets both, is nothing to agree on.
fn plain(reply: Reply) -> Reply {
    match reply {
        Err(Error::ReplyTooLong { .. }) => Err(Error::TooManyKeys { limit: 0 }),
        Err(Error::TooManyKeys { .. }) => Err(Error::TooManyKeys { limit: 0 }),
        other => other,
    }
}

/// Budgets that are met now and then.
fn budget() -> impl Strategy<Value = Budget> {
    let visits = prop_oneof![1 => Just(u64::MAX), 2 => 1..60u64];
    let bytes = prop_oneof![1 => Just(u64::MAX), 1 => 0..800u64, 1 => 0..12_000u64];
    (visits, bytes).prop_map(|(visits, reply_bytes)| Budget { visits, reply_bytes })
}

fn resolved(reply: Reply, disk: &Image) -> Reply {
    let mut reply = reply;
    if let Ok(response) = &mut reply {
        response.resolve(disk, u64::MAX)?;
    }
    reply
}

/// Of few sessions, so that some are evicted.
fn limited(mut machine: Machine) -> Machine {
    let shared = SharedBounds { sessions: SESSIONS, ..SharedBounds::DEFAULT };
    machine.configure(&config(shared, Mutants::default()));
    machine
}

struct Run {
    machine: Machine,
    disk: Image,
    log: Vec<Command>,
    model: Model,
    /// Checkpoints finished so far.
    finished: usize,
    /// Views that readers still hold, with what they must read and the checkpoints at their time.
    held: Vec<(View, Model, usize)>,
}

impl Run {
    fn take(&mut self, step: Step) {
        match step {
            Step::Do(Draft { mut op, session }) => {
                place(&mut op, self.model.revision);
                let open: Vec<u64> = self.model.sessions.keys().copied().collect();
                if let Op::CloseSession(n) = &mut op {
                    *n = open.get(*n as usize).copied().unwrap_or(999);
                }
                let session = session.map(|(n, seq, low)| {
                    let id = open.get(n).copied().unwrap_or(999);
                    let at = self.model.sessions.get(&id).map_or(0, |(low, _)| *low);
                    SessionCall { id, seq: at + seq, low: at + low.min(1) }
                });
                let command = Command { session, op };
                let command = Command::decode(command.encode()).unwrap();
                let index = self.log.len() as u64;
                let reply = resolved(self.machine.apply(index, &command), &self.disk);
                assert_eq!(plain(reply), plain(self.model.apply(index, &command)), "{command:?}");
                self.log.push(command);
            }
            Step::Piece(budget) => self.piece(budget),
            Step::Checkpoint => {
                let goal = self.finished + 1;
                while self.finished < goal {
                    self.piece(3000);
                }
            }
            Step::Scrub(budget) => _ = self.machine.scrub(budget),
            Step::Crash => {
                self.machine = self.replayed();
                self.held.clear();
            }
            Step::Install => self.install(),
            Step::HoldRows(hold) => self.machine.hold_rows(hold),
        }
    }

    fn piece(&mut self, budget: usize) {
        if !self.machine.checkpointing() {
            self.machine.checkpoint_begin();
        }
        let piece = self.machine.checkpoint_step(budget);
        self.finished += usize::from(self.disk.store(piece));
        let mut replayed = self.replayed();
        self.equal(&replayed);
        assert_eq!(replayed.differs(&self.machine), None);
        assert_eq!(replayed.digest(), self.machine.digest());
    }

    /// The replica after a crash now.
    fn replayed(&self) -> Machine {
        let mut machine = limited(self.disk.boot().expect("what is on disk is well"));
        machine.now.budget = self.model.budget;
        for index in machine.applied()..self.log.len() as u64 {
            machine.follow(index, &self.log[index as usize]);
        }
        machine
    }

    fn install(&mut self) {
        let Some(meta) = &self.disk.meta else { return };
        let covered = summary(meta).unwrap();
        let generation = covered.generation + 1;
        let of = |key: &RowKey| key.main <= covered.revision as u64;
        self.disk.rows = (self.disk.rows.iter().filter(|(key, _)| of(key)))
            .map(|(key, row)| (RowKey { generation, ..*key }, row.clone()))
            .collect();
        self.disk.meta = Some(with_generation(meta, generation).unwrap());
        self.held.clear();
        self.machine = self.replayed();
        assert_eq!(self.machine.generation(), generation);
    }

    fn equal(&self, machine: &Machine) {
        let view = machine.view();
        assert_eq!(view.applied(), self.log.len() as u64);
        assert_eq!(view.revision(), self.model.revision);
        assert_eq!(view.compacted(), self.model.compacted);
        let alarms: Vec<_> = view.alarms().map(|a| (a.alarm, a.member_id)).collect();
        assert_eq!(alarms, self.model.alarms.iter().copied().collect::<Vec<_>>());
        reads_like(&view, &self.model, &self.disk, false);
        let sessions: Vec<_> =
            machine.sessions.table.iter().map(|(id, s)| (*id, s.low, s.replies.len())).collect();
        // What is remembered is the same, whoever made the whole reply.
        let replies =
            |m: &Machine| m.sessions.table.iter().map(|(_, s)| s.replies.clone()).collect::<Vec<_>>();
        assert_eq!(replies(machine), replies(&self.machine));
        let expected: Vec<_> =
            self.model.sessions.iter().map(|(id, (low, r))| (*id, *low, r.len())).collect();
        assert_eq!(sessions, expected);
        assert_eq!(machine.sessions, self.machine.sessions, "with everything that follows from them");
    }

    fn check(&mut self, probe: &RangeRequest) {
        self.equal(&self.machine);
        let mut probe = probe.clone();
        probe.revision = if probe.revision == i64::MIN { 0 } else { self.model.revision - probe.revision };
        assert_eq!(
            self.machine.view().range(&probe, &self.disk, u64::MAX),
            self.model.range(&probe),
            "{probe:?}"
        );
        for (view, model, finished) in &self.held {
            reads_like(view, model, &self.disk, self.finished > finished + 2);
        }
        self.held.retain(|(.., finished)| self.finished < finished + 5);
        self.held.push((self.machine.view(), self.model.clone(), self.finished));
        let known = self.disk.rows.iter().filter(|(key, _)| !self.machine.leftover.contains(key));
        assert_eq!(self.machine.size().row_bytes, known.map(|(_, row)| row.len() as u64).sum::<u64>());
    }
}

/// Every revision that can be read reads as in the model. A late reader may find rows deleted, by
/// compactions that it does not know of.
fn reads_like(view: &View, model: &Model, disk: &Image, late: bool) {
    for revision in 0..=model.revision + 1 {
        let r = RangeRequest { revision, ..all() };
        let read = view.range(&r, disk, u64::MAX);
        if !(late && read == Err(Error::Compacted)) {
            assert_eq!(read, model.range(&r), "at revision {revision}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_run_reads_and_replies_like_the_model_and_survives_a_crash_at_every_batch(
        steps in prop::collection::vec((step(), range_request()), 1..80),
        budget in budget(),
    ) {
        let mut run = Run {
            machine: limited(Machine::new()),
            disk: Image::default(),
            log: Vec::new(),
            model: Model::new(),
            finished: 0,
            held: Vec::new(),
        };
        run.machine.now.budget = budget;
        run.model.budget = budget;
        for (step, probe) in steps {
            run.take(step);
            run.check(&probe);
        }
    }
}
