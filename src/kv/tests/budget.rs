//! What one transaction may cost: exact at the bound, without effect beyond it, and alike on every
//! replica.

use super::*;
use crate::broadcast::StateMachine;
use crate::kernel::SharedBounds;
use crate::kv::session::Session;
use CompareResult::{Greater, Less};
use TargetUnion::{Value, Version};

fn within(visits: u64, reply_bytes: u64) -> Store {
    let mut store = Store::default();
    store.machine.now.budget = Budget { visits, reply_bytes };
    store
}

fn filled(visits: u64, reply_bytes: u64, keys: usize) -> Store {
    let mut store = within(visits, reply_bytes);
    (0..keys).for_each(|i| _ = store.put(&format!("k{i:06}"), "v"));
    store
}

fn run(ops: Vec<RequestOp>) -> Op {
    Op::Txn(TxnRequest { success: ops, ..Default::default() })
}

fn over_all(c: Compare) -> Compare {
    Compare { range_end: bytes("\0"), ..c }
}

/// A transaction is executed with this budget and refused with one less, and then has no effect.
#[track_caller]
fn costs(visits: u64, keys: usize, ops: impl Fn() -> TxnRequest) {
    let mut store = filled(visits, u64::MAX, keys);
    assert!(store.try_do(Op::Txn(ops())).is_ok(), "with {visits}");
    let mut store = filled(visits - 1, u64::MAX, keys);
    let before = (store.revision(), store.range(all()), store.machine.size());
    assert_eq!(store.try_do(Op::Txn(ops())), Err(Error::TooManyKeys { limit: visits - 1 }));
    assert_eq!((store.revision(), store.range(all()), store.machine.size()), before);
}

#[test]
fn a_transaction_looks_at_so_many_keys_exactly_or_has_no_effect() {
    let ops = |ops: Vec<RequestOp>| move || TxnRequest { success: ops.clone(), ..Default::default() };
    costs(1 + 10, 10, ops(vec![range_op("\0", "\0")]));
    costs(1 + (1 + 11), 10, ops(vec![put_op("one", "more"), range_op("\0", "\0")]));
    costs(
        2 + 2 * (1 + 11),
        10,
        ops(vec![put_op("l", ""), range_op("\0", "\0"), put_op("m", ""), range_op("a", "m")]),
    );
    costs(2 + 3 * DELETION, 10, ops(vec![put_op("a", ""), delete_op("k000003", "k000006")]));
    costs(2 + 10, 10, ops(vec![txn_op(success(vec![range_op("k", "l")])), put_op("a", "")]));
}

fn success(ops: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success: ops, ..Default::default() }
}

#[test]
fn a_comparison_stops_at_the_first_key_that_decides_it() {
    let of = |c: Compare| move || TxnRequest { compare: vec![c.clone()], ..success(vec![put_op("a", "")]) };
    costs(1 + 10 + 1, 10, of(over_all(compare("k", Greater, Version(0)))));
    // Its first key says no: then nothing is put, either.
    let decided = of(over_all(compare("k", Less, Version(0))));
    let mut store = filled(2, u64::MAX, 10);
    assert!(matches!(store.try_do(Op::Txn(decided())), Ok(Response::Txn(r, _)) if !r.succeeded));
    // And the next comparison is not looked at.
    let both = [compare("k", Less, Version(0)), compare("k", Greater, Version(0))].map(over_all);
    let txn = TxnRequest { compare: both.to_vec(), ..Default::default() };
    assert!(store.try_do(Op::Txn(txn)).is_ok());
}

#[test]
fn values_that_are_compared_or_sorted_by_cost_their_length() {
    let long = "v".repeat(10 << 10);
    let value = Value(bytes(&long));
    for (visits, ok) in [(1 + 11, true), (11, false)] {
        let mut store = within(visits, u64::MAX);
        store.put("k", &long);
        let txn = TxnRequest {
            compare: vec![compare("k", CompareResult::Equal, value.clone())],
            ..Default::default()
        };
        assert_eq!(store.try_do(Op::Txn(txn)).is_ok(), ok, "{visits}");
    }
    let sorted = RangeRequest { sort_target: 4, keys_only: true, ..all() };
    for (visits, ok) in [(2 + 160, true), (1 + 160, false)] {
        let mut store = within(visits, u64::MAX);
        store.put("k", &long);
        assert_eq!(
            store.try_do(run(vec![op(Request::RequestRange(sorted.clone()))])).is_ok(),
            ok,
            "{visits}"
        );
    }
}

