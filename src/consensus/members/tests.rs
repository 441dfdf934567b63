//! Members: who counts after a boot, and who does not.

use super::*;
use crate::kernel::{Batch, Disk, DiskError, Journal, Mutants, Opened, Release, Store};

/// What outlives a process: its incarnation and its variables.
#[derive(Clone, Default)]
struct Directory {
    inc: Incarnation,
    stored: Stored,
}

impl Directory {
    fn committed(self, commits: u64) -> Self {
        Self { stored: Stored { commits, ..self.stored }, ..self }
    }
}

struct Replica {
    directory: Directory,
    members: Members,
    journal: Journal<()>,
    sent: Vec<(ProcessId, Membership)>,
}

impl Disk for Directory {
    fn commit(&mut self, batch: &Batch) -> Result<(), DiskError> {
        for store in batch.stores() {
            if let Store::Put { var, value } = store {
                self.stored.vars.insert(var.clone(), value.clone());
            }
        }
        Ok(())
    }
}

impl Replica {
    fn boot(me: u8, directory: Directory, boot: u64) -> Self {
        Self::boot_of(me, directory, boot, Origin::Own, Mutants::default())
    }

    fn boot_of(me: u8, mut directory: Directory, boot: u64, origin: Origin, mutants: Mutants) -> Self {
        let (configuration, disk) = (7, 100 + u64::from(me));
        let config = Config { configuration, disk, boot, origin, mutants, ..Config::of(me, 3) };
        directory.inc += 1;
        let mut journal = Journal::new(Mutants::default());
        let (members, release) =
            journal.turn(|turn, _| Members::start(config, directory.inc, &directory.stored, turn).unwrap());
        let mut replica = Self { directory, members, journal, sent: Vec::new() };
        replica.store(release);
        replica
    }

    fn hear(&mut self, from: u8, message: Membership) {
        let members = &mut self.members;
        let ((), release) = self.journal.turn(|turn, _| members.upon(ProcessId(from), message, turn));
        self.store(release);
    }

    /// A frame of a peer in its life of this number, which waited for this commit.
    fn shown(&mut self, from: u8, boot: u64, mark: u64) {
        self.members.upon_stamp(ProcessId(from), Stamp { boot, mark });
    }

    /// Something is stored, and what was shown with it.
    fn commit(&mut self) {
        let members = &mut self.members;
        let ((), release) = self.journal.turn(|turn, _| members.store_marks(turn));
        self.store(release);
    }

    fn store(&mut self, mut release: Release<()>) {
        if let Some(commit) = self.journal.next_commit() {
            let synced = commit.run(&mut self.directory).unwrap();
            let Release { frames, indications } = self.journal.synced(synced);
            release.frames.extend(frames);
            release.indications.extend(indications);
        }
        for frame in release.frames {
            let out = frame.into_inner();
            let opened = Opened::check(out.frame.bytes().clone()).unwrap();
            self.sent.push((out.to, opened.message().unwrap()));
        }
    }
}

/// Delivers everything, until nobody says anything any more.
fn talk(replicas: &mut [Replica]) {
    while let Some(from) = replicas.iter().position(|r| !r.sent.is_empty()) {
        for (to, message) in std::mem::take(&mut replicas[from].sent) {
            replicas[to.index()].hear(from as u8, message);
        }
    }
}

/// Three members, the second of which was copied in its first life and is in its second.
fn copied() -> (Vec<Replica>, Directory) {
    let mut replicas: Vec<Replica> =
        (0..3).map(|me| Replica::boot(me, Directory::default(), 10 + u64::from(me))).collect();
    talk(&mut replicas);
    assert!(replicas.iter().all(|r| r.members.is_formed() && r.members.voters().len() == 3));
    let copy = replicas[1].directory.clone();
    replicas[1] = Replica::boot(1, copy.clone(), 21);
    talk(&mut replicas);
    assert_eq!(replicas[1].members.distrust(), None);
    (replicas, copy)
}

#[test]
fn a_copy_that_is_put_back_is_recognised() {
    let (mut replicas, copy) = copied();
    replicas[1] = Replica::boot(1, copy, 31);
    talk(&mut replicas);
    assert_eq!(replicas[1].members.distrust(), Some(Distrust::RolledBack));
    assert!(!replicas[1].members.voters().contains(ProcessId(1)));
}

