//! Transactions: one test per sentence of the sheet.

use super::*;
use CompareResult::{Equal, Greater, Less, NotEqual};
use TargetUnion::{CreateRevision, Lease, ModRevision, Value, Version};
use response_op::Response::{ResponseDeleteRange, ResponsePut, ResponseRange, ResponseTxn};

fn success(ops: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success: ops, ..Default::default() }
}

fn when(compare: Vec<Compare>, success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { compare, success, failure }
}

/// Whether the comparisons hold.
fn holds(store: &mut Store, compare: Vec<Compare>) -> bool {
    store.txn(when(compare, vec![], vec![])).succeeded
}

fn reads(r: &TxnResponse, i: usize) -> &RangeResponse {
    match r.responses[i].response.as_ref().unwrap() {
        ResponseRange(r) => r,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transaction_has_one_main_revision_and_its_changes_are_numbered_within() {
    let mut store = Store::default();
    store.put("z", "");
    let txn = success(vec![put_op("b", "1"), put_op("a", "2"), delete_op("z", ""), put_op("c", "3")]);
    assert_eq!(store.txn(txn).header.unwrap().revision, 3);
    assert_eq!(store.revision(), 3);
    let mods: Vec<_> =
        store.range(all()).kvs.iter().map(|kv| (kv.create_revision, kv.mod_revision)).collect();
    assert_eq!(mods, [(3, 3); 3]);
    store.checkpoint();
    let changed =
        store.disk.rows.values().flat_map(|row| super::row::records(row.clone()).map(Result::unwrap));
    let changed: Vec<_> = changed.map(|r| (r.at.main, r.at.sub, r.key)).collect();
    let expected = [(2, 0, "z"), (3, 0, "b"), (3, 1, "a"), (3, 2, "z"), (3, 3, "c")];
    assert_eq!(changed, expected.map(|(main, sub, key)| (main, sub, bytes(key))));
}

#[test]
fn a_transaction_that_changes_nothing_makes_no_revision() {
    let mut store = Store::default();
    let txn = success(vec![delete_op("a", "\0"), range_op("a", ""), txn_op(success(vec![]))]);
    assert_eq!(store.txn(txn).header.unwrap().revision, 1);
    assert_eq!(store.revision(), 1);
}

#[test]
fn later_operations_see_earlier_ones() {
    let mut store = Store::default();
    store.put("a", "old");
    let r = store.txn(success(vec![
        range_op("\0", "\0"),
        put_op("b", "new"),
        txn_op(success(vec![range_op("\0", "\0"), delete_op("a", "")])),
        range_op("\0", "\0"),
    ]));
    assert_eq!(keys(reads(&r, 0)), ["a"]);
    let Some(ResponseTxn(nested)) = &r.responses[2].response else { panic!("{r:?}") };
    assert_eq!(keys(reads(nested, 0)), ["a", "b"]);
    assert_eq!(keys(reads(&r, 3)), ["b"]);
}

#[test]
fn which_branches_run_is_decided_before_anything_changes() {
    let mut store = Store::default();
    let nested = when(vec![compare("a", Equal, Version(0))], vec![put_op("b", "")], vec![]);
    store.txn(success(vec![put_op("a", ""), txn_op(nested)]));
    assert_eq!(keys(&store.range(all())), ["a", "b"]);
}

#[test]
fn inner_headers_are_filled_in() {
    let mut store = Store::default();
    let ops = vec![
        range_op("a", ""),
        put_op("a", ""),
        range_op("a", ""),
        delete_op("b", ""),
        txn_op(success(vec![])),
    ];
    let r = store.txn(success(ops));
    let revisions = r.responses.iter().map(|r| match r.response.as_ref().unwrap() {
        ResponseRange(r) => r.header.unwrap().revision,
        ResponsePut(r) => r.header.unwrap().revision,
        ResponseDeleteRange(r) => r.header.unwrap().revision,
        ResponseTxn(r) => r.header.unwrap().revision,
    });
    assert_eq!(revisions.collect::<Vec<_>>(), [1, 2, 2, 2, 2]);
}

#[test]
fn a_compare_of_a_missing_key_sees_zeros() {
    let mut store = Store::default();
    for zero in [Version(0), CreateRevision(0), ModRevision(0), Lease(0)] {
        assert!(holds(&mut store, vec![compare("a", Equal, zero)]));
    }
    for one in [Version(1), CreateRevision(1), ModRevision(1), Lease(1)] {
        assert!(holds(&mut store, vec![compare("a", Less, one.clone())]));
        assert!(!holds(&mut store, vec![compare("a", Greater, one)]));
    }
}

#[test]
fn a_value_compare_of_a_missing_key_is_false() {
    let mut store = Store::default();
    for result in [Equal, NotEqual, Greater, Less] {
        assert!(!holds(&mut store, vec![compare("a", result, Value(bytes("")))]));
    }
    store.put("a", "");
    assert!(holds(&mut store, vec![compare("a", Equal, Value(bytes("")))]));
}

#[test]
fn every_target_compares_in_every_way() {
    let mut store = Store::default();
    store.put("x", "");
    store.put("a", "m");
    store.put("a", "m"); // created at 3, modified at 4, version 2, value m
    let at = |value: i64| [(value - 1, Greater), (value, Equal), (value + 1, Less)];
    let mut cases: Vec<(TargetUnion, CompareResult)> = Vec::new();
    cases.extend(at(3).map(|(n, order)| (CreateRevision(n), order)));
    cases.extend(at(4).map(|(n, order)| (ModRevision(n), order)));
    cases.extend(at(2).map(|(n, order)| (Version(n), order)));
    cases.extend(at(0).map(|(n, order)| (Lease(n), order)));
    cases.extend([("l", Greater), ("m", Equal), ("mm", Less)].map(|(v, order)| (Value(bytes(v)), order)));
    for (operand, order) in cases {
        for result in [Equal, Greater, Less] {
            assert_eq!(holds(&mut store, vec![compare("a", result, operand.clone())]), result == order);
        }
        assert_eq!(holds(&mut store, vec![compare("a", NotEqual, operand)]), order != Equal);
    }
}

#[test]
fn a_compare_without_its_operand_compares_with_nothing() {
    let mut store = Store::default();
    let c = Compare { target: CompareTarget::Mod.into(), ..compare("a", Equal, Version(7)) };
    assert!(holds(&mut store, vec![c]), "the operand of another target is none");
}

#[test]
fn a_range_compare_requires_all_keys_to_match() {
    let mut store = Store::default();
    store.put("a", "");
    store.put("b", "");
    store.put("b", "");
    let over = |end: &str, c| Compare { range_end: bytes(end), ..c };
    assert!(holds(&mut store, vec![over("c", compare("a", Greater, Version(0)))]));
    assert!(!holds(&mut store, vec![over("c", compare("a", Equal, Version(1)))]));
    assert!(holds(&mut store, vec![over("\0", compare("b", Equal, Version(2)))]));
    assert!(holds(&mut store, vec![over("z", compare("c", Equal, Version(0)))]), "no key: zeros");
    assert!(!holds(&mut store, vec![over("z", compare("c", Equal, Value(bytes(""))))]));
}

#[test]
fn all_comparisons_must_hold_for_the_success_branch() {
    let mut store = Store::default();
    store.put("a", "1");
    let (yes, no) = (compare("a", Equal, Version(1)), compare("a", Equal, Version(2)));
    assert!(holds(&mut store, vec![]));
    assert!(holds(&mut store, vec![yes.clone(), yes.clone()]));
    assert!(!holds(&mut store, vec![yes, no.clone()]));
    let r = store.txn(when(vec![no], vec![], vec![put_op("b", "")]));
    assert!(!r.succeeded && r.responses.len() == 1);
}

#[test]
fn a_transaction_that_cannot_run_changes_nothing() {
    let mut store = Store::default();
    store.put("a", "1");
    store.put("a", "2");
    store.compact(3).unwrap();
    let read = |revision| op(Request::RequestRange(RangeRequest { revision, ..range("a", "") }));
    let keep = PutRequest { key: bytes("c"), ignore_value: true, ..Default::default() };
    let leased = PutRequest { key: bytes("c"), lease: 9, ..Default::default() };
    for (last, error) in [
        (read(2), Error::Compacted),
        (read(4), Error::FutureRevision),
        (op(Request::RequestPut(keep)), Error::KeyNotFound),
        (op(Request::RequestPut(leased)), Error::LeaseNotFound),
    ] {
        for last in [last.clone(), txn_op(success(vec![last]))] {
            let txn = success(vec![put_op("b", ""), delete_op("a", ""), last.clone()]);
            assert_eq!(store.try_do(Op::Txn(txn)), Err(error.clone()));
            let other = when(vec![], vec![], vec![last]);
            assert!(store.txn(other).succeeded, "the branch that does not run may be anything");
        }
    }
    assert_eq!(store.revision(), 3);
    assert_eq!(store.range(all()).kvs, [kv("a", "2", 2, 3, 2)]);
}

#[test]
fn kubernetes_updates_when_the_revision_is_as_it_read_it() {
    let mut store = Store::default();
    store.put("k", "1");
    let update = |r, value| {
        when(vec![compare("k", Equal, ModRevision(r))], vec![put_op("k", value)], vec![range_op("k", "")])
    };
    assert!(store.txn(update(2, "2")).succeeded);
    let lost = store.txn(update(2, "3"));
    assert!(!lost.succeeded);
    assert_eq!(reads(&lost, 0).kvs, [kv("k", "2", 2, 3, 2)]);
}
