//! The journal: persist before expose.
//!
//! Turns close in order. What a turn exposes waits until its own stores, and those of every turn
//! before it, are durable: also when it stores nothing, since it may speak of their state. One
//! commit is under way at a time, and everything that closes meanwhile forms the next one.
//!
//! **The commit mark.** Commits of a disk are numbered, and the number only grows. Every frame is stamped
//! with the number of the commit that it waited for, so that whoever counts what a process says knows
//! how far its disk had got: a disk that later ends before that has been rolled back (rule 13). A commit
//! of hints alone has a number, too, but nothing waits for it: it raises no mark. Else two idle
//! replicas, each of which stores the other's mark, would keep each other busy for ever. And no mark is
//! shown before the turn that says so ([`Turn::show_commits`]).

use super::config::Config;
use super::disk::{Batch, Disk, DiskError};
use super::frame::Stamp;
use super::hits::{Bound, Hits};
use super::memory::{Account, Memory, SLOT};
use super::mutant::{Mutant, Mutants};
use super::process::ProcessId;
use super::turn::{Outgoing, Turn};
use std::collections::VecDeque;
use std::fmt;

/// Something that may leave the process: everything it depends on is durable. Only the journal
/// makes one.
///
/// ```compile_fail
/// # use kvorum::kernel::*;
/// fn leak(frame: Outgoing) -> Exposed<Outgoing> {
///     Exposed { inner: frame }
/// }
/// ```
///
/// ```
/// # use kvorum::kernel::*;
/// fn leave(frame: Exposed<Outgoing>) -> Outgoing {
///     frame.into_inner()
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct Exposed<T> {
    inner: T,
}

impl<T> Exposed<T> {
    /// What is exposed.
    pub fn into_inner(self) -> T {
        self.inner
    }

    /// What is exposed, by reference.
    pub fn get(&self) -> &T {
        &self.inner
    }
}

/// Indications that a turn holds until they may be exposed. Nothing can be taken out again.
#[derive(Debug)]
pub struct Held<U> {
    indications: Vec<U>,
    refusals: Vec<U>,
}

impl<U> Held<U> {
    /// Exposes an indication once everything stored up to the end of this turn is durable.
    pub fn expose(&mut self, indication: U) {
        self.indications.push(indication);
    }

    /// Exposes at once that something was not taken. It tells nothing of the state, and so it depends on
    /// no store; and where the disk stands still, refusals would be what fills the memory.
    pub fn refuse(&mut self, refusal: U) {
        self.refusals.push(refusal);
    }
}

/// What has become durable, and leaves now, in the order of the turns.
#[derive(Debug)]
#[must_use]
pub struct Release<U> {
    /// Frames, those to the process itself included.
    pub frames: Vec<Exposed<Outgoing>>,
    /// Indications to the layer above the stack.
    pub indications: Vec<Exposed<U>>,
}

impl<U> Default for Release<U> {
    fn default() -> Self {
        Self { frames: Vec::new(), indications: Vec::new() }
    }
}

impl<U> Release<U> {
    fn add(&mut self, frames: Vec<Outgoing>, indications: Vec<U>) {
        self.frames.extend(frames.into_iter().map(|inner| Exposed { inner }));
        self.indications.extend(indications.into_iter().map(|inner| Exposed { inner }));
    }

    /// Whether nothing leaves.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.indications.is_empty()
    }
}

/// A batch on its way to the disk. Commits run one at a time, in the order in which the journal
/// gave them out.
#[derive(Debug)]
#[must_use]
pub struct Commit {
    batch: Batch,
    upto: u64,
}

impl Commit {
    /// Makes the batch durable. A failure is final: see [`DiskError`].
    pub fn run(&self, disk: &mut dyn Disk) -> Result<Synced, DiskError> {
        disk.commit(&self.batch)?;
        Ok(Synced { upto: self.upto })
    }

    /// What is to be made durable.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }
}

/// Proof that a commit is durable. Only [`Commit::run`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Synced {
    upto: u64,
}

/// What a turn exposes, and the last turn whose stores it waits for.
#[derive(Clone)]
struct Waiting<U> {
    needs: u64,
    frames: Vec<Outgoing>,
    indications: Vec<U>,
}

