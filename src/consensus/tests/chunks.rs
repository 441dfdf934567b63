//! Promises and AcceptSyncs that are larger than a frame.

use super::super::messages::Paxos;
use super::*;

const RESEND: Ticks = 30;

fn entry(name: char) -> Bytes {
    Bytes::from(format!("{name:.<9}"))
}

fn entries(names: &str) -> Vec<Bytes> {
    names.chars().map(entry).collect()
}

/// Two entries in a frame.
fn small() -> Bounds {
    Bounds { frame_entries: 2, ..Bounds::default() }
}

impl Net {
    fn log(&self, i: usize) -> Vec<Bytes> {
        self.nodes[i].0.log().read(0, usize::MAX, usize::MAX)
    }

    /// Says to one process what waits for it from another, and back, until there is nothing more.
    fn talk(&mut self, a: usize, b: usize) {
        while self.wires.iter().any(|w| (w.0, w.1) == (a, b) || (w.0, w.1) == (b, a)) {
            self.deliver(a, b);
            self.deliver(b, a);
        }
    }

    fn tick(&mut self, i: usize, now: Ticks, trusted: Option<Ballot>, alive: &[u8]) {
        let alive = alive.iter().map(|p| ProcessId(*p)).collect();
        self.act(i, |p, t| p.tick(now, trusted, alive, t));
    }

    fn says_behind(&self) -> bool {
        self.wires.iter().any(|w| matches!(w.2.message(), Ok(Paxos::Behind { .. })))
    }
}

/// Process 0 leads with 1, which holds five entries that nobody has decided; 2 has heard nothing.
fn five_undecided() -> Net {
    let mut net = Net::bounded(3, small());
    net.act(0, |p, t| p.stand(t));
    net.talk(0, 1);
    assert!(net.nodes[0].0.leads());
    net.act(0, |p, t| p.propose(entries("abcde"), t));
    net.deliver(0, 1);
    net.wires.clear();
    assert_eq!((net.log(1).len(), net.nodes[1].0.decided()), (5, 0));
    net
}

/// Then 2 stands, and has the first of three chunks of the promise of 1; it has asked for the second.
fn standing() -> Net {
    let mut net = five_undecided();
    net.act(2, |p, t| p.stand(t));
    net.deliver(2, 1);
    net.deliver(1, 2);
    assert!(net.nodes[2].0.stands());
    net
}

/// Then 2 leads, and 0, which crashed before, has the first of three chunks of its `AcceptSync`, and
/// has asked for the second.
fn syncing() -> Net {
    let mut net = standing();
    net.disks[0] = Memory::default();
    net.crash(0, 2);
    net.talk(2, 1);
    assert!(net.nodes[2].0.leads());
    let ballot = net.nodes[2].0.ballot();
    net.tick(0, RESEND, Some(ballot), &[2]);
    for _ in 0..2 {
        net.deliver(0, 2); // PrepareReq, then a promise
        net.deliver(2, 0); // Prepare, then a chunk
    }
    net
}

#[test]
fn a_promise_is_adopted_when_all_of_its_chunks_are_there() {
    let mut net = standing();
    net.deliver(2, 1);
    net.deliver(1, 2);
    assert!(net.nodes[2].0.stands(), "four of five entries");
    net.deliver(2, 1);
    net.deliver(1, 2);
    assert!(net.nodes[2].0.leads());
    assert_eq!(net.log(2), entries("abcde"));
    net.talk(2, 1);
    assert_eq!(net.decided(2), entries("abcde"));
}

#[test]
fn a_chunk_of_a_promise_that_is_lost_is_asked_for_again() {
    let mut net = standing();
    net.deliver(2, 1);
    net.wires.clear();
    net.tick(2, RESEND - 1, None, &[]);
    assert!(net.wires.is_empty());
    net.tick(2, RESEND, None, &[]);
    let asked = net.wires.iter().find_map(|w| match w.2.message() {
        Ok(Paxos::Prepare { held, .. }) if w.1 == 1 => held,
        _ => None,
    });
    assert_eq!(asked.map(|held| held.upto), Some(2), "and not from the start");
    net.talk(2, 1);
    assert_eq!(net.decided(2), entries("abcde"));
}

