//! The checks against histories that are right, and against ones that are wrong on purpose.

use super::brute;
use super::*;
use std::collections::BTreeMap;

/// A store with revisions, and clients that use it with delays, lost answers and lost requests:
/// what it records is linearizable by construction.
pub(super) struct World {
    rng: fastrand::Rng,
    recorder: Recorder,
    now: u64,
    revision: u64,
    /// Per key: every value it had, from which revision on.
    versions: BTreeMap<String, Vec<(u64, Option<String>)>>,
    clients: Vec<Client>,
    /// Requests whose clients gave up; some arrive later.
    lost: Vec<Call>,
    /// Chance that a request or its answer is lost.
    loss: f64,
    losses_left: usize,
}

struct Client {
    workload: Workload,
    state: State,
}

enum State {
    Idle,
    Asked(Handle, Call),
    Answered(Handle, Call, Reply, u64),
}

impl World {
    pub(super) fn new(seed: u64, clients: usize, keys: usize, mix: Mix, losses: usize, loss: f64) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let keys: Vec<String> = (0..keys).map(|k| format!("k{k}")).collect();
        let clients = (0..clients)
            .map(|c| Client {
                workload: Workload::new(format!("c{c}"), keys.clone(), mix, rng.fork()),
                state: State::Idle,
            })
            .collect();
        World {
            rng,
            recorder: Recorder::new(usize::MAX),
            now: 0,
            revision: 1,
            versions: BTreeMap::new(),
            clients,
            lost: Vec::new(),
            loss,
            losses_left: losses,
        }
    }

    fn at(&self, key: &str, revision: u64) -> Option<String> {
        let versions = self.versions.get(key)?;
        versions.iter().rev().find(|(from, _)| *from <= revision)?.1.clone()
    }

    fn execute(&mut self, call: &Call) -> (Reply, u64) {
        let current = |world: &World, key: &str| world.at(key, world.revision);
        let (reply, takes_effect) = match call {
            Call::Put { .. } => (Reply::Put, true),
            Call::Get { key, serializable: false } => (Reply::Get(current(self, key)), false),
            Call::Get { key, serializable: true } => {
                // A replica that lags.
                let revision = self.revision.saturating_sub(self.rng.u64(..20)).max(1);
                return (Reply::Get(self.at(key, revision)), revision);
            }
            Call::Delete { key } => {
                let found = current(self, key).is_some();
                (Reply::Delete(Some(found)), found)
            }
            Call::Cas { key, expected, .. } => {
                let equal = current(self, key) == *expected;
                (Reply::Cas(equal), equal)
            }
            Call::Txn { reads, writes } => {
                (Reply::Txn(reads.iter().map(|key| current(self, key)).collect()), !writes.is_empty())
            }
        };
        if takes_effect {
            self.revision += 1;
            for (key, value) in call.writes() {
                let value = value.map(str::to_owned);
                self.versions.entry(key.to_owned()).or_default().push((self.revision, value));
            }
        }
        (reply, self.revision)
    }

    fn step(&mut self) {
        self.now += self.rng.u64(1..1000);
        if !self.lost.is_empty() && self.rng.u32(..200) == 0 {
            let call = self.lost.swap_remove(self.rng.usize(..self.lost.len()));
            self.execute(&call);
        }
        let c = self.rng.usize(..self.clients.len());
        let lose = self.losses_left > 0 && self.rng.f64() < self.loss;
        self.clients[c].state = match std::mem::replace(&mut self.clients[c].state, State::Idle) {
            State::Idle => {
                let call = self.clients[c].workload.draw();
                let handle = self.recorder.invoke(c as u64, call.clone(), self.now).unwrap();
                State::Asked(handle, call)
            }
            State::Asked(handle, call) if lose => {
                self.losses_left -= 1;
                self.recorder.complete(handle, Outcome::Unknown, self.now);
                self.lost.push(call);
                State::Idle
            }
            State::Asked(handle, call) => {
                let (reply, revision) = self.execute(&call);
                State::Answered(handle, call, reply, revision)
            }
            State::Answered(handle, ..) if lose => {
                self.losses_left -= 1;
                self.recorder.complete(handle, Outcome::Unknown, self.now);
                State::Idle
            }
            State::Answered(handle, call, reply, revision) => {
                self.clients[c].workload.observe(&call, &reply);
                let outcome = Outcome::Ok { reply, revision: Some(revision), replica: None };
                self.recorder.complete(handle, outcome, self.now);
                State::Idle
            }
        };
    }

    /// A history of so many operations; those still under way at the end are of unknown fate.
    pub(super) fn run(mut self, operations: usize) -> Vec<Operation> {
        while self.recorder.operations().len() < operations {
            self.step();
        }
        self.recorder.finish()
    }
}

