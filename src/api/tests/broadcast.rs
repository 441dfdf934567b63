//! Broadcast.

use super::*;
use crate::Client;
use crate::api::fake::KEPT;
use crate::broadcast::Record;
use crate::client::{Context, Cursor, Delivery, Error, Fate, Guarantee, Start};
use crate::kernel::{BoundChanges, ProcessId};
use crate::ledger::Command;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
const ALL: [Guarantee; 5] =
    [Guarantee::BestEffort, Guarantee::Reliable, Guarantee::Fifo, Guarantee::Causal, Guarantee::Total];

fn client(fake: &Fake) -> Client {
    Client::over(routes(fake.clone(), Limits::default())).with_deadline(LONG)
}

fn text(delivery: &Delivery) -> &str {
    delivery.text().unwrap()
}

#[tokio::test]
async fn what_is_published_is_delivered_in_order_from_where_one_asks() {
    for guarantee in ALL {
        let client = client(&Fake::default());
        let topic = client.topic("t", guarantee);
        topic.publish("1").await.unwrap();
        client.topic("other", guarantee).publish("none of it").await.unwrap();
        let mut oldest = topic.subscribe(Start::Oldest);
        assert_eq!(text(&oldest.next().await.unwrap()), "1", "{guarantee:?}");
        let waiting = tokio::spawn(async move { oldest.next().await.unwrap() });
        topic.publish("2").await.unwrap();
        let second = waiting.await.unwrap();
        assert_eq!(text(&second), "2");
        topic.publish("3").await.unwrap();
        let mut after = topic.subscribe(Start::After(second.cursor));
        assert_eq!(text(&after.next().await.unwrap()), "3", "not what came before the cursor");
    }
}

#[tokio::test]
async fn a_subscription_to_what_comes_begins_where_it_was_opened() {
    for guarantee in ALL {
        let fake = Fake::default();
        let topic = client(&fake).topic("t", guarantee);
        topic.publish("before").await.unwrap();
        let mut now = topic.subscribe(Start::Now);
        assert_eq!(now.cursor(), None);
        let first = tokio::spawn(async move { now.next().await.unwrap() });
        // Which of them is the first depends on when it is open.
        while !first.is_finished() {
            topic.publish("after").await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(text(&first.await.unwrap()), "after");
    }
}

#[tokio::test]
async fn topics_of_one_name_and_different_guarantees_are_different() {
    let client = client(&Fake::default());
    client.topic("t", Guarantee::Fifo).publish("fifo").await.unwrap();
    client.topic("t", Guarantee::Total).publish("total").await.unwrap();
    client.topic("t", Guarantee::Reliable).publish("reliable").await.unwrap();
    let mut fifo = client.topic("t", Guarantee::Reliable).subscribe(Start::Oldest);
    assert_eq!(text(&fifo.next().await.unwrap()), "reliable");
    let mut total = client.topic("t", Guarantee::Total).subscribe(Start::Oldest);
    assert_eq!(text(&total.next().await.unwrap()), "total");
}

#[tokio::test]
async fn a_cursor_that_fell_off_or_lies_ahead_is_told_so() {
    let fake = Fake::default();
    fake.execute_ledger(Command::SetBounds(BoundChanges {
        topic_entries: Some(2),
        ..BoundChanges::default()
    }))
    .unwrap();
    let client = client(&fake);
    for guarantee in [Guarantee::Total, Guarantee::Fifo] {
        let topic = client.topic("t", guarantee);
        topic.publish("0").await.unwrap();
        let first = topic.subscribe(Start::Oldest).next().await.unwrap();
        for _ in 0..2 * KEPT {
            topic.publish("n").await.unwrap();
        }
        let error = topic.subscribe(Start::After(first.cursor.clone())).next().await.unwrap_err();
        assert_eq!(error.code(), Some(Code::OutOfRange), "{error}");
        assert!(error.to_string().starts_with("kvorum: "), "{error}");
        let mut ahead = first.cursor.0.to_vec();
        *ahead.last_mut().unwrap() = 200;
        let error = topic.subscribe(Start::After(Cursor(ahead.into()))).next().await.unwrap_err();
        assert_eq!(error.code(), Some(Code::OutOfRange), "{error}");
        for wrong in [&b""[..], b"nonsense"] {
            let cursor = Start::After(Cursor(wrong.to_vec().into()));
            let error = topic.subscribe(cursor).next().await.unwrap_err();
            assert_eq!(error.code(), Some(Code::InvalidArgument), "{error}");
        }
    }
    let total = client.topic("t", Guarantee::Total).subscribe(Start::Oldest).next().await.unwrap();
    let fifo = client.topic("t", Guarantee::Fifo);
    let error = fifo.subscribe(Start::After(total.cursor)).next().await.unwrap_err();
    assert!(error.to_string().contains("another guarantee"), "{error}");
}

#[tokio::test]
async fn a_cursor_of_another_replica_is_passed_on_to_another_until_it_is_found() {
    let client = client(&Fake::default()).with_deadline(Duration::from_millis(300));
    let other = [&[2][..], &9_u64.to_be_bytes(), &0_u64.to_be_bytes()].concat();
    let mut subscription = client.topic("t", Guarantee::Fifo).subscribe(Start::After(Cursor(other.into())));
    let error = subscription.next().await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("another log"), "{error}");
}