/// A member in its first life, which began at commit 0, has shown one peer that commit 51 is durable.
fn marked() -> Vec<Replica> {
    let (mut replicas, _) = copied();
    replicas[0].shown(1, 21, 51);
    replicas[0].shown(1, 21, 49);
    replicas
}

/// The member boots again, from a disk of so many commits, and is heard.
fn boots_at(mut replicas: Vec<Replica>, commits: u64) -> Option<Distrust> {
    let directory = replicas[1].directory.clone().committed(commits);
    replicas[1] = Replica::boot(1, directory, 31);
    talk(&mut replicas);
    replicas[1].members.distrust()
}

#[test]
fn a_disk_that_ends_before_a_mark_that_it_has_shown_is_recognised() {
    assert_eq!(boots_at(marked(), 50), Some(Distrust::RolledBack));
    assert_eq!(boots_at(marked(), 51), None);
}

#[test]
fn a_mark_that_was_stored_is_known_after_a_crash() {
    let known = |stored: bool| {
        let mut replicas = marked();
        if stored {
            replicas[0].commit();
        }
        replicas[0] = Replica::boot(0, replicas[0].directory.clone(), 40);
        talk(&mut replicas);
        boots_at(replicas, 50)
    };
    assert_eq!(known(true), Some(Distrust::RolledBack));
    assert_eq!(known(false), None, "what only memory knew is gone");
}

#[test]
fn a_mark_of_a_life_that_was_not_recorded_accuses_nobody() {
    let (mut replicas, _) = copied();
    // The next life is heard before its hello: it began at commit 50.
    replicas[0].shown(1, 31, 52);
    assert_eq!(boots_at(replicas, 50), None);
}

#[test]
fn a_late_hello_of_an_earlier_life_accuses_nobody() {
    let (mut replicas, _) = copied();
    let unheard = Replica::boot(1, replicas[1].directory.clone().committed(60), 30);
    replicas[1] = Replica::boot(1, unheard.directory.committed(61), 31);
    talk(&mut replicas);
    for (to, message) in unheard.sent {
        replicas[to.index()].hear(1, message);
    }
    talk(&mut replicas);
    assert_eq!(replicas[1].members.distrust(), None);
    assert_eq!(replicas[1].members.voters().len(), 3);
}

/// A copy that is put back, and boots more often than the original has before anybody hears of it.
fn booted_often(mutants: Mutants) -> Option<Distrust> {
    let (mut replicas, mut copy) = copied();
    for boot in [31, 41, 51] {
        replicas[1] = Replica::boot_of(1, copy, boot, Origin::Own, mutants);
        copy = replicas[1].directory.clone();
    }
    talk(&mut replicas);
    replicas[1].members.distrust()
}

#[test]
fn a_copy_that_boots_often_unheard_does_not_overtake_the_records() {
    assert_eq!(booted_often(Mutants::default()), Some(Distrust::RolledBack));
}

#[test]
#[cfg(feature = "mutants")]
fn mutant_boot_anew() {
    assert_eq!(booted_often(Mutants::only(Mutant::BootAnew)), None);
}

/// A disk that ends before a mark that it has shown, and that gets beyond it before anybody hears of it.
fn committed_unheard(mutants: Mutants) -> Option<Distrust> {
    let mut replicas = marked();
    for (boot, commits) in [(31, 50), (41, 52), (51, 53)] {
        let directory = replicas[1].directory.clone().committed(commits);
        replicas[1] = Replica::boot_of(1, directory, boot, Origin::Own, mutants);
    }
    talk(&mut replicas);
    replicas[1].members.distrust()
}

#[test]
fn a_copy_that_commits_unheard_does_not_overtake_its_mark() {
    assert_eq!(committed_unheard(Mutants::default()), Some(Distrust::RolledBack));
}

#[test]
#[cfg(feature = "mutants")]
fn mutant_mark_anew() {
    assert_eq!(committed_unheard(Mutants::only(Mutant::MarkAnew)), None);
}

#[test]
fn a_replica_that_boots_often_unheard_still_counts() {
    let (mut replicas, _) = copied();
    for boot in 31..35 {
        replicas[1] = Replica::boot(1, replicas[1].directory.clone(), boot);
    }
    talk(&mut replicas);
    assert_eq!(replicas[1].members.distrust(), None);
    assert_eq!(replicas[1].members.voters().len(), 3);
}

/// Of a peer that speaks for the first time.
const LIFE: Life = Life { inc: 1, number: 1, mark: 0 };

