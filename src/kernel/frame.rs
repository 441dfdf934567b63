//! Frames: the checksummed unit that links carry.
//!
//! ```text
//! version u8 │ component u8 │ kind u8 │ 0 u8 │ length u32 BE │ crc32 u32 BE │ boot u64 BE │ mark u64 BE │ body
//! ```
//!
//! The CRC covers everything but itself. A frame that fails its check never reaches a module: it
//! cannot be told from one that was never sent, and every module already survives losing one.

use super::mutant::{Mutant, Mutants};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use thiserror::Error;

/// The format that this build speaks.
pub const VERSION: u8 = 3;
/// The bytes before the body.
pub const HEADER: usize = 28;
/// Where the checksum stands, and where the stamp begins.
const CRC: usize = 8;
const STAMP: usize = 12;
/// The longest body, in bytes. A larger one is a corrupted length.
pub const MAX_BODY: usize = 64 << 20;

/// The module that a frame is addressed to. Numbers are part of the wire format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Component {
    /// Who is a member, and whose votes count.
    Members = 1,
    /// The leader detector.
    Detector = 2,
    /// Sequence consensus.
    Consensus = 3,
    /// The leader's proposals, which may overtake its own sync.
    Proposal = 4,
    /// Total-order broadcast: commands on their way to the leader.
    TotalOrder = 5,
    /// Decided entries and snapshots, on their way to a process that fell behind.
    CatchUp = 6,
    /// The atomic register.
    Register = 7,
    /// Links between two processes.
    Link = 8,
    /// Uniform reliable broadcast.
    Broadcast = 9,
    /// Digests of the replicated state.
    CrossCheck = 10,
}

impl Component {
    /// All components.
    pub const ALL: [Component; 10] = [
        Self::Members,
        Self::Detector,
        Self::Consensus,
        Self::Proposal,
        Self::TotalOrder,
        Self::CatchUp,
        Self::Register,
        Self::Link,
        Self::Broadcast,
        Self::CrossCheck,
    ];

    fn from_number(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|c| *c as u8 == n)
    }
}

/// How a sender may queue a frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Slot {
    /// In order, within the peer's bounded window; dropped when the window is full.
    Window,
    /// In a slot of its own per peer and message kind, outside the window: the newest replaces the
    /// one that waits. For cumulative messages, so that acknowledgements pass two full windows.
    Newest,
}

/// What one module says to its counterpart.
pub trait Message: Serialize + DeserializeOwned {
    /// The module that receives it.
    const COMPONENT: Component;
    /// The kind of message, for counters and queue slots.
    fn kind(&self) -> u8;
    /// How it may be queued.
    fn slot(&self) -> Slot;
}

/// What a frame says of its sender's stable storage: in which boot it was sent, and the last commit
/// that it depends on. Only the journal knows. Zeros say nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// The number drawn at the boot of the sender.
    pub boot: u64,
    /// The commit mark: everything up to the commit of this number was durable when the frame left.
    pub mark: u64,
}

/// A message that waits for its stamp.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Unsealed {
    bytes: BytesMut,
    slot: Slot,
}

impl Unsealed {
    /// Encodes a message.
    pub(super) fn new<M: Message>(message: &M) -> Self {
        let mut bytes = BytesMut::with_capacity(HEADER + 64);
        bytes.put_slice(&[VERSION, M::COMPONENT as u8, message.kind(), 0]);
        bytes.put_slice(&[0; HEADER - 4]);
        let mut bytes = postcard::to_extend(message, Sink(bytes))
            .expect("messages are plain data, which always encodes")
            .0;
        let length =
            u32::try_from(bytes.len() - HEADER).expect("modules bound their messages far below 4 GiB");
        bytes[4..CRC].copy_from_slice(&length.to_be_bytes());
        Self { bytes, slot: message.slot() }
    }

    /// Stamps and seals it.
    pub(super) fn seal(self, stamp: Stamp) -> Frame {
        let Self { mut bytes, slot } = self;
        bytes[STAMP..STAMP + 8].copy_from_slice(&stamp.boot.to_be_bytes());
        bytes[STAMP + 8..HEADER].copy_from_slice(&stamp.mark.to_be_bytes());
        let crc = checksum(&bytes);
        bytes[CRC..STAMP].copy_from_slice(&crc.to_be_bytes());
        Frame { bytes: bytes.freeze(), slot }
    }
}

impl fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unsealed({}/{}, {} bytes)", self.bytes[1], self.bytes[2], self.bytes.len())
    }
}

/// A sealed message on its way.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    slot: Slot,
}

impl Frame {
    /// Seals a message without a stamp.
    pub fn seal<M: Message>(message: &M) -> Self {
        Unsealed::new(message).seal(Stamp::default())
    }

    /// The frame as it goes over the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How it may be queued; `(component, kind)` names the slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Component and kind, as two bytes of the header: the name of its queue slot.
    pub fn tag(&self) -> (u8, u8) {
        (self.bytes[1], self.bytes[2])
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let crc = word(&self.bytes, CRC);
        write!(f, "Frame({}/{}, {} bytes, {crc:08x})", self.bytes[1], self.bytes[2], self.bytes.len())
    }
}

