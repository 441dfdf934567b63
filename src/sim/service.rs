//! How clients speak to the state machine: the only file of the simulator that knows what is
//! replicated.

use super::sizes;
use crate::broadcast::{Either, StateMachine};
use crate::history::{self, Call, Write};
use crate::kernel::Rows;
use crate::kv::{Command, Error, Op, Response, SessionCall};
use crate::ledger;
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest, request_op, response_op,
};
use crate::proto::mvccpb::KeyValue;
use crate::stack::Indication;
use bytes::Bytes;

/// The state machine that is replicated.
pub(super) type Machine = super::shadow::Shadowed;
pub(super) type View = <Machine as StateMachine>::View;
pub(super) type Reply = <Machine as StateMachine>::Reply;
/// What processes indicate.
pub(super) type Up = Indication<Reply, View>;

/// The session of a client: its id, and the number of its last call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) seq: u64,
    /// Replies to calls below it were received, as far as it says.
    pub(super) low: u64,
}

/// The answer to a command, as its client understands it.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Answer {
    /// It was executed.
    Done { reply: history::Reply, revision: u64 },
    /// A session is open.
    SessionOpened(u64),
    /// Space is short: the command was not executed, now or before.
    NoSpace,
    /// The session is gone: the command was not executed now, but may have been before.
    SessionLost,
    /// It was executed before, and nobody knows what it answered.
    ReplyLost,
    /// It costs more than it may: it has no effect.
    TooCostly,
    /// The session has too many calls that are not answered: it was not executed.
    TooManyCalls,
    /// Nothing that the client could have expected.
    Unexpected(String),
}

/// The command that opens a session.
pub(super) fn open_session() -> Bytes {
    Command::from(Op::OpenSession).encode()
}

/// The command that closes one.
pub(super) fn close_session(id: u64) -> Bytes {
    Command::from(Op::CloseSession(id)).encode()
}

/// The command that forgets what was superseded before a revision.
pub(super) fn compact(revision: u64) -> Bytes {
    Command::from(Op::Compact(CompactionRequest { revision: revision.cast_signed(), physical: false }))
        .encode()
}

/// The command that says that space is short at a member, or nowhere any more.
pub(super) fn space_is_short(at: Option<u64>) -> Bytes {
    let action = if at.is_some() { AlarmAction::Activate } else { AlarmAction::Deactivate };
    let member_id = at.unwrap_or(0);
    let alarm = AlarmRequest { action: action.into(), member_id, alarm: AlarmType::Nospace.into() };
    Command::from(Op::Alarm(alarm)).encode()
}

/// Whether a view shows that space is short.
pub(super) fn is_full(view: &View) -> bool {
    view.first.is_full()
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

fn delete(key: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() }
}

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// The comparison of a key with the value that it is expected to have; none compares with "absent".
fn compare(key: &str, expected: Option<&str>) -> Compare {
    let (target, union) = match expected {
        Some(value) => (CompareTarget::Value, TargetUnion::Value(value.to_owned().into())),
        None => (CompareTarget::Version, TargetUnion::Version(0)),
    };
    Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.to_owned().into(),
        target_union: Some(union),
        ..Default::default()
    }
}

/// A range of everything, of which a client wants no more than that it costs something.
fn everything() -> RangeRequest {
    RangeRequest { range_end: vec![0].into(), keys_only: true, ..get("\0") }
}

