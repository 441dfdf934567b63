//! Range: which keys, in which order, how many; and the values that are on disk only.

use super::Error;
use super::keyspace::{Keyspace, Place, Seen};
use super::meter::{Meter, sorting};
use super::revision::{KeyRange, Revision};
use super::row;
use crate::kernel::{RowKey, Rows};
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use crate::proto::mvccpb::KeyValue;
use bytes::Bytes;
use std::cmp::Ordering;

/// A header with the revision; whoever answers the client fills in the rest.
pub(super) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..Default::default() })
}

/// Executes a Range over what is in memory. `now` is the current revision. Values on disk are left
/// empty in the response, and listed; where no one wants the response, it has no keys at all.
pub(super) fn select(
    space: &Keyspace,
    r: &RangeRequest,
    now: i64,
    compacted: i64,
    meter: &mut Meter,
) -> Result<(RangeResponse, Holes), Error> {
    check_revision(r.revision, now, compacted)?;
    let at = (1..now).contains(&r.revision).then_some(r.revision);
    let range = KeyRange::new(&r.key, &r.range_end);
    let mut response = RangeResponse { header: header(now), ..Default::default() };
    meter.visit(1)?;
    if r.count_only {
        response.count = count(space, range, at, meter)?;
        return Ok((response, Holes::default()));
    }

    let sort = Sort::of(r);
    // What is on disk can be sorted by value only once it is read.
    let later = sort.target == SortTarget::Value && at.is_some();
    let mut chosen = Chosen::new(if later { sort.without_limit() } else { sort }, later);
    for key in space.seen(range, at) {
        meter.visit(sorting(sort.target, key.size()))?;
        response.count += 1;
        if passes(&key, r) {
            chosen.take(key, meter)?;
        }
    }
    let with_values = chosen.with_values;
    let (seen, more) = chosen.finish(meter)?;
    response.more = more;

    let mut holes = Holes::default();
    response.kvs = seen
        .iter()
        .enumerate()
        .map(|(kv, seen)| {
            let value = if with_values { holes.value(space, kv, seen) } else { Bytes::new() };
            key_value(seen, value)
        })
        .collect();
    if later {
        holes.then = Some(sort);
        if holes.list.is_empty() {
            holes.finish(&mut response);
        }
    }
    Ok((response, holes))
}

fn count(space: &Keyspace, range: KeyRange<'_>, at: Option<i64>, meter: &mut Meter) -> Result<i64, Error> {
    if at.is_none() && range.is_everything() {
        return Ok(space.len() as i64);
    }
    let mut count = 0;
    for _ in space.seen(range, at) {
        meter.visit(1)?;
        count += 1;
    }
    Ok(count)
}

/// Whether a revision can be read. Reading at the compacted revision is allowed.
pub(super) fn check_revision(revision: i64, now: i64, compacted: i64) -> Result<(), Error> {
    match revision {
        ..=0 => Ok(()),
        r if r > now => Err(Error::FutureRevision),
        r if r < compacted => Err(Error::Compacted),
        _ => Ok(()),
    }
}

fn passes(key: &Seen<'_>, r: &RangeRequest) -> bool {
    let within = |n: i64, min: i64, max: i64| (min == 0 || n >= min) && (max == 0 || n <= max);
    within(key.at.main, r.min_mod_revision, r.max_mod_revision)
        && within(key.create, r.min_create_revision, r.max_create_revision)
}

fn key_value(seen: &Seen<'_>, value: Bytes) -> KeyValue {
    KeyValue {
        key: seen.key.clone(),
        create_revision: seen.create,
        mod_revision: seen.at.main,
        version: seen.version,
        value,
        lease: seen.lease,
    }
}

/// The order of the reply, and what of it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sort {
    target: SortTarget,
    descending: bool,
    limit: usize,
    keys_only: bool,
}

impl Sort {
    fn of(r: &RangeRequest) -> Self {
        Sort {
            target: r.sort_target(),
            descending: r.sort_order() == SortOrder::Descend,
            limit: usize::try_from(r.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX),
            keys_only: r.keys_only,
        }
    }

    fn without_limit(self) -> Self {
        Sort { limit: usize::MAX, ..self }
    }

    /// Whether it is the order of the index, in which keys are found.
    fn is_natural(&self) -> bool {
        self.target == SortTarget::Key && !self.descending
    }

    /// Sorts what is in the order of keys; equals stay in that order.
    fn by<T>(&self, items: &mut [T], order: impl Fn(&T, &T) -> Ordering) {
        if !self.is_natural() {
            items.sort_by(|a, b| if self.descending { order(b, a) } else { order(a, b) });
        }
    }

