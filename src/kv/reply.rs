//! Replies to commands.

use super::Error;
use super::error::Malformed;
use super::keyspace::Keyspace;
use super::meter::{Budget, Meter};
use super::range::{Unreadable, select};
use crate::kernel::Rows;
use crate::proto::etcdserverpb::{
    AlarmResponse, CompactionResponse, DeleteRangeResponse, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader, ResponseOp, TxnResponse, response_op,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// What the execution of a command yields.
pub type Reply = Result<Response, Error>;

/// The result of a command that was executed. Headers carry the revision only.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// Of a put.
    Put(PutResponse),
    /// Of a delete.
    DeleteRange(DeleteRangeResponse),
    /// Of a transaction, with what is still to be read from disk: see [`Response::resolve`].
    Txn(TxnResponse, Unresolved),
    /// Of a compaction.
    Compact(CompactionResponse),
    /// Of an alarm request.
    Alarm(AlarmResponse),
    /// A session is open: its id.
    SessionOpened(u64),
    /// The session does not exist any more.
    SessionClosed,
}

/// What a transaction reads of the past: nobody but who answers needs it, and it may be on disk, where
/// the state machine, being pure, cannot look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unresolved(Vec<(Vec<usize>, Past)>);

/// A read of a past revision, and the state to read it in.
#[derive(Clone)]
pub(super) struct Past {
    pub space: Keyspace,
    pub request: RangeRequest,
    pub now: i64,
    pub compacted: i64,
}

/// States that differ in what is cleaned up, or on disk, read alike.
impl PartialEq for Past {
    fn eq(&self, other: &Past) -> bool {
        (&self.request, self.now, self.compacted) == (&other.request, other.now, other.compacted)
    }
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Past").field(&self.request).finish()
    }
}

impl Unresolved {
    /// Whether the response is complete as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes what is to be read at a path: positions among the responses, from the outermost
    /// transaction in.
    pub(super) fn push(&mut self, path: &[usize], past: Past) {
        self.0.push((path.to_vec(), past));
    }

    /// Counts what it takes to read all of it.
    pub(super) fn count(&self, meter: &mut Meter) -> Result<(), Error> {
        self.0.iter().try_for_each(|(_, Past { space, request, now, compacted })| {
            select(space, request, *now, *compacted, meter).map(|_| ())
        })
    }

    /// Reads all of it into the response. Blocks.
    pub(super) fn read(self, txn: &mut TxnResponse, rows: &dyn Rows, meter: &mut Meter) -> Result<(), Error> {
        for (path, Past { space, request, now, compacted }) in self.0 {
            let (mut found, holes) = select(&space, &request, now, compacted, meter)?;
            holes.fill(&mut found, rows).map_err(|e| match e {
                Unreadable::Gone => Error::Compacted,
                Unreadable::Disk(e) => Error::Disk(e),
            })?;
            *range_at(txn, &path).expect("a path leads to the range that it was made for") = found;
        }
        Ok(())
    }
}

impl Response {
    /// The header that the client looks at, to be completed by whoever answers.
    pub fn header_mut(&mut self) -> Option<&mut ResponseHeader> {
        match self {
            Response::Put(r) => r.header.as_mut(),
            Response::DeleteRange(r) => r.header.as_mut(),
            Response::Txn(r, _) => r.header.as_mut(),
            Response::Compact(r) => r.header.as_mut(),
            Response::Alarm(r) => r.header.as_mut(),
            Response::SessionOpened(_) | Response::SessionClosed => None,
        }
    }

    /// Reads what the response leaves open; at once when it leaves nothing open. Blocks: not for the
    /// core.
    ///
    /// # Errors
    /// [`Error::ReplyLost`]: the command was executed, and what it answers cannot be told. Rows of
    /// compacted versions stay for two checkpoints, so that a reply finds its own, but not one that comes
    /// later still; and what it would tell may be more than `max_bytes`.
    pub fn resolve(&mut self, rows: &dyn Rows, max_bytes: u64) -> Result<(), Error> {
        let Response::Txn(txn, unresolved) = self else { return Ok(()) };
        let mut meter = Meter::new(Budget { reply_bytes: max_bytes, ..Budget::NONE });
        std::mem::take(unresolved).read(txn, rows, &mut meter).map_err(|e| match e {
            Error::Disk(e) => Error::Disk(e),
            _ => Error::ReplyLost,
        })
    }
}

fn range_at<'a>(txn: &'a mut TxnResponse, path: &[usize]) -> Option<&'a mut RangeResponse> {
    let (first, rest) = path.split_first()?;
    match txn.responses.get_mut(*first)?.response.as_mut()? {
        response_op::Response::ResponseRange(range) => Some(range),
        response_op::Response::ResponseTxn(txn) => range_at(txn, rest),
        response_op::Response::ResponsePut(_) | response_op::Response::ResponseDeleteRange(_) => None,
    }
}

impl From<response_op::Response> for ResponseOp {
    fn from(response: response_op::Response) -> Self {
        ResponseOp { response: Some(response) }
    }
}

/// How a session remembers a reply: the kind, then the message or the error's number.
mod tag {
    pub const ERROR: u8 = 0;
    pub const PUT: u8 = 1;
    pub const DELETE_RANGE: u8 = 2;
    pub const TXN: u8 = 3;
    pub const COMPACT: u8 = 4;
    pub const ALARM: u8 = 5;
    pub const SESSION_OPENED: u8 = 6;
    pub const SESSION_CLOSED: u8 = 7;
}