/// The command of a call. One that compares may first read everything, some times.
pub(super) fn encode(call: &Call, session: Option<Session>, reads: usize) -> Bytes {
    let op = match call {
        Call::Put { key, value } => Op::Put(put(key, value)),
        Call::Delete { key } => Op::DeleteRange(delete(key)),
        Call::Get { key, .. } => Op::Txn(TxnRequest {
            success: vec![op(request_op::Request::RequestRange(get(key)))],
            ..Default::default()
        }),
        Call::Cas { key, expected, value } => Op::Txn(TxnRequest {
            compare: vec![compare(key, expected.as_deref())],
            success: (0..reads)
                .map(|_| request_op::Request::RequestRange(everything()))
                .chain([request_op::Request::RequestPut(put(key, value))])
                .map(op)
                .collect(),
            ..Default::default()
        }),
        Call::Txn { reads, writes } => {
            let reads = reads.iter().map(|key| op(request_op::Request::RequestRange(get(key))));
            let writes = writes.iter().map(|Write { key, value }| match value {
                Some(value) => op(request_op::Request::RequestPut(put(key, value))),
                None => op(request_op::Request::RequestDeleteRange(delete(key))),
            });
            Op::Txn(TxnRequest { success: reads.chain(writes).collect(), ..Default::default() })
        }
    };
    // One call at a time: those before it are answered, or given up.
    let session = session.map(|s| SessionCall { id: s.id, seq: s.seq, low: s.low });
    Command { session, op }.encode()
}

/// The least that a command costs if its comparison holds: a key for each step.
pub(super) fn least_cost(command: &Bytes) -> u64 {
    match Command::decode(command.clone()) {
        Ok(Command { op: Op::Txn(r), .. }) => (r.compare.len() + r.success.len()) as u64,
        Ok(_) | Err(_) => 0,
    }
}

/// What a reply tells the client; without a call, that of a session being opened.
pub(super) fn answer(call: Option<&Call>, reply: &Reply) -> Answer {
    let unexpected = || Answer::Unexpected(format!("{reply:?}"));
    let response = match reply {
        Either::First(Ok(response)) => response,
        Either::First(Err(Error::SessionExpired)) => return Answer::SessionLost,
        Either::First(Err(Error::ReplyLost)) => return Answer::ReplyLost,
        Either::First(Err(Error::NoSpace)) => return Answer::NoSpace,
        Either::First(Err(Error::TooManyKeys { .. } | Error::ReplyTooLong { .. })) => {
            return Answer::TooCostly;
        }
        Either::First(Err(Error::SessionWindow)) => return Answer::TooManyCalls,
        Either::First(Err(_)) | Either::Second(_) => return unexpected(),
    };
    use history::Reply as Told;
    let (header, reply) = match (call, response) {
        (None, Response::SessionOpened(id)) => return Answer::SessionOpened(*id),
        (Some(Call::Put { .. }), Response::Put(r)) => (&r.header, Told::Put),
        (Some(Call::Delete { .. }), Response::DeleteRange(r)) => {
            (&r.header, Told::Delete(Some(r.deleted > 0)))
        }
        (Some(Call::Cas { .. }), Response::Txn(r, _)) => (&r.header, Told::Cas(r.succeeded)),
        (Some(Call::Get { .. } | Call::Txn { .. }), Response::Txn(r, _)) => {
            let read = r.responses.iter().filter_map(|r| match &r.response {
                Some(response_op::Response::ResponseRange(r)) => Some(r.kvs.first().map(text)),
                _ => None,
            });
            let mut read: Vec<Option<String>> = read.collect();
            match call {
                Some(Call::Get { .. }) => (&r.header, Told::Get(read.pop().flatten())),
                _ => (&r.header, Told::Txn(read)),
            }
        }
        _ => return unexpected(),
    };
    match header {
        Some(header) => Answer::Done { reply, revision: header.revision.cast_unsigned() },
        None => unexpected(),
    }
}

fn text(kv: &KeyValue) -> String {
    String::from_utf8_lossy(&kv.value).into_owned()
}

/// What a view shows of a key: its value and the revision that wrote it.
pub(super) fn peek(view: &View, key: &str, rows: &dyn Rows) -> Result<Option<(String, u64)>, Error> {
    let response = view.first.range(&get(key), rows, u64::MAX)?;
    Ok(response.kvs.first().map(|kv| (text(kv), kv.mod_revision.cast_unsigned())))
}

/// The revision of a view.
pub(super) fn revision(view: &View) -> u64 {
    view.first.revision().cast_unsigned()
}

