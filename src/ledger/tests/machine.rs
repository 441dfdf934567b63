//! Commands and their replies.

use super::*;
use crate::atomic_commit::{CommitError, Outcome};
use crate::broadcast::{PublicationError, SubscribeError, UnknownSubscriber};

#[test]
fn a_command_sent_again_has_the_answer_of_the_first_and_no_effect() {
    let mut ledger = Ledger::default();
    let mut index = 0;
    let mut twice = |command: Command| {
        index += 2;
        let first = ledger.execute(index - 2, command.clone());
        let before = ledger.now.clone();
        assert_eq!(ledger.execute(index - 1, command), first);
        assert_eq!(View { end: index, ..before }, View { end: index, ..ledger.now.clone() });
        first.unwrap()
    };
    assert_eq!(twice(propose("i", "1")), Response::Decided("1".into()));
    assert_eq!(twice(propose("i", "2")), Response::Decided("1".into()));
    twice(begin("t", &["a"]));
    twice(vote("t", "a", Vote::Yes));
    twice(acknowledge("t", "a"));
    let id = 100;
    assert_eq!(ledger.execute(id, Command::OpenPublisher), Ok(Response::PublisherOpened(id)));
    let first = ledger.execute(101, publish("p", Some((id, 1)), "x"));
    assert_eq!(first, Ok(Response::Published(101)));
    assert_eq!(ledger.execute(102, publish("p", Some((id, 1)), "x")), first);
    assert_eq!(ledger.view().read("p", 0, 10, 1000).unwrap().len(), 1);
    index = 104;
    let mut twice = |command: Command| {
        index += 2;
        let first = ledger.execute(index - 2, command.clone());
        assert_eq!(ledger.execute(index - 1, command), first);
        first.unwrap()
    };
    assert_eq!(twice(subscribe("s", "p", Begin::Oldest)), Response::Subscribed(0));
    assert_eq!(twice(stop("s", 101)), Response::DeliveryAcknowledged);
    let unsubscribe = Command::Unsubscribe { subscriber: "s".into() };
    assert_eq!(ledger.execute(index, unsubscribe.clone()), Ok(Response::Unsubscribed));
    let unknown = UnknownSubscriber("s".into());
    assert_eq!(ledger.execute(index + 1, unsubscribe), Err(unknown.into()), "there is none any more");
}

#[test]
fn a_view_stays_as_it_was() {
    let mut ledger = Ledger::default();
    ledger.execute(0, propose("i", "1")).unwrap();
    let view = ledger.view();
    ledger.execute(1, propose("j", "1")).unwrap();
    ledger.execute(2, begin("t", &["a"])).unwrap();
    assert_eq!((view.decision("j"), view.transaction("t"), view.end()), (None, None, 1));
}

#[test]
fn outcomes_and_refusals_are_told_as_they_are() {
    let mut ledger = Ledger::default();
    ledger.execute(0, begin("t", &["a", "b"])).unwrap();
    ledger.execute(1, vote("t", "a", Vote::Yes)).unwrap();
    ledger.execute(2, Command::TimeOut { transaction: "t".into(), begun: 0 }).unwrap();
    let late = ledger.execute(3, vote("t", "b", Vote::Yes));
    assert!(matches!(late, Err(Error::Commit(CommitError::AfterOutcome { .. }))), "{late:?}");
    let owed: Vec<_> = ledger.view().owed("b").map(|(_, outcome)| outcome).collect();
    assert!(matches!(owed[..], [Outcome::Aborted { by: None, .. }]));
    let ahead = ledger.view().read("p", 5, 10, 1000);
    assert_eq!(ahead, Err(PublicationError::Ahead { cursor: 5, end: 4 }));
    assert_eq!(StateMachine::apply(&mut ledger, 4, Bytes::from_static(b"\x09?")), Err(Error::Malformed));
}

#[test]
fn a_subscriber_is_the_same_after_a_checkpoint_and_falls_off_alike() {
    let (mut ledger, mut image) = (Ledger::default(), Image::default());
    ledger.execute(0, small()).unwrap();
    ledger.execute(1, subscribe("s", "p", Begin::Now)).unwrap();
    ledger.execute(2, publish("p", None, "a")).unwrap();
    ledger.execute(3, publish("p", None, "b")).unwrap();
    ledger.execute(4, stop("s", 3)).unwrap();
    checkpoint(&mut ledger, &mut image);
    let mut booted: Ledger = image.boot().unwrap();
    for ledger in [&mut ledger, &mut booted] {
        let pending = ledger.view().pending("s").unwrap().unwrap();
        assert_eq!(pending.iter().map(|p| p.position).collect::<Vec<_>>(), [2]);
        (5..7).for_each(|index| drop(ledger.execute(index, publish("p", None, "c"))));
        let fell = ledger.view().pending("s").unwrap().unwrap_err();
        assert_eq!((fell.position, fell.oldest), (2, 3));
        let told = ledger.execute(7, subscribe("s", "p", Begin::Now));
        assert_eq!(told, Err(SubscribeError::FellOff(fell).into()));
        assert_eq!(ledger.execute(8, subscribe("s", "p", Begin::Oldest)), Ok(Response::Subscribed(4)));
    }
    assert_eq!(booted.view(), ledger.view());
    ledger.execute(9, Command::Unsubscribe { subscriber: "s".into() }).unwrap();
    (0..3).for_each(|_| checkpoint(&mut ledger, &mut image));
    assert!(image.boot::<Ledger>().unwrap().view().pending("s").is_none());
}

#[test]
fn bounds_are_replicated_and_none_goes_beyond_the_most() {
    let mut ledger = Ledger::default();
    let (topics, finished, none) = (Some(u64::MAX), Some(0), BoundChanges::default());
    let asked = BoundChanges { topics, finished, ..none };
    ledger.execute(0, Command::SetBounds(asked)).unwrap();
    // What is not said stays, whoever said it.
    let set = ledger.execute(1, Command::SetBounds(BoundChanges { instances: Some(1), ..none })).unwrap();
    let bounds = ReplicatedBounds { instances: 1, finished: 1, ..ReplicatedBounds::MOST };
    assert_eq!(set, Response::Bounds(bounds));
    ledger.execute(2, propose("i", "1")).unwrap();
    assert!(ledger.execute(3, propose("j", "1")).is_err());
    let mut image = Image::default();
    checkpoint(&mut ledger, &mut image);
    assert_eq!(image.boot::<Ledger>().unwrap().view().bounds(), bounds);
}
