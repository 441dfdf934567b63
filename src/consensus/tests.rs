//! Sequence Paxos by itself: executions that a reviewer once broke it with.

use super::*;
use crate::kernel::*;
use bytes::Bytes;

mod chunks;

/// Variables and logs in memory.
#[derive(Default)]
struct Memory(Stored);

impl Disk for Memory {
    fn commit(&mut self, batch: &Batch) -> Result<(), DiskError> {
        for store in batch.stores() {
            match store {
                Store::Put { var, value } => {
                    self.0.vars.insert(var.clone(), value.clone());
                }
                Store::Append { log, first, entries } => {
                    let held = &mut self.0.logs.entry(*log).or_default().entries;
                    held.truncate(*first as usize);
                    held.extend_from_slice(entries);
                }
                Store::TruncateSuffix { log, len } => {
                    self.0.logs.entry(*log).or_default().entries.truncate(*len as usize);
                }
                other => unreachable!("{other:?}"),
            }
        }
        Ok(())
    }
}

struct Net {
    bounds: Bounds,
    mutants: Mutants,
    nodes: Vec<(SequencePaxos, Journal<()>)>,
    disks: Vec<Memory>,
    wires: Vec<(usize, usize, Opened)>,
}

impl Net {
    fn new(n: usize) -> Self {
        Self::bounded(n, Bounds::default())
    }

    fn bounded(n: usize, bounds: Bounds) -> Self {
        Self::with(n, bounds, Mutants::default())
    }

    fn with(n: usize, bounds: Bounds, mutants: Mutants) -> Self {
        let disks = (0..n).map(|_| Memory::default()).collect();
        let mut net = Self { bounds, mutants, nodes: Vec::new(), disks, wires: Vec::new() };
        net.nodes = (0..n).map(|me| net.boot(me, n, 1)).collect();
        net
    }

    fn boot(&self, me: usize, processes: usize, inc: Incarnation) -> (SequencePaxos, Journal<()>) {
        let (bounds, mutants) = (self.bounds, self.mutants);
        let config = Config { boot: inc, bounds, mutants, ..Config::of(me as u8, processes) };
        let mut paxos = SequencePaxos::start(config.clone(), inc, &self.disks[me].0, 0).unwrap();
        paxos.set_voters(config.members().collect());
        (paxos, Journal::new(Mutants::default()))
    }

    /// A process crashes, and comes back in another incarnation.
    fn crash(&mut self, me: usize, inc: Incarnation) {
        self.nodes[me] = self.boot(me, self.nodes.len(), inc);
    }

    /// The first of these stands, leads the others, and decides an entry with them.
    fn decide(&mut self, together: &[usize], entry: &'static str) {
        let leader = together[0];
        let exchange = |net: &mut Self| {
            for p in &together[1..] {
                net.deliver(leader, *p);
                net.deliver(*p, leader);
            }
        };
        if !self.nodes[leader].0.leads() {
            self.act(leader, |p, t| p.stand(t));
            exchange(self);
            exchange(self);
            assert!(self.nodes[leader].0.leads());
        }
        self.act(leader, |p, t| p.propose(vec![Bytes::from_static(entry.as_bytes())], t));
        exchange(self);
        exchange(self);
        assert!(self.decided(leader).ends_with(&[Bytes::from_static(entry.as_bytes())]));
    }