#[tokio::test]
async fn a_deliverys_context_has_everything_that_its_subscription_delivered() {
    let client = client(&Fake::default());
    let topic = client.topic("t", Guarantee::Causal);
    let published = [topic.publish("1").await.unwrap(), topic.publish("2").await.unwrap()];
    let mut subscription = topic.subscribe(Start::Oldest);
    subscription.next().await.unwrap();
    let second = subscription.next().await.unwrap();
    let after_both =
        topic.publish("3").after(&published[0].context).after(&published[1].context).await.unwrap();
    let after_second = topic.publish("4").after(&second.context).after(&after_both.context).await.unwrap();
    let third = subscription.next().await.unwrap();
    let fourth = subscription.next().await.unwrap();
    assert_eq!(third.context, after_both.context);
    assert_eq!(fourth.context, after_second.context);
    let error = topic.publish("5").after(&Context("nonsense".into())).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::InvalidArgument), "{error}");
}

#[tokio::test]
async fn a_publication_in_total_order_is_repeated_and_published_once() {
    let fake = Fake::with([Fault::Lose, Fault::Cut, Fault::Lose, Fault::Lose]);
    let topic = client(&fake).topic("t", Guarantee::Total);
    let first = topic.publish("1").await.unwrap();
    fake.state().faults = [Some(Fault::Lose)].into();
    let second = topic.publish("2").await.unwrap();
    assert!(first.position < second.position);
    topic.publish("3").await.unwrap();
    let mut all = topic.subscribe(Start::Oldest);
    for expected in ["1", "2", "3"] {
        assert_eq!(text(&all.next().await.unwrap()), expected);
    }
}

#[tokio::test]
async fn a_publisher_that_was_forgotten_opens_anew() {
    let fake = Fake::default();
    let bounds = BoundChanges { publishers: Some(1), ..BoundChanges::default() };
    fake.execute_ledger(Command::SetBounds(bounds)).unwrap();
    let topic = client(&fake).topic("t", Guarantee::Total);
    topic.publish("1").await.unwrap();
    client(&fake).topic("t", Guarantee::Total).publish("another's").await.unwrap();
    topic.publish("2").await.unwrap();
    let mut all = topic.subscribe(Start::Oldest);
    for expected in ["1", "another's", "2"] {
        assert_eq!(text(&all.next().await.unwrap()), expected);
    }
}

#[tokio::test]
async fn in_other_orders_a_lost_answer_leaves_the_fate_unknown() {
    let fake = Fake::with([Fault::Cut, Fault::Lose]);
    let error = client(&fake).topic("t", Guarantee::Reliable).publish("1").await.unwrap_err();
    assert_eq!((error.fate(), error.is_retryable()), (Fate::Unknown, false), "{error}");
    assert_eq!(fake.1.range(), 0..1, "published once");
}

#[tokio::test]
async fn a_delivery_comes_again_until_it_is_acknowledged() {
    let fake = Fake::default();
    let topic = client(&fake).topic("t", Guarantee::Reliable);
    topic.publish("1").await.unwrap();
    topic.publish("2").await.unwrap();
    let mut receiver = topic.receive("s").from_oldest();
    let first = receiver.next().await.unwrap();
    assert_eq!((text(&first), text(&receiver.next().await.unwrap())), ("1", "2"));
    receiver.acknowledge(&first).await.unwrap();
    receiver.acknowledge(&first).await.unwrap();
    drop(receiver);
    // Another stream, as after a crash.
    let mut receiver = topic.receive("s");
    let second = receiver.next().await.unwrap();
    assert_eq!(text(&second), "2");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    fake.redeliver();
    assert_eq!(receiver.next().await.unwrap(), second, "again");
    let never = Delivery { position: 9, ..second };
    let error = receiver.acknowledge(&never).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::OutOfRange), "{error}");
    let other = client(&fake).topic("u", Guarantee::Reliable).receive("s").next().await.unwrap_err();
    assert_eq!(other.code(), Some(Code::FailedPrecondition), "{other}");
    topic.unsubscribe("s").await.unwrap();
    assert_eq!(topic.unsubscribe("s").await.unwrap_err().code(), Some(Code::NotFound));
}