fn without_revisions(mut history: Vec<Operation>) -> Vec<Operation> {
    for operation in &mut history {
        if let Outcome::Ok { revision, .. } = &mut operation.outcome {
            *revision = None;
        }
    }
    history
}

fn linearizable(history: &[Operation]) -> bool {
    let report = verify(history, &Limits::default());
    assert!(report.undecided.is_empty(), "{report}");
    report.violations.iter().all(|v| v.property != Property::Linearizability)
}

/// The search alone, without the quick way to refute.
fn searched(history: &[Operation]) -> bool {
    let outcome = |p: &partition::Partition| search::search(p, &mut 1_000_000);
    partition::partition(history).iter().all(|p| match outcome(p) {
        search::Found::Linearizable => true,
        search::Found::Stuck(_) => false,
        search::Found::Undecided(_) => panic!("undecided:{}", show(history)),
    })
}

fn show(history: &[Operation]) -> String {
    let lines = history.iter().map(|o| format!("\n{:>3} {:>3?} {o}", o.start_ns, o.end_ns));
    lines.collect()
}

/// A few values, written more than once, by operations that overlap at random.
fn scramble(rng: &mut fastrand::Rng) -> Vec<Operation> {
    let value = |rng: &mut fastrand::Rng| format!("v{}", rng.u32(..3));
    let seen = |rng: &mut fastrand::Rng| (rng.u32(..4) > 0).then(|| format!("v{}", rng.u32(..3)));
    let several_keys = rng.u32(..3) == 0;
    let key = |rng: &mut fastrand::Rng| format!("k{}", if several_keys { rng.u32(..2) } else { 0 });
    (0..rng.usize(1..8))
        .map(|client| {
            let key = key(rng);
            let (call, reply) = match rng.u32(..if several_keys { 10 } else { 8 }) {
                0..2 => (Call::Put { key, value: value(rng) }, Reply::Put),
                2..4 => (Call::Get { key, serializable: false }, Reply::Get(seen(rng))),
                4 => (Call::Delete { key }, Reply::Delete(Some(rng.bool()).filter(|_| rng.u32(..4) > 0))),
                5..8 => (Call::Cas { key, expected: seen(rng), value: value(rng) }, Reply::Cas(rng.bool())),
                _ => {
                    let writes = (0..rng.u32(..3)).map(|k| Write { key: format!("k{k}"), value: seen(rng) });
                    let writes = writes.filter(|w| w.key != "k2").collect();
                    (Call::Txn { reads: vec![key], writes }, Reply::Txn(vec![seen(rng)]))
                }
            };
            let start_ns = rng.u64(..12);
            let outcome = match rng.u32(..10) {
                0 => Outcome::Fail,
                1..4 => Outcome::Unknown,
                _ => Outcome::Ok { reply, revision: None, replica: None },
            };
            let end_ns = Some(start_ns + rng.u64(..8));
            Operation { client: client as u64, call, start_ns, end_ns, outcome }
        })
        .collect()
}

/// Changes an answer, or when an operation ended.
fn mutate(rng: &mut fastrand::Rng, history: &mut [Operation]) {
    let values: Vec<Option<String>> =
        history.iter().flat_map(|o| o.call.writes()).map(|(_, v)| v.map(str::to_owned)).collect();
    let i = rng.usize(..history.len());
    let pick = |rng: &mut fastrand::Rng| match values.is_empty() {
        true => None,
        false => values[rng.usize(..values.len())].clone(),
    };
    let operation = &mut history[i];
    match &mut operation.outcome {
        Outcome::Ok { reply: Reply::Get(value), .. } => *value = pick(rng),
        Outcome::Ok { reply: Reply::Delete(Some(found)), .. } => *found = !*found,
        Outcome::Ok { reply: Reply::Cas(equal), .. } => *equal = !*equal,
        Outcome::Ok { reply: Reply::Txn(values), .. } => values.iter_mut().for_each(|v| *v = pick(rng)),
        Outcome::Ok { .. } | Outcome::Unknown => operation.outcome = Outcome::Fail,
        Outcome::Fail => operation.outcome = Outcome::Unknown,
    }
}