impl<U> Waiting<U> {
    fn size(&self) -> usize {
        let bytes: usize = self.frames.iter().map(|out| out.frame.bytes().len()).sum();
        bytes + (self.frames.len() + self.indications.len()) * SLOT
    }
}

/// The journal of one process. It is cloned by the explorer of all executions alone, which goes on
/// from one state in several ways.
///
/// Invariant: `durable ≤ in_flight ≤ stored ≤ turn`, and `waiting` is ordered by `needs`.
#[derive(Clone)]
pub struct Journal<U> {
    /// Number of the last turn.
    turn: u64,
    /// The last turn that stored something.
    stored: u64,
    /// The last turn of the commit under way; equal to `durable` when there is none.
    in_flight: u64,
    /// Every turn up to this one is durable.
    durable: u64,
    pending: Batch,
    waiting: VecDeque<Waiting<U>>,
    /// The size of what is pending, and of what waits.
    held: (usize, usize),
    /// Whose it is, and the bytes that may wait.
    owner: Option<(ProcessId, usize)>,
    hits: Hits,
    mutants: Mutants,
    marks: Option<Marks>,
}

/// The numbers of the commits of a disk.
///
/// Invariant: `durable ≤ in_flight ≤ last`, and `last` is that of a commit given out, or of the next.
#[derive(Clone, Copy)]
struct Marks {
    boot: u64,
    /// The last commit that was given out.
    given: u64,
    /// The last commit with facts in it, given out or still to be.
    last: u64,
    /// The mark once the commit under way is durable.
    in_flight: u64,
    /// The mark now.
    durable: u64,
    /// The first mark that is shown.
    since: u64,
}

impl<U> Journal<U> {
    /// The journal of a process that has just booted, after the last commit of its disk.
    pub fn start(config: &Config, commits: u64) -> Self {
        let owner = Some((config.me, config.bounds.journal_bytes));
        let boot = config.boot;
        let marks = Marks {
            boot,
            given: commits,
            last: commits,
            in_flight: commits,
            durable: commits,
            since: u64::MAX,
        };
        Self { owner, marks: Some(marks), ..Self::new(config.mutants) }
    }

    /// One without bounds, whose frames are not stamped, for worlds that have their own.
    pub fn new(mutants: Mutants) -> Self {
        Self {
            marks: None,
            turn: 0,
            stored: 0,
            in_flight: 0,
            durable: 0,
            pending: Batch::default(),
            waiting: VecDeque::new(),
            held: (0, 0),
            owner: None,
            hits: Hits::default(),
            mutants,
        }
    }

    /// Runs one turn. Returns, beside what `react` returned, what may leave at once: messages of
    /// the two kinds that need not wait, and, when nothing at all is waiting to become durable,
    /// what the turn exposed.
    pub fn turn<R>(&mut self, react: impl FnOnce(&mut Turn, &mut Held<U>) -> R) -> (R, Release<U>) {
        let full = self.is_full();
        let mut turn = Turn::open(full);
        let mut held = Held { indications: Vec::new(), refusals: Vec::new() };
        let result = react(&mut turn, &mut held);
        self.turn += 1;
        self.hits += turn.hits;
        if !turn.batch.is_empty() {
            self.stored = self.turn;
            let (count, bytes) = turn.batch.size();
            self.held.0 += count * SLOT + bytes;
            if let Some(marks) = self.marks.as_mut().filter(|_| turn.batch.has_facts()) {
                marks.last = marks.given + 1;
            }
            self.pending.extend(turn.batch);
        }
        if let Some(marks) = self.marks.as_mut().filter(|_| turn.shows_commits) {
            marks.since = marks.since.min(marks.last);
        }
        let stamp = |mark: fn(&Marks) -> u64| {
            let marks = self.marks.as_ref().filter(|m| mark(m) >= m.since);
            marks.map_or(Stamp::default(), |m| Stamp { boot: m.boot, mark: mark(m) })
        };
        let early = turn.early.seal(stamp(|m| m.durable));
        let mut frames = turn.frames.seal(stamp(|m| m.last));
        let mut release = Release::default();
        release.add(early, held.refusals);
        if self.stored <= self.durable || self.mutants.on(Mutant::ExposeBeforeSync) {
            release.add(frames, held.indications);
        } else if !(frames.is_empty() && held.indications.is_empty()) {
            if let Some((me, _)) = self.owner.filter(|_| full) {
                // Links lose frames; but what a process says to itself nobody says again.
                self.hits.hit(Bound::Journal);
                frames.retain(|out| out.to == me);
            }
            let waiting = Waiting { needs: self.stored, frames, indications: held.indications };
            self.held.1 += waiting.size();
            self.waiting.push_back(waiting);
        }
        (result, release)
    }

