//! Consensus and AtomicCommit.

use super::*;
use crate::Client;
use crate::atomic_commit::Reason as Why;
use crate::client::{BoundSet, Error, Fate, Outcome, Reason, Vote};
use crate::ledger::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn client(fake: &Fake) -> Client {
    Client::over(routes(fake.clone(), Limits::default()))
}

fn vote(transaction: &str, participant: &str, vote: crate::atomic_commit::Vote) -> Command {
    Command::Vote { transaction: transaction.into(), participant: participant.into(), vote }
}

#[track_caller]
fn refuses<T: std::fmt::Debug>(result: Result<T, Error>, code: Code, text: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.fate()), (Some(code), Fate::NotExecuted), "{error}");
    let said = error.to_string();
    assert!(said.starts_with("kvorum: ") && said.contains(text), "{said}");
}

#[tokio::test]
async fn the_first_proposal_is_the_decision_for_ever() {
    let fake = Fake::default();
    let instance = client(&fake).consensus("i");
    assert_eq!(instance.decided().await.unwrap(), None);
    assert_eq!(instance.propose("a").await.unwrap(), "a");
    assert_eq!(instance.propose("b").await.unwrap(), "a");
    assert_eq!(instance.decided().await.unwrap().unwrap(), "a");
    assert_eq!(instance.decision().await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn a_proposal_is_repeated_through_whatever_befalls_it() {
    let fake = Fake::with([Fault::Cut, Fault::Lose, Fault::Refuse(crate::stack::Refusal::TooMany)]);
    assert_eq!(client(&fake).consensus("i").propose("a").await.unwrap(), "a");
    assert_eq!(fake.state().ledger.view().end(), 1, "found when it was repeated, and not proposed twice");
    fake.state().faults = std::iter::repeat_n(Some(Fault::Lose), 1000).collect();
    let hasty = client(&fake).with_deadline(Duration::from_millis(50));
    let error = hasty.transaction("t").begin(["a"], LONG).await.unwrap_err();
    assert!(matches!(error, Error::Unsettled { .. }), "{error}");
    assert_eq!((error.fate(), error.is_retryable()), (Fate::Unknown, true));
}

#[tokio::test]
async fn who_waits_for_a_decision_is_told_when_it_is_there_or_that_it_is_not() {
    let fake = Fake::default();
    let instance = client(&fake).with_deadline(LONG).consensus("i");
    let waiting = tokio::spawn(async move { instance.decision().await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    fake.execute_ledger(Command::Propose { instance: "i".into(), value: "a".into() }).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().unwrap(), "a");
    let hasty = client(&fake).with_deadline(Duration::from_secs(1));
    assert_eq!(hasty.consensus("j").decision().await.unwrap(), None);
}

#[tokio::test]
async fn names_and_values_have_bounds() {
    let fake = Fake::default();
    let client = client(&fake);
    refuses(client.consensus("").propose("a").await, Code::InvalidArgument, "name");
    refuses(client.consensus("n".repeat(257)).propose("a").await, Code::InvalidArgument, "name");
    refuses(client.consensus("i").propose("v".repeat(65 << 10)).await, Code::InvalidArgument, "at most");
    refuses(client.transaction("t").begin([""; 0], LONG).await, Code::InvalidArgument, "participant");
    refuses(client.transaction("t").begin(["a"], Duration::ZERO).await, Code::InvalidArgument, "timeout");
    let many = (0..65).map(|n| format!("p{n}"));
    refuses(client.transaction("t").begin(many, LONG).await, Code::InvalidArgument, "65 participants");
}

#[tokio::test]
async fn a_transaction_commits_once_all_have_voted_yes() {
    let fake = Fake::default();
    let client = client(&fake);
    let transaction = client.transaction("t");
    let begun = transaction.begin(["a", "b"], LONG).await.unwrap();
    assert_eq!((begun.timeout, begun.outcome), (LONG, None));
    assert_eq!(transaction.begin(["b", "a"], LONG).await.unwrap().begun, begun.begun, "the same");
    let status = transaction.vote("a", Vote::Yes).await.unwrap();
    assert_eq!(status.participants[0].vote, Some(Vote::Yes));
    assert_eq!(status.participants[1].vote, None);
    let hasty = client.clone().with_deadline(Duration::from_secs(1));
    assert_eq!(hasty.transaction("t").outcome().await.unwrap(), None);
    let waiting = tokio::spawn({
        let transaction = client.clone().with_deadline(LONG).transaction("t");
        async move { transaction.outcome().await }
    });
    transaction.vote("b", Vote::Yes).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), Some(Outcome::Committed));
}

#[tokio::test]
async fn what_contradicts_what_is_there_is_refused_and_changes_nothing() {
    let fake = Fake::default();
    let client = client(&fake);
    let transaction = client.transaction("t");
    let failed = Code::FailedPrecondition;
    refuses(transaction.status().await, Code::NotFound, "unknown");
    refuses(transaction.outcome().await, Code::NotFound, "unknown");
    refuses(transaction.vote("a", Vote::Yes).await, Code::NotFound, "unknown");
    transaction.begin(["a", "b"], LONG).await.unwrap();
    refuses(transaction.begin(["a"], LONG).await, failed, "has begun with other");
    refuses(transaction.vote("c", Vote::Yes).await, Code::NotFound, "no participant");
    refuses(transaction.acknowledge("a").await, failed, "no outcome yet");
    transaction.vote("a", Vote::Yes).await.unwrap();
    refuses(transaction.vote("a", Vote::No(Reason::Disk)).await, failed, "voted");
    let words = Reason::Other("out of paper".into());
    let status = transaction.vote("b", Vote::No(words.clone())).await.unwrap();
    let outcome = Some(Outcome::Aborted { by: Some("b".into()), reason: words.clone() });
    assert_eq!(status.outcome, outcome);
    transaction.vote("a", Vote::Yes).await.unwrap();
    refuses(transaction.vote("b", Vote::Yes).await, failed, "voted");
    assert_eq!(transaction.outcome().await.unwrap(), outcome);
    client.transaction("u").begin(["a", "b"], LONG).await.unwrap();
    client.transaction("u").vote("a", Vote::No(Reason::Integrity)).await.unwrap();
    refuses(client.transaction("u").vote("b", Vote::Yes).await, failed, "has its outcome already");
}

#[tokio::test]
async fn an_outcome_is_told_again_and_again_until_it_is_acknowledged() {
    let fake = Fake::default();
    let client = client(&fake).with_deadline(LONG);
    for name in ["t", "u"] {
        client.transaction(name).begin(["a", "b"], LONG).await.unwrap();
        client.transaction(name).vote("a", Vote::Yes).await.unwrap();
    }
    let mut outcomes = client.outcomes("a");
    fake.execute_ledger(vote("t", "b", crate::atomic_commit::Vote::Yes)).unwrap();
    let told = outcomes.next().await.unwrap();
    assert_eq!((told.name.as_str(), told.outcome), ("t", Some(Outcome::Committed)));
    assert_eq!(outcomes.next().await.unwrap().name, "t", "again");
    client.transaction("t").acknowledge("a").await.unwrap();
    client.transaction("t").acknowledge("a").await.unwrap();
    fake.execute_ledger(vote("u", "b", crate::atomic_commit::Vote::No(Why::Integrity))).unwrap();
    // What was on its way when it was acknowledged may still come.
    let next = loop {
        let told = outcomes.next().await.unwrap();
        if told.name != "t" {
            break told;
        }
    };
    assert_eq!(next.outcome, Some(Outcome::Aborted { by: Some("b".into()), reason: Reason::Integrity }));
    let owed =
        |list: Vec<crate::client::TransactionStatus>| list.into_iter().map(|t| t.name).collect::<Vec<_>>();
    assert_eq!(owed(client.unacknowledged("a").await.unwrap()), ["u"]);
    assert_eq!(owed(client.unacknowledged("b").await.unwrap()), ["t", "u"]);
    assert!(owed(client.unacknowledged("c").await.unwrap()).is_empty());
}

#[tokio::test]
async fn streams_have_places_and_give_them_back() {
    let fake = Fake::default();
    let limits = Limits { subscriptions: 1, ..Limits::default() };
    let client = Client::over(routes(fake.clone(), limits)).with_deadline(Duration::from_millis(300));
    client.transaction("t").begin(["a"], LONG).await.unwrap();
    client.transaction("t").vote("a", Vote::Yes).await.unwrap();
    let mut first = client.outcomes("a");
    first.next().await.unwrap();
    let mut second = client.outcomes("a");
    let error = second.next().await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("as many subscriptions"), "{error}");
    drop(first);
    second.next().await.unwrap();
}

