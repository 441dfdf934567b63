//! Range: which keys, in which order, how many; and the values that are on disk only.

use super::Error;
use super::keyspace::{Keyspace, Place, Seen};
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
/// empty in the response, and listed.
pub(super) fn select(
    space: &Keyspace,
    r: &RangeRequest,
    now: i64,
    compacted: i64,
) -> Result<(RangeResponse, Holes), Error> {
    check_revision(r.revision, now, compacted)?;
    let at = (1..now).contains(&r.revision).then_some(r.revision);
    let range = KeyRange::new(&r.key, &r.range_end);
    let mut response = RangeResponse { header: header(now), ..Default::default() };
    if r.count_only {
        response.count = space.count(range, at);
        return Ok((response, Holes::default()));
    }

    let sort = Sort::of(r);
    let enough = if sort.is_natural() { sort.limit.saturating_add(1) } else { usize::MAX };
    let mut seen = Vec::new();
    space.visit(range, at, |key| {
        response.count += 1;
        if seen.len() < enough && passes(&key, r) {
            seen.push(key);
        }
    });
    if sort.target != SortTarget::Value {
        sort.by(&mut seen, |a, b| match sort.target {
            SortTarget::Key | SortTarget::Value => a.key.cmp(b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create.cmp(&b.create),
            SortTarget::Mod => a.at.main.cmp(&b.at.main),
        });
        response.more = sort.cut(&mut seen);
    }

    let mut holes = Holes::default();
    let with_values = !sort.keys_only || sort.target == SortTarget::Value;
    response.kvs = seen
        .iter()
        .enumerate()
        .map(|(kv, seen)| {
            let value = if with_values { holes.value(space, kv, seen) } else { Bytes::new() };
            key_value(seen, value)
        })
        .collect();
    if sort.target == SortTarget::Value {
        holes.then = Some(sort);
        if holes.list.is_empty() {
            holes.finish(&mut response);
        }
    }
    Ok((response, holes))
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

    /// Whether it is the order of the index, so that the limit may cut at once.
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