    /// Three processes: 0 and 2 have decided these; 2 was put back to its beginning, and 1, who had heard of
    /// nothing, leads it and has decided y.
    fn apart(entries: &[&'static str]) -> Self {
        let mut net = Self::new(3);
        entries.iter().for_each(|e| net.decide(&[0, 2], e));
        net.disks[2] = Memory::default();
        net.crash(2, 2);
        net.wires.retain(|(from, to, _)| (*from, *to) == (0, 1) || (*from, *to) == (1, 0));
        net.act(1, |p, _| p.outranked(ballot(1, 0)));
        net.take(0, 1);
        net.decide(&[1, 2], "y");
        net
    }

    fn divergence(&mut self, i: usize) -> Option<Divergence> {
        let notices = self.nodes[i].0.take_notices();
        notices.into_iter().find_map(|notice| match notice {
            Notice::Diverged(divergence) => Some(divergence),
            _ => None,
        })
    }

    fn act(&mut self, i: usize, f: impl FnOnce(&mut SequencePaxos, &mut Turn)) {
        let (paxos, journal) = &mut self.nodes[i];
        let ((), release) = journal.turn(|turn, _| f(paxos, turn));
        let mut frames = release.frames;
        if let Some(commit) = journal.next_commit() {
            frames.extend(journal.synced(commit.run(&mut self.disks[i]).unwrap()).frames);
        }
        for frame in frames {
            let Outgoing { to, frame } = frame.into_inner();
            let opened = Opened::check(frame.bytes().clone()).unwrap();
            if to.index() == i {
                self.receive(i, i, opened);
            } else {
                self.wires.push((i, to.index(), opened));
            }
        }
    }

    fn receive(&mut self, from: usize, to: usize, frame: Opened) {
        let from = ProcessId(from as u8);
        self.act(to, |p, turn| match frame.component() {
            Component::Proposal => p.upon_accept(from, frame.message().unwrap(), turn),
            _ => p.upon(from, frame.message().unwrap(), turn),
        });
    }

    /// Delivers what is on the way from one to another now, as far as it is of these kinds.
    fn deliver(&mut self, from: usize, to: usize) {
        let (now, later) =
            std::mem::take(&mut self.wires).into_iter().partition(|w| (w.0, w.1) == (from, to));
        self.wires = later;
        let now: Vec<(usize, usize, Opened)> = now;
        now.into_iter().for_each(|(f, t, frame)| self.receive(f, t, frame));
    }

    fn take(&mut self, from: usize, to: usize) -> Vec<Opened> {
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.wires).into_iter().partition(|w| (w.0, w.1) == (from, to));
        self.wires = later;
        now.into_iter().map(|w| w.2).collect()
    }

    fn decided(&self, i: usize) -> Vec<Bytes> {
        let p = &self.nodes[i].0;
        p.log().read(0, p.decided() as usize, usize::MAX)
    }
}

#[test]
fn prefix_agreement_with_a_learner_that_promises_an_old_ballot() {
    let (c, q, i, r, s) = (0, 1, 2, 3, 4);
    let mut net = Net::new(5);
    // c leads, and nobody hears of its x.
    net.act(c, |p, t| p.stand(t));
    for p in [i, s] {
        net.deliver(c, p);
        net.deliver(p, c);
    }
    assert!(net.nodes[c].0.leads());
    net.act(c, |p, t| p.propose(vec![Bytes::from_static(b"x")], t));
    net.wires.clear();
    // q stands, only c hears of it. c stands again; i promises; the Prepare to q is slow.
    net.act(q, |p, t| p.stand(t));
    net.deliver(q, c);
    net.wires.clear();
    assert!(!net.nodes[c].0.leads());
    net.act(c, |p, t| p.stand(t));
    let slow = net.take(c, q);
    net.deliver(c, i);
    net.deliver(i, c);
    net.wires.clear();
    // r leads in a higher ballot with i and s, and decides y.
    net.act(r, |p, t| p.stand(t));
    net.deliver(r, i);
    net.deliver(i, r);
    net.act(r, |p, t| p.stand(t));
    for p in [i, s] {
        net.deliver(r, p);
        net.deliver(p, r);
    }
    assert!(net.nodes[r].0.leads());
    net.act(r, |p, t| p.propose(vec![Bytes::from_static(b"y")], t));
    for p in [i, s] {
        net.deliver(r, p);
        net.deliver(p, r);
    }
    assert_eq!(net.decided(r), [Bytes::from_static(b"y")]);
    // q, which is catching up from r, learns it. Then c's Prepare arrives.
    let (y, theirs) = (net.decided(r), net.nodes[r].0.prom());
    net.act(q, |p, t| p.tick(200, None, ProcessSet::default(), t));
    net.wires.clear();
    let prefix = (1, net.nodes[r].0.hash_at(1).unwrap());
    net.act(q, |p, t| p.learn(ProcessId(r as u8), (0, y), prefix, theirs, t));
    for frame in slow {
        net.receive(c, q, frame);
    }
    net.deliver(q, c);
    assert!(net.decided(c).is_empty() || net.decided(c) == net.decided(r), "prefix agreement");
}

#[test]
fn who_promises_and_has_decided_something_else_is_left_out_and_halts() {
    let mut net = Net::apart(&["x"]);
    net.deliver(1, 0); // the Prepare with which 1 stood: nothing was decided there
    assert_eq!(net.divergence(0), None);
    net.deliver(0, 1); // the promise: x is decided
    assert_eq!(net.divergence(1), None, "it leads a majority, and goes on");
    net.deliver(1, 0);
    let divergence = net.divergence(0).expect("told that it differs");
    assert_eq!((divergence.peer, divergence.index), (ProcessId(1), 1));
    assert_ne!(divergence.ours, divergence.theirs);
    assert_eq!((net.decided(0), net.decided(1)), (vec!["x".into()], vec!["y".into()]));
}

