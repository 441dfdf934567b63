//! The store as simply as it can be said: a list of all versions, searched from end to end.

use super::*;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeSet;

#[derive(Clone)]
pub(super) struct Model {
    /// Main revision, key, and what it became.
    versions: Vec<(i64, Bytes, Option<KeyValue>)>,
    pub revision: i64,
    pub compacted: i64,
    pub alarms: BTreeSet<(i32, u64)>,
    pub sessions: BTreeMap<u64, (u64, BTreeMap<u64, Reply>)>,
    /// Their ids, the one that was used least recently first.
    by_use: Vec<u64>,
    pub budget: Budget,
    /// What the transaction under way has cost.
    spent: Cell<(u64, u64)>,
}

/// Sessions that there may be.
pub(super) const SESSIONS: usize = 3;

impl Model {
    pub fn new() -> Self {
        Model {
            versions: Vec::new(),
            revision: 1,
            compacted: -1,
            alarms: BTreeSet::new(),
            sessions: BTreeMap::new(),
            by_use: Vec::new(),
            budget: Budget::default(),
            spent: Cell::default(),
        }
    }

    fn visit(&self, keys: u64) {
        let (visits, bytes) = self.spent.get();
        self.spent.set((visits + keys, bytes));
    }

    fn answer(&self, kv: &KeyValue) {
        let (visits, bytes) = self.spent.get();
        self.spent.set((visits, bytes + (kv.key.len() + kv.value.len()) as u64 + OVERHEAD));
    }

    /// Executes, or refuses what costs too much.
    fn within_budget<T>(&mut self, f: impl FnOnce(&mut Model) -> T) -> Result<T, Error> {
        let mut after = self.clone();
        after.spent.set((0, 0));
        let result = f(&mut after);
        let (visits, bytes) = after.spent.get();
        if visits > self.budget.visits {
            return Err(Error::TooManyKeys { limit: self.budget.visits });
        }
        if bytes > self.budget.reply_bytes {
            return Err(Error::ReplyTooLong { limit: self.budget.reply_bytes });
        }
        *self = after;
        Ok(result)
    }

    fn at(&self, revision: i64) -> BTreeMap<Bytes, KeyValue> {
        let mut state = BTreeMap::new();
        for (_, key, kv) in self.versions.iter().filter(|(main, ..)| *main <= revision) {
            match kv {
                Some(kv) => _ = state.insert(key.clone(), kv.clone()),
                None => _ = state.remove(key),
            }
        }
        state
    }

    fn within(&self, revision: i64, key: &Bytes, end: &Bytes) -> Vec<KeyValue> {
        let inside = |k: &Bytes| match &end[..] {
            [] => k == key,
            [0] => k >= key,
            end => k >= key && &k[..] < end,
        };
        self.at(revision).into_values().filter(|kv| inside(&kv.key)).collect()
    }