#[test]
fn a_chunk_that_arrives_twice_asks_for_nothing() {
    let mut net = standing();
    net.deliver(2, 1);
    let chunk = net.take(1, 2).remove(0);
    let asked = |net: &Net| net.wires.iter().filter(|w| (w.0, w.1) == (2, 1)).count();
    net.receive(1, 2, chunk.clone());
    assert_eq!(asked(&net), 1, "the third is asked for");
    net.receive(1, 2, chunk);
    assert_eq!(asked(&net), 1, "once");
}

#[test]
fn a_promise_of_another_life_begins_anew() {
    let mut net = standing();
    net.crash(1, 2);
    net.talk(2, 1);
    assert_eq!(net.decided(2), entries("abcde"));
}

#[test]
fn accrnd_moves_with_the_last_chunk() {
    let mut net = syncing();
    let ballot = net.nodes[2].0.ballot();
    for staged in [2, 4] {
        let follower = &net.nodes[0].0;
        assert_eq!(
            (follower.prom(), follower.acc(), follower.log().len()),
            (ballot, Ballot::ZERO, 0),
            "{staged}"
        );
        net.deliver(0, 2);
        net.deliver(2, 0);
    }
    assert_eq!((net.nodes[0].0.acc(), net.log(0)), (ballot, entries("abcde")));
    // What was proposed meanwhile follows.
    net.act(2, |p, t| p.propose(entries("f"), t));
    net.talk(2, 0);
    assert_eq!(net.decided(0), entries("abcdef"));
}

#[test]
fn what_the_leader_proposes_meanwhile_does_not_make_the_run_longer() {
    let mut net = syncing();
    net.act(2, |p, t| p.propose(entries("fghij"), t));
    net.talk(2, 1);
    for _ in 0..2 {
        net.deliver(0, 2);
        net.deliver(2, 0);
    }
    assert_eq!(net.nodes[0].0.acc(), net.nodes[2].0.ballot());
    net.tick(2, 2 * RESEND, None, &[0, 1]);
    net.talk(2, 0);
    assert_eq!(net.decided(0), entries("abcdefghij"));
}

#[test]
fn a_chunk_of_an_accept_sync_that_is_lost_is_asked_for_again() {
    let mut net = syncing();
    net.wires.clear();
    let ballot = net.nodes[2].0.ballot();
    net.tick(0, 3 * RESEND, Some(ballot), &[2]);
    net.talk(0, 2);
    assert_eq!(net.log(0), entries("abcde"));
}

#[test]
fn a_crash_takes_what_is_staged() {
    let mut net = syncing();
    let late = net.take(0, 2);
    net.crash(0, 3);
    assert_eq!(net.nodes[0].0.log().len(), 0);
    // A chunk of the earlier life's session.
    late.into_iter().for_each(|frame| net.receive(0, 2, frame));
    net.deliver(2, 0);
    assert_eq!((net.nodes[0].0.acc(), net.log(0).len()), (Ballot::ZERO, 0));
    let ballot = net.nodes[2].0.ballot();
    net.tick(0, 3 * RESEND, Some(ballot), &[2]);
    net.talk(0, 2);
    assert_eq!(net.log(0), entries("abcde"));
}

#[test]
fn another_leader_begins_anew() {
    let mut net = syncing();
    // The second chunk of 2 is on its way; 1 stands above it, and proposes something else behind a log
    // that 2 never had decided.
    net.deliver(0, 2);
    let late = net.take(2, 0);
    assert_eq!(late.len(), 1);
    net.wires.clear();
    net.act(1, |p, t| p.stand(t));
    net.deliver(1, 0);
    net.deliver(0, 1);
    assert!(net.nodes[1].0.leads());
    net.deliver(1, 0);
    late.into_iter().for_each(|frame| net.receive(2, 0, frame));
    net.talk(1, 0);
    assert_eq!(net.nodes[0].0.acc(), net.nodes[1].0.ballot());
    assert_eq!(net.log(0), net.log(1));
    assert_eq!(net.decided(1), entries("abcde"));
}