    /// The next commit, if there is something to store and none is under way.
    pub fn next_commit(&mut self) -> Option<Commit> {
        if self.in_flight != self.durable || self.pending.is_empty() {
            return None;
        }
        self.in_flight = self.stored;
        self.held.0 = 0;
        if let Some(marks) = &mut self.marks {
            marks.given += 1;
            marks.in_flight = marks.last;
        }
        Some(Commit { batch: std::mem::take(&mut self.pending), upto: self.stored })
    }

    /// Takes the proof that the commit under way is durable, and releases what waited for it.
    pub fn synced(&mut self, synced: Synced) -> Release<U> {
        assert_eq!(
            synced.upto, self.in_flight,
            "a commit of another journal, or an earlier one, was handed in"
        );
        self.durable = synced.upto;
        if let Some(marks) = &mut self.marks {
            marks.durable = marks.in_flight;
        }
        let mut release = Release::default();
        while self.waiting.front().is_some_and(|w| w.needs <= self.durable) {
            let Some(ready) = self.waiting.pop_front() else { break };
            self.held.1 -= ready.size();
            release.add(ready.frames, ready.indications);
        }
        release
    }

    /// What was stored and is not on its way to the disk yet, for people.
    pub fn pending(&self) -> &Batch {
        &self.pending
    }

    /// The frames that wait for the disk, for people, and how many indications do.
    pub fn waiting(&self) -> (impl Iterator<Item = &Outgoing>, usize) {
        let frames = self.waiting.iter().flat_map(|w| &w.frames);
        (frames, self.waiting.iter().map(|w| w.indications.len()).sum())
    }

    /// Whether so much waits for the disk that nothing more is to be taken.
    fn is_full(&self) -> bool {
        let full = |(_, most)| self.held.0 + self.held.1 >= most;
        self.owner.is_some_and(full) && !self.mutants.on(Mutant::DiskWaitedFor)
    }

    /// What waits for the disk. One turn goes beyond the bound, by what it stores and says of the frames
    /// and requests of an inbox (`turn`).
    pub fn memory(&self, turn: usize) -> [Memory; 2] {
        let most = self.owner.map_or(usize::MAX, |(_, most)| most + turn);
        [
            Memory { of: Account::Stores, bytes: self.held.0, most },
            Memory { of: Account::Exposures, bytes: self.held.1, most },
        ]
    }

    /// Which bounds were hit since the boot.
    pub fn hits(&self) -> &Hits {
        &self.hits
    }

    /// Whether everything that was stored is durable.
    pub fn is_settled(&self) -> bool {
        self.stored == self.durable
    }
}