#[test]
fn the_search_agrees_with_the_definition() {
    let mut verdicts = [0, 0];
    for seed in 0..20_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let history = scramble(&mut rng);
        let expected = brute::linearizable(&history);
        assert_eq!(linearizable(&history), expected, "seed {seed}:{}", show(&history));
        assert_eq!(searched(&history), expected, "search, seed {seed}:{}", show(&history));
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|n| *n > 2_000), "one-sided: {verdicts:?}");
}

#[test]
fn the_search_agrees_with_the_definition_on_what_a_store_did_and_nearly_did() {
    let mut verdicts = [0, 0];
    for seed in 0..6_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mix = Mix { put: 4, get: 4, serializable: 0, delete: 2, cas: 4, txn: rng.u32(..3) };
        let (keys, operations) = (rng.usize(1..3), rng.usize(4..10));
        let mut history = World::new(seed, 3, keys, mix, 4, 0.2).run(operations);
        assert!(brute::linearizable(&history), "seed {seed}:{}", show(&history));
        assert!(linearizable(&history), "seed {seed}:{}", show(&history));
        for _ in 0..rng.usize(1..3) {
            mutate(&mut rng, &mut history);
        }
        let expected = brute::linearizable(&history);
        assert_eq!(linearizable(&history), expected, "mutated, seed {seed}:{}", show(&history));
        assert_eq!(searched(&history), expected, "search, mutated, seed {seed}:{}", show(&history));
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|n| *n > 1_000), "one-sided: {verdicts:?}");
}

#[test]
fn a_violation_is_shown_by_operations_that_violate_alone() {
    let (mut shown, mut fewer) = (0, 0);
    for seed in 0..12_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let history = if rng.bool() {
            scramble(&mut rng)
        } else {
            let mix = Mix { put: 4, get: 4, serializable: 0, delete: 3, cas: 6, txn: 0 };
            let mut history = World::new(seed, 4, 1, mix, 3, 0.1).run(9);
            mutate(&mut rng, &mut history);
            history
        };
        let report = verify(&history, &Limits::default());
        for violation in report.violations.iter().filter(|v| v.property == Property::Linearizability) {
            let core = &violation.operations;
            assert!(!brute::linearizable(core), "seed {seed}:{}\nof{}", show(core), show(&history));
            shown += 1;
            fewer += usize::from(core.len() < history.len());
        }
    }
    assert!(shown > 3_000 && fewer > 2_000, "{shown} violations, {fewer} by fewer operations");
}

const WIDE: Mix = Mix { put: 40, get: 35, serializable: 0, delete: 5, cas: 20, txn: 0 };

#[test]
fn it_accepts_ten_thousand_operations_of_which_fifty_are_of_unknown_fate() {
    for (seed, clients, keys) in [(1, 10, 4), (2, 20, 2), (3, 10, 1), (4, 32, 1)] {
        let history = World::new(seed, clients, keys, WIDE, 50, 0.02).run(10_000);
        let report = verify(&history, &Limits::default());
        println!("{clients} clients on {keys} keys: {report}");
        assert!(report.unknown >= 50, "{report}");
        assert_eq!(report.verdict(), Verdict::Holds, "{report}");
        assert!(report.configurations < 40_000, "{report}");
    }
}

#[test]
fn it_accepts_transactions_that_join_all_keys() {
    let mix = Mix { txn: 15, ..WIDE };
    let history = World::new(5, 10, 4, mix, 50, 0.02).run(10_000);
    let report = verify(&history, &Limits::default());
    println!("{report}");
    assert_eq!(report.verdict(), Verdict::Holds, "{report}");
}

