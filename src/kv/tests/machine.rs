//! Revisions, puts, deletes, compaction, alarms: one test per sentence of the sheet.

use super::alarm_request::AlarmAction::{Activate, Deactivate, Get};
use super::*;

#[test]
fn an_empty_store_is_at_revision_1() {
    let store = Store::default();
    assert_eq!(store.revision(), 1);
    assert_eq!(store.range(all()).header.unwrap().revision, 1);
}

#[test]
fn a_change_makes_a_new_revision_and_nothing_changed_makes_none() {
    let mut store = Store::default();
    assert_eq!(store.put("a", "1").header.unwrap().revision, 2);
    assert_eq!(store.put("a", "1").header.unwrap().revision, 3, "also with an equal value");
    assert_eq!(store.delete("b", "").header.unwrap().revision, 3, "a delete of no keys");
    assert_eq!(store.delete("a", "").header.unwrap().revision, 4);
    assert_eq!(store.delete("a", "").header.unwrap().revision, 4);
    assert_eq!(store.compact(3), Ok(4));
    store.alarm(Activate, 1, AlarmType::Nospace);
    assert!(store.try_do(put("a", "2")).is_err());
    assert_eq!(store.revision(), 4);
}

#[test]
fn versions_count_puts_since_the_creation() {
    let mut store = Store::default();
    store.put("a", "1");
    store.put("a", "2");
    assert_eq!(store.range(range("a", "")).kvs, [kv("a", "2", 2, 3, 2)]);
    store.delete("a", "");
    assert_eq!(store.range(range("a", "")).kvs, []);
    store.put("a", "3");
    assert_eq!(store.range(range("a", "")).kvs, [kv("a", "3", 5, 5, 1)]);
}

#[test]
fn prev_kv_is_the_key_before_the_change_and_only_when_asked_for() {
    let mut store = Store::default();
    let ask = |value| {
        let put = PutRequest { key: bytes("a"), value: bytes(value), prev_kv: true, ..Default::default() };
        Op::Put(put)
    };
    let prev = |reply| match reply {
        Ok(Response::Put(r)) => r.prev_kv,
        other => panic!("{other:?}"),
    };
    assert_eq!(prev(store.try_do(ask("1"))), None);
    assert_eq!(prev(store.try_do(ask("2"))), Some(kv("a", "1", 2, 2, 1)));
    assert_eq!(store.put("a", "3").prev_kv, None);

    store.put("b", "4");
    let deleted = |reply| match reply {
        Ok(Response::DeleteRange(r)) => (r.deleted, r.prev_kvs),
        other => panic!("{other:?}"),
    };
    let gone = Op::DeleteRange(DeleteRangeRequest { prev_kv: true, ..delete("a", "\0") });
    assert_eq!(deleted(store.try_do(gone)), (2, vec![kv("a", "3", 2, 4, 3), kv("b", "4", 5, 5, 1)]));
    store.put("a", "5");
    assert_eq!(
        store.delete("a", ""),
        DeleteRangeResponse {
            header: Some(ResponseHeader { revision: 8, ..Default::default() }),
            deleted: 1,
            prev_kvs: vec![],
        }
    );
}

#[test]
fn ignore_value_and_ignore_lease_keep_what_the_key_has() {
    let mut store = Store::default();
    store.put("a", "1");
    let put = PutRequest { key: bytes("a"), ignore_value: true, ..Default::default() };
    store.try_do(Op::Put(put.clone())).unwrap();
    assert_eq!(store.range(range("a", "")).kvs, [kv("a", "1", 2, 3, 2)]);
    let lease = PutRequest { value: bytes("2"), ignore_value: false, ignore_lease: true, ..put.clone() };
    store.try_do(Op::Put(lease.clone())).unwrap();
    assert_eq!(values(&store.range(range("a", ""))), ["2"]);

    for missing in [put, lease] {
        let missing = PutRequest { key: bytes("b"), ..missing };
        assert_eq!(store.try_do(Op::Put(missing)), Err(Error::KeyNotFound));
    }
    assert_eq!(Error::KeyNotFound.to_string(), "etcdserver: key not found");
}

#[test]
fn a_lease_that_does_not_exist_is_not_found() {
    let mut store = Store::default();
    let put = PutRequest { key: bytes("a"), lease: 7, ..Default::default() };
    let error = store.try_do(Op::Put(put)).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.code()),
        ("etcdserver: requested lease not found", Code::NotFound)
    );
}

#[test]
fn compact_at_or_below_the_compacted_revision_is_compacted_and_above_the_current_one_future() {
    let mut store = Store::default();
    (0..5).for_each(|_| _ = store.put("a", "x"));
    assert_eq!(store.machine.view().compacted(), -1);
    assert_eq!(store.compact(7), Err(Error::FutureRevision));
    assert_eq!(store.compact(4), Ok(6));
    assert_eq!(store.machine.view().compacted(), 4);
    assert_eq!(store.compact(4), Err(Error::Compacted));
    assert_eq!(store.compact(3), Err(Error::Compacted));
    assert_eq!(store.compact(6), Ok(6), "the current revision may be compacted");
}