#[tokio::test]
async fn a_replica_that_stops_ends_its_streams() {
    let fake = Fake::default();
    let client = client(&fake).with_deadline(Duration::from_millis(100));
    let mut outcomes = client.outcomes("a");
    let waiting = tokio::spawn(async move { outcomes.next().await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    fake.state().serving = false;
    fake.execute_ledger(Command::OpenPublisher).unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn bounds_are_read_and_changed_one_by_one_and_what_cannot_be_changes_nothing() {
    let client = client(&Fake::default());
    let before = client.bounds().await.unwrap();
    assert_eq!(before.instances, Some(crate::kernel::ReplicatedBounds::MOST.instances));
    let asked = BoundSet { instances: Some(1), ..BoundSet::default() };
    let now = client.set_bounds(asked).await.unwrap();
    assert_eq!(now, BoundSet { instances: Some(1), ..before });
    client.consensus("a").propose("1").await.unwrap();
    let full = client.consensus("b").propose("1").await;
    refuses(full, Code::ResourceExhausted, "raise the bound");
    let none = BoundSet { instances: Some(2), topics: Some(0), ..BoundSet::default() };
    refuses(client.set_bounds(none).await, Code::InvalidArgument, "topics must be between 1 and 256");
    assert_eq!(client.bounds().await.unwrap(), now);
}
