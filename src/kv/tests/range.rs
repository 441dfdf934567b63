//! Range: one test per sentence of the sheet.

use super::range_request::SortOrder::{Ascend, Descend};
use super::range_request::SortTarget;
use super::*;

/// a 2.., b, c, d with versions, creation and modification in different orders.
fn four() -> Store {
    let mut store = Store::default();
    store.put("c", "2"); // revision 2
    store.put("a", "3");
    store.put("d", "1");
    store.put("b", "4");
    store.put("c", "0"); // revision 6
    store.put("c", "2");
    store.put("a", "3");
    store // c: 2..7, version 3; a: 3..8, version 2; d: 4; b: 5
}

fn sorted(target: SortTarget, order: range_request::SortOrder) -> RangeRequest {
    RangeRequest { sort_target: target.into(), sort_order: order.into(), ..all() }
}

#[test]
fn the_header_has_the_current_revision_also_on_a_historical_read() {
    let store = four();
    let r = store.range(RangeRequest { revision: 3, ..all() });
    assert_eq!(r.header.unwrap().revision, 8);
    assert_eq!(r.kvs, [kv("a", "3", 3, 3, 1), kv("c", "2", 2, 2, 1)]);
}

#[test]
fn an_empty_range_end_is_one_key_and_zero_all_keys_from_the_key_on() {
    let store = four();
    assert_eq!(keys(&store.range(range("b", ""))), ["b"]);
    assert_eq!(keys(&store.range(range("bb", ""))).len(), 0);
    assert_eq!(keys(&store.range(range("b", "d"))), ["b", "c"]);
    assert_eq!(keys(&store.range(range("bb", "\0"))), ["c", "d"]);
    assert_eq!(keys(&store.range(range("\0", "\0"))), ["a", "b", "c", "d"]);
    assert_eq!(keys(&store.range(range("d", "b"))).len(), 0, "an inverted range is empty");
    for revision in [0, 5] {
        assert_eq!(store.range(RangeRequest { revision, ..range("b", "d") }).count, 2);
        assert_eq!(store.range(RangeRequest { revision, ..range("d", "b") }).count, 0);
    }
}

#[test]
fn count_ignores_the_limit_and_the_revision_filters() {
    let store = four();
    let r = store.range(RangeRequest { limit: 1, min_mod_revision: 5, ..all() });
    assert_eq!((keys(&r), r.count), (vec!["a".to_owned()], 4));
    let r = store.range(RangeRequest { count_only: true, limit: 1, max_create_revision: 2, ..all() });
    assert_eq!((r.kvs.len(), r.count, r.more), (0, 4, false));
    assert_eq!(store.range(RangeRequest { count_only: true, revision: 3, ..all() }).count, 2);
}

#[test]
fn more_is_set_when_the_limit_cut() {
    let store = four();
    for (limit, more) in [(0, false), (-1, false), (1, true), (3, true), (4, false), (5, false)] {
        for order in [Ascend, Descend] {
            let r = store.range(RangeRequest { limit, ..sorted(SortTarget::Key, order) });
            assert_eq!(r.more, more, "limit {limit}");
            assert_eq!(r.kvs.len(), if limit > 0 { 4.min(limit as usize) } else { 4 });
        }
    }
    let r = store.range(RangeRequest { limit: 2, min_mod_revision: 7, ..all() });
    assert!(!r.more, "what the filters drop is not cut by the limit");
}

#[test]
fn filters_and_sort_come_before_the_limit() {
    let store = four();
    let r = store.range(RangeRequest { limit: 2, min_create_revision: 3, ..all() });
    assert_eq!(keys(&r), ["a", "b"]);
    let r = store.range(RangeRequest { limit: 1, ..sorted(SortTarget::Mod, Descend) });
    assert_eq!(keys(&r), ["a"]);
    let r = store.range(RangeRequest { limit: 1, ..sorted(SortTarget::Create, Ascend) });
    assert_eq!(keys(&r), ["c"]);
    let r = store.range(RangeRequest { limit: 1, keys_only: true, ..sorted(SortTarget::Value, Descend) });
    assert_eq!((keys(&r), values(&r)), (vec!["b".to_owned()], vec![String::new()]));
}