#[test]
fn a_transaction_answers_so_many_bytes_exactly_or_has_no_effect() {
    let key = 7 + OVERHEAD;
    let limited = |limit, order| RangeRequest { limit, sort_order: order, ..range("k", "l") };
    for (bytes, ops) in [
        (10 * (key + 1), vec![range_op("k", "l")]),
        (10 * key, vec![op(Request::RequestRange(RangeRequest { keys_only: true, ..range("k", "l") }))]),
        (3 * (key + 1), vec![op(Request::RequestRange(limited(3, 0)))]),
        (3 * (key + 1), vec![op(Request::RequestRange(limited(3, 2)))]),
        (
            key + 1,
            vec![op(Request::RequestPut(PutRequest {
                prev_kv: true,
                key: "k000001".into(),
                ..Default::default()
            }))],
        ),
        (
            2 * (key + 1),
            vec![op(Request::RequestDeleteRange(DeleteRangeRequest {
                prev_kv: true,
                ..delete("k000001", "k000003")
            }))],
        ),
        (1, vec![op(Request::RequestRange(RangeRequest { count_only: true, ..range("k", "l") }))]),
    ] {
        let ops = [vec![put_op("a", "")], ops].concat();
        let mut store = filled(u64::MAX, bytes, 10);
        assert!(store.try_do(run(ops.clone())).is_ok(), "{bytes}: {ops:?}");
        if bytes > 1 {
            let mut store = filled(u64::MAX, bytes - 1, 10);
            let before = (store.revision(), store.range(all()));
            assert_eq!(store.try_do(run(ops)), Err(Error::ReplyTooLong { limit: bytes - 1 }));
            assert_eq!((store.revision(), store.range(all())), before);
        }
    }
}

#[test]
fn a_delete_has_the_budget_of_a_transaction() {
    let mut store = filled(1 + 3 * DELETION, 100, 10);
    assert_eq!(store.delete("k000000", "k000003").deleted, 3);
    let limit = 1 + 3 * DELETION;
    let four = Op::DeleteRange(delete("k000003", "k000007"));
    assert_eq!(store.try_do(four), Err(Error::TooManyKeys { limit }));
    let told = DeleteRangeRequest { prev_kv: true, ..delete("k000003", "") };
    assert_eq!(store.try_do(Op::DeleteRange(told)), Err(Error::ReplyTooLong { limit: 100 }));
    assert_eq!(store.range(all()).count, 7);
}

/// A store whose keys have many versions, some deleted, all but the newest compacted.
fn lived_in() -> Store {
    let mut store = Store::default();
    for round in 0..5 {
        for i in 0..20 {
            store.put(&format!("k{i:02}"), &format!("{round}"));
        }
        store.checkpoint();
    }
    store.delete("k05", "k12");
    store.compact(store.revision()).unwrap();
    store
}

/// The same log, by a replica that has cleaned up, and by one that was loaded from disk.
fn replicas() -> [Store; 3] {
    let lazy = lived_in();
    let mut clean = lived_in();
    for _ in 0..8 {
        clean.checkpoint();
        while clean.machine.scrub(1000) {}
    }
    assert!(clean.machine.size().versions < lazy.machine.size().versions);
    let mut loaded = lived_in();
    loaded.checkpoint();
    loaded.machine = loaded.disk.boot().unwrap();
    [lazy, clean, loaded]
}

/// What the replicas make of transactions that read, compare and delete, under every budget.
fn verdicts(mut stores: [Store; 3]) -> Vec<[Reply; 3]> {
    let past = RangeRequest { revision: stores[0].revision(), ..all() };
    let ops = [range_op("\0", "\0"), op(Request::RequestRange(past)), delete_op("k12", "k14")];
    let txn =
        TxnRequest { compare: vec![over_all(compare("k", Greater, Version(0)))], ..success(ops.to_vec()) };
    let mut verdicts = Vec::new();
    for budget in 0..80 {
        let budgets =
            [Budget { visits: budget, ..Budget::NONE }, Budget { reply_bytes: 50 * budget, ..Budget::NONE }];
        for budget in budgets {
            verdicts.push(stores.each_mut().map(|store| {
                store.machine.now.budget = budget;
                store.try_do(Op::Txn(txn.clone()))
            }));
        }
    }
    verdicts
}

