//! The simulated network: what is in flight between each ordered pair of processes.
//!
//! Any frame may be delivered next, never, or more than once; a link that is cut holds what it
//! carries until it heals, or forgets it. Frames of a crashed incarnation stay in flight. As in
//! production, each pair has a bounded window, and messages that say so have one slot per kind, where
//! the newest replaces the one that waits.

use crate::kernel::{Bound, Bounds, Component, Frame, Hits, Incarnation, ProcessId, Slot};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::VecDeque;

/// Frames of one kind that are held back between two processes: the oldest, and the newest.
const SHELF: usize = 3;

/// A frame on its way.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    /// What was sent.
    pub(super) bytes: Bytes,
    /// The incarnation of the sender that sent it.
    pub(super) inc: Incarnation,
    /// Which sending it was, counted over the whole run.
    pub(super) id: u64,
    tag: Option<(u8, u8)>,
}

/// What became of a frame that was handed to the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// It is in flight.
    InFlight,
    /// It is in flight, in the place of an older one of its kind.
    Replaced,
    /// The window was full: it is gone.
    Dropped,
}

#[derive(Debug)]
pub(super) struct Network {
    processes: usize,
    flights: Vec<VecDeque<InFlight>>,
    /// Frames held back, until the adversary lets them arrive: for ever, or for long.
    shelves: Vec<Vec<InFlight>>,
    cut: Vec<bool>,
    /// Whether the newest message of a kind replaces the one that waits.
    replacing: bool,
    bounds: Bounds,
    /// A process whose larger frames of the log are all lost, and the largest that are not.
    narrow: Option<(ProcessId, usize)>,
    /// What did not fit between two processes.
    pub(super) hits: Hits,
    /// How many frames were ever sent.
    sent: u64,
}

impl Network {
    pub(super) fn new(processes: usize, replacing: bool, bounds: Bounds) -> Self {
        let pairs = processes * processes;
        Self {
            processes,
            flights: vec![VecDeque::new(); pairs],
            shelves: vec![Vec::new(); pairs],
            cut: vec![false; pairs],
            replacing,
            bounds,
            narrow: None,
            hits: Hits::default(),
            sent: 0,
        }
    }

    fn pair(&self, from: ProcessId, to: ProcessId) -> usize {
        from.index() * self.processes + to.index()
    }

    /// Puts a frame in flight.
    pub(super) fn send(&mut self, from: ProcessId, to: ProcessId, inc: Incarnation, frame: &Frame) -> Sent {
        let pair = self.pair(from, to);
        self.sent += 1;
        let flight = &mut self.flights[pair];
        let tag = (self.replacing && frame.slot() == Slot::Newest).then(|| frame.tag());
        let new = InFlight { bytes: frame.bytes().clone(), inc, id: self.sent, tag };
        if tag.is_some()
            && let Some(older) = flight.iter_mut().find(|f| f.tag == tag && f.inc == inc)
        {
            *older = new;
            return Sent::Replaced;
        }
        let of_log = [Component::Consensus as u8, Component::Proposal as u8].contains(&frame.tag().0);
        let most = self.narrow.filter(|(narrow, _)| *narrow == from && of_log).map(|(_, most)| most);
        if most.is_some_and(|most| frame.bytes().len() > most) {
            return Sent::Dropped;
        }
        // As the queue of a stream: a single larger frame passes alone.
        let bytes: usize = flight.iter().map(|f| f.bytes.len()).sum();
        if flight.len() >= self.bounds.peer_frames {
            self.hits.hit(Bound::PeerFrames);
            return Sent::Dropped;
        }
        if !flight.is_empty() && bytes + new.bytes.len() > self.bounds.peer_bytes {
            self.hits.hit(Bound::PeerBytes);
            return Sent::Dropped;
        }
        flight.push_back(new);
        Sent::InFlight
    }

    /// From now on what a process says of the log is lost, for ever, where it is more than `most` bytes.
    pub(super) fn narrow(&mut self, from: ProcessId, most: usize) {
        self.narrow = Some((from, most));
    }

    /// Nothing is lost any more for its size.
    pub(super) fn widen(&mut self) {
        self.narrow = None;
    }

