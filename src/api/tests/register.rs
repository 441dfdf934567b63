//! Register.

use super::*;
use crate::Client;
use crate::api::fake::REGISTERS;
use crate::client::{Fate, Stamp};
use crate::proto::kvorum::v1::register_client::RegisterClient;
use crate::proto::kvorum::v1::{self as pb, ReadRequest, WriteRequest};
use std::time::Duration;

fn register(fake: &Fake) -> RegisterClient<Routes> {
    RegisterClient::new(routes(fake.clone(), Limits::default()))
}

fn write(name: &str, value: &str) -> WriteRequest {
    WriteRequest { name: name.into(), value: value.to_owned().into() }
}

fn read(name: &str) -> ReadRequest {
    ReadRequest { name: name.into() }
}

#[tokio::test]
async fn a_register_is_read_as_it_was_last_written() {
    let fake = Fake::default();
    let mut register = register(&fake);
    let never = register.read(read("x")).await.unwrap().into_inner();
    assert_eq!((never.value, never.stamp), (None, None));
    let first = register.write(write("x", "1")).await.unwrap().into_inner().stamp;
    assert_eq!(first, Some(pb::Stamp { number: 1, writer: 100 }));
    let second = register.write(write("x", "")).await.unwrap().into_inner().stamp;
    let found = register.read(read("x")).await.unwrap().into_inner();
    assert_eq!((found.value.as_deref(), found.stamp), (Some(&b""[..]), second), "empty, and written");
    let state = fake.state();
    assert_eq!((state.log.len(), state.barriers), (0, 0), "the log is not asked");
}

#[tokio::test]
async fn no_leader_is_asked_for() {
    let fake = Fake::default();
    fake.state().leader = None;
    let client = Client::over(routes(fake, Limits::default()));
    client.register("x").write("1").await.unwrap();
    assert_eq!(client.register("x").read().await.unwrap().unwrap().text(), Some("1"));
}

#[tokio::test]
async fn a_register_too_many_is_refused_and_those_there_are_go_on() {
    let fake = Fake::default();
    let client = Client::over(routes(fake, Limits::default()));
    for n in 0..REGISTERS {
        client.register(format!("x{n}")).write("1").await.unwrap();
    }
    let error = client.register("one-more").write("1").await.unwrap_err();
    assert_eq!((error.code(), error.fate()), (Some(Code::ResourceExhausted), Fate::NotExecuted));
    assert!(error.to_string().starts_with("kvorum: there are as many registers"), "{error}");
    client.register("x0").write("2").await.unwrap();
    assert_eq!(client.register("one-more").read().await.unwrap(), None);
}

#[tokio::test]
async fn a_write_that_reached_no_majority_is_repeated_and_one_that_may_have_is_not() {
    let fake = Fake::with([Fault::Cut, Fault::Refuse(crate::stack::Refusal::TooMany)]);
    let client = Client::over(routes(fake.clone(), Limits::default()));
    let stamp = client.register("x").write("1").await.unwrap();
    assert_eq!(stamp, Stamp { number: 1, writer: 100 }, "written once");

    fake.state().faults = [Some(Fault::Lose)].into();
    let error = client.register("x").write("2").await.unwrap_err();
    assert_eq!((error.fate(), error.is_retryable()), (Fate::Unknown, false), "{error}");
    assert_eq!(client.register("x").read().await.unwrap().unwrap().stamp.number, 2, "it took effect, once");

    fake.state().faults = std::iter::repeat_n(Some(Fault::Cut), 1000).collect();
    let hasty = client.with_deadline(Duration::from_millis(50));
    let error = hasty.register("x").write("3").await.unwrap_err();
    assert_eq!((error.fate(), error.is_retryable()), (Fate::NotExecuted, true), "{error}");
}

#[tokio::test]
async fn a_read_is_repeated_whatever_befell_it() {
    let fake = Fake::with([Fault::Lose, Fault::Cut]);
    let client = Client::over(routes(fake, Limits::default()));
    assert_eq!(client.register("x").read().await.unwrap(), None);
}
