//! For people and pipes: values as they are.

use std::io::{self, Write, stdout};

use super::{Failure, Health, Values};
use crate::client::{DeleteReply, GetReply, KeyValue, OpReply, PutReply, TxnReply};

pub(super) fn put(out: &mut Vec<u8>, reply: &PutReply, hex: bool) -> io::Result<()> {
    writeln!(out, "OK")?;
    reply.prev.iter().try_for_each(|kv| key_value(out, kv, Values::WithKeys, hex))
}

pub(super) fn get(out: &mut Vec<u8>, reply: &GetReply, values: Values, hex: bool) -> io::Result<()> {
    match values {
        Values::Count => writeln!(out, "{}", reply.count),
        Values::WithKeys | Values::Only => {
            reply.kvs.iter().try_for_each(|kv| key_value(out, kv, values, hex))
        }
    }
}

pub(super) fn delete(out: &mut Vec<u8>, reply: &DeleteReply, hex: bool) -> io::Result<()> {
    writeln!(out, "{}", reply.deleted)?;
    reply.prev.iter().try_for_each(|kv| key_value(out, kv, Values::WithKeys, hex))
}

pub(super) fn txn(out: &mut Vec<u8>, reply: &TxnReply, hex: bool) -> io::Result<()> {
    writeln!(out, "{}", if reply.succeeded { "SUCCESS" } else { "FAILURE" })?;
    for reply in &reply.replies {
        writeln!(out)?;
        match reply {
            OpReply::Put(reply) => put(out, reply, hex)?,
            OpReply::Get(reply) => get(out, reply, Values::WithKeys, hex)?,
            OpReply::Delete(reply) => delete(out, reply, hex)?,
            OpReply::Txn(reply) => txn(out, reply, hex)?,
        }
    }
    Ok(())
}

fn key_value(out: &mut Vec<u8>, kv: &KeyValue, values: Values, hex: bool) -> io::Result<()> {
    if values == Values::WithKeys {
        line(out, &kv.key, hex)?;
    }
    line(out, &kv.value, hex)
}

pub(super) fn line(out: &mut Vec<u8>, bytes: &[u8], hex: bool) -> io::Result<()> {
    if hex {
        bytes.iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))?;
    } else {
        out.write_all(bytes)?;
    }
    writeln!(out)
}

/// The healthy on standard output, the others on standard error.
pub(super) fn health(list: &[Health]) -> Result<(), Failure> {
    for Health { endpoint, took, error } in list {
        match error {
            None => {
                writeln!(stdout(), "{endpoint} is healthy: successfully committed proposal: took = {took:?}")
                    .map_err(Failure::Output)?
            }
            Some(error) => eprintln!("{endpoint} is unhealthy: failed to commit proposal: {error}"),
        }
    }
    Ok(())
}