/// Process 0 has a part of what a leader adopted, and then all of what another one did, whose log is
/// another: the log of process 0.
fn two_leaders(mutants: Mutants) -> Vec<Bytes> {
    let mut net = Net::with(5, small(), mutants);
    let elect = |net: &mut Net, leader: usize, voters: [usize; 2]| {
        net.wires.clear();
        net.act(leader, |p, t| p.stand(t));
        for voter in voters {
            net.deliver(leader, voter);
            net.deliver(voter, leader);
        }
        assert!(net.nodes[leader].0.leads());
    };
    // Nobody hears of what either proposes; each is elected again, and adopts its own log.
    elect(&mut net, 2, [1, 4]);
    net.act(2, |p, t| p.propose(entries("abcde"), t));
    elect(&mut net, 2, [1, 0]);
    net.deliver(2, 0);
    assert_eq!(net.nodes[0].0.log().len(), 0, "two of five entries are staged");
    let above = net.nodes[2].0.ballot();
    net.act(3, |p, _| p.outranked(above));
    elect(&mut net, 3, [1, 4]);
    net.act(3, |p, t| p.propose(entries("xyz"), t));
    elect(&mut net, 3, [1, 4]);
    net.talk(3, 0);
    net.log(0)
}

#[test]
fn what_was_staged_of_one_log_is_no_part_of_another() {
    assert_eq!(two_leaders(Mutants::default()), entries("xyz"));
}

#[test]
#[cfg(feature = "mutants")]
fn mutant_chunk_of_another_session() {
    assert_eq!(two_leaders(Mutants::only(Mutant::ChunkOfAnotherSession)), entries("abz"));
}

#[test]
fn what_is_not_decided_is_no_reason_to_be_behind() {
    // Each entry is as large as what may be decided and sent, and larger than what may be undecided.
    let bounds = Bounds { frame_bytes: 4, undecided_bytes: 4, sync_bytes: 4, ..Bounds::default() };
    let mut net = Net::bounded(3, bounds);
    net.act(0, |p, t| p.stand(t));
    net.talk(0, 1);
    net.act(0, |p, t| p.propose(entries("abc"), t));
    net.deliver(0, 1);
    net.wires.clear();
    net.act(2, |p, t| p.stand(t));
    while net.nodes[2].0.stands() {
        assert!(!net.says_behind() && !net.wires.is_empty());
        net.deliver(2, 1);
        net.deliver(1, 2);
    }
    net.talk(2, 1);
    assert_eq!(net.decided(2), entries("abc"));
    // Now they are decided: whoever lacks them learns them.
    net.wires.clear();
    let ballot = net.nodes[2].0.ballot();
    net.disks[0] = Memory::default();
    net.crash(0, 2);
    net.tick(0, RESEND, Some(ballot), &[2]);
    net.deliver(0, 2);
    net.deliver(2, 0);
    net.deliver(0, 2);
    assert!(net.says_behind());
}

#[test]
fn a_leader_that_cannot_go_on_gives_up() {
    let mut net = five_undecided();
    let election = Timing::default().election;
    // It hears a majority, and no acknowledgement reaches it.
    for now in 0..=4 * election {
        net.tick(0, now, None, &[1, 2]);
        assert!(net.nodes[0].0.leads(), "at {now}");
        net.wires.clear();
    }
    net.tick(0, 4 * election + 1, None, &[1, 2]);
    assert!(!net.nodes[0].0.leads());
    // The two others stand before it does, until something is decided.
    assert_eq!(net.nodes[0].0.yields(), 3);
    assert_eq!(net.nodes[1].0.yields(), 0);
    net.act(1, |p, t| p.stand(t));
    net.talk(1, 0);
    assert_eq!((net.decided(0), net.nodes[0].0.yields()), (entries("abcde"), 0));
}

#[test]
fn a_leader_that_hears_no_majority_leads_on() {
    let mut net = five_undecided();
    for now in 0..20 * Timing::default().election {
        net.tick(0, now, None, &[]);
    }
    assert!(net.nodes[0].0.leads());
}

#[test]
fn no_more_is_staged_than_a_run_may_have() {
    use super::super::run::Run;
    let mut run = Run::new(3);
    assert!(!run.take(4, &entries("b"), 100), "behind a gap");
    assert!(run.take(3, &entries("ab"), 20));
    assert!(!run.take(3, &entries("ab"), 20), "there already");
    assert!(!run.take(4, &entries("bc"), 20), "too much");
    assert!(run.take(4, &entries("bc"), 27));
    assert_eq!((run.from(), run.upto(), run.into_entries()), (3, 6, entries("abc")));
}
