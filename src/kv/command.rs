//! Commands: what the replicated log carries for the state machine.

use super::error::Malformed;
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{decode_varint, encode_varint};

const FORMAT: u8 = 1;
const WHAT: &str = "command";

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The call of a session that the command belongs to; a command without one is executed each
    /// time that the log carries it.
    pub session: Option<SessionCall>,
    /// What to do.
    pub op: Op,
}

/// Which call of a session a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCall {
    /// The session.
    pub id: u64,
    /// The number of the call: one number, one execution.
    pub seq: u64,
    /// The calls below it are answered: their replies may be forgotten.
    pub low: u64,
}

/// What a command does. Requests are the client's own, as they came over the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Sets a key.
    Put(PutRequest),
    /// Deletes a range of keys.
    DeleteRange(DeleteRangeRequest),
    /// Compares, then executes one of two lists of operations, as one step.
    Txn(TxnRequest),
    /// Forgets what was superseded before a revision.
    Compact(CompactionRequest),
    /// Raises, lowers or lists alarms.
    Alarm(AlarmRequest),
    /// Opens a session.
    OpenSession,
    /// Ends a session; also one that is unknown.
    CloseSession(u64),
}

/// The kinds of commands on the log: a number keeps its meaning for ever.
mod tag {
    pub const PUT: u8 = 1;
    pub const DELETE_RANGE: u8 = 2;
    pub const TXN: u8 = 3;
    pub const COMPACT: u8 = 4;
    pub const ALARM: u8 = 5;
    pub const OPEN_SESSION: u8 = 6;
    pub const CLOSE_SESSION: u8 = 7;
    /// Added to the kind of a command of a session.
    pub const IN_SESSION: u8 = 0x80;
}

impl From<Op> for Command {
    fn from(op: Op) -> Self {
        Command { session: None, op }
    }
}

impl Command {
    /// The command as the log carries it: format, kind, session, request.
    pub fn encode(&self) -> Bytes {
        let kind = match self.op {
            Op::Put(_) => tag::PUT,
            Op::DeleteRange(_) => tag::DELETE_RANGE,
            Op::Txn(_) => tag::TXN,
            Op::Compact(_) => tag::COMPACT,
            Op::Alarm(_) => tag::ALARM,
            Op::OpenSession => tag::OPEN_SESSION,
            Op::CloseSession(_) => tag::CLOSE_SESSION,
        };
        let mut out = BytesMut::with_capacity(64 + self.op.encoded_len());
        out.put_u8(FORMAT);
        match self.session {
            None => out.put_u8(kind),
            Some(SessionCall { id, seq, low }) => {
                out.put_u8(kind | tag::IN_SESSION);
                [id, seq, low].into_iter().for_each(|n| encode_varint(n, &mut out));
            }
        }
        match &self.op {
            Op::Put(r) => r.encode_raw(&mut out),
            Op::DeleteRange(r) => r.encode_raw(&mut out),
            Op::Txn(r) => r.encode_raw(&mut out),
            Op::Compact(r) => r.encode_raw(&mut out),
            Op::Alarm(r) => r.encode_raw(&mut out),
            Op::OpenSession => {}
            Op::CloseSession(id) => encode_varint(*id, &mut out),
        }
        out.freeze()
    }

    /// Reads a command back. Its keys and values are slices of `bytes`.
    pub fn decode(mut bytes: Bytes) -> Result<Command, Malformed> {
        let invalid = |why: prost::DecodeError| Malformed::invalid(WHAT, why);
        match bytes.try_get_u8() {
            Ok(FORMAT) => {}
            Ok(found) if found > FORMAT => {
                return Err(Malformed::Newer { what: WHAT, found, newest: FORMAT });
            }
            Ok(_) | Err(_) => return Err(Malformed::invalid(WHAT, "it has no format")),
        }
        let kind = bytes.try_get_u8().map_err(|_| Malformed::invalid(WHAT, "it has no kind"))?;
        let session = match kind & tag::IN_SESSION {
            0 => None,
            _ => {
                let mut number = || decode_varint(&mut bytes).map_err(invalid);
                Some(SessionCall { id: number()?, seq: number()?, low: number()? })
            }
        };
        let op = match kind & !tag::IN_SESSION {
            tag::PUT => Op::Put(PutRequest::decode(bytes).map_err(invalid)?),
            tag::DELETE_RANGE => Op::DeleteRange(DeleteRangeRequest::decode(bytes).map_err(invalid)?),
            tag::TXN => Op::Txn(TxnRequest::decode(bytes).map_err(invalid)?),
            tag::COMPACT => Op::Compact(CompactionRequest::decode(bytes).map_err(invalid)?),
            tag::ALARM => Op::Alarm(AlarmRequest::decode(bytes).map_err(invalid)?),
            tag::OPEN_SESSION => Op::OpenSession,
            tag::CLOSE_SESSION => Op::CloseSession(decode_varint(&mut bytes).map_err(invalid)?),
            other => return Err(Malformed::invalid(WHAT, format!("kind {other} is unknown"))),
        };
        Ok(Command { session, op })
    }
}