/// Makes one read return what its key held some writes before the read began.
fn with_one_stale_read(mut history: Vec<Operation>, at: usize) -> (Vec<Operation>, usize) {
    let (mut last_but_one, mut last) = (BTreeMap::new(), BTreeMap::new());
    let mut order: Vec<usize> = (0..history.len()).filter(|i| history[*i].reply().is_some()).collect();
    order.sort_by_key(|i| history[*i].end_ns);
    let mut puts: Vec<(u64, String, Option<String>, u64)> = Vec::new();
    for i in order {
        if let (Call::Put { key, value }, Some(end)) = (&history[i].call, history[i].end_ns) {
            last_but_one.insert(key.clone(), last.insert(key.clone(), value.clone()));
            let older = last_but_one[key].clone();
            puts.push((end, key.clone(), older, history[i].start_ns));
        }
    }
    let (read, stale) = (at..history.len())
        .find_map(|i| {
            let Call::Get { key, .. } = &history[i].call else { return None };
            history[i].reply()?;
            // The put before `older` ended before another put began that ended before this read.
            let newer = puts.iter().rev().find(|(end, k, _, _)| *end < history[i].start_ns && k == key)?;
            let older = puts.iter().rev().find(|(end, k, _, _)| *end < newer.3 && k == key)?;
            Some((i, older.2.clone()?))
        })
        .expect("there is such a read");
    if let Outcome::Ok { reply, .. } = &mut history[read].outcome {
        *reply = Reply::Get(Some(stale));
    }
    (history, read)
}

#[test]
fn it_rejects_ten_thousand_operations_with_one_stale_read() {
    for (seed, clients, keys) in [(1, 10, 4), (2, 20, 2), (3, 10, 1), (4, 32, 1)] {
        let history = World::new(seed, clients, keys, WIDE, 50, 0.02).run(10_000);
        let (history, read) = with_one_stale_read(without_revisions(history), 9_000);
        let report = verify(&history, &Limits::default());
        println!("{clients} clients on {keys} keys: {} configurations\n{report}", report.configurations);
        assert_eq!(report.violations.len(), 1, "{report}");
        let violation = &report.violations[0];
        assert_eq!(violation.property, Property::Linearizability);
        assert!(violation.operations.contains(&history[read]), "{report}");
        assert!(violation.operations.len() <= 6, "{report}");
    }
}

/// Makes one read answer "absent", where another had seen a value and no delete came between.
fn with_one_lost_value(mut history: Vec<Operation>, from: usize) -> (Vec<Operation>, usize) {
    let between = |key: &str, first: &Operation, last: &Operation| {
        let in_time = |o: &Operation| o.deadline() >= first.start_ns && o.start_ns <= last.deadline();
        history.iter().any(|o| matches!(&o.call, Call::Delete { key: k } if k == key) && in_time(o))
    };
    let read = (from..history.len())
        .find(|i| {
            let (Call::Get { key, .. }, Some(Reply::Get(Some(_)))) = (&history[*i].call, history[*i].reply())
            else {
                return false;
            };
            history[..*i].iter().rev().take(300).any(|o| {
                matches!(o.reply(), Some(Reply::Get(Some(_))))
                    && o.call.keys() == [key.as_str()]
                    && o.deadline() < history[*i].start_ns
                    && !between(key, o, &history[*i])
            })
        })
        .expect("there is such a read");
    if let Outcome::Ok { reply, .. } = &mut history[read].outcome {
        *reply = Reply::Get(None);
    }
    (history, read)
}

#[test]
fn it_rejects_ten_thousand_operations_with_one_value_lost() {
    let mut configurations = 0;
    for (seed, clients, keys) in [(1, 10, 4), (2, 20, 2), (3, 10, 1), (4, 32, 1)] {
        let mix = Mix { delete: 2, ..WIDE };
        let history = World::new(seed, clients, keys, mix, 10, 0.002).run(10_000);
        let (history, read) = with_one_lost_value(without_revisions(history), 9_000);
        let report = verify(&history, &Limits::default());
        println!("{clients} clients on {keys} keys: {} configurations\n{report}", report.configurations);
        assert_eq!(report.violations.len(), 1, "{report}");
        assert!(report.violations[0].operations.contains(&history[read]), "{report}");
        assert!(report.violations[0].operations.len() <= 8, "{report}");
        configurations += report.configurations;
    }
    assert!(configurations > 0, "none of these needed the search");
}

