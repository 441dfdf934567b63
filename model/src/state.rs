//! What there is: processes, their disks, and what they have said.

use std::collections::BTreeSet;
use std::rc::Rc;

/// Processes: any two of them are a majority.
pub const PROCESSES: usize = 3;
/// The process whose disk is put back.
pub const VICTIM: usize = 2;

/// A log: the ballot in which each entry was proposed.
pub type Log = Vec<u8>;

/// Whether one of two prefixes of logs is a prefix of the other.
pub fn agree(a: &[u8], b: &[u8]) -> bool {
    let common = a.len().min(b.len());
    a[..common] == b[..common]
}

/// What survives a crash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Disk {
    pub prom: u8,
    pub acc: u8,
    pub log: Log,
    /// The decided prefix, as of the last commit.
    pub decided: u8,
    /// The number of the last commit.
    pub commits: u8,
    /// The life of each peer that was recorded last.
    pub lives: [u8; PROCESSES],
    /// The mark of each peer, as of the last commit.
    pub marks: [u8; PROCESSES],
    /// Whether it knows that it lost its memory.
    pub learner: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Role {
    #[default]
    Follower,
    Candidate,
    Leader,
}

/// A process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Process {
    pub disk: Disk,
    /// Which life this is: no two have the same.
    pub life: u8,
    /// The last commit before it.
    pub began: u8,
    /// The last commit of it that others are told of.
    pub mark: u8,
    pub role: Role,
    pub decided: u8,
    pub shown: [u8; PROCESSES],
    /// Who has recorded this life.
    pub acks: BTreeSet<usize>,
    pub halted: bool,
}

impl Process {
    /// What it takes for decided.
    pub fn prefix(&self) -> Log {
        self.disk.log[..usize::from(self.decided)].to_vec()
    }

    /// Whether it takes part.
    pub fn votes(&self) -> bool {
        !self.halted && !self.disk.learner && !self.acks.is_empty()
    }

    /// Everything that changed becomes durable, and with it what is stored by the way.
    pub fn commit(&mut self) {
        self.hint();
        self.mark = self.disk.commits;
    }

    /// What is stored by the way becomes durable by itself.
    pub fn hint(&mut self) {
        self.disk.commits += 1;
        self.disk.decided = self.decided;
        self.disk.marks = self.shown;
    }

    /// It crashes and boots, as a new life.
    pub fn boot(&mut self, life: u8) {
        let disk = std::mem::take(&mut self.disk);
        let (began, decided, shown) = (disk.commits, disk.decided, disk.marks);
        let halted = self.halted;
        *self = Self { disk, life, began, decided, shown, halted, ..Self::default() };
        self.commit();
    }
}

/// Who said something, in which life, and how far the disk had got.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp {
    pub by: usize,
    pub life: u8,
    pub mark: u8,
}

/// What is said. Nothing that was said is ever gone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Message {
    Prepare { n: u8, prefix: Log },
    Promise { n: u8, stamp: Stamp, acc: u8, log: Log, decided: u8 },
    AcceptSync { n: u8, to: usize, life: u8, from: u8, suffix: Log, prefix: Log },
    Accept { n: u8, log: Log },
    Accepted { n: u8, stamp: Stamp, len: u8 },
    Decide { n: u8, decided: u8 },
}

/// A state of the whole.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    pub processes: [Process; PROCESSES],
    pub said: BTreeSet<Rc<Message>>,
    /// The copy of the victim's disk.
    pub copy: Option<Disk>,
    /// Once the copy was put back: whether everyone else knew durably better.
    pub known: Option<bool>,
    /// Lives so far.
    pub lives: u8,
    pub crashes: u8,
}

impl State {
    /// All have booted, and nobody has heard of anybody.
    pub fn initial() -> Self {
        let mut state = Self::default();
        for p in 0..PROCESSES {
            state.lives += 1;
            state.processes[p].boot(state.lives);
        }
        state
    }

    /// Something is said.
    pub fn say(&mut self, message: Message) {
        self.said.insert(Rc::new(message));
    }

    /// What does not hold, if anything.
    pub fn violation(&self) -> Option<String> {
        for p in 0..PROCESSES {
            for q in 0..p {
                let (a, b) = (&self.processes[p], &self.processes[q]);
                if agree(&a.prefix(), &b.prefix()) {
                    continue;
                }
                if self.known != Some(false) {
                    return Some(format!("agreement: {p} decides {:?}, {q} {:?}", a.prefix(), b.prefix()));
                }
                if a.disk.acc == b.disk.acc && !a.halted && !b.halted {
                    return Some(format!(
                        "silent: {p} and {q} accept in ballot {} and decide {:?} and {:?}",
                        a.disk.acc,
                        a.prefix(),
                        b.prefix()
                    ));
                }
            }
        }
        None
    }
}