impl Op {
    /// Whether it may add to what is stored: such commands are refused while space is short. A
    /// transaction counts as one if it puts something in either branch.
    pub fn grows(&self) -> bool {
        match self {
            Op::Put(_) => true,
            Op::Txn(r) => has_puts(r),
            Op::DeleteRange(_) | Op::Compact(_) | Op::Alarm(_) => false,
            Op::OpenSession | Op::CloseSession(_) => false,
        }
    }

    /// Bytes that the request takes on the wire.
    pub fn encoded_len(&self) -> usize {
        match self {
            Op::Put(r) => r.encoded_len(),
            Op::DeleteRange(r) => r.encoded_len(),
            Op::Txn(r) => r.encoded_len(),
            Op::Compact(r) => r.encoded_len(),
            Op::Alarm(r) => r.encoded_len(),
            Op::OpenSession => 0,
            Op::CloseSession(_) => 10,
        }
    }
}

fn has_puts(r: &TxnRequest) -> bool {
    r.success.iter().chain(&r.failure).any(|RequestOp { request }| match request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(r)) => has_puts(r),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Command> {
        let put = PutRequest { key: "k".into(), value: "v".into(), prev_kv: true, ..Default::default() };
        let nested = RequestOp { request: Some(Request::RequestPut(put.clone())) };
        let txn = TxnRequest { success: vec![nested], ..Default::default() };
        let session = Some(SessionCall { id: 1 << 40, seq: 300, low: 299 });
        vec![
            Command { session, op: Op::Put(put.clone()) },
            Op::Put(put).into(),
            Op::DeleteRange(DeleteRangeRequest { key: "a".into(), ..Default::default() }).into(),
            Command { session, op: Op::Txn(txn) },
            Op::Compact(CompactionRequest { revision: 9, physical: true }).into(),
            Op::Alarm(AlarmRequest { action: 1, member_id: 7, alarm: 1 }).into(),
            Op::OpenSession.into(),
            Op::CloseSession(12).into(),
        ]
    }

    #[test]
    fn a_command_reads_back_as_it_was() {
        for command in samples() {
            assert_eq!(Command::decode(command.encode()), Ok(command));
        }
    }

    #[test]
    fn decoding_copies_no_value() {
        let put = PutRequest { key: "k".into(), value: vec![7; 100].into(), ..Default::default() };
        let bytes = Command::from(Op::Put(put)).encode();
        let Ok(Command { op: Op::Put(put), .. }) = Command::decode(bytes.clone()) else { panic!("no put") };
        assert!(bytes.as_ptr_range().contains(&put.value.as_ptr()));
    }

    #[test]
    fn a_command_cut_short_or_of_another_version_is_malformed() {
        let bytes = samples()[0].encode();
        for len in 0..bytes.len() {
            // A protobuf message may end between two fields: then it decodes, to something else.
            assert_ne!(Command::decode(bytes.slice(..len)), Ok(samples()[0].clone()));
        }
        assert_eq!(
            Command::decode(Bytes::from_static(&[2, 1])),
            Err(Malformed::Newer { what: "command", found: 2, newest: 1 })
        );
        assert!(matches!(Command::decode(Bytes::from_static(&[1, 99])), Err(Malformed::Invalid { .. })));
        assert!(matches!(Command::decode(Bytes::new()), Err(Malformed::Invalid { .. })));
    }
}