#[test]
fn it_rejects_serializable_reads_passed_off_as_linearizable() {
    let mix = Mix { serializable: 20, ..WIDE };
    let mut history = World::new(6, 10, 4, mix, 20, 0.01).run(4_000);
    let report = verify(&history, &Limits::default());
    assert_eq!(report.verdict(), Verdict::Holds, "as serializable reads they are right: {report}");
    for operation in &mut history {
        if let Call::Get { serializable, .. } = &mut operation.call {
            *serializable = false;
        }
    }
    let report = verify(&history, &Limits::default());
    let found: Vec<Property> = report.violations.iter().map(|v| v.property).collect();
    assert!(found.contains(&Property::RevisionOrder), "{found:?}");
    assert!(found.contains(&Property::SessionOrder), "{found:?}");
    assert!(found.contains(&Property::Linearizability), "{found:?}");
    let blind = verify(&without_revisions(history), &Limits::default());
    assert!(blind.violations.iter().any(|v| v.property == Property::Linearizability), "{blind}");
}

#[test]
fn past_its_bound_it_is_undecided_and_that_is_no_pass() {
    let history = World::new(1, 10, 4, WIDE, 50, 0.02).run(1_000);
    let report = verify(&history, &Limits { configurations: 50, explanation: 50 });
    assert_eq!(report.verdict(), Verdict::Undecided, "{report}");
    assert!(report.configurations <= 50 && !report.undecided.is_empty());
}

fn parse(lines: &str) -> Vec<Operation> {
    read(lines.as_bytes()).unwrap()
}

