//! Replies to commands.

use super::Error;
use super::error::Malformed;
use super::range::{Holes, Unreadable};
use crate::kernel::Rows;
use crate::proto::etcdserverpb::{
    AlarmResponse, CompactionResponse, DeleteRangeResponse, PutResponse, RangeResponse, ResponseHeader,
    ResponseOp, TxnResponse, response_op,
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

/// The values that a response refers to and that are on disk only: a transaction may read an old
/// revision, and the state machine, being pure, cannot read rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unresolved(Vec<(Vec<usize>, Holes)>);

impl Unresolved {
    /// Whether the response is complete as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes what the range at a path (positions among the responses, from the outermost
    /// transaction in) leaves open.
    pub(super) fn push(&mut self, path: &[usize], holes: Holes) {
        if !holes.is_empty() {
            self.0.push((path.to_vec(), holes));
        }
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

    /// Reads from disk what the response leaves open; at once when it leaves nothing open. Blocks:
    /// not for the core.
    ///
    /// Rows of compacted versions stay for two checkpoints, so that a reply finds its own. One that
    /// comes later all the same gets [`Error::ReplyLost`]: the command was executed.
    pub fn resolve(&mut self, rows: &dyn Rows) -> Result<(), Error> {
        let Response::Txn(txn, unresolved) = self else { return Ok(()) };
        for (path, holes) in std::mem::take(&mut unresolved.0) {
            let range = range_at(txn, &path).expect("a path leads to the range that it was made for");
            holes.fill(range, rows).map_err(|e| match e {
                Unreadable::Gone => Error::ReplyLost,
                Unreadable::Disk(e) => Error::Disk(e),
            })?;
        }
        Ok(())
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
const ERRORS: [(u8, Error); 6] = [
    (1, Error::Compacted),
    (2, Error::FutureRevision),
    (3, Error::LeaseNotFound),
    (4, Error::KeyNotFound),
    (5, Error::NoSpace),
    (6, Error::Corrupt),
];

/// A reply as sessions keep it. What the response leaves open is not kept.
pub(super) fn encode(reply: &Reply) -> Bytes {
    match reply {
        Ok(Response::Put(r)) => tagged(tag::PUT, r),
        Ok(Response::DeleteRange(r)) => tagged(tag::DELETE_RANGE, r),
        Ok(Response::Txn(r, _)) => tagged(tag::TXN, r),
        Ok(Response::Compact(r)) => tagged(tag::COMPACT, r),
        Ok(Response::Alarm(r)) => tagged(tag::ALARM, r),
        Ok(Response::SessionOpened(id)) => tagged(tag::SESSION_OPENED, id),
        Ok(Response::SessionClosed) => tagged(tag::SESSION_CLOSED, &()),
        Err(e) => {
            let number = ERRORS.iter().find(|(_, error)| error == e).map_or(0, |(number, _)| *number);
            Bytes::copy_from_slice(&[tag::ERROR, number])
        }
    }
}

fn tagged(tag: u8, message: &impl Message) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + message.encoded_len());
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
            let known = ERRORS.into_iter().find(|(number, _)| bytes[..] == [*number]);
            return Ok(Err(known.ok_or_else(|| Malformed::invalid(WHAT, "an unknown error"))?.1));
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
        let errors = ERRORS.into_iter().map(|(_, e)| Err(e));
        for reply in replies.into_iter().chain(errors) {
            assert_eq!(decode(encode(&reply)), Ok(reply));
        }
    }

    #[test]
    fn a_damaged_reply_is_malformed() {
        for bytes in [&b""[..], &[0, 99], &[99], &[1, 0xff]] {
            assert!(decode(Bytes::copy_from_slice(bytes)).is_err());
        }
    }
}