/// Turns are numbered from the last durable one on: how many came before tells no state from
/// another.
impl<U: fmt::Debug> fmt::Debug for Journal<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting.iter().map(|w| (w.needs - self.durable, &w.frames, &w.indications));
        f.debug_struct("Journal")
            .field("stored", &(self.stored - self.durable))
            .field("in_flight", &(self.in_flight - self.durable))
            .field("pending", &self.pending)
            .field("waiting", &waiting.collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::super::disk::Stored;
    use super::super::frame::{Component, Message, Opened, Slot};
    use super::super::logged::Logged;
    use super::*;
    use crate::kernel::turn::Early;

    /// A disk that holds everything and fails on demand.
    #[derive(Default)]
    struct Memory {
        commits: Vec<Batch>,
        failing: bool,
    }

    impl Disk for Memory {
        fn commit(&mut self, batch: &Batch) -> Result<(), DiskError> {
            if self.failing {
                return Err(DiskError::Failed("as told".into()));
            }
            self.commits.push(batch.clone());
            Ok(())
        }
    }

    fn journal() -> (Journal<&'static str>, Logged<u64>, Memory) {
        let x = Logged::recover("test/x", &Stored::default(), 0).unwrap();
        (Journal::new(Mutants::default()), x, Memory::default())
    }

    fn names(release: Release<&'static str>) -> Vec<&'static str> {
        release.indications.into_iter().map(Exposed::into_inner).collect()
    }

    #[test]
    fn what_a_turn_exposes_waits_for_its_stores() {
        let (mut journal, mut x, mut disk) = journal();
        let (_, release) = journal.turn(|turn, held| {
            x.set(1, turn);
            held.expose("stored 1");
        });
        assert!(release.is_empty());
        let commit = journal.next_commit().unwrap();
        let synced = commit.run(&mut disk).unwrap();
        assert_eq!(names(journal.synced(synced)), ["stored 1"]);
        assert_eq!(disk.commits.len(), 1);
    }

    #[test]
    fn a_turn_that_stores_nothing_waits_behind_those_before_it() {
        let (mut journal, mut x, mut disk) = journal();
        let _ = journal.turn(|turn, _| x.set(1, turn));
        let commit = journal.next_commit().unwrap();
        assert!(journal.turn(|_, held| held.expose("x is 1")).1.is_empty());
        let _ = journal.turn(|turn, held| {
            x.set(2, turn);
            held.expose("x is 2");
        });
        assert!(journal.next_commit().is_none(), "one commit at a time");
        let synced = commit.run(&mut disk).unwrap();
        assert_eq!(names(journal.synced(synced)), ["x is 1"]);
        let commit = journal.next_commit().unwrap();
        let synced = commit.run(&mut disk).unwrap();
        assert_eq!(names(journal.synced(synced)), ["x is 2"]);
        assert_eq!(names(journal.turn(|_, held| held.expose("idle")).1), ["idle"]);
    }

    #[test]
    fn turns_that_close_during_a_commit_form_the_next_one() {
        let (mut journal, mut x, mut disk) = journal();
        let _ = journal.turn(|turn, _| x.set(1, turn));
        let first = journal.next_commit().unwrap();
        for n in 2..5 {
            let _ = journal.turn(|turn, _| x.set(n, turn));
        }
        let _ = journal.synced(first.run(&mut disk).unwrap());
        assert_eq!(journal.next_commit().unwrap().batch().stores().len(), 3);
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Note;

    impl Message for Note {
        const COMPONENT: Component = Component::Consensus;
        fn kind(&self) -> u8 {
            1
        }
        fn slot(&self) -> Slot {
            Slot::Window
        }
    }

    impl Early for Note {}

    #[test]
    fn what_waits_for_a_disk_that_stands_still_is_bounded() {
        let bounds = Bounds { journal_bytes: 1000, ..Bounds::default() };
        let (me, other) = (ProcessId(0), ProcessId(1));
        let config = Config { bounds, ..Config::of(me.0, 2) };
        let mut journal: Journal<&'static str> = Journal::start(&config, 0);
        #[cfg(feature = "mutants")]
        {
            let mutants = Mutants::only(Mutant::DiskWaitedFor);
            let mut unbounded: Journal<&'static str> =
                Journal::start(&Config { mutants, ..config.clone() }, 0);
            let _ = unbounded.turn(|turn, _| turn.put_var("x", vec![0; 1000].into()));
            let _ = unbounded.turn(|turn, _| assert!(!turn.is_full(), "the bug is seen"));
        }
        let mut x = Logged::recover("test/x", &Stored::default(), String::new()).unwrap();
        let mut disk = Memory::default();
        let _ = journal.turn(|turn, _| {
            assert!(!turn.is_full());
            x.set("x".repeat(1000), turn);
        });
        let (_, release) = journal.turn(|turn, held| {
            assert!(turn.is_full(), "a thousand bytes wait for the disk");
            turn.send(other, &Note);
            turn.send(me, &Note);
            held.expose("later");
            held.refuse("too many");
        });
        assert_eq!(names(release), ["too many"], "at once");
        assert_eq!(journal.hits().of(Bound::Journal), 1);
        let commit = journal.next_commit().unwrap();
        let release = journal.synced(commit.run(&mut disk).unwrap());
        let to: Vec<ProcessId> = release.frames.iter().map(|frame| frame.get().to).collect();
        assert_eq!(to, [me], "what others would have heard is lost");
        assert_eq!(names(release), ["later"]);
        let _ = journal.turn(|turn, _| assert!(!turn.is_full(), "the disk has caught up"));
    }

    /// The stamp of each frame that left.
    fn stamps(release: Release<&'static str>) -> Vec<Stamp> {
        let opened = release.frames.into_iter().map(|f| Opened::check(f.into_inner().frame.bytes().clone()));
        opened.map(|opened| opened.unwrap().stamp()).collect()
    }

    /// The mark of each frame that left, as a message to p1 in each turn.
    fn marks(release: Release<&'static str>) -> Vec<u64> {
        stamps(release).into_iter().inspect(|stamp| assert_eq!(stamp.boot, 9)).map(|s| s.mark).collect()
    }

    #[test]
    fn a_frame_is_stamped_with_the_commit_that_it_waited_for() {
        let (_, mut x, mut disk) = journal();
        let mut hint = Logged::recover("test/hint", &Stored::default(), 0).unwrap().hint();
        let marks_at = |n| Some(Marks { boot: 9, given: n, last: n, in_flight: n, durable: n, since: 0 });
        let mut journal: Journal<&'static str> =
            Journal { marks: marks_at(40), ..Journal::new(Mutants::default()) };
        let say = |turn: &mut Turn| turn.send(ProcessId(1), &Note);
        assert_eq!(marks(journal.turn(|turn, _| say(turn)).1), [40], "nothing was stored since the boot");
        let store = |x: &mut Logged<u64>, turn: &mut Turn| {
            // Also what is said before the store waits for it.
            say(turn);
            x.set(1, turn);
        };
        assert!(journal.turn(|turn, _| store(&mut x, turn)).1.is_empty());
        let first = journal.next_commit().unwrap();
        let _ = journal.turn(|turn, _| store(&mut x, turn));
        let _ = journal.turn(|turn, _| say(turn));
        assert_eq!(marks(journal.synced(first.run(&mut disk).unwrap())), [41]);
        let second = journal.next_commit().unwrap();
        assert_eq!(marks(journal.synced(second.run(&mut disk).unwrap())), [42, 42]);
        // A commit of hints raises no mark, but has a number.
        assert!(journal.turn(|turn, _| store(&mut hint, turn)).1.is_empty());
        let third = journal.next_commit().unwrap();
        assert_eq!(marks(journal.synced(third.run(&mut disk).unwrap())), [42]);
        let _ = journal.turn(|turn, _| store(&mut x, turn));
        let fourth = journal.next_commit().unwrap();
        assert_eq!(marks(journal.synced(fourth.run(&mut disk).unwrap())), [44]);
    }

    #[test]
    fn a_mark_is_shown_from_the_commit_on_that_makes_it_known() {
        let (_, mut x, mut disk) = journal();
        let mut journal: Journal<&'static str> = Journal::start(&Config::of(0, 3), 40);
        let mut turn = |journal: &mut Journal<_>, shows: bool| {
            let ((), release) = journal.turn(|turn, _| {
                turn.send_early([ProcessId(1)], &Note);
                turn.send(ProcessId(1), &Note);
                let next = *x + 1;
                x.set(next, turn);
                if shows {
                    turn.show_commits();
                }
            });
            stamps(release)
        };
        let nothing = Stamp::default();
        assert_eq!(turn(&mut journal, false), [nothing]);
        let first = journal.next_commit().unwrap();
        assert_eq!(turn(&mut journal, true), [nothing]);
        assert_eq!(stamps(journal.synced(first.run(&mut disk).unwrap())), [nothing]);
        let second = journal.next_commit().unwrap();
        assert_eq!(turn(&mut journal, false), [nothing], "the commit is not durable");
        let boot = Config::of(0, 3).boot;
        assert_eq!(stamps(journal.synced(second.run(&mut disk).unwrap())), [Stamp { boot, mark: 42 }]);
        assert_eq!(turn(&mut journal, false), [Stamp { boot, mark: 42 }]);
    }

    #[test]
    fn a_failed_commit_releases_nothing() {
        let (mut journal, mut x, mut disk) = journal();
        disk.failing = true;
        let _ = journal.turn(|turn, held| {
            x.set(1, turn);
            held.expose("lost");
        });
        assert!(journal.next_commit().unwrap().run(&mut disk).is_err());
        assert!(journal.next_commit().is_none(), "and none is ever given out again");
    }
}