/// The properties violated by a history given as lines of: client, op, revision, start, end.
fn violated(lines: &[&str]) -> Vec<Property> {
    let text: Vec<String> = lines.iter().map(|line| format!(r#"{{"outcome":"ok",{line}}}"#)).collect();
    verify(&parse(&text.join("\n")), &Limits::default()).violations.iter().map(|v| v.property).collect()
}

#[test]
fn a_value_that_nobody_wrote_is_no_creation() {
    let fail = r#"{"client":1,"op":"put","key":"a","value":"x","start_ns":1,"outcome":"fail"}"#;
    let get = r#"{"client":2,"op":"get","key":"a","value":"x","serializable":true,"start_ns":5,"end_ns":6,"outcome":"ok"}"#;
    let report = verify(&parse(&format!("{fail}\n{get}")), &Limits::default());
    assert_eq!(report.violations.len(), 1);
    assert_eq!(report.violations[0].property, Property::NoCreation);
    assert_eq!(report.violations[0].statement, r#"a had the value "x", but its write surely failed"#);
}

#[test]
fn two_changes_with_one_revision_are_found() {
    let found = violated(&[
        r#""client":1,"op":"put","key":"a","value":"x","revision":2,"start_ns":1,"end_ns":9"#,
        r#""client":2,"op":"put","key":"b","value":"y","revision":2,"start_ns":1,"end_ns":9"#,
    ]);
    assert_eq!(found, [Property::UniqueRevisions]);
}

#[test]
fn a_later_change_with_a_lower_revision_is_found() {
    let found = violated(&[
        r#""client":1,"op":"put","key":"a","value":"x","revision":3,"start_ns":1,"end_ns":2"#,
        r#""client":2,"op":"put","key":"b","value":"y","revision":2,"start_ns":3,"end_ns":4"#,
    ]);
    assert_eq!(found, [Property::RevisionOrder]);
}

#[test]
fn operations_that_touch_are_concurrent() {
    let revisions = violated(&[
        r#""client":1,"op":"put","key":"a","value":"x","revision":3,"start_ns":1,"end_ns":2"#,
        r#""client":2,"op":"put","key":"b","value":"y","revision":2,"start_ns":2,"end_ns":4"#,
    ]);
    assert_eq!(revisions, []);
    let order = violated(&[
        r#""client":1,"op":"put","key":"a","value":"x","start_ns":1,"end_ns":5"#,
        r#""client":2,"op":"put","key":"a","value":"y","start_ns":5,"end_ns":8"#,
        r#""client":3,"op":"get","key":"a","value":"x","start_ns":9,"end_ns":10"#,
    ]);
    assert_eq!(order, []);
}

#[test]
fn a_read_below_what_was_shown_is_found_and_for_one_client_is_named_so() {
    let found = violated(&[
        r#""client":1,"op":"put","key":"a","value":"x","revision":3,"start_ns":1,"end_ns":2"#,
        r#""client":1,"op":"get","key":"b","value":null,"revision":2,"start_ns":3,"end_ns":4"#,
    ]);
    assert_eq!(found, [Property::SessionOrder, Property::RevisionOrder]);
}

#[test]
fn a_replica_that_shows_less_than_before_is_found() {
    let found = violated(&[
        r#""client":1,"op":"get","key":"b","value":null,"serializable":true,"replica":1,"revision":3,"start_ns":1,"end_ns":2"#,
        r#""client":2,"op":"get","key":"b","value":null,"serializable":true,"replica":2,"revision":1,"start_ns":3,"end_ns":4"#,
        r#""client":2,"op":"get","key":"b","value":null,"serializable":true,"replica":1,"revision":2,"start_ns":5,"end_ns":6"#,
    ]);
    assert_eq!(found, [Property::ReplicaOrder]);
}

#[test]
fn a_serializable_read_of_a_state_that_never_was_is_found() {
    let put = |value: &str, revision: u64| {
        format!(
            r#""client":1,"op":"put","key":"a","value":"{value}","revision":{revision},"start_ns":{revision},"end_ns":{revision}"#
        )
    };
    let get = |value: &str, revision: u64| {
        format!(
            r#""client":2,"op":"get","key":"a","value":"{value}","serializable":true,"revision":{revision},"start_ns":9,"end_ns":9"#
        )
    };
    assert_eq!(violated(&[&put("x", 2), &put("y", 3), &get("x", 2)]), []);
    assert_eq!(violated(&[&put("x", 2), &put("y", 3), &get("x", 3)]), [Property::ValueAtRevision]);
    assert_eq!(violated(&[&put("x", 2), &put("y", 3), &get("y", 2)]), [Property::ValueAtRevision]);
}

#[test]
fn a_write_of_unknown_fate_explains_a_value_only_where_a_revision_is_left_for_it() {
    let unknown = r#"{"client":1,"op":"put","key":"a","value":"x","start_ns":1,"outcome":"unknown"}"#;
    let other = r#"{"client":2,"op":"put","key":"b","value":"y","revision":2,"start_ns":1,"end_ns":2,"outcome":"ok"}"#;
    let get = |revision: u64| {
        format!(
            r#"{{"client":2,"op":"get","key":"a","value":"x","revision":{revision},"start_ns":3,"end_ns":4,"outcome":"ok"}}"#
        )
    };
    let check = |revision| {
        let history = parse(&format!("{unknown}\n{other}\n{}", get(revision)));
        let report = verify(&history, &Limits::default());
        report.violations.iter().map(|v| v.property).collect::<Vec<Property>>()
    };
    assert_eq!(check(3), []);
    assert_eq!(check(2), [Property::ValueAtRevision]);
}

#[test]
fn the_report_is_a_table_that_a_person_can_read() {
    let history = parse(concat!(
        r#"{"client":1,"op":"put","key":"a","value":"x","start_ns":1000,"end_ns":1500,"outcome":"ok"}"#,
        "\n",
        r#"{"client":2,"op":"put","key":"a","value":"y","start_ns":1600,"end_ns":1700,"outcome":"ok"}"#,
        "\n",
        r#"{"client":3,"op":"get","key":"a","value":"x","start_ns":1800,"end_ns":1900,"outcome":"ok"}"#,
        "\n",
        r#"{"client":1,"op":"put","key":"a","value":"z","start_ns":1950,"outcome":"unknown"}"#,
    ));
    let expected = r#"4 operations of 3 clients on 1 key: 3 ok, 0 failed, 1 of unknown fate
violation of linearizability: no order of these operations on a explains their answers
    client     start ns       end ns  revision  operation
         1            0          500         -  put a = "x"
         2          600          700         -  put a = "y"
         3          800          900         -  get a: "x"
VIOLATED"#;
    assert_eq!(verify(&history, &Limits::default()).to_string(), expected);
}