#[test]
fn who_is_asked_by_one_that_decided_something_else_halts_and_says_so() {
    let mut net = Net::apart(&["x", "z"]);
    net.take(1, 0);
    net.act(1, |p, t| p.tick(200, None, ProcessSet::default(), t)); // the leader asks again
    net.deliver(1, 0);
    let divergence = net.divergence(0).expect("it sees for itself");
    assert_eq!((divergence.peer, divergence.index), (ProcessId(1), 1));
    let said: Vec<Paxos> = net.take(0, 1).iter().map(|frame| frame.message().unwrap()).collect();
    assert!(matches!(said[..], [Paxos::Diverged { index: 1, .. }]), "{said:?}");
}

/// 1 is elected by a promise of 2 that was put back since. In its new life 2 accepts a of ballot 1, promises
/// ballot 2 to 1, and only then hears that a is decided. Returns what 1 and 2 have decided when all have
/// spoken, and who halts.
fn elected_by_a_lost_promise(mutants: Mutants) -> (Vec<Bytes>, Vec<Bytes>, Option<Divergence>) {
    let mut net = Net::with(3, Bounds::default(), mutants);
    net.act(1, |p, t| p.stand(t));
    net.take(1, 0);
    net.deliver(1, 2);
    let lost = net.take(2, 1);
    net.disks[2] = Memory::default();
    net.crash(2, 2);
    net.act(0, |p, t| p.stand(t));
    net.take(0, 1);
    for _ in 0..2 {
        net.deliver(0, 2);
        net.deliver(2, 0);
    }
    net.act(0, |p, t| p.propose(vec!["a".into()], t));
    net.deliver(0, 2);
    net.deliver(2, 0);
    assert_eq!(net.decided(0), [Bytes::from("a")]);
    lost.into_iter().for_each(|frame| net.receive(2, 1, frame));
    assert!(net.nodes[1].0.leads());
    net.take(1, 2); // an AcceptSync to the lost life
    net.act(1, |p, t| p.tick(200, None, ProcessSet::default(), t)); // it asks again
    net.deliver(1, 2);
    net.deliver(2, 1);
    net.act(1, |p, t| p.propose(vec!["b".into()], t));
    net.deliver(0, 2); // Decide
    net.deliver(1, 2);
    net.deliver(2, 1);
    let divergence = net.divergence(2);
    (net.decided(1), net.decided(2), divergence)
}

#[test]
fn who_knows_more_decided_than_its_leader_adopted_halts() {
    let (at_leader, here, divergence) = elected_by_a_lost_promise(Mutants::default());
    assert_eq!((at_leader, here), (vec![], vec!["a".into()]));
    let divergence = divergence.expect("the log of its leader lacks what is decided");
    assert_eq!((divergence.peer, divergence.index), (ProcessId(1), 1));
}

#[test]
#[cfg(feature = "mutants")]
fn mutant_short_sync_taken() {
    let (at_leader, here, divergence) = elected_by_a_lost_promise(Mutants::only(Mutant::ShortSyncTaken));
    assert_eq!((at_leader, here, divergence), (vec!["b".into()], vec!["a".into()], None));
}

/// 0 leads in a ballot in which 2 accepts x, and its disk is put back. In its new life it stands again, with
/// the same counter, is elected by 1, and proposes y, of which 2 hears. Returns what 0 and 2 have decided.
fn two_lives_lead(mutants: Mutants) -> (Vec<Bytes>, Vec<Bytes>) {
    let mut net = Net::with(3, Bounds::default(), mutants);
    net.act(0, |p, t| p.stand(t));
    net.take(0, 1);
    for _ in 0..2 {
        net.deliver(0, 2);
        net.deliver(2, 0);
    }
    net.act(0, |p, t| p.propose(vec!["x".into()], t));
    net.deliver(0, 2);
    net.take(2, 0);
    net.disks[0] = Memory::default();
    net.crash(0, 2);
    net.act(0, |p, t| p.stand(t));
    net.deliver(0, 1);
    net.deliver(1, 0);
    net.act(0, |p, t| p.propose(vec!["y".into()], t));
    net.wires.clear();
    for now in [200, 400] {
        net.act(0, |p, t| p.tick(now, None, ProcessSet::default(), t));
        for _ in 0..3 {
            net.deliver(0, 2);
            net.deliver(2, 0);
        }
    }
    (net.decided(0), net.decided(2))
}