    /// Applies the limit; true when it cut.
    fn cut<T>(&self, items: &mut Vec<T>) -> bool {
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        more
    }
}

/// The keys of a reply, chosen among those that are found one after the other.
struct Chosen<'a> {
    sort: Sort,
    with_values: bool,
    keys: Vec<Seen<'a>>,
    /// Keys that are answered, or would be without the limit.
    found: usize,
}

impl<'a> Chosen<'a> {
    fn new(sort: Sort, read_values: bool) -> Self {
        Chosen { sort, with_values: read_values || !sort.keys_only, keys: Vec::new(), found: 0 }
    }

    /// Whether a key that is found may have to give way to a later one.
    fn is_tentative(&self) -> bool {
        !self.sort.is_natural() && self.sort.limit < usize::MAX
    }

    fn take(&mut self, key: Seen<'a>, meter: &mut Meter) -> Result<(), Error> {
        self.found += 1;
        let limit = self.sort.limit;
        if self.is_tentative() {
            self.keys.push(key);
            if self.keys.len() >= limit.saturating_mul(2) {
                self.order();
            }
            return meter.fits(self.keys.len().min(limit));
        }
        if self.found <= limit {
            meter.answer(key.key.len(), if self.with_values { key.size() } else { 0 })?;
            if meter.is_whole() {
                self.keys.push(key);
            }
        }
        Ok(())
    }

    /// Sorts, and lets go of what is beyond the limit.
    fn order(&mut self) {
        self.sort.by(&mut self.keys, |a, b| match self.sort.target {
            SortTarget::Key => a.key.cmp(b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create.cmp(&b.create),
            SortTarget::Mod => a.at.main.cmp(&b.at.main),
            SortTarget::Value => a.live_value().cmp(&b.live_value()),
        });
        self.sort.cut(&mut self.keys);
    }

    /// The keys to answer, none where no one wants the answer; and whether the limit left some out.
    fn finish(mut self, meter: &mut Meter) -> Result<(Vec<Seen<'a>>, bool), Error> {
        self.order();
        if self.is_tentative() {
            for key in &self.keys {
                meter.answer(key.key.len(), if self.with_values { key.size() } else { 0 })?;
            }
        }
        if !meter.is_whole() {
            self.keys.clear();
        }
        Ok((self.keys, self.found > self.sort.limit))
    }
}

/// What a response of the core leaves open: the core cannot read the disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Holes {
    list: Vec<Hole>,
    /// Sorting by value has to wait for the values.
    then: Option<Sort>,
}

/// The value of one key of the response is in a row.
#[derive(Clone, Debug, PartialEq)]
struct Hole {
    row: Option<RowKey>,
    at: Revision,
    hash: u64,
    /// Position in the response.
    kv: usize,
}

/// Why a value could not be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// Compaction has deleted it meanwhile.
    Gone,
    /// The disk failed.
    Disk(crate::kernel::DiskError),
}

impl Holes {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn value(&mut self, space: &Keyspace, kv: usize, seen: &Seen<'_>) -> Bytes {
        match space.place(seen) {
            Place::Memory(value) => value,
            Place::Disk { row, hash } => {
                let row = row.map(|first| first.row_key(space.generation));
                self.list.push(Hole { row, at: seen.at, hash, kv });
                Bytes::new()
            }
        }
    }

    /// Reads the values into the response; each row is read once.
    pub(super) fn fill(mut self, response: &mut RangeResponse, rows: &dyn Rows) -> Result<(), Unreadable> {
        self.list.sort_by_key(|hole| (hole.row, hole.at));
        for holes in self.list.chunk_by(|a, b| a.row == b.row) {
            let key = holes[0].row.ok_or(Unreadable::Gone)?;
            let bytes = rows.row(key).map_err(Unreadable::Disk)?.ok_or(Unreadable::Gone)?;
            let mut holes = holes.iter().peekable();
            for record in row::records(bytes) {
                let Some(hole) = holes.peek() else { break };
                let record = record.map_err(|e| row::damaged(key, e))?;
                if record.at == hole.at {
                    if record.version().hash != hole.hash {
                        return Err(row::damaged(key, "its checksum does not match the index"));
                    }
                    response.kvs[hole.kv].value = record.value();
                    holes.next();
                }
            }
            if holes.next().is_some() {
                return Err(Unreadable::Gone);
            }
        }
        self.finish(response);
        Ok(())
    }

    fn finish(&mut self, response: &mut RangeResponse) {
        let Some(sort) = self.then.take() else { return };
        sort.by(&mut response.kvs, |a, b| a.value.cmp(&b.value));
        response.more = sort.cut(&mut response.kvs);
        if sort.keys_only {
            response.kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
    }
}
