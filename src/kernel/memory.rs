//! What a process holds in memory, by an account of its own, and the most that it may.
//!
//! Each module counts the bytes of what it keeps, and [`SLOT`] for each thing beside them; the most
//! follows from the bounds, by the formula that stands where it is counted. A monitor of the simulator
//! compares the two: what has no bound is found before it has filled a machine.

macro_rules! accounts {
    ($($name:ident: $held:literal,)+) => {
        /// Something that is held in memory.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Account {
            $(#[doc = concat!("The ", $held, ".")] $name,)+
        }

        impl Account {
            /// Every account.
            pub const ALL: &[Account] = &[$(Self::$name),+];

            /// What is held.
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$name => $held,)+
                }
            }
        }
    };
}

accounts! {
    Commands: "commands that wait, here and at the leader",
    Log: "replicated log",
    Registers: "registers and operations on them",
    Publications: "publications that wait",
    Outbox: "outbox of the logged links",
    Links: "messages on their way over links",
    Relayed: "messages that are relayed",
    Deliveries: "delivery log",
    Subscribers: "subscribers",
    Sessions: "sessions and their replies",
    Ledger: "ledger",
    Stores: "stores that wait for the disk",
    Exposures: "exposures that wait for the disk",
}

/// What a thing takes in memory beside its own bytes: its place in a map or a queue, and what is
/// known of it.
pub const SLOT: usize = 128;

/// How much is held of something, and the most that may be, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// What.
    pub of: Account,
    /// How much.
    pub bytes: usize,
    /// How much at most.
    pub most: usize,
}

impl Memory {
    /// So many things of so many bytes together.
    pub fn new(of: Account, (count, bytes): (usize, usize), most: usize) -> Self {
        Self { of, bytes: count * SLOT + bytes, most }
    }
}

/// The most that was ever held of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peaks {
    peaks: [Peak; Account::ALL.len()],
}

/// The most that was held of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Peak {
    /// In bytes.
    pub bytes: usize,
    /// In hundredths of what might have been held.
    pub percent: usize,
}

impl Default for Peaks {
    fn default() -> Self {
        Self { peaks: [Peak::default(); Account::ALL.len()] }
    }
}

impl Peaks {
    /// Something was seen to be held.
    pub fn see(&mut self, memory: Memory) {
        let Memory { of, bytes, most } = memory;
        self.raise(of as usize, Peak { bytes, percent: 100 * bytes / most.max(1) });
    }

    /// The peak of something.
    pub fn of(&self, account: Account) -> Peak {
        self.peaks[account as usize]
    }

    fn raise(&mut self, at: usize, to: Peak) {
        let peak = &mut self.peaks[at];
        *peak = Peak { bytes: peak.bytes.max(to.bytes), percent: peak.percent.max(to.percent) };
    }
}

impl std::ops::AddAssign for Peaks {
    fn add_assign(&mut self, other: Self) {
        other.peaks.into_iter().enumerate().for_each(|(at, peak)| self.raise(at, peak));
    }
}
