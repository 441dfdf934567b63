//! Sessions: one test per sentence of rule 11.

use super::*;
use crate::broadcast::StateMachine;
use crate::kv::session::Session;

const BOUNDS: SharedBounds = SharedBounds::DEFAULT;
const WINDOW: u64 = BOUNDS.session_calls;
const MAX_SESSIONS: usize = BOUNDS.sessions;
const MAX_REPLY: usize = BOUNDS.longest_reply();

fn open(store: &mut Store) -> u64 {
    match store.try_do(Op::OpenSession) {
        Ok(Response::SessionOpened(id)) => id,
        other => panic!("{other:?}"),
    }
}

fn call(id: u64, seq: u64, low: u64, op: Op) -> Command {
    Command { session: Some(SessionCall { id, seq, low }), op }
}

fn session(store: &Store, id: u64) -> &Session {
    store.machine.sessions.table.get(&id).unwrap()
}

const EXPIRED: Reply = Err(Error::SessionExpired);

#[test]
fn the_id_of_a_session_is_its_place_in_the_log_and_never_0() {
    let mut store = Store::default();
    assert_eq!(open(&mut store), 1);
    store.put("a", "");
    assert_eq!(open(&mut store), 3);
}

#[test]
fn a_repeated_call_gets_the_reply_of_its_one_execution() {
    let mut store = Store::default();
    let id = open(&mut store);
    let first = store.try_do(call(id, 1, 1, put("a", "1"))).unwrap();
    store.put("a", "2");
    assert_eq!(store.try_do(call(id, 1, 1, put("a", "1"))), Ok(first));
    assert_eq!(store.range(range("a", "")).kvs, [kv("a", "2", 2, 3, 2)]);
}

#[test]
fn a_refusal_is_a_reply_and_is_remembered() {
    let mut store = Store::default();
    let id = open(&mut store);
    let compact = |seq| call(id, seq, 1, Op::Compact(CompactionRequest { revision: 2, physical: false }));
    assert_eq!(store.try_do(compact(1)), Err(Error::FutureRevision));
    store.put("a", "");
    assert_eq!(store.try_do(compact(1)), Err(Error::FutureRevision));
    assert!(store.try_do(compact(2)).is_ok());
}

#[test]
fn calls_may_come_in_any_order_within_the_window() {
    let mut store = Store::default();
    let id = open(&mut store);
    for seq in [3, 1, 2] {
        assert!(store.try_do(call(id, seq, 1, put("a", &seq.to_string()))).is_ok());
    }
    assert_eq!(values(&store.range(range("a", ""))), ["2"]);
    assert_eq!(store.revision(), 4);
}

#[test]
fn below_the_watermark_is_an_error_and_never_a_second_execution() {
    let mut store = Store::default();
    let id = open(&mut store);
    store.try_do(call(id, 1, 1, put("a", "1"))).unwrap();
    store.try_do(call(id, 2, 2, put("a", "2"))).unwrap();
    assert_eq!(store.try_do(call(id, 1, 1, put("a", "1"))), EXPIRED);
    assert_eq!(store.try_do(call(id, 5, 6, put("a", "5"))), EXPIRED, "and below one's own");
    assert_eq!(values(&store.range(range("a", ""))), ["2"]);
    assert_eq!(Error::SessionExpired.to_string(), "kvorum: session expired");
    assert_eq!(session(&store, id).low, 6);
    assert_eq!(session(&store, id).replies.len(), 0, "what is answered is forgotten");
    store.try_do(call(id, 7, 2, put("a", "7"))).unwrap();
    assert_eq!(session(&store, id).low, 6, "the watermark never goes back");
}

#[test]
fn an_unknown_session_is_an_error_and_never_an_execution() {
    let mut store = Store::default();
    let id = open(&mut store);
    assert_eq!(store.try_do(call(id + 7, 1, 1, put("a", "1"))), EXPIRED);
    assert_eq!(store.try_do(Op::CloseSession(id)), Ok(Response::SessionClosed));
    assert_eq!(store.try_do(call(id, 1, 1, put("a", "1"))), EXPIRED);
    assert_eq!(store.try_do(Op::CloseSession(id)), Ok(Response::SessionClosed));
    assert_eq!(store.revision(), 1);
}