#[test]
fn two_lives_of_a_leader_share_no_ballot() {
    assert_eq!(two_lives_lead(Mutants::default()), (vec!["y".into()], vec!["y".into()]));
}

#[test]
#[cfg(feature = "mutants")]
fn mutant_ballot_of_any_life() {
    let shared = two_lives_lead(Mutants::only(Mutant::BallotOfAnyLife));
    assert_eq!(shared, (vec!["y".into()], vec!["x".into()]));
}

/// 1 has decided x with 0, whose disk was put back; 0 and 2 go on with y and z, of which 2 does not know
/// that it is decided. 1 stands. Returns whether it leads 2, and what it says of 2.
fn candidate_knows_better(mutants: Mutants) -> (bool, Option<ProcessId>) {
    let mut net = Net::with(3, Bounds::default(), mutants);
    net.decide(&[0, 1], "x");
    net.wires.clear();
    net.disks[0] = Memory::default();
    net.crash(0, 2);
    net.act(0, |p, _| p.outranked(ballot(1, 2)));
    net.act(0, |p, t| p.stand(t));
    for _ in 0..2 {
        net.deliver(0, 2);
        net.deliver(2, 0);
    }
    net.act(0, |p, t| p.propose(vec!["y".into(), "z".into()], t));
    net.deliver(0, 2);
    net.deliver(2, 0);
    assert_eq!((net.decided(0).len(), net.decided(2).len()), (2, 0));
    net.wires.clear();
    net.act(1, |p, _| p.outranked(ballot(3, 2)));
    net.act(1, |p, t| p.stand(t));
    net.deliver(1, 2);
    net.deliver(2, 1);
    let told = net
        .take(1, 2)
        .iter()
        .any(|frame| matches!(frame.message(), Ok(Paxos::Diverged { index: 1, hash: Some(_), .. })));
    (net.nodes[1].0.leads(), told.then_some(ProcessId(2)))
}

#[test]
fn a_log_that_contradicts_what_its_candidate_has_decided_is_not_adopted() {
    assert_eq!(candidate_knows_better(Mutants::default()), (false, Some(ProcessId(2))));
}

#[test]
#[cfg(feature = "mutants")]
fn mutant_suffix_without_the_candidates() {
    let mixed = candidate_knows_better(Mutants::only(Mutant::SuffixWithoutTheCandidates));
    assert_eq!(mixed, (true, None));
}

/// 1 has decided x with 0, and is put back; 2 promises it a ballot, accepts its empty log, and then learns x of
/// 0. 1 proposes y. Returns what 1 and 2 have decided, and whether 2 halts.
fn learned_in_the_ballot_of_another(mutants: Mutants) -> (Vec<Bytes>, Vec<Bytes>, bool) {
    let mut net = Net::with(3, Bounds::default(), mutants);
    net.decide(&[0, 1], "x");
    net.wires.clear();
    net.disks[1] = Memory::default();
    net.crash(1, 2);
    net.act(1, |p, _| p.outranked(ballot(1, 2)));
    net.act(1, |p, t| p.stand(t));
    for _ in 0..2 {
        net.deliver(1, 2);
        net.deliver(2, 1);
    }
    let prefix = (1, net.nodes[0].0.hash_at(1).unwrap());
    net.act(2, |p, t| p.learn(ProcessId(0), (0, vec!["x".into()]), prefix, ballot(1, 0), t));
    let halts = net.divergence(2).is_some();
    net.act(1, |p, t| p.propose(vec!["y".into()], t));
    for _ in 0..4 {
        if !halts {
            net.deliver(1, 2);
        }
        net.deliver(2, 1);
    }
    (net.decided(1), net.decided(2), halts)
}

#[test]
fn who_lacks_what_was_decided_before_its_leader_was_elected_halts() {
    assert_eq!(learned_in_the_ballot_of_another(Mutants::default()), (vec![], vec![], true));
}

#[test]
#[cfg(feature = "mutants")]
fn mutant_learned_uncompared() {
    let apart = learned_in_the_ballot_of_another(Mutants::only(Mutant::LearnedUncompared));
    assert_eq!(apart, (vec!["y".into()], vec!["x".into()], false));
}

