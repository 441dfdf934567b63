//! Cursors, as opaque tokens.

use crate::broadcast::Cursor;
use bytes::{BufMut, Bytes, BytesMut};
use tonic::Status;

/// Where a subscriber stands: the first position that it has not seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// Of a total-order topic: at every replica.
    Total(u64),
    /// Of another: in the delivery log of one data directory.
    Ordered(Cursor),
}

const TOTAL: u8 = 1;
const ORDERED: u8 = 2;

impl Token {
    pub fn bytes(self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Token::Total(position) => {
                bytes.put_u8(TOTAL);
                bytes.put_u64(position);
            }
            Token::Ordered(Cursor { log, position }) => {
                bytes.put_u8(ORDERED);
                bytes.put_u64(log);
                bytes.put_u64(position);
            }
        }
        bytes.freeze()
    }

    pub fn read(bytes: &[u8]) -> Result<Self, Status> {
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
        let read = match bytes.split_first() {
            Some((&TOTAL, position)) => number(position).map(Token::Total),
            Some((&ORDERED, rest)) => rest.split_at_checked(8).and_then(|(log, position)| {
                Some(Token::Ordered(Cursor { log: number(log)?, position: number(position)? }))
            }),
            Some(_) | None => None,
        };
        read.ok_or_else(|| {
            Status::invalid_argument(
                "kvorum: the cursor is none that a delivery came with; pass it on unchanged",
            )
        })
    }

    /// The cursor of a topic of the other kind.
    pub fn mismatched() -> Status {
        Status::invalid_argument("kvorum: the cursor belongs to a topic with another guarantee")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_as_it_was_and_other_bytes_are_none() {
        for token in [Token::Total(u64::MAX), Token::Ordered(Cursor { log: 7, position: 1 << 40 })] {
            assert_eq!(Token::read(&token.bytes()).unwrap(), token);
            let bytes = token.bytes();
            Token::read(&bytes[..bytes.len() - 1]).unwrap_err();
            Token::read(&[&bytes[..], &[0]].concat()).unwrap_err();
        }
        for bytes in [&b""[..], b"\0", b"\x03abcdefgh", b"\x01", b"\x02abcdefgh"] {
            Token::read(bytes).unwrap_err();
        }
    }
}
