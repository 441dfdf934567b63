//! Two state machines on one log, as one.
//!
//! ```text
//!  the log ─► command ─┬─ first byte < 0x80 ─► the first       rows: top bit of `sub` clear
//!                      └─ 0x80, then the rest ─► the second           top bit of `sub` set
//! ```
//!
//! The first is as it would be alone: its commands, its rows and a checkpoint that it made before
//! there was a second are read as they are. So a replica takes a second state machine to a log and
//! a disk that it has had for long.
//!
//! Both begin a checkpoint at the same point of the log. First the second writes its pieces, then
//! the first, whose last one carries what both say of it: whatever the second holds for finished
//! before that, is not what a process boots from, and rows beyond the finished checkpoint do not
//! count. In return a state machine deletes rows of the finished checkpoint only in pieces of a
//! later one.

use super::catch_up::Load;
use super::state_machine::{Piece, StateMachine};
use crate::kernel::{Config, Digest, Hits, Memory, Row, RowKey};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// The first byte of a command, or of a checkpoint's description, that is not of the first alone.
const BOTH: u8 = 0x80;
/// Set in the place of a row of the second.
const SECOND: u32 = 1 << 31;

/// Two state machines as one.
#[derive(Debug, Default)]
pub struct Pair<A, B> {
    first: A,
    second: B,
    /// What the second says of the checkpoint that is being written, once its part is.
    written: Option<Bytes>,
}

/// Something of the first, or of the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Either<A, B> {
    /// Of the first.
    First(A),
    /// Of the second.
    Second(B),
}

/// The states of both, after the same prefix of the log.
#[derive(Clone, Debug)]
pub struct Views<A, B> {
    /// Of the first.
    pub first: A,
    /// Of the second.
    pub second: B,
}

impl<A, B> Pair<A, B> {
    /// The first.
    pub fn first(&self) -> &A {
        &self.first
    }

    /// The second.
    pub fn second(&self) -> &B {
        &self.second
    }
}

/// A command of the second, as the log carries it. One of the first is carried as it is: its first
/// byte must be below 0x80.
pub fn for_second(command: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + command.len());
    bytes.put_u8(BOTH);
    bytes.put_slice(command);
    bytes.freeze()
}

/// What is stored with a checkpoint of both.
#[derive(Serialize, Deserialize)]
struct Meta {
    first: Bytes,
    second: Bytes,
}

impl Meta {
    fn encode(&self) -> Bytes {
        let bytes = postcard::to_extend(self, vec![BOTH]);
        Bytes::from(bytes.expect("a vector takes everything that is written to it"))
    }

    /// What each says of the checkpoint; the second nothing, where there was none yet.
    fn decode(bytes: &Bytes) -> Option<(Bytes, Option<Bytes>)> {
        match bytes.split_first() {
            Some((&BOTH, rest)) => {
                let Meta { first, second } = postcard::from_bytes(rest).ok()?;
                Some((first, Some(second)))
            }
            Some(_) | None => Some((bytes.clone(), None)),
        }
    }
}

/// Builds both from the rows of a checkpoint.
pub struct PairLoader<A: StateMachine, B: StateMachine> {
    first: A::Loader,
    second: B::Loader,
}

impl<A: StateMachine, B: StateMachine> StateMachine for Pair<A, B> {
    type Reply = Either<A::Reply, B::Reply>;
    type View = Views<A::View, B::View>;
    type Loader = PairLoader<A, B>;

    fn apply(&mut self, index: u64, mut command: Bytes) -> Self::Reply {
        match command.first() {
            Some(&BOTH) => {
                command.advance(1);
                Either::Second(self.second.apply(index, command))
            }
            Some(_) | None => Either::First(self.first.apply(index, command)),
        }
    }

    fn follow(&mut self, index: u64, mut command: Bytes) {
        match command.first() {
            Some(&BOTH) => {
                command.advance(1);
                self.second.follow(index, command);
            }
            Some(_) | None => self.first.follow(index, command),
        }
    }