#[test]
fn a_call_beyond_the_window_is_an_error_and_may_come_again() {
    let mut store = Store::default();
    let id = open(&mut store);
    assert!(store.try_do(call(id, WINDOW, 1, put("a", "1"))).is_ok());
    let beyond = Err(Error::SessionWindow);
    assert_eq!(store.try_do(call(id, WINDOW + 1, 1, put("a", "2"))), beyond);
    assert_eq!(store.try_do(call(id, u64::MAX, 1, put("a", "2"))), beyond);
    assert_eq!(store.revision(), 2);
    assert!(store.try_do(call(id, WINDOW + 1, 2, put("a", "2"))).is_ok());
}

#[test]
fn the_session_that_was_used_least_recently_is_evicted() {
    let mut store = Store::default();
    let ids: Vec<u64> = (0..MAX_SESSIONS).map(|_| open(&mut store)).collect();
    store.try_do(call(ids[0], 1, 1, put("a", "1"))).unwrap();
    open(&mut store);
    assert_eq!(store.machine.sessions.table.len(), MAX_SESSIONS);
    assert_eq!(store.try_do(call(ids[1], 1, 1, put("a", "2"))), EXPIRED, "its last use was the oldest");
    assert!(store.try_do(call(ids[0], 1, 1, put("a", "1"))).is_ok(), "still remembered");
    assert_eq!(values(&store.range(range("a", ""))), ["1"]);
}

#[test]
fn remembered_replies_take_bounded_room() {
    let mut store = Store::default();
    store.put("a", &"x".repeat(MAX_REPLY * 3 / 4));
    let read = || Op::Txn(TxnRequest { success: vec![range_op("a", "")], ..Default::default() });
    let first = open(&mut store);
    let second = open(&mut store);
    for id in [first, second] {
        for seq in 1..=WINDOW {
            store.try_do(call(id, seq, 1, read())).unwrap();
        }
    }
    let table = &store.machine.sessions.table;
    assert!(table.get(&first).is_none(), "evicted, so that the other one's replies have room");
    assert_eq!(table.get(&second).unwrap().replies.len() as u64, WINDOW);
}

#[test]
fn a_reply_that_is_too_long_or_reads_the_past_is_not_kept_but_not_executed_twice_either() {
    let mut store = Store::default();
    store.put("a", &"x".repeat(MAX_REPLY));
    let id = open(&mut store);
    let past = op(Request::RequestRange(RangeRequest { revision: 1, ..range("b", "") }));
    for (seq, read) in [
        (1, range_op("a", "")),
        (2, past.clone()),
        (3, txn_op(TxnRequest { success: vec![past], ..Default::default() })),
    ] {
        let txn = Op::Txn(TxnRequest { success: vec![read, put_op("b", "")], ..Default::default() });
        let before = store.revision();
        assert!(store.try_do(call(id, seq, 1, txn.clone())).is_ok());
        assert_eq!(store.try_do(call(id, seq, 1, txn)), Err(Error::ReplyLost));
        assert_eq!(store.revision(), before + 1);
    }
}

#[test]
fn the_table_is_part_of_the_checkpoint() {
    let mut store = Store::default();
    let ids: Vec<u64> = (0..MAX_SESSIONS).map(|_| open(&mut store)).collect();
    let reply = store.try_do(call(ids[0], 3, 2, put("a", "1"))).unwrap();
    store.checkpoint();
    store.machine = store.disk.boot().unwrap();
    assert_eq!(store.try_do(call(ids[0], 3, 2, put("a", "1"))), Ok(reply));
    assert_eq!(store.try_do(call(ids[0], 1, 2, put("a", "1"))), EXPIRED);
    open(&mut store);
    assert_eq!(store.try_do(call(ids[1], 1, 1, put("a", "2"))), EXPIRED, "the order of use as well");
    assert_eq!(store.revision(), 2);
}