/// A frame that passed its check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    component: Component,
    kind: u8,
    stamp: Stamp,
    body: Bytes,
}

impl Opened {
    /// Checks a frame that arrived.
    ///
    /// # Errors
    /// When it is damaged, or of another format.
    pub fn check(bytes: Bytes) -> Result<Self, FrameError> {
        Self::check_with(bytes, Mutants::default())
    }

    /// Checks a frame that arrived at a process with a bug.
    ///
    /// # Errors
    /// When it is damaged, or of another format.
    pub fn check_with(bytes: Bytes, mutants: Mutants) -> Result<Self, FrameError> {
        if bytes.len() < HEADER {
            return Err(FrameError::Short(bytes.len()));
        }
        if bytes[0] != VERSION {
            return Err(FrameError::Version(bytes[0]));
        }
        let length = word(&bytes, 4) as usize;
        if length > MAX_BODY || length != bytes.len() - HEADER {
            return Err(FrameError::Length { stated: length, found: bytes.len() - HEADER });
        }
        let intact = checksum(&bytes) == word(&bytes, CRC);
        if !intact && !mutants.on(Mutant::FrameUnchecked) {
            return Err(FrameError::Checksum);
        }
        let component = Component::from_number(bytes[1]).ok_or(FrameError::Component(bytes[1]))?;
        let half = |at| u64::from(word(&bytes, at)) << 32 | u64::from(word(&bytes, at + 4));
        let stamp = Stamp { boot: half(STAMP), mark: half(STAMP + 8) };
        Ok(Self { component, kind: bytes[2], stamp, body: bytes.slice(HEADER..) })
    }

    /// What it says of its sender's stable storage.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The module that it is addressed to.
    pub fn component(&self) -> Component {
        self.component
    }

    /// The kind of message, as its header states it.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// The message, decoded for its module.
    pub fn message<M: Message>(&self) -> Result<M, FrameError> {
        if self.component != M::COMPONENT {
            return Err(FrameError::Body);
        }
        postcard::from_bytes(&self.body).map_err(|_| FrameError::Body)
    }
}

/// Why a frame was dropped.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    /// Shorter than a header.
    #[error("a frame of {0} bytes is shorter than its header")]
    Short(usize),
    /// Another format.
    #[error("frame format {0} is not the one spoken here ({VERSION})")]
    Version(u8),
    /// The header's length is not the body's.
    #[error("a frame states a body of {stated} bytes and has {found}")]
    Length {
        /// What the header says.
        stated: usize,
        /// What arrived.
        found: usize,
    },
    /// The checksum does not match.
    #[error("a frame fails its checksum")]
    Checksum,
    /// No such module.
    #[error("a frame names component {0}, which does not exist")]
    Component(u8),
    /// The body is not a message of the module.
    #[error("a frame's body is not a message of its component")]
    Body,
}

/// Of everything but the checksum itself.
fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..CRC]);
    hasher.update(&frame[STAMP..]);
    hasher.finalize()
}

fn word(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}

struct Sink(BytesMut);

impl Extend<u8> for Sink {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, iter: I) {
        self.0.extend(iter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Ping(u64, Bytes);

    impl Message for Ping {
        const COMPONENT: Component = Component::Detector;
        fn kind(&self) -> u8 {
            7
        }
        fn slot(&self) -> Slot {
            Slot::Newest
        }
    }

    fn ping() -> Ping {
        Ping(300, Bytes::from_static(b"hello"))
    }

    #[test]
    fn a_sealed_message_opens_as_it_was() {
        let opened = Opened::check(Frame::seal(&ping()).bytes().clone()).unwrap();
        assert_eq!((opened.component(), opened.kind()), (Component::Detector, 7));
        assert_eq!(opened.message::<Ping>().unwrap(), ping());
    }

    #[test]
    fn a_stamp_arrives_as_it_was() {
        let stamp = Stamp { boot: u64::MAX - 7, mark: 1 << 40 };
        let opened = Opened::check(Unsealed::new(&ping()).seal(stamp).bytes().clone()).unwrap();
        assert_eq!((opened.stamp(), opened.message::<Ping>().unwrap()), (stamp, ping()));
        assert_eq!(Opened::check(Frame::seal(&ping()).bytes().clone()).unwrap().stamp(), Stamp::default());
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let frame = Frame::seal(&ping());
        for bit in 0..frame.bytes().len() * 8 {
            let mut damaged = frame.bytes().to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Opened::check(damaged.into()).is_err(), "bit {bit} flipped unnoticed");
        }
    }

    #[test]
    fn no_cut_frame_goes_unnoticed() {
        let frame = Frame::seal(&ping());
        for length in 0..frame.bytes().len() {
            assert!(Opened::check(frame.bytes().slice(..length)).is_err());
        }
    }
}