    fn view(&self) -> Self::View {
        Views { first: self.first.view(), second: self.second.view() }
    }

    fn digest(&mut self) -> u64 {
        Digest::default().word(self.first.digest()).word(self.second.digest()).value()
    }

    fn begin_checkpoint(&mut self) {
        self.written = None;
        self.first.begin_checkpoint();
        self.second.begin_checkpoint();
    }

    fn checkpoint_piece(&mut self, budget: usize) -> Piece {
        // The generation is the first's: the second may have come to the disk later.
        let generation = self.first.generation();
        let place = |key: RowKey| {
            assert!(key.sub < SECOND, "row {key:?} lies where rows of another state machine do");
            RowKey { generation, sub: key.sub | SECOND, ..key }
        };
        let Some(second) = &self.written else {
            let Piece { puts, deletes, finished } = self.second.checkpoint_piece(budget);
            self.written = finished;
            let puts = puts.into_iter().map(|(key, value)| (place(key), value)).collect();
            return Piece { puts, deletes: deletes.into_iter().map(place).collect(), finished: None };
        };
        let mut piece = self.first.checkpoint_piece(budget);
        let own = |key: &RowKey| key.sub < SECOND;
        assert!(piece.puts.iter().map(|(key, _): &Row| key).chain(&piece.deletes).all(own));
        if let Some(first) = piece.finished.take() {
            piece.finished = Some(Meta { first, second: second.clone() }.encode());
            self.written = None;
        }
        piece
    }

    fn hold_rows(&mut self, hold: bool) {
        self.first.hold_rows(hold);
        self.second.hold_rows(hold);
    }

    fn is_full(&self) -> bool {
        self.first.is_full() || self.second.is_full()
    }

    fn grows(command: &Bytes) -> bool {
        match command.first() {
            Some(&BOTH) => B::grows(&command.slice(1..)),
            Some(_) | None => A::grows(command),
        }
    }

    fn gives_back(&self) -> bool {
        self.first.gives_back() || self.second.gives_back()
    }

    fn generation(&self) -> u32 {
        self.first.generation()
    }

    fn checkpoint_end(meta: &Bytes) -> u64 {
        let Some((first, second)) = Meta::decode(meta) else { return 0 };
        A::checkpoint_end(&first).max(second.map_or(0, |second| B::checkpoint_end(&second)))
    }

    fn load(loader: Self::Loader) -> Option<Self> {
        Some(Self { first: A::load(loader.first)?, second: B::load(loader.second)?, written: None })
    }

    fn empty_loader() -> Self::Loader {
        PairLoader { first: A::empty_loader(), second: B::empty_loader() }
    }

    fn maintain(&mut self) {
        self.first.maintain();
        self.second.maintain();
    }

    fn configure(&mut self, config: &Config) {
        self.first.configure(config);
        self.second.configure(config);
    }

    fn memory(&self) -> Vec<Memory> {
        [self.first.memory(), self.second.memory()].concat()
    }

    fn take_hits(&mut self) -> Hits {
        let mut hits = self.first.take_hits();
        hits += self.second.take_hits();
        hits
    }
}

impl<A: StateMachine, B: StateMachine> Load for PairLoader<A, B> {
    fn begin(meta: &Bytes) -> Option<Self> {
        let (first, second) = Meta::decode(meta)?;
        let second = match second {
            Some(second) => B::Loader::begin(&second)?,
            None => B::empty_loader(),
        };
        Some(Self { first: A::Loader::begin(&first)?, second })
    }

    fn rebase(meta: &Bytes, generation: u32) -> Option<Bytes> {
        let (first, second) = Meta::decode(meta)?;
        let first = A::Loader::rebase(&first, generation)?;
        let Some(second) = second else { return Some(first) };
        Some(Meta { first, second: B::Loader::rebase(&second, generation)? }.encode())
    }

    fn row(&mut self, key: RowKey, value: Bytes) -> bool {
        if key.sub < SECOND {
            self.first.row(key, value)
        } else {
            self.second.row(RowKey { sub: key.sub & !SECOND, ..key }, value)
        }
    }
}