#[test]
fn reading_at_the_compacted_revision_is_allowed_and_below_it_is_compacted() {
    let mut store = Store::default();
    (1..6).for_each(|n| _ = store.put("a", &n.to_string()));
    store.delete("a", "");
    store.compact(4).unwrap();
    let at = |revision| RangeRequest { revision, ..range("a", "") };
    let error = store.try_range(at(3)).unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: mvcc: required revision has been compacted");
    assert_eq!(error.code(), Code::OutOfRange);
    assert_eq!(values(&store.range(at(4))), ["3"], "the version that was live then stays");
    assert_eq!(values(&store.range(at(6))), ["5"]);
    assert_eq!(values(&store.range(at(7))).len(), 0);
    let error = store.try_range(at(8)).unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: mvcc: required revision is a future revision");
    assert_eq!(error.code(), Code::OutOfRange);
}

#[test]
fn a_revision_is_never_repeated_and_never_goes_back_over_a_crash() {
    let mut store = Store::default();
    let mut last = store.revision();
    for n in 0..40 {
        store.put("a", "x");
        if n % 7 == 0 {
            store.checkpoint();
        }
        if n % 7 == 0 || n % 11 == 0 {
            // What the checkpoint does not cover comes back with the log.
            let booted = store.disk.boot().unwrap();
            let lost = store.machine.applied() - booted.applied();
            store.machine = booted;
            store.log = store.machine.applied();
            (0..lost).for_each(|_| _ = store.put("a", "x"));
        }
        assert_eq!(store.revision(), last + 1);
        last = store.revision();
    }
}

#[test]
fn the_space_alarm_refuses_puts_and_transactions_with_puts() {
    let mut store = Store::default();
    store.put("a", "1");
    assert_eq!(store.alarm(Activate, 5, AlarmType::Nospace), [(5, 1)]);
    let error = store.try_do(put("a", "2")).unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: mvcc: database space exceeded");
    assert_eq!(error.code(), Code::ResourceExhausted);
    let nested = TxnRequest { failure: vec![put_op("b", "")], ..Default::default() };
    let txn = TxnRequest { success: vec![txn_op(nested)], ..Default::default() };
    assert_eq!(store.try_do(Op::Txn(txn)), Err(Error::NoSpace), "in whichever branch");

    let gone = TxnRequest { success: vec![delete_op("a", ""), range_op("a", "")], ..Default::default() };
    assert!(store.txn(gone).succeeded);
    store.compact(3).unwrap();
    assert_eq!(store.range(all()).count, 0, "reads go on");
    assert_eq!(store.alarm(Deactivate, 5, AlarmType::Nospace), [(5, 1)]);
    store.put("a", "2");
}

#[test]
fn alarms_go_by_member_and_kind() {
    let mut store = Store::default();
    assert_eq!(store.alarm(Activate, 1, AlarmType::Nospace), [(1, 1)]);
    assert_eq!(store.alarm(Activate, 1, AlarmType::Nospace), [(1, 1)], "twice is once");
    assert_eq!(store.alarm(Activate, 2, AlarmType::Nospace), [(2, 1)]);
    assert_eq!(store.alarm(Activate, 2, AlarmType::None), []);
    assert_eq!(store.alarm(Get, 0, AlarmType::None), [(1, 1), (2, 1)]);
    assert_eq!(store.alarm(Get, 0, AlarmType::Corrupt), []);
    assert_eq!(store.alarm(Deactivate, 3, AlarmType::Nospace), []);
    assert_eq!(store.alarm(Deactivate, 1, AlarmType::Nospace), [(1, 1)]);
    assert_eq!(store.try_do(put("a", "1")), Err(Error::NoSpace), "member 2 still has none");
    assert_eq!(store.alarm(Deactivate, 0, AlarmType::None), [(2, 1)]);
    store.put("a", "1");
}

#[test]
fn the_corruption_alarm_refuses_everything_but_alarms() {
    let mut store = Store::default();
    store.alarm(Activate, 1, AlarmType::Corrupt);
    let error = store.try_do(Op::DeleteRange(delete("a", ""))).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code()), ("etcdserver: corrupt cluster", Code::DataLoss));
    assert_eq!(store.compact(1), Err(Error::Corrupt));
    assert_eq!(store.try_range(all()), Err(Error::Corrupt));
    store.alarm(Deactivate, 1, AlarmType::Corrupt);
    store.put("a", "1");
}

#[test]
fn equal_logs_give_equal_replies_whatever_is_on_disk() {
    let past = RangeRequest { revision: 2, ..all() };
    let txn = TxnRequest { success: vec![op(Request::RequestRange(past))], ..Default::default() };
    let (mut plain, mut saved) = (Store::default(), Store::default());
    for store in [&mut plain, &mut saved] {
        store.put("a", "1");
        store.put("a", "2");
    }
    saved.checkpoint();
    while saved.machine.scrub(100) {}
    assert_eq!(plain.txn(txn.clone()), saved.txn(txn));
}

#[test]
fn the_memory_of_a_value_ends_with_its_version() {
    let mut store = Store::default();
    let large = "x".repeat(1000);
    store.put("a", &large);
    store.put("b", "");
    store.put("a", "small");
    let size = |store: &Store| store.machine.size();
    assert_eq!((size(&store).keys, size(&store).versions), (2, 3));
    assert_eq!((size(&store).bytes, size(&store).live_bytes), (1008, 7));
    let before = size(&store).memory;
    assert!(before > 1000);
    store.checkpoint();
    while store.machine.scrub(100) {}
    assert!(size(&store).memory < before - 1000, "the superseded value is on disk only");
    assert_eq!(values(&store.range(RangeRequest { revision: 2, ..range("a", "") })), [large.as_str()]);
    assert_eq!(size(&store).bytes, 1008, "it still counts");
    assert_eq!(store.machine.unsaved_bytes(), 0);
}
