//! Reads a whole store back, and checks all that it says of itself: seals, contiguity, the chain
//! of every log, and the digest over everything.

use super::codec::{self, Place, Unreadable};
use super::head::{Head, Span};
use super::record::{Record, link};
use super::store::{Scan, Sled};
use super::writer::{Kept, Writer};
use crate::kernel::{DiskError, LogId, Stored};
use std::collections::BTreeMap;

/// Why a store cannot be read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unsound {
    /// Its content contradicts itself.
    Damaged(String),
    /// A newer program wrote it.
    Newer(u8),
    /// The disk failed, which says nothing about the content.
    Disk(DiskError),
}

impl From<Unreadable> for Unsound {
    fn from(e: Unreadable) -> Self {
        match e {
            Unreadable::Damaged(what) => Unsound::Damaged(what),
            Unreadable::Newer(format) => Unsound::Newer(format),
        }
    }
}

/// Reads everything: what the modules stored, and what the committer needs to go on.
pub fn load(sled: &Sled) -> Result<(Stored, Writer), Unsound> {
    let mut loading = Loading::default();
    let mut outcome = Ok(());
    let scanned = sled.scan(&[], None, |key, value| {
        outcome = loading.pair(key, value);
        Ok(if outcome.is_ok() { Scan::More } else { Scan::Enough })
    });
    scanned.map_err(|e| match e {
        DiskError::Damaged(what) => Unsound::Damaged(what),
        e @ (DiskError::Failed(_) | DiskError::Full(_) | DiskError::Crashed) => Unsound::Disk(e),
    })?;
    outcome?;
    loading.finish()
}

#[derive(Default)]
struct Loading {
    stored: Stored,
    writer: Writer,
    head: Option<Head>,
    digest: u64,
    partial: Option<Partial>,
    /// Per log, how far its live records reach, and the chained hash up to there.
    reached: BTreeMap<LogId, (u64, u64)>,
}

/// A blob whose last chunk has not come yet.
struct Partial {
    place: Place,
    total: u32,
    next: u32,
    blob: Vec<u8>,
}

impl Loading {
    fn pair(&mut self, key: &[u8], value: &[u8]) -> Result<(), Unsound> {
        let (place, chunk) = Place::parse(key)
            .ok_or_else(|| Unsound::Damaged(format!("key {} means nothing", codec::Hex(key))))?;
        if place != Place::Head {
            self.digest = self.digest.wrapping_add(codec::pair_hash(key, value));
            self.writer.live += (key.len() + value.len()) as u64;
        }
        let (total, data) = codec::unseal(key, value)?;
        let mut partial = match self.partial.take() {
            None if chunk == 0 => Partial { place, total, next: 0, blob: Vec::new() },
            Some(partial) if (&partial.place, partial.next, partial.total) == (&place, chunk, total) => {
                partial
            }
            Some(Partial { place, next, .. }) => {
                return Err(Unsound::Damaged(format!("chunk {next} of {place:?} is missing")));
            }
            None => return Err(Unsound::Damaged(format!("{place:?} starts at chunk {chunk}"))),
        };
        partial.blob.extend(data);
        partial.next += 1;
        if partial.next < codec::chunks(total as usize) {
            self.partial = Some(partial);
            return Ok(());
        }
        if partial.blob.len() != total as usize {
            return Err(Unsound::Damaged(format!("the chunks of {:?} do not add up", partial.place)));
        }
        self.blob(partial.place, partial.blob)
    }

    fn blob(&mut self, place: Place, blob: Vec<u8>) -> Result<(), Unsound> {
        let unreadable = |what: String| Unsound::Damaged(format!("{what} is unreadable"));
        match place {
            Place::Head => {
                self.head = Some(Head::decode(&blob).ok_or_else(|| unreadable("the head".into()))?)
            }
            Place::Var(name) => {
                self.stored.vars.insert(name.into(), blob.into());
            }
            Place::Record(log, first) => {
                let record = Record::decode(&blob)
                    .filter(|record| record.first == first)
                    .ok_or_else(|| unreadable(format!("the record of log {} at {first}", log.0)))?;
                self.record(log, record)?;
            }
            Place::Row(row) => self.stored.rows.push((row, blob.into())),
        }
        Ok(())
    }

    fn record(&mut self, log: LogId, record: Record) -> Result<(), Unsound> {
        let wrong = |what: String| Unsound::Damaged(format!("log {}: {what}", log.0));
        let spans = self.head.as_ref().map(|head| &head.logs);
        let Some(span) = spans.and_then(|logs| logs.get(&log)) else {
            return Err(wrong("it has records, but the head does not know it".into()));
        };
        let kept = Kept { first: record.first, end: record.end(), chain: record.chain };
        self.writer.records.entry(log).or_default().push_back(kept);
        if kept.end <= span.first {
            return Ok(()); // left behind by a truncation
        }
        let (reached, mut chain) = match self.reached.get(&log) {
            Some(&reached) => reached,
            None => (kept.first.min(span.first), kept.chain),
        };
        if kept.first != reached {
            return Err(wrong(format!("a gap at {reached}, the next record starts at {}", kept.first)));
        }
        if kept.chain != chain {
            return Err(wrong(format!("the record at {} does not continue what came before", kept.first)));
        }
        let entries = &mut self.stored.logs.entry(log).or_default().entries;
        for (index, entry) in (kept.first..).zip(record.entries) {
            chain = link(chain, &entry);
            if index >= span.first {
                entries.push(entry);
            }
        }
        self.reached.insert(log, (kept.end, chain));
        Ok(())
    }

    fn finish(mut self) -> Result<(Stored, Writer), Unsound> {
        if let Some(Partial { place, next, .. }) = self.partial {
            return Err(Unsound::Damaged(format!("chunk {next} of {place:?} is missing")));
        }
        let Some(head) = self.head else {
            if self.writer.live > 0 {
                return Err(Unsound::Damaged("there is content, but no head".into()));
            }
            return Ok((self.stored, self.writer));
        };
        for (log, &Span { first, next, chain }) in &head.logs {
            let stored = self.stored.logs.entry(*log).or_default();
            stored.first = first;
            let reached = self.reached.get(log).copied().unwrap_or((first, chain));
            if reached != (next, chain) {
                let what = format!("log {}: it reaches to {}, but the head says {next}", log.0, reached.0);
                return Err(Unsound::Damaged(what));
            }
        }
        if head.digest != self.digest {
            return Err(Unsound::Damaged("some of its content is lost or out of date (digest)".into()));
        }
        self.stored.commits = head.w;
        self.writer.head = head;
        Ok((self.stored, self.writer))
    }
}

/// How many entries there are in all logs.
pub fn entries(stored: &Stored) -> u64 {
    stored.logs.values().map(|log| log.entries.len() as u64).sum()
}