#[test]
fn entries_that_follow_another_prefix_are_not_learned() {
    let mut net = Net::apart(&["x"]);
    net.decide(&[1, 2], "w");
    let (entries, theirs) = (net.decided(1).split_off(1), net.nodes[1].0.prom());
    let prefix = (2, net.nodes[1].0.hash_at(2).unwrap());
    net.act(0, |p, _| p.outranked(theirs)); // it leads no more
    net.act(0, |p, t| p.learn(ProcessId(1), (1, entries), prefix, theirs, t));
    assert!(net.divergence(0).is_some());
    assert_eq!(net.decided(0), [Bytes::from_static(b"x")]);
}

#[test]
fn a_late_promise_is_not_amnesia() {
    let mut net = Net::new(3);
    net.act(0, |p, t| p.stand(t));
    net.deliver(0, 1);
    net.deliver(1, 0);
    assert!(net.nodes[0].0.leads());
    let sync = net.take(0, 1);
    // The proposal overtakes the AcceptSync, as it may: the follower asks for a Prepare.
    net.act(0, |p, t| p.propose(vec![Bytes::from_static(b"a")], t));
    net.deliver(0, 1);
    sync.into_iter().for_each(|f| net.receive(0, 1, f));
    net.deliver(1, 0); // PrepareReq, Accepted(0)
    net.deliver(0, 1); // Prepare
    let promise = net.take(1, 0); // Promise(acc = n, len = 0), in the window
    net.act(0, |p, t| p.propose(vec![Bytes::from_static(b"b")], t));
    net.deliver(0, 1); // a gap
    net.deliver(1, 0);
    net.deliver(0, 1); // again from 0
    net.deliver(1, 0); // Accepted(2), in its slot, overtakes the promise
    assert_eq!(net.nodes[0].0.decided(), 2);
    promise.into_iter().for_each(|f| net.receive(1, 0, f));
    let notices = net.nodes[0].0.take_notices();
    assert!(!notices.iter().any(|n| matches!(n, Notice::Forgot { .. })), "{notices:?}");
}

fn ballot(counter: u64, process: u8) -> Ballot {
    Ballot { counter, process: ProcessId(process), ..Ballot::ZERO }
}

fn says(net: &mut Net, from: usize, to: usize, message: &Paxos) {
    net.receive(from, to, Opened::check(Frame::seal(message).bytes().clone()).unwrap());
}

/// Whoever promised it could stand no more: 2^64 - 1 + 1 is no counter.
#[test]
fn a_ballot_at_the_end_of_all_ballots_is_promised_by_nobody() {
    let mut net = Net::new(3);
    for counter in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 40] {
        let n = ballot(counter, 0);
        says(
            &mut net,
            0,
            1,
            &Paxos::Prepare {
                n,
                acc: Ballot::ZERO,
                len: 0,
                decided: 0,
                hash: 0,
                acked: 0,
                boot: 0,
                held: None,
            },
        );
        says(&mut net, 0, 1, &Paxos::Nack { prom: n });
        let far = Accept { n, from: u64::MAX, entries: vec![Bytes::new(); 3], decided: u64::MAX };
        net.receive(0, 1, Opened::check(Frame::seal(&far).bytes().clone()).unwrap());
        assert_eq!(net.nodes[1].0.prom(), Ballot::ZERO);
    }
    net.wires.clear();
    net.act(1, |p, t| p.stand(t));
    net.deliver(1, 2);
    net.deliver(2, 1);
    assert!(net.nodes[1].0.leads());
    net.act(1, |p, t| p.propose(vec![Bytes::from_static(b"a")], t));
    net.deliver(1, 2);
    net.deliver(2, 1);
    assert_eq!(net.decided(1), [Bytes::from_static(b"a")]);
}

#[test]
fn promises_that_contradict_each_other_elect_nobody_and_panic_nobody() {
    let mut net = Net::new(3);
    net.act(0, |p, t| p.stand(t));
    let n = net.nodes[0].0.ballot();
    let sess = Session { inc: 1, number: 1 };
    let promise = |len, decided, from, suffix: usize| Paxos::Promise {
        n,
        sess,
        acc: Ballot::ZERO,
        len,
        decided,
        hash: super::prefix::EMPTY,
        from,
        at: from,
        suffix: vec![Bytes::new(); suffix],
        held: 0,
    };
    // A hole, a length beyond all logs, more decided than there is: as good as not said.
    for lie in [promise(9, 0, 5, 4), promise(u64::MAX, 0, u64::MAX, 0), promise(2, 9, 0, 2)] {
        says(&mut net, 1, 0, &lie);
        assert!(net.nodes[0].0.stands());
    }
    // The truth.
    says(&mut net, 1, 0, &promise(0, 0, 0, 0));
    assert!(net.nodes[0].0.leads());
}