    pub fn range(&self, r: &RangeRequest) -> Result<RangeResponse, Error> {
        if r.revision > self.revision {
            return Err(Error::FutureRevision);
        }
        if r.revision > 0 && r.revision < self.compacted {
            return Err(Error::Compacted);
        }
        let at = if r.revision <= 0 { i64::MAX } else { r.revision };
        let mut kvs = self.within(at, &r.key, &r.range_end);
        let mut response = RangeResponse {
            header: Some(ResponseHeader { revision: self.revision, ..Default::default() }),
            count: kvs.len() as i64,
            ..Default::default()
        };
        if r.count_only {
            return Ok(response);
        }
        kvs.retain(|kv| {
            (r.min_mod_revision == 0 || kv.mod_revision >= r.min_mod_revision)
                && (r.max_mod_revision == 0 || kv.mod_revision <= r.max_mod_revision)
                && (r.min_create_revision == 0 || kv.create_revision >= r.min_create_revision)
                && (r.max_create_revision == 0 || kv.create_revision <= r.max_create_revision)
        });
        let order = |a: &KeyValue, b: &KeyValue| match r.sort_target() {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        match r.sort_order() {
            SortOrder::None | SortOrder::Ascend => kvs.sort_by(order),
            SortOrder::Descend => kvs.sort_by(|a, b| order(b, a)),
        }
        if r.limit > 0 && kvs.len() > r.limit as usize {
            response.more = true;
            kvs.truncate(r.limit as usize);
        }
        if r.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        response.kvs = kvs;
        Ok(response)
    }

    pub fn apply(&mut self, index: u64, command: &Command) -> Reply {
        let Some(call) = command.session else { return self.execute(index, &command.op) };
        let Some((low, replies)) = self.sessions.get_mut(&call.id) else { return Err(Error::SessionExpired) };
        self.by_use.retain(|id| *id != call.id);
        self.by_use.push(call.id);
        *low = call.low.max(*low);
        replies.retain(|seq, _| seq >= low);
        if call.seq < *low {
            return Err(Error::SessionExpired);
        }
        if call.seq >= *low + SharedBounds::DEFAULT.session_calls {
            return Err(Error::SessionWindow);
        }
        if let Some(reply) = replies.get(&call.seq) {
            return reply.clone();
        }
        let reply = self.execute(index, &command.op);
        let past = matches!(&command.op, Op::Txn(r) if reads_the_past(r));
        if let Some((_, replies)) = self.sessions.get_mut(&call.id) {
            replies.insert(call.seq, if past { Err(Error::ReplyLost) } else { reply.clone() });
        }
        reply
    }

    fn execute(&mut self, index: u64, op: &Op) -> Reply {
        let full = self.alarms.iter().any(|(alarm, _)| *alarm == 1);
        let header = |revision| Some(ResponseHeader { revision, ..Default::default() });
        match op {
            Op::Put(_) if full => Err(Error::NoSpace),
            Op::Txn(r) if full && format!("{r:?}").contains("RequestPut(") => Err(Error::NoSpace),
            Op::Put(r) => {
                self.check_put(r)?;
                Ok(Response::Put(self.within_budget(|m| m.write(|m, main| m.put(r, main)))?))
            }
            Op::DeleteRange(r) => {
                Ok(Response::DeleteRange(self.within_budget(|m| m.write(|m, main| m.delete(r, main)))?))
            }
            Op::Txn(r) => {
                let before = self.clone();
                self.within_budget(|m| m.decide(r, &before))?;
                self.check_txn(r)?;
                let r = self.within_budget(|m| m.write(|m, main| m.txn(r, main, &before)))?;
                Ok(Response::Txn(r, Unresolved::default()))
            }
            Op::Compact(r) if r.revision <= self.compacted => Err(Error::Compacted),
            Op::Compact(r) if r.revision > self.revision => Err(Error::FutureRevision),
            Op::Compact(r) => {
                self.compacted = r.revision;
                Ok(Response::Compact(CompactionResponse { header: header(self.revision) }))
            }
            Op::Alarm(r) => {
                let on = AlarmMember { member_id: r.member_id, alarm: r.alarm };
                let alarms = match r.action {
                    1 => {
                        self.alarms.insert((r.alarm, r.member_id));
                        vec![on]
                    }
                    _ => self.alarms.remove(&(r.alarm, r.member_id)).then_some(on).into_iter().collect(),
                };
                Ok(Response::Alarm(AlarmResponse { header: header(self.revision), alarms }))
            }
            Op::OpenSession => {
                self.sessions.insert(index + 1, Default::default());
                self.by_use.push(index + 1);
                if self.sessions.len() > SESSIONS {
                    self.sessions.remove(&self.by_use.remove(0));
                }
                Ok(Response::SessionOpened(index + 1))
            }
            Op::CloseSession(id) => {
                self.sessions.remove(id);
                self.by_use.retain(|open| open != id);
                Ok(Response::SessionClosed)
            }
        }
    }

    fn write<T>(&mut self, f: impl FnOnce(&mut Model, i64) -> T) -> T {
        f(self, self.revision + 1)
    }

    fn change(&mut self, main: i64, key: &Bytes, kv: Option<KeyValue>) {
        self.versions.push((main, key.clone(), kv));
        self.revision = main;
    }

    fn get(&self, key: &Bytes) -> Option<KeyValue> {
        self.at(i64::MAX).remove(key)
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revision, ..Default::default() })
    }

    fn put(&mut self, r: &PutRequest, main: i64) -> PutResponse {
        let before = self.get(&r.key);
        self.visit(1);
        before.iter().filter(|_| r.prev_kv).for_each(|kv| self.answer(kv));
        let kv = KeyValue {
            key: r.key.clone(),
            value: before.clone().filter(|_| r.ignore_value).map_or(r.value.clone(), |kv| kv.value),
            create_revision: before.as_ref().map_or(main, |kv| kv.create_revision),
            mod_revision: main,
            version: before.as_ref().map_or(1, |kv| kv.version + 1),
            lease: 0,
        };
        self.change(main, &r.key, Some(kv));
        PutResponse { header: self.header(), prev_kv: before.filter(|_| r.prev_kv) }
    }

    fn delete(&mut self, r: &DeleteRangeRequest, main: i64) -> DeleteRangeResponse {
        let gone = self.within(i64::MAX, &r.key, &r.range_end);
        self.visit(1 + DELETION * gone.len() as u64);
        gone.iter().filter(|_| r.prev_kv).for_each(|kv| self.answer(kv));
        gone.iter().for_each(|kv| self.change(main, &kv.key, None));
        DeleteRangeResponse {
            header: self.header(),
            deleted: gone.len() as i64,
            prev_kvs: if r.prev_kv { gone } else { Vec::new() },
        }
    }

    fn check_put(&self, r: &PutRequest) -> Result<(), Error> {
        if r.lease != 0 {
            return Err(Error::LeaseNotFound);
        }
        let ignores = r.ignore_value || r.ignore_lease;
        if ignores && self.get(&r.key).is_none() { Err(Error::KeyNotFound) } else { Ok(()) }
    }

    fn check_txn(&self, r: &TxnRequest) -> Result<(), Error> {
        self.branch(r).iter().try_for_each(|op| match op.request.as_ref().unwrap() {
            Request::RequestRange(r) if r.revision > self.revision => Err(Error::FutureRevision),
            Request::RequestRange(r) if r.revision > 0 && r.revision < self.compacted => {
                Err(Error::Compacted)
            }
            Request::RequestPut(r) => self.check_put(r),
            Request::RequestTxn(r) => self.check_txn(r),
            Request::RequestRange(_) | Request::RequestDeleteRange(_) => Ok(()),
        })
    }

    fn branch<'a>(&self, r: &'a TxnRequest) -> &'a [RequestOp] {
        if r.compare.iter().all(|c| self.holds(c)) { &r.success } else { &r.failure }
    }

    /// What a range costs that reads the present; one that reads the past is read by who answers.
    fn count(&self, r: &RangeRequest, found: &RangeResponse) {
        self.visit(1);
        if r.revision > 0 {
            return;
        }
        let keys = self.within(i64::MAX, &r.key, &r.range_end);
        let at_once = r.count_only && matches!(&r.key[..], [0]) && matches!(&r.range_end[..], [0]);
        for kv in keys.iter().filter(|_| !at_once) {
            let by_value = !r.count_only && r.sort_target() == SortTarget::Value;
            self.visit(1 + if by_value { kv.value.len() as u64 / 64 } else { 0 });
        }
        found.kvs.iter().for_each(|kv| self.answer(kv));
    }

    /// Counts what it takes to see which branches run, which is seen before anything else.
    fn decide(&self, r: &TxnRequest, before: &Model) {
        r.compare.iter().map_while(|c| self.compared(c, before)).for_each(drop);
        for op in before.branch(r) {
            if let Some(Request::RequestTxn(r)) = &op.request {
                self.decide(r, before);
            }
        }
    }

    fn txn(&mut self, r: &TxnRequest, main: i64, before: &Model) -> TxnResponse {
        r.compare.iter().map_while(|c| self.compared(c, before)).for_each(drop);
        let mut responses = Vec::new();
        for op in before.branch(r) {
            responses.push(ResponseOp::from(match op.request.as_ref().unwrap() {
                Request::RequestRange(r) => {
                    let found = self.range(r).unwrap();
                    self.count(r, &found);
                    response_op::Response::ResponseRange(found)
                }
                Request::RequestPut(r) => response_op::Response::ResponsePut(self.put(r, main)),
                Request::RequestDeleteRange(r) => {
                    response_op::Response::ResponseDeleteRange(self.delete(r, main))
                }
                Request::RequestTxn(r) => response_op::Response::ResponseTxn(self.txn(r, main, before)),
            }));
        }
        let succeeded = r.compare.iter().all(|c| before.holds(c));
        TxnResponse { header: self.header(), succeeded, responses }
    }

    /// Counts what a comparison looks at; nothing, where it does not hold: the next is not looked at.
    fn compared(&self, c: &Compare, before: &Model) -> Option<()> {
        self.visit(1);
        for kv in before.within(i64::MAX, &c.key, &c.range_end) {
            let value = match &c.target_union {
                Some(TargetUnion::Value(value)) => value.len().min(kv.value.len()) as u64 / 1024,
                _ => 0,
            };
            self.visit(1 + value);
            let one = Compare { key: kv.key, range_end: Bytes::new(), ..c.clone() };
            if !before.holds(&one) {
                return None;
            }
        }
        before.holds(c).then_some(())
    }

    fn holds(&self, c: &Compare) -> bool {
        let mut found = self.within(i64::MAX, &c.key, &c.range_end);
        if found.is_empty() {
            if c.target() == CompareTarget::Value {
                return false;
            }
            found.push(KeyValue::default());
        }
        found.iter().all(|kv| {
            let number = |n: i64, operand: Option<i64>| n.cmp(&operand.unwrap_or(0));
            let union = c.target_union.clone();
            let order = match (c.target(), union) {
                (CompareTarget::Version, Some(TargetUnion::Version(n))) => number(kv.version, Some(n)),
                (CompareTarget::Version, _) => number(kv.version, None),
                (CompareTarget::Create, Some(TargetUnion::CreateRevision(n))) => {
                    number(kv.create_revision, Some(n))
                }
                (CompareTarget::Create, _) => number(kv.create_revision, None),
                (CompareTarget::Mod, Some(TargetUnion::ModRevision(n))) => number(kv.mod_revision, Some(n)),
                (CompareTarget::Mod, _) => number(kv.mod_revision, None),
                (CompareTarget::Lease, Some(TargetUnion::Lease(n))) => number(kv.lease, Some(n)),
                (CompareTarget::Lease, _) => number(kv.lease, None),
                (CompareTarget::Value, Some(TargetUnion::Value(v))) => kv.value.cmp(&v),
                (CompareTarget::Value, _) => kv.value.cmp(&Bytes::new()),
            };
            match c.result() {
                CompareResult::Equal => order == Ordering::Equal,
                CompareResult::Greater => order == Ordering::Greater,
                CompareResult::Less => order == Ordering::Less,
                CompareResult::NotEqual => order != Ordering::Equal,
            }
        })
    }
}

fn reads_the_past(r: &TxnRequest) -> bool {
    r.success.iter().chain(&r.failure).any(|op| match op.request.as_ref().unwrap() {
        Request::RequestRange(r) => r.revision > 0,
        Request::RequestTxn(r) => reads_the_past(r),
        Request::RequestPut(_) | Request::RequestDeleteRange(_) => false,
    })
}