/// A command in a few words.
pub(super) fn command_words(command: &Bytes) -> String {
    match (Command::decode(command.clone()), command.get(1..).and_then(ledger::Command::decode)) {
        (_, Some(command)) => ledger_words(&command),
        (Ok(command), None) => op_words(&command.op),
        (Err(error), None) => error.to_string(),
    }
}

fn ledger_words(command: &ledger::Command) -> String {
    use ledger::Command;
    let lossy = |bytes: &Bytes| sizes::shown(bytes).into_owned();
    match command {
        Command::Propose { instance, value } => format!("propose {} to {instance}", lossy(value)),
        Command::Begin { transaction, .. } => format!("begin transaction {transaction}"),
        Command::Vote { transaction, participant, vote } => {
            format!("{participant} votes {vote:?} on {transaction}")
        }
        Command::TimeOut { transaction, .. } => format!("the time of {transaction} ran out"),
        Command::Acknowledge { transaction, participant } => {
            format!("{participant} acknowledges the outcome of {transaction}")
        }
        Command::OpenPublisher => "open a publisher".into(),
        Command::Publish { topic, payload, .. } => format!("publish {} to {topic}", lossy(payload)),
        Command::SetBounds(_) => "set the bounds of the ledger".into(),
        Command::Subscribe { subscriber, topic, begin, .. } => {
            format!("{subscriber} subscribes to {topic}: {begin:?}")
        }
        Command::AcknowledgeDelivery { subscriber, position } => {
            format!("{subscriber} acknowledges position {position}")
        }
        Command::Unsubscribe { subscriber } => format!("forget {subscriber}"),
    }
}

fn op_words(op: &Op) -> String {
    let lossy = |bytes: &Bytes| sizes::shown(bytes).into_owned();
    match op {
        Op::Put(r) => format!("put {}={}", lossy(&r.key), lossy(&r.value)),
        Op::DeleteRange(r) => format!("delete {}", lossy(&r.key)),
        Op::Txn(r) => {
            let compares = r.compare.iter().map(|c| match &c.target_union {
                Some(TargetUnion::Value(value)) => format!("{} is {}", lossy(&c.key), lossy(value)),
                Some(_) | None => format!("{} is absent", lossy(&c.key)),
            });
            let writes = r.success.iter().filter_map(|op| match &op.request {
                Some(request_op::Request::RequestPut(r)) => {
                    Some(format!("put {}={}", lossy(&r.key), lossy(&r.value)))
                }
                Some(request_op::Request::RequestDeleteRange(r)) => Some(format!("delete {}", lossy(&r.key))),
                Some(request_op::Request::RequestRange(_) | request_op::Request::RequestTxn(_)) | None => {
                    None
                }
            });
            let (compares, writes): (Vec<String>, Vec<String>) = (compares.collect(), writes.collect());
            if compares.is_empty() {
                return writes.join(", ");
            }
            format!("if {}: {}", compares.join(", "), writes.join(", "))
        }
        Op::Compact(r) => format!("compact below revision {}", r.revision),
        Op::Alarm(_) => "alarm".into(),
        Op::OpenSession => "open a session".into(),
        Op::CloseSession(id) => format!("close session {id}"),
    }
}

/// A reply in a few words.
pub(super) fn reply_words(reply: &Reply) -> String {
    let reply = match reply {
        Either::First(reply) => reply,
        Either::Second(Ok(response)) => return format!("{response:?}"),
        Either::Second(Err(error)) => return error.to_string(),
    };
    let header = match reply {
        Ok(Response::Put(r)) => &r.header,
        Ok(Response::DeleteRange(r)) => &r.header,
        Ok(Response::Txn(r, _)) if !r.succeeded => return "comparison failed".into(),
        Ok(Response::Txn(r, _)) => &r.header,
        Ok(Response::Compact(r)) => &r.header,
        Ok(Response::Alarm(_)) => return "done".into(),
        Ok(Response::SessionOpened(id)) => return format!("session {id}"),
        Ok(Response::SessionClosed) => return "session closed".into(),
        Err(error) => return error.to_string(),
    };
    match header {
        Some(header) => format!("done at revision {}", header.revision),
        None => "done".into(),
    }
}