#[test]
fn the_revision_filters_are_inclusive() {
    let store = four();
    let filtered = |r| keys(&store.range(r));
    assert_eq!(filtered(RangeRequest { min_mod_revision: 7, ..all() }), ["a", "c"]);
    assert_eq!(filtered(RangeRequest { max_mod_revision: 5, ..all() }), ["b", "d"]);
    assert_eq!(filtered(RangeRequest { min_create_revision: 4, ..all() }), ["b", "d"]);
    assert_eq!(filtered(RangeRequest { max_create_revision: 3, ..all() }), ["a", "c"]);
    assert_eq!(filtered(RangeRequest { min_mod_revision: 5, max_create_revision: 2, ..all() }), ["c"]);
}

#[test]
fn every_target_sorts_in_both_orders_and_equals_stay_in_the_order_of_keys() {
    let store = four();
    for (target, ascending, descending) in [
        (SortTarget::Key, "abcd", "dcba"),
        (SortTarget::Version, "bdac", "cabd"),
        (SortTarget::Create, "cadb", "bdac"),
        (SortTarget::Mod, "dbca", "acbd"),
        (SortTarget::Value, "dcab", "bacd"),
    ] {
        assert_eq!(keys(&store.range(sorted(target, Ascend))).concat(), ascending, "{target:?}");
        assert_eq!(keys(&store.range(sorted(target, Descend))).concat(), descending, "{target:?}");
    }
}

#[test]
fn a_target_other_than_key_without_an_order_means_ascending() {
    let store = four();
    for target in [SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value] {
        let none = store.range(sorted(target, range_request::SortOrder::None));
        assert_eq!(none, store.range(sorted(target, Ascend)));
    }
}

#[test]
fn keys_only_leaves_out_the_values() {
    let store = four();
    let r = store.range(RangeRequest { keys_only: true, ..all() });
    assert_eq!(values(&r), ["", "", "", ""]);
    assert_eq!(r.kvs[0].version, 2);
}

#[test]
fn a_historical_read_skips_long_histories() {
    let mut store = Store::default();
    for n in 0..50 {
        ["a", "b", "c"].iter().for_each(|key| _ = store.put(key, &n.to_string()));
    }
    store.delete("b", "");
    for saved in [false, true] {
        if saved {
            store.checkpoint();
            while store.machine.scrub(100) {}
        }
        for n in [0, 1, 25, 49] {
            let r = store.range(RangeRequest { revision: 4 + 3 * n, ..all() });
            assert_eq!(keys(&r), ["a", "b", "c"]);
            assert_eq!(values(&r), vec![n.to_string(); 3], "also of a key that is deleted since");
        }
    }
}

#[test]
fn superseded_values_sort_filter_and_count_like_live_ones() {
    let mut store = four();
    store.delete("a", "\0");
    let requests: Vec<_> = [SortTarget::Key, SortTarget::Value, SortTarget::Mod]
        .into_iter()
        .flat_map(|target| [sorted(target, Ascend), sorted(target, Descend)])
        .flat_map(|r| [RangeRequest { limit: 2, ..r.clone() }, RangeRequest { keys_only: true, ..r }])
        .map(|r| RangeRequest { revision: 8, ..r })
        .collect();
    let in_memory: Vec<_> = requests.iter().map(|r| store.range(r.clone())).collect();
    store.checkpoint();
    while store.machine.scrub(100) {}
    for (r, expected) in requests.into_iter().zip(in_memory) {
        assert_eq!(store.range(r.clone()), expected, "{r:?}");
        let txn = TxnRequest { success: vec![op(Request::RequestRange(r))], ..Default::default() };
        let response = store.txn(txn).responses.remove(0).response;
        assert_eq!(response, Some(response_op::Response::ResponseRange(expected)));
    }
}

#[test]
fn a_view_stays_as_it_is() {
    let mut store = four();
    let view = store.machine.view();
    store.delete("a", "\0");
    store.compact(9).unwrap();
    assert_eq!((view.revision(), view.compacted()), (8, -1));
    assert_eq!(view.range(&all(), &store.disk, u64::MAX).unwrap().count, 4);
    assert_eq!(store.range(all()).count, 0);
}
