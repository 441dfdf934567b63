//! Transcripts, one for each property and each refusal.

use super::*;

const BOUNDS: ReplicatedBounds =
    ReplicatedBounds { transactions: 2, participants: 3, finished: 1, ..ReplicatedBounds::MOST };

/// Transactions, and the log that leads to them.
#[derive(Default)]
struct Log {
    transactions: Transactions,
    index: u64,
}

impl Log {
    fn next(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    fn begin(&mut self, name: &str, participants: &[&str]) -> Result<Status, CommitError> {
        let participants: Vec<String> = participants.iter().map(|p| (*p).to_owned()).collect();
        let index = self.next();
        self.transactions.begin(index, name, &participants, 100, &BOUNDS)
    }

    fn vote(&mut self, name: &str, participant: &str, vote: Vote) -> Result<Option<Outcome>, CommitError> {
        let index = self.next();
        let status = self.transactions.vote(index, name, participant, vote, Mutants::default())?;
        Ok(status.outcome)
    }

    fn time_out(&mut self, name: &str, begun: u64) -> Result<Option<Outcome>, CommitError> {
        let index = self.next();
        Ok(self.transactions.time_out(index, name, begun, Mutants::default())?.outcome)
    }

    fn acknowledge(&mut self, name: &str, participant: &str) -> Result<(), CommitError> {
        let index = self.next();
        self.transactions.acknowledge(index, name, participant, &BOUNDS, Mutants::default()).map(drop)
    }

    fn owed(&self, participant: &str) -> Vec<String> {
        self.transactions.owed(participant).map(|(name, outcome)| format!("{name}: {outcome}")).collect()
    }
}

fn aborted(by: &str, reason: Reason) -> Option<Outcome> {
    Some(Outcome::Aborted { by: Some(by.to_owned()), reason })
}

const OUT_OF_TIME: Option<Outcome> = Some(Outcome::Aborted { by: None, reason: Reason::Suspected });

#[test]
fn commit_validity_it_commits_only_once_all_have_voted_yes() {
    let mut log = Log::default();
    log.begin("t", &["a", "b", "c"]).unwrap();
    assert_eq!(log.vote("t", "a", Vote::Yes), Ok(None));
    assert_eq!(log.vote("t", "c", Vote::Yes), Ok(None));
    assert_eq!(log.vote("t", "b", Vote::Yes), Ok(Some(Outcome::Committed)));
}

#[test]
fn abort_validity_the_first_no_aborts_with_its_reason() {
    let mut log = Log::default();
    log.begin("t", &["a", "b"]).unwrap();
    assert_eq!(log.vote("t", "a", Vote::Yes), Ok(None));
    assert_eq!(log.vote("t", "b", Vote::No(Reason::Disk)), Ok(aborted("b", Reason::Disk)));
}

#[test]
fn integrity_the_first_decisive_entry_wins() {
    let mut log = Log::default();
    let begun = log.begin("t", &["a", "b"]).unwrap().begun;
    log.vote("t", "a", Vote::Yes).unwrap();
    log.vote("t", "b", Vote::Yes).unwrap();
    assert_eq!(log.time_out("t", begun), Ok(Some(Outcome::Committed)), "the time ran out too late");
    let begun = log.begin("u", &["a", "b"]).unwrap().begun;
    assert_eq!(log.time_out("u", begun), Ok(OUT_OF_TIME));
    let late = CommitError::AfterOutcome { transaction: "u".into(), outcome: OUT_OF_TIME.unwrap() };
    assert_eq!(log.vote("u", "a", Vote::Yes), Err(late));
    assert_eq!(log.transactions.status("u").unwrap().outcome, OUT_OF_TIME);
}

#[test]
fn a_vote_is_cast_once_and_may_be_repeated() {
    let mut log = Log::default();
    log.begin("t", &["a", "b"]).unwrap();
    log.vote("t", "a", Vote::Yes).unwrap();
    assert_eq!(log.vote("t", "a", Vote::Yes), Ok(None));
    let otherwise =
        CommitError::VotedOtherwise { transaction: "t".into(), participant: "a".into(), before: Vote::Yes };
    assert_eq!(log.vote("t", "a", Vote::No(Reason::Integrity)), Err(otherwise));
    log.vote("t", "b", Vote::Yes).unwrap();
    assert_eq!(log.vote("t", "a", Vote::Yes), Ok(Some(Outcome::Committed)), "also after the outcome");
}

#[test]
fn termination_the_time_of_every_undecided_transaction_runs_out() {
    let mut log = Log::default();
    let mut timeouts = Timeouts::default();
    let begun = log.begin("t", &["a"]).unwrap().begun;
    assert_eq!(timeouts.look(1000, &log.transactions), []);
    assert_eq!(timeouts.look(1099, &log.transactions), []);
    assert_eq!(timeouts.look(1100, &log.transactions), [("t".into(), begun)]);
    assert_eq!(timeouts.look(1200, &log.transactions).len(), 1, "until the log has it");
    log.time_out("t", begun).unwrap();
    assert_eq!(timeouts.look(1300, &log.transactions), []);
}

#[test]
fn an_outcome_is_told_to_each_until_it_acknowledges() {
    let mut log = Log::default();
    log.begin("t", &["a", "b"]).unwrap();
    log.begin("u", &["a"]).unwrap();
    let early = CommitError::NeverDelivered { transaction: "t".into() };
    assert_eq!(log.acknowledge("t", "a"), Err(early));
    log.vote("u", "a", Vote::Yes).unwrap();
    log.vote("t", "a", Vote::No(Reason::Concurrency)).unwrap();
    assert_eq!(log.owed("a"), ["u: committed", "t: aborted by a (concurrency)"]);
    log.acknowledge("t", "a").unwrap();
    log.acknowledge("t", "a").unwrap();
    assert_eq!(log.owed("a"), ["u: committed"]);
    assert_eq!(log.owed("b"), ["t: aborted by a (concurrency)"]);
}

#[test]
fn finished_transactions_are_remembered_within_a_bound() {
    let mut log = Log::default();
    for name in ["t", "u"] {
        log.begin(name, &["a"]).unwrap();
        log.vote(name, "a", Vote::Yes).unwrap();
        log.acknowledge(name, "a").unwrap();
    }
    assert!(log.transactions.status("t").is_none());
    assert_eq!(log.transactions.status("u").unwrap().outcome, Some(Outcome::Committed));
    assert_eq!(log.vote("t", "a", Vote::Yes), Err(CommitError::Unknown { transaction: "t".into() }));
}

#[test]
fn the_time_of_a_forgotten_transaction_does_not_run_out_for_another() {
    let mut log = Log::default();
    let old = log.begin("t", &["a"]).unwrap().begun;
    log.vote("t", "a", Vote::Yes).unwrap();
    log.acknowledge("t", "a").unwrap();
    log.begin("u", &["a"]).unwrap();
    log.vote("u", "a", Vote::Yes).unwrap();
    log.acknowledge("u", "a").unwrap();
    log.begin("t", &["a"]).unwrap();
    assert_eq!(log.time_out("t", old), Err(CommitError::Unknown { transaction: "t".into() }));
    assert_eq!(log.transactions.status("t").unwrap().outcome, None);
}

#[test]
fn a_transaction_begins_once() {
    let mut log = Log::default();
    let first = log.begin("t", &["a", "b"]).unwrap();
    assert_eq!(log.begin("t", &["b", "a", "a"]), Ok(first));
    let otherwise = CommitError::BegunOtherwise { transaction: "t".into() };
    assert_eq!(log.begin("t", &["a"]), Err(otherwise.clone()));
    assert_eq!(log.begin("t", &["a", "b", "c"]), Err(otherwise));
}

#[test]
fn past_the_bounds_and_for_strangers_nothing_changes() {
    let mut log = Log::default();
    assert_eq!(log.begin("", &["a"]), Err(CommitError::Name(0)));
    assert_eq!(log.begin("t", &[]), Err(CommitError::NoParticipants));
    let too_many = CommitError::TooManyParticipants { count: 4, limit: 3 };
    assert_eq!(log.begin("t", &["a", "b", "c", "d"]), Err(too_many));
    log.begin("t", &["a"]).unwrap();
    let stranger = CommitError::NotAParticipant { transaction: "t".into(), participant: "z".into() };
    assert_eq!(log.vote("t", "z", Vote::Yes), Err(stranger.clone()));
    assert_eq!(log.acknowledge("t", "z"), Err(stranger));
    let long = "x".repeat(MAX_TEXT + 1);
    assert_eq!(log.vote("t", "a", Vote::No(Reason::Other(long))), Err(CommitError::Text(MAX_TEXT + 1)));
    log.begin("u", &["a"]).unwrap();
    assert_eq!(log.begin("v", &["a"]), Err(CommitError::TooManyTransactions { limit: 2 }));
    log.vote("t", "a", Vote::Yes).unwrap();
    assert_eq!(
        log.begin("v", &["a"]),
        Err(CommitError::TooManyTransactions { limit: 2 }),
        "not acknowledged"
    );
    log.acknowledge("t", "a").unwrap();
    log.begin("v", &["a"]).unwrap();
}