    /// The number of the last sending.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// A pair with something to deliver, or none.
    pub(super) fn any(&self, rng: &mut Rng) -> Option<(ProcessId, ProcessId)> {
        let pairs = self.flights.len();
        let start = rng.usize(..pairs);
        let ready = |pair: &usize| !self.flights[*pair].is_empty() && !self.cut[*pair];
        let pair = (start..pairs).chain(0..start).find(ready)?;
        Some((ProcessId((pair / self.processes) as u8), ProcessId((pair % self.processes) as u8)))
    }

    /// How many frames are in flight from one process to another.
    pub(super) fn in_flight(&self, from: ProcessId, to: ProcessId) -> usize {
        self.flights[self.pair(from, to)].len()
    }

    /// Takes a frame off its way; position 0 is the oldest.
    pub(super) fn take(&mut self, from: ProcessId, to: ProcessId, at: usize) -> InFlight {
        let pair = self.pair(from, to);
        self.flights[pair].remove(at).expect("the adversary picks among the frames in flight")
    }

    /// A copy of a frame, which stays on its way.
    pub(super) fn copy(&self, from: ProcessId, to: ProcessId, at: usize) -> InFlight {
        self.flights[self.pair(from, to)][at].clone()
    }

    /// Holds a frame back.
    pub(super) fn hold(&mut self, from: ProcessId, to: ProcessId, frame: InFlight) {
        let pair = self.pair(from, to);
        let shelf = &mut self.shelves[pair];
        let kind = |f: &InFlight| (f.bytes[1], f.bytes[2]);
        let same: Vec<usize> = (0..shelf.len()).filter(|i| kind(&shelf[*i]) == kind(&frame)).collect();
        if same.len() >= SHELF {
            shelf.remove(same[1]);
        }
        shelf.push(frame);
    }

    /// Whether a frame in flight is one of the consensus, which are few beside heartbeats and
    /// proposals, and go wrong more interestingly.
    pub(super) fn is_consensus(&self, from: ProcessId, to: ProcessId, at: usize) -> bool {
        self.flights[self.pair(from, to)][at].bytes[1] == Component::Consensus as u8
    }

    /// A position among the frames that are held back: one of the consensus, if there is any and
    /// `picky`.
    pub(super) fn any_held(
        &self,
        from: ProcessId,
        to: ProcessId,
        picky: bool,
        rng: &mut Rng,
    ) -> Option<usize> {
        let shelf = &self.shelves[self.pair(from, to)];
        let fits = |f: &InFlight| !picky || f.bytes[1] == Component::Consensus as u8;
        let places: Vec<usize> = (0..shelf.len()).filter(|i| fits(&shelf[*i])).collect();
        if places.is_empty() { None } else { Some(places[rng.usize(..places.len())]) }
    }

    /// How many frames are held back from one process to another.
    pub(super) fn held(&self, from: ProcessId, to: ProcessId) -> usize {
        self.shelves[self.pair(from, to)].len()
    }

    /// Takes a frame that was held back.
    pub(super) fn unhold(&mut self, from: ProcessId, to: ProcessId, at: usize) -> InFlight {
        let pair = self.pair(from, to);
        self.shelves[pair].remove(at)
    }

    /// What is in flight from one process to another, the oldest first.
    pub(super) fn flight(&self, from: ProcessId, to: ProcessId) -> &VecDeque<InFlight> {
        &self.flights[self.pair(from, to)]
    }

    /// What is held back from one process to another.
    pub(super) fn shelf(&self, from: ProcessId, to: ProcessId) -> &[InFlight] {
        &self.shelves[self.pair(from, to)]
    }

    /// Forgets what is in flight from one process to another, but for what `keep` says.
    pub(super) fn forget(&mut self, from: ProcessId, to: ProcessId, mut keep: impl FnMut() -> bool) {
        let pair = self.pair(from, to);
        self.flights[pair].retain(|_| keep());
    }

    /// Cuts a link, or heals it. Returns whether that changed it.
    pub(super) fn set_cut(&mut self, from: ProcessId, to: ProcessId, cut: bool) -> bool {
        let pair = self.pair(from, to);
        std::mem::replace(&mut self.cut[pair], cut) != cut
    }

    /// Whether a link is cut.
    pub(super) fn is_cut(&self, from: ProcessId, to: ProcessId) -> bool {
        self.cut[self.pair(from, to)]
    }
}