/// The errors that a command of a session can have as its reply. A number keeps its meaning for
/// ever.
fn numbered(number: u8, limit: u64) -> Option<Error> {
    Some(match number {
        1 => Error::Compacted,
        2 => Error::FutureRevision,
        3 => Error::LeaseNotFound,
        4 => Error::KeyNotFound,
        5 => Error::NoSpace,
        6 => Error::Corrupt,
        7 => Error::TooManyKeys { limit },
        8 => Error::ReplyTooLong { limit },
        9 => Error::TooManyAlarms { limit },
        _ => return None,
    })
}

fn number(error: &Error) -> (u8, u64) {
    let limit = match error {
        Error::TooManyKeys { limit } | Error::ReplyTooLong { limit } | Error::TooManyAlarms { limit } => {
            *limit
        }
        _ => 0,
    };
    let number = (1..=u8::MAX).map_while(|n| Some((n, numbered(n, limit)?))).find(|(_, e)| e == error);
    (number.map_or(0, |(number, _)| number), limit)
}

/// A reply as sessions keep it: nothing, if it would be longer than `longest`. What the response
/// leaves open is not kept.
pub(super) fn encode(reply: &Reply, longest: usize) -> Bytes {
    match reply {
        Ok(Response::Put(r)) => tagged(tag::PUT, r, longest),
        Ok(Response::DeleteRange(r)) => tagged(tag::DELETE_RANGE, r, longest),
        Ok(Response::Txn(r, _)) => tagged(tag::TXN, r, longest),
        Ok(Response::Compact(r)) => tagged(tag::COMPACT, r, longest),
        Ok(Response::Alarm(r)) => tagged(tag::ALARM, r, longest),
        Ok(Response::SessionOpened(id)) => tagged(tag::SESSION_OPENED, id, longest),
        Ok(Response::SessionClosed) => tagged(tag::SESSION_CLOSED, &(), longest),
        Err(e) => {
            let (number, limit) = number(e);
            let mut out = BytesMut::from(&[tag::ERROR, number][..]);
            if limit > 0 {
                out.put_u64_le(limit);
            }
            out.freeze()
        }
    }
}

fn tagged(tag: u8, message: &impl Message, longest: usize) -> Bytes {
    let len = 1 + message.encoded_len();
    if len > longest {
        return Bytes::new();
    }
    let mut out = BytesMut::with_capacity(len);
    out.put_u8(tag);
    message.encode_raw(&mut out);
    out.freeze()
}

/// Reads a reply back.
pub(super) fn decode(mut bytes: Bytes) -> Result<Reply, Malformed> {
    const WHAT: &str = "reply";
    let invalid = |why: prost::DecodeError| Malformed::invalid(WHAT, why);
    let tag = bytes.try_get_u8().map_err(|e| Malformed::invalid(WHAT, e))?;
    Ok(Ok(match tag {
        tag::ERROR => {
            let number = bytes.try_get_u8().map_err(|e| Malformed::invalid(WHAT, e))?;
            let limit = if bytes.is_empty() { Ok(0) } else { bytes.try_get_u64_le() };
            let known = limit.ok().and_then(|limit| numbered(number, limit));
            return Ok(Err(known.ok_or_else(|| Malformed::invalid(WHAT, "an unknown error"))?));
        }
        tag::PUT => Response::Put(Message::decode(bytes).map_err(invalid)?),
        tag::DELETE_RANGE => Response::DeleteRange(Message::decode(bytes).map_err(invalid)?),
        tag::TXN => Response::Txn(Message::decode(bytes).map_err(invalid)?, Unresolved::default()),
        tag::COMPACT => Response::Compact(Message::decode(bytes).map_err(invalid)?),
        tag::ALARM => Response::Alarm(Message::decode(bytes).map_err(invalid)?),
        tag::SESSION_OPENED => Response::SessionOpened(Message::decode(bytes).map_err(invalid)?),
        tag::SESSION_CLOSED => Response::SessionClosed,
        other => return Err(Malformed::invalid(WHAT, format!("kind {other} is unknown"))),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mvccpb::KeyValue;

    #[test]
    fn a_kept_reply_reads_back_as_it_was() {
        let header = Some(ResponseHeader { revision: 7, ..Default::default() });
        let kv = KeyValue { key: "k".into(), value: "v".into(), ..Default::default() };
        let put = PutResponse { header, prev_kv: Some(kv.clone()) };
        let deleted = DeleteRangeResponse { header, deleted: 1, prev_kvs: vec![kv] };
        let op = response_op::Response::ResponsePut(put.clone()).into();
        let txn = TxnResponse { header, succeeded: true, responses: vec![op] };
        let replies = [
            Ok(Response::Put(put)),
            Ok(Response::DeleteRange(deleted)),
            Ok(Response::Txn(txn, Unresolved::default())),
            Ok(Response::Compact(CompactionResponse { header })),
            Ok(Response::Alarm(AlarmResponse { header, alarms: vec![] })),
            Ok(Response::SessionOpened(u64::MAX)),
            Ok(Response::SessionClosed),
        ];
        let errors = (1..10).map(|number| Err(numbered(number, u64::MAX).unwrap()));
        for reply in replies.into_iter().chain(errors) {
            assert_eq!(decode(encode(&reply, 1024)), Ok(reply));
        }
    }

    #[test]
    fn a_damaged_reply_is_malformed() {
        for bytes in [&b""[..], &[0, 99], &[99], &[1, 0xff]] {
            assert!(decode(Bytes::copy_from_slice(bytes)).is_err());
        }
    }
}