#[test]
fn bounds_are_those_that_the_process_is_told_at_boot() {
    let mut store = Store::default();
    let shared = SharedBounds { sessions: 1, session_calls: 1, ..BOUNDS };
    store.machine.configure(&config(shared, Mutants::default()));
    let (first, second) = (open(&mut store), open(&mut store));
    assert_eq!(store.try_do(call(first, 1, 1, put("a", "1"))), EXPIRED);
    assert_eq!(store.try_do(call(second, 2, 1, put("a", "1"))), Err(Error::SessionWindow));
    assert!(store.try_do(call(second, 1, 1, put("a", "1"))).is_ok());
}

#[test]
fn a_session_that_opens_another_one_has_a_place_beside_it() {
    let mut store = Store::default();
    let first = open(&mut store);
    let Ok(Response::SessionOpened(second)) = store.try_do(call(first, 1, 1, Op::OpenSession)) else {
        panic!("no session")
    };
    assert_eq!(session(&store, first).used, session(&store, second).used);
    store.checkpoint();
    assert_eq!(store.machine.sessions, store.disk.boot().unwrap().sessions);
    store.try_do(Op::CloseSession(second)).unwrap();
    (0..MAX_SESSIONS).for_each(|_| _ = open(&mut store));
    assert_eq!(
        store.try_do(call(first, 1, 1, Op::OpenSession)),
        EXPIRED,
        "it kept its place, and is evicted"
    );
}

/// The execution in the head of `session.rs`, at the bound: who reloaded evicts the same session as
/// who lived on.
#[test]
fn a_session_opened_and_one_used_next_are_evicted_alike_after_a_reload() {
    let [living, reloaded] = evictions(Mutants::default());
    assert_eq!(living, reloaded);
    let [opened, used] = living;
    assert_eq!(opened, EXPIRED, "it was opened before the other one was used");
    assert!(used.is_ok());
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutant_evicts_another_session_after_a_reload() {
    use crate::kernel::Mutant;
    let [living, reloaded] = evictions(Mutants::only(Mutant::SessionsByUseAlone));
    assert_ne!(living, reloaded);
}

/// What a replica that lived on and one that reloaded answer to the session that was opened, and to
/// the one that was used next, once one of them had to go.
fn evictions(mutants: Mutants) -> [[Reply; 2]; 2] {
    let mut living = Store::default();
    living.machine.configure(&config(BOUNDS, mutants));
    let [used, opened] = [open(&mut living), open(&mut living)];
    living.try_do(call(used, 1, 1, put("a", "1"))).unwrap();
    living.checkpoint();
    let mut reloaded = Store { machine: living.disk.boot().unwrap(), log: living.log, ..Store::default() };
    reloaded.machine.configure(&config(BOUNDS, mutants));
    [living, reloaded].map(|mut store| {
        (1..MAX_SESSIONS).for_each(|_| _ = open(&mut store));
        [opened, used].map(|id| store.try_do(call(id, 2, 1, put("a", "2"))))
    })
}

#[test]
fn a_call_may_close_its_own_session() {
    let mut store = Store::default();
    let id = open(&mut store);
    assert_eq!(store.try_do(call(id, 1, 1, Op::CloseSession(id))), Ok(Response::SessionClosed));
    assert_eq!(store.try_do(call(id, 1, 1, Op::CloseSession(id))), EXPIRED);
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutant_executes_a_call_of_an_evicted_session() {
    use crate::kernel::Mutant;
    let mutants = Mutants::only(Mutant::EvictedSessionExecutes);
    let call = || Command { session: Some(SessionCall { id: 9, seq: 1, low: 1 }), op: put("a", "1") };
    let mut store = Store::default();
    assert_eq!(store.try_do(call()), Err(Error::SessionExpired));
    store.machine.configure(&config(BOUNDS, mutants));
    assert!(store.try_do(call()).is_ok());
}
