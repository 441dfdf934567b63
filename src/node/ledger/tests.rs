//! One node, its ledger, and what is left of it after a restart.

use super::*;
use crate::Node;
use crate::atomic_commit::Reason;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(100);

fn pair() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_decision_learns_it_and_it_outlives_the_node() {
    let dir = TempDir::new().unwrap();
    let node = Node::open(dir.path()).await.unwrap();
    let handle = node.handle().clone();
    assert_eq!(handle.decided("i", PATIENCE).await, Ok(None));
    assert_eq!(handle.decision("i", SOON).await, Err(Refusal::TimedOut.into()));
    let waits = tokio::spawn(async move { handle.decision("i", PATIENCE).await });
    let handle = node.handle();
    assert_eq!(handle.propose("i", "1".into(), PATIENCE).await.unwrap(), "1");
    assert_eq!(waits.await.unwrap().unwrap(), "1");
    assert_eq!(handle.propose("i", "2".into(), PATIENCE).await.unwrap(), "1");
    node.shutdown().await.unwrap();
    let node = Node::open(dir.path()).await.unwrap();
    assert_eq!(node.handle().decided("i", PATIENCE).await.unwrap().unwrap(), "1");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_learns_the_outcome_after_a_restart_until_it_acknowledges() {
    let dir = TempDir::new().unwrap();
    let node = Node::open(dir.path()).await.unwrap();
    let handle = node.handle();
    handle.begin("t", &pair(), PATIENCE, PATIENCE).await.unwrap();
    handle.vote("t", "a", Vote::Yes, PATIENCE).await.unwrap();
    assert_eq!(handle.unacknowledged("a", SOON).await.unwrap(), []);
    let early = handle.acknowledge("t", "a", PATIENCE).await;
    assert!(matches!(early, Err(Failed::Ledger(Error::Commit(CommitError::NeverDelivered { .. })))));
    handle.vote("t", "b", Vote::Yes, PATIENCE).await.unwrap();
    assert_eq!(handle.outcome("t", PATIENCE).await.unwrap(), Outcome::Committed);
    node.shutdown().await.unwrap();

    let node = Node::open(dir.path()).await.unwrap();
    let handle = node.handle();
    for _ in 0..2 {
        let owed = handle.unacknowledged("a", PATIENCE).await.unwrap();
        assert_eq!(owed, [("t".into(), Outcome::Committed)]);
    }
    handle.acknowledge("t", "a", PATIENCE).await.unwrap();
    assert_eq!(handle.unacknowledged("a", SOON).await.unwrap(), []);
    assert_eq!(handle.unacknowledged("b", PATIENCE).await.unwrap().len(), 1);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_time_runs_out_is_aborted_by_the_node_itself() {
    let dir = TempDir::new().unwrap();
    let node = Node::open(dir.path()).await.unwrap();
    let handle = node.handle();
    let unknown = handle.outcome("t", PATIENCE).await;
    assert!(matches!(unknown, Err(Failed::Ledger(Error::Commit(CommitError::Unknown { .. })))));
    handle.begin("t", &pair(), Duration::from_millis(150), PATIENCE).await.unwrap();
    handle.vote("t", "a", Vote::Yes, PATIENCE).await.unwrap();
    let outcome = handle.outcome("t", PATIENCE).await.unwrap();
    assert_eq!(outcome, Outcome::Aborted { by: None, reason: Reason::Suspected });
    let late = handle.vote("t", "b", Vote::Yes, PATIENCE).await;
    assert!(matches!(late, Err(Failed::Ledger(Error::Commit(CommitError::AfterOutcome { .. })))));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_resumes_where_it_was() {
    let dir = TempDir::new().unwrap();
    let node = Node::open(dir.path()).await.unwrap();
    let handle = node.handle();
    assert_eq!(handle.read_total("p", 0, 10, SOON).await.unwrap(), [], "nobody has published");
    let id = handle.open_publisher(PATIENCE).await.unwrap();
    let first = Some(Publisher { id, seq: 1 });
    let position = handle.publish_total("p", first, "1".into(), PATIENCE).await.unwrap();
    assert_eq!(handle.publish_total("p", first, "1".into(), PATIENCE).await.unwrap(), position);
    let read = handle.read_total("p", 0, 10, PATIENCE).await.unwrap();
    assert_eq!(read, [Publication { position, payload: "1".into() }]);
    handle.publish_total("p", None, "2".into(), PATIENCE).await.unwrap();
    node.shutdown().await.unwrap();

    let node = Node::open(dir.path()).await.unwrap();
    let read = node.handle().read_total("p", position + 1, 10, PATIENCE).await.unwrap();
    assert_eq!(read.iter().map(|p| &p.payload[..]).collect::<Vec<_>>(), [b"2"]);
    let ahead = node.handle().read_total("p", 1_000_000, 10, PATIENCE).await;
    assert!(matches!(ahead, Err(Failed::Ledger(Error::Publication(PublicationError::Ahead { .. })))));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_is_told_until_it_acknowledges_after_a_restart_too() {
    let dir = TempDir::new().unwrap();
    let node = Node::open(dir.path()).await.unwrap();
    let handle = node.handle();
    let unknown = handle.receive_total("s", PATIENCE).await;
    assert_eq!(unknown, Err(Error::from(UnknownSubscriber("s".into())).into()));
    handle.subscribe_total("s", "p", Begin::Now, 2, PATIENCE).await.unwrap();
    assert_eq!(handle.receive_total("s", SOON).await.unwrap(), []);
    let waits = tokio::spawn({
        let handle = handle.clone();
        async move { handle.receive_total("s", PATIENCE).await }
    });
    let first = handle.publish_total("p", None, "1".into(), PATIENCE).await.unwrap();
    assert_eq!(waits.await.unwrap().unwrap(), [Publication { position: first, payload: "1".into() }]);
    let second = handle.publish_total("p", None, "2".into(), PATIENCE).await.unwrap();
    let third = handle.publish_total("p", None, "3".into(), PATIENCE).await.unwrap();
    handle.acknowledge_total("s", second, PATIENCE).await.unwrap();
    node.shutdown().await.unwrap();

    let node = Node::open(dir.path()).await.unwrap();
    let handle = node.handle();
    for _ in 0..2 {
        let told = handle.receive_total("s", PATIENCE).await.unwrap();
        assert_eq!(told.iter().map(|p| p.position).collect::<Vec<_>>(), [first], "the window is full");
    }
    handle.acknowledge_total("s", first, PATIENCE).await.unwrap();
    let told = handle.receive_total("s", PATIENCE).await.unwrap();
    assert_eq!(told.iter().map(|p| p.position).collect::<Vec<_>>(), [third]);
    handle.unsubscribe_total("s", PATIENCE).await.unwrap();
    let unknown = handle.unsubscribe_total("s", PATIENCE).await;
    assert_eq!(unknown, Err(Error::from(UnknownSubscriber("s".into())).into()));
    node.shutdown().await.unwrap();
}