#[test]
fn what_is_not_cleaned_up_yet_costs_nothing() {
    let verdicts = verdicts(replicas());
    let refused = verdicts.iter().filter(|replies| replies[0].is_err()).count();
    assert!(refused > 20 && refused < verdicts.len() - 20, "{refused} of {}", verdicts.len());
    for replies in verdicts {
        assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutants_are_seen() {
    use crate::kernel::{Mutant, Mutants};
    let mut stores = replicas();
    for store in &mut stores {
        store.machine.configure(&config(SharedBounds::DEFAULT, Mutants::only(Mutant::BudgetOfVersions)));
    }
    assert!(verdicts(stores).iter().any(|replies| replies.iter().any(|reply| *reply != replies[0])));
    let mut store = filled(10, u64::MAX, 10);
    let shared = SharedBounds { txn_visits: 10, ..SharedBounds::DEFAULT };
    store.machine.configure(&config(shared, Mutants::only(Mutant::BudgetIgnored)));
    assert!(store.try_do(run(vec![range_op("\0", "\0")])).is_ok());
}

#[test]
fn the_past_is_read_by_who_answers() {
    let mut store = filled(3, 300, 10);
    let past = |revision| op(Request::RequestRange(RangeRequest { revision, ..all() }));
    let txn = run(vec![put_op("a", ""), past(4), past(11)]);
    let reply = store.machine.apply(store.log, &txn.clone().into());
    store.log += 1;
    let Ok(Response::Txn(mut response, unresolved)) = reply else { panic!("{reply:?}") };
    assert!(response.responses[1..].iter().all(|r| reads_of(r).kvs.is_empty()));
    store.put("k000000", "changed meanwhile");
    let mut whole = Response::Txn(response.clone(), unresolved.clone());
    whole.resolve(&store.disk, u64::MAX).unwrap();
    let Response::Txn(whole, _) = whole else { panic!() };
    assert_eq!(reads_of(&whole.responses[1]).count, 3);
    assert_eq!(reads_of(&whole.responses[2]).kvs.len(), 10);
    assert_eq!(reads_of(&whole.responses[2]).kvs[0].value, "v");
    // What is too long to be told was executed all the same; the client port asks before.
    let mut cut = Response::Txn(std::mem::take(&mut response), unresolved);
    assert_eq!(cut.resolve(&store.disk, 1300), Err(Error::ReplyLost));
    let view = store.machine.view();
    assert_eq!(view.bytes_of(&run(vec![past(11)]), 2000), Err(Error::TooManyKeys { limit: 3 }));
}

fn reads_of(r: &ResponseOp) -> &RangeResponse {
    match r.response.as_ref().unwrap() {
        response_op::Response::ResponseRange(r) => r,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_follower_remembers_what_the_origin_does_and_makes_no_more_of_it() {
    let [mut origin, mut follower] = [0, 1].map(|_| filled(u64::MAX, u64::MAX, 3000));
    let mut both = |command: Command| {
        let reply = origin.machine.apply(origin.log, &command);
        follower.machine.follow(follower.log, &command);
        origin.log += 1;
        follower.log += 1;
        let sessions =
            |s: &Store| s.machine.sessions.table.iter().map(|(_, s)| s.clone()).collect::<Vec<Session>>();
        assert_eq!(sessions(&origin), sessions(&follower));
        let kept = sessions(&origin).first().and_then(|s| s.replies.get_max().map(|(_, r)| r.len()));
        (reply.unwrap(), kept.unwrap_or(0))
    };
    let (opened, _) = both(Op::OpenSession.into());
    let Response::SessionOpened(id) = opened else { panic!("{opened:?}") };
    let mut lengths = Vec::new();
    for seq in 1..=7 {
        let ops = vec![range_op("k", "l"); seq as usize];
        let session = Some(SessionCall { id, seq, low: seq });
        let (reply, kept) = both(Command { session, op: run(ops) });
        let Response::Txn(r, _) = reply else { panic!("{reply:?}") };
        assert!(r.responses.iter().all(|r| reads_of(r).kvs.len() == 3000), "the origin tells all of it");
        lengths.push(kept);
    }
    assert!(
        lengths[0] > 0 && lengths[0] <= SharedBounds::DEFAULT.longest_reply() && lengths[3..] == [0; 4],
        "{lengths:?}"
    );
}

/// The origin has made all of the reply when it comes to the bound, and a follower had stopped before.
#[test]
fn a_refusal_is_remembered_by_who_made_less_of_the_reply() {
    let shared = SharedBounds { reply_bytes: 64 * 40, txn_bytes: 1000, ..SharedBounds::DEFAULT };
    let [mut origin, mut follower] = [0, 1].map(|_| filled(u64::MAX, u64::MAX, 20));
    for store in [&mut origin, &mut follower] {
        store.machine.configure(&config(shared, Mutants::default()));
    }
    let Ok(Response::SessionOpened(id)) = origin.try_do(Op::OpenSession) else { panic!("no session") };
    assert_eq!(follower.try_do(Op::OpenSession), Ok(Response::SessionOpened(id)));
    let session = Some(SessionCall { id, seq: 1, low: 1 });
    let command = Command { session, op: run(vec![range_op("k", "l")]) };
    let refused = Err(Error::ReplyTooLong { limit: 1000 });
    assert_eq!(origin.machine.apply(origin.log, &command), refused);
    follower.machine.follow(follower.log, &command);
    assert_eq!(origin.machine.differs(&follower.machine), None);
    assert_eq!(follower.machine.apply(follower.log + 1, &command), refused, "it is remembered");
}

#[test]
fn a_view_says_what_a_command_would_cost() {
    let store = filled(100, 5000, 10);
    let view = store.machine.view();
    let read = run(vec![range_op("k", "l"), put_op("a", "")]);
    assert_eq!(view.bytes_of(&read, 5000), Ok(10 * (8 + OVERHEAD)));
    assert_eq!(view.bytes_of(&read, 1000), Err(Error::ReplyTooLong { limit: 1000 }));
    let deep = run(vec![range_op("k", "l"); 10]);
    assert_eq!(view.bytes_of(&deep, u64::MAX), Err(Error::TooManyKeys { limit: 100 }));
    let delete = DeleteRangeRequest { prev_kv: true, ..delete("k", "l") };
    assert_eq!(view.bytes_of(&Op::DeleteRange(delete), u64::MAX), Ok(10 * (8 + OVERHEAD)));
    assert_eq!(view.range_bytes(&all(), 10_000), Ok(10 * (8 + OVERHEAD)));
    assert_eq!(view.range_bytes(&all(), 1000), Err(Error::ReplyTooLong { limit: 1000 }));
    let few = RangeRequest { limit: 2, sort_order: 2, sort_target: 3, ..all() };
    assert_eq!(view.range_bytes(&few, 1000), Ok(2 * (8 + OVERHEAD)), "a limit makes it fit");
    assert_eq!(view.range(&all(), &store.disk, 1000), Err(Error::ReplyTooLong { limit: 1000 }));
    assert_eq!(store.revision(), view.revision());
}

#[test]
fn alarms_are_bounded() {
    const MAX_ALARMS: usize = SharedBounds::DEFAULT.alarms;
    let mut store = Store::default();
    let raise = |member_id| Op::Alarm(AlarmRequest { action: 1, member_id, alarm: 1 });
    for member in 0..MAX_ALARMS as u64 {
        assert!(store.try_do(raise(member)).is_ok());
    }
    let full = Err(Error::TooManyAlarms { limit: MAX_ALARMS as u64 });
    assert_eq!(store.try_do(raise(1 << 40)), full);
    assert!(store.try_do(raise(5)).is_ok(), "one that is on is no more");
    assert_eq!(store.alarm(alarm_request::AlarmAction::Deactivate, 5, AlarmType::Nospace).len(), 1);
    assert!(store.try_do(raise(1 << 40)).is_ok());
    assert_eq!(store.machine.view().alarms().count(), MAX_ALARMS);
}

fn resident(what: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with(what)).unwrap().to_owned()
}

/// Prints what the worst transactions take, without a budget and with it, and what it costs that a
/// transaction works on a copy.
#[test]
#[ignore = "a measurement: run it alone, optimised"]
fn measure() {
    use std::time::Instant;
    const KEYS: usize = 200_000;
    let mut store = filled(u64::MAX, u64::MAX, KEYS);
    println!("{KEYS} keys: {}", resident("VmRSS"));
    let keys_only = op(Request::RequestRange(RangeRequest { keys_only: true, ..all() }));
    let counted = op(Request::RequestRange(RangeRequest { count_only: true, ..range("k", "l") }));
    let compares = vec![over_all(compare("k", Greater, Version(0))); 128];
    let put = || put_op("one", "more");
    for budget in [Budget::NONE, Budget::default()] {
        println!("{budget:?}");
        store.machine.now.budget = budget;
        let mut timed = |what: &str, op: Op| {
            let start = Instant::now();
            let reply = store.try_do(op);
            let took = start.elapsed();
            let outcome = reply.as_ref().err().map_or("done".into(), Error::to_string);
            println!("  {what}: {took:?}, {} ({outcome})", resident("VmRSS"));
            drop(reply);
        };
        timed("127 ranges", run([vec![keys_only.clone(); 127], vec![put()]].concat()));
        timed("5 counts", run(vec![counted.clone(); 5]));
        timed("128 compares", Op::Txn(TxnRequest { compare: compares.clone(), ..success(vec![put()]) }));
        timed("a delete of 100,000 keys", Op::DeleteRange(delete("k1", "k2")));
        for i in 100_000..200_000 {
            store.put(&format!("k{i:06}"), "v");
        }
    }
    let keys = (0..10_000).map(|i| format!("k{:06}", i * 19)).collect::<Vec<_>>();
    let start = Instant::now();
    keys.iter().for_each(|key| _ = store.put(key, "w"));
    println!("a put: {:?}", start.elapsed() / 10_000);
    let start = Instant::now();
    keys.iter().for_each(|key| _ = store.txn(success(vec![put_op(key, "w")])));
    println!("a put in a transaction: {:?}", start.elapsed() / 10_000);
}