#[tokio::test]
async fn in_total_order_a_delivery_comes_again_until_it_is_acknowledged_and_from_any_replica() {
    let fake = Fake::default();
    let topic = client(&fake).topic("t", Guarantee::Total);
    topic.publish("1").await.unwrap();
    client(&fake).topic("other", Guarantee::Total).publish("none of it").await.unwrap();
    let mut receiver = topic.receive("s").from_oldest();
    let first = receiver.next().await.unwrap();
    assert_eq!(text(&first), "1");
    topic.publish("2").await.unwrap();
    let second = receiver.next().await.unwrap();
    assert_eq!(text(&second), "2", "at once");
    let begun = Instant::now();
    assert_eq!(receiver.next().await.unwrap(), first, "again");
    assert_eq!(receiver.next().await.unwrap(), second);
    assert!(begun.elapsed() > Duration::from_millis(800), "not before long");
    receiver.acknowledge(&first).await.unwrap();
    receiver.acknowledge(&first).await.unwrap();
    assert_eq!(receiver.next().await.unwrap(), second);
    drop(receiver);
    // Another stream, as at another replica.
    let mut receiver = topic.receive("s");
    assert_eq!(receiver.next().await.unwrap(), second);
    // A cursor goes on there, too.
    let mut after = topic.subscribe(Start::After(first.cursor.clone()));
    assert_eq!(after.next().await.unwrap(), second);
    let never = Delivery { position: second.position + 1, ..second };
    let error = receiver.acknowledge(&never).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::OutOfRange), "{error}");
    let other = client(&fake).topic("u", Guarantee::Total).receive("s").next().await.unwrap_err();
    assert_eq!(other.code(), Some(Code::FailedPrecondition), "{other}");
    assert!(other.to_string().contains("total/t"), "{other}");
    // Its name is another one than that of a replica's own subscriber.
    let reliable = client(&fake).topic("t", Guarantee::Reliable);
    assert_eq!(reliable.unsubscribe("s").await.unwrap_err().code(), Some(Code::NotFound));
    topic.unsubscribe("s").await.unwrap();
    let ended = receiver.next().await.unwrap_err();
    assert_eq!(ended.code(), Some(Code::NotFound), "{ended}");
    assert_eq!(topic.unsubscribe("s").await.unwrap_err().code(), Some(Code::NotFound));
}

#[tokio::test]
async fn in_total_order_nobody_looks_for_what_is_not_there() {
    let fake = Fake::default();
    let topic = client(&fake).topic("t", Guarantee::Total);
    topic.publish("1").await.unwrap();
    let mut receiver = topic.receive("s").from_oldest();
    let first = receiver.next().await.unwrap();
    receiver.acknowledge(&first).await.unwrap();
    let waiting = tokio::spawn(async move { receiver.next().await });
    // Past the time at which it would have been told again.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = fake.state().looks;
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Once more, where this is a slow machine; not over and over.
    assert!(fake.state().looks - before < 10);
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn in_total_order_no_delivery_follows_an_acknowledgement_that_another_replica_took() {
    let fake = Fake::default();
    let topic = client(&fake).topic("t", Guarantee::Total);
    topic.publish("1").await.unwrap();
    let mut receiver = topic.receive("s").from_oldest();
    let first = receiver.next().await.unwrap();
    // The log takes the acknowledgement, and this replica shows its old state.
    let stale = fake.state().ledger.view();
    let stop = Command::AcknowledgeDelivery { subscriber: "s".into(), position: first.position };
    fake.execute_ledger(stop).unwrap();
    fake.state().shown = Some(stale);
    let next = tokio::time::timeout(Duration::from_millis(2500), receiver.next());
    assert!(next.await.is_err(), "it asks before it sends");
    assert!(fake.state().shown.is_none());
    topic.publish("2").await.unwrap();
    assert_eq!(text(&receiver.next().await.unwrap()), "2");
}

#[tokio::test]
async fn in_total_order_who_fell_off_is_told_and_goes_on_where_it_says() {
    let fake = Fake::default();
    fake.execute_ledger(Command::SetBounds(BoundChanges {
        topic_entries: Some(2),
        ..BoundChanges::default()
    }))
    .unwrap();
    let topic = client(&fake).topic("t", Guarantee::Total);
    let mut receiver = topic.receive("s").from_oldest();
    topic.publish("1").await.unwrap();
    let first = receiver.next().await.unwrap();
    for payload in ["2", "3"] {
        topic.publish(payload).await.unwrap();
    }
    let fell = loop {
        match receiver.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(fell.code(), Some(Code::OutOfRange), "{fell}");
    assert!(fell.to_string().contains("is not kept any more"), "{fell}");
    let again = receiver.next().await.unwrap_err();
    assert_eq!(again.code(), Some(Code::OutOfRange), "it has not said where it goes on: {again}");
    assert_eq!(receiver.acknowledge(&first).await.unwrap_err().code(), Some(Code::OutOfRange));
    assert_eq!(topic.receive("s").next().await.unwrap_err().code(), Some(Code::OutOfRange));
    assert_eq!(text(&topic.receive("s").from_oldest().next().await.unwrap()), "2");
}

#[tokio::test]
async fn what_is_lost_to_a_replica_is_told_and_the_rest_goes_on() {
    let fake = Fake::default();
    let topic = client(&fake).topic("t", Guarantee::Fifo);
    topic.publish("1").await.unwrap();
    fake.deliver(Record::Gap { origin: ProcessId(1), from: 3, to: 5 });
    topic.publish("2").await.unwrap();
    let mut subscription = topic.subscribe(Start::Oldest);
    subscription.next().await.unwrap();
    let error = subscription.next().await.unwrap_err();
    assert!(matches!(error, Error::Gap { origin: 101, from: 3, last: 4 }), "{error}");
    assert_eq!(text(&subscription.next().await.unwrap()), "2");
}
