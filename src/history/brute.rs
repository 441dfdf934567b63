//! The definition of linearizability, tried out in every way: the judge of the search.

use super::operation::{Call, Operation, Outcome, Reply};
use std::collections::BTreeMap;

type Store<'a> = BTreeMap<&'a str, &'a str>;

/// Whether some order of the answered operations, and of any of those of unknown fate, respects
/// real time and explains the answers. Takes time exponential in the number of operations.
pub(super) fn linearizable(history: &[Operation]) -> bool {
    let relevant: Vec<&Operation> =
        history.iter().filter(|o| o.outcome != Outcome::Fail && !o.is_serializable()).collect();
    extend(&relevant, &Store::new())
}

fn extend(rest: &[&Operation], store: &Store<'_>) -> bool {
    if rest.iter().all(|o| o.outcome == Outcome::Unknown) {
        return true;
    }
    (0..rest.len()).any(|i| {
        let next = rest[i];
        if rest.iter().any(|other| other.deadline() < next.start_ns) {
            return false;
        }
        let mut after = store.clone();
        if !apply(next, &mut after) {
            return false;
        }
        let mut left = rest.to_vec();
        left.remove(i);
        extend(&left, &after)
    })
}

/// Executes the operation; whether its answer is then the one recorded.
fn apply<'a>(operation: &'a Operation, store: &mut Store<'a>) -> bool {
    let mut put = |key: &'a str, value: Option<&'a str>| match value {
        Some(value) => store.insert(key, value),
        None => store.remove(key),
    };
    let reply = match &operation.call {
        Call::Put { key, value } => {
            put(key, Some(value));
            Reply::Put
        }
        Call::Get { key, .. } => Reply::Get(store.get(key.as_str()).map(|v| (*v).to_owned())),
        Call::Delete { key } => {
            let found = put(key, None).is_some();
            match operation.reply() {
                Some(Reply::Delete(None)) => Reply::Delete(None),
                _ => Reply::Delete(Some(found)),
            }
        }
        Call::Cas { key, expected, value } => {
            let equal = store.get(key.as_str()).copied() == expected.as_deref();
            if equal {
                store.insert(key, value);
            }
            Reply::Cas(equal)
        }
        Call::Txn { reads, writes } => {
            let values = reads.iter().map(|key| store.get(key.as_str()).map(|v| (*v).to_owned())).collect();
            for w in writes {
                match &w.value {
                    Some(value) => store.insert(&w.key, value),
                    None => store.remove(w.key.as_str()),
                };
            }
            Reply::Txn(values)
        }
    };
    operation.reply().is_none_or(|recorded| *recorded == reply)
}