/// What others may say to a formed member so that it forgets itself: another disk of it, and that it
/// has lost its memory. It names its boot, as if one knew.
fn slandered(mutants: Mutants) -> Option<Distrust> {
    let (mut replicas, _) = copied();
    replicas[1] = Replica::boot_of(1, replicas[1].directory.clone(), 51, Origin::Own, mutants);
    talk(&mut replicas);
    let set = vec![100, 999, 102];
    let hello = Membership::Hello {
        configuration: 7,
        disk: 100,
        inc: 1,
        boot: 1,
        life: LIFE,
        set,
        ask: true,
        ack: None,
    };
    let life = replicas[1].members.life.number;
    replicas[1].hear(0, hello);
    for reason in [Distrust::OtherDisk, Distrust::Forgot, Distrust::Damaged, Distrust::Copied] {
        replicas[1].hear(0, Membership::Amnesia { life, reason });
    }
    // Of a boot that is not the last one.
    replicas[1].hear(0, Membership::Amnesia { life: life ^ 1, reason: Distrust::RolledBack });
    replicas[1].members.distrust()
}

#[test]
fn a_formed_member_forgets_nothing_for_anothers_word() {
    assert_eq!(slandered(Mutants::default()), None);
}

#[test]
#[cfg(feature = "mutants")]
fn mutant_strangers_believed() {
    assert_eq!(slandered(Mutants::only(Mutant::StrangersBelieved)), Some(Distrust::OtherDisk));
}

#[test]
fn an_incarnation_that_leaps_is_not_recorded() {
    let (mut replicas, _) = copied();
    let hello = |inc| Membership::Hello {
        configuration: 7,
        disk: 101,
        inc,
        boot: 77,
        life: Life { inc, number: 77, mark: 0 },
        set: vec![100, 101, 102],
        ask: true,
        ack: None,
    };
    replicas[0].hear(1, hello(u64::MAX));
    replicas[1] = Replica::boot(1, replicas[1].directory.clone(), 61);
    talk(&mut replicas);
    assert_eq!(replicas[1].members.distrust(), None);
    assert_eq!(replicas[1].members.voters().len(), 3);
}

/// Three members, of which the second comes back on a copy that no peer can tell from the original.
fn back_on_a_copy(origin: Origin, mutants: Mutants) -> Vec<Replica> {
    let (mut replicas, _) = copied();
    let copy = replicas[1].directory.clone();
    replicas[1] = Replica::boot_of(1, copy, 41, origin, mutants);
    talk(&mut replicas);
    replicas
}

fn votes(replica: &Replica) -> bool {
    replica.members.voters().contains(ProcessId(1))
}

#[test]
fn a_directory_that_knows_that_it_is_a_copy_counts_nowhere_until_somebody_vouches_for_it() {
    let mut replicas = back_on_a_copy(Origin::Copied, Mutants::default());
    assert_eq!(replicas[1].members.distrust(), Some(Distrust::Copied));
    assert!(!votes(&replicas[1]));
    // It stays so, whatever the next boot thinks of it.
    replicas[1] = Replica::boot(1, replicas[1].directory.clone(), 42);
    assert_eq!(replicas[1].members.distrust(), Some(Distrust::Copied));
    let directory = replicas[1].directory.clone();
    replicas[1] = Replica::boot_of(1, directory, 43, Origin::Adopted, Mutants::default());
    talk(&mut replicas);
    assert_eq!(replicas[1].members.distrust(), None);
    assert!(votes(&replicas[1]));
}

#[test]
fn what_a_peer_knows_of_a_copy_nobody_can_vouch_away() {
    let (mut replicas, copy) = copied();
    replicas[1] = Replica::boot_of(1, copy, 31, Origin::Copied, Mutants::default());
    talk(&mut replicas);
    assert_eq!(replicas[1].members.distrust(), Some(Distrust::RolledBack));
    let directory = replicas[1].directory.clone();
    replicas[1] = Replica::boot_of(1, directory, 32, Origin::Adopted, Mutants::default());
    assert_eq!(replicas[1].members.distrust(), Some(Distrust::RolledBack));
}

#[test]
#[cfg(feature = "mutants")]
fn mutant_copied_votes() {
    let replicas = back_on_a_copy(Origin::Copied, Mutants::only(Mutant::CopiedVotes));
    assert!(votes(&replicas[1]), "the mutant changes nothing");
}
