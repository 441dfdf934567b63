//! One field per line: `"Name" : value`.

use std::io::{self, Write};

use super::Health;
use crate::{
    cli::quote::quote,
    client::{DeleteReply, GetReply, Header, KeyValue, Members, OpReply, PutReply, Status, TxnReply},
};

type Out = Vec<u8>;

fn header(out: &mut Out, header: &Header) -> io::Result<()> {
    writeln!(out, "\"ClusterID\" : {}", header.cluster)?;
    writeln!(out, "\"MemberID\" : {}", header.member)?;
    writeln!(out, "\"Revision\" : {}", header.revision)?;
    writeln!(out, "\"RaftTerm\" : {}", header.term)
}

fn key_value(out: &mut Out, prefix: &str, kv: &KeyValue) -> io::Result<()> {
    writeln!(out, "\"{prefix}Key\" : {}", quote(&kv.key))?;
    writeln!(out, "\"{prefix}CreateRevision\" : {}", kv.create_revision)?;
    writeln!(out, "\"{prefix}ModRevision\" : {}", kv.mod_revision)?;
    writeln!(out, "\"{prefix}Version\" : {}", kv.version)?;
    writeln!(out, "\"{prefix}Value\" : {}", quote(&kv.value))?;
    writeln!(out, "\"{prefix}Lease\" : {}", kv.lease)
}

pub(super) fn put(out: &mut Out, reply: &PutReply) -> io::Result<()> {
    header(out, &reply.header)?;
    reply.prev.iter().try_for_each(|kv| key_value(out, "Prev", kv))
}

pub(super) fn get(out: &mut Out, reply: &GetReply) -> io::Result<()> {
    header(out, &reply.header)?;
    reply.kvs.iter().try_for_each(|kv| key_value(out, "", kv))?;
    writeln!(out, "\"More\" : {}", reply.more)?;
    writeln!(out, "\"Count\" : {}", reply.count)
}

pub(super) fn delete(out: &mut Out, reply: &DeleteReply) -> io::Result<()> {
    header(out, &reply.header)?;
    writeln!(out, "\"Deleted\" : {}", reply.deleted)?;
    reply.prev.iter().try_for_each(|kv| key_value(out, "Prev", kv))
}

pub(super) fn txn(out: &mut Out, reply: &TxnReply) -> io::Result<()> {
    header(out, &reply.header)?;
    writeln!(out, "\"Succeeded\" : {}", reply.succeeded)?;
    reply.replies.iter().try_for_each(|reply| match reply {
        OpReply::Put(reply) => put(out, reply),
        OpReply::Get(reply) => get(out, reply),
        OpReply::Delete(reply) => delete(out, reply),
        OpReply::Txn(reply) => txn(out, reply),
    })
}

pub(super) fn status(out: &mut Out, list: &[(String, Status)]) -> io::Result<()> {
    for (endpoint, status) in list {
        header(out, &status.header)?;
        writeln!(out, "\"Version\" : {}", quote(status.version.as_bytes()))?;
        writeln!(out, "\"DBSize\" : {}", status.db_size)?;
        writeln!(out, "\"Leader\" : {}", status.leader)?;
        writeln!(out, "\"IsLearner\" : {}", status.learner)?;
        writeln!(out, "\"RaftIndex\" : {}", status.index)?;
        writeln!(out, "\"RaftTerm\" : {}", status.term)?;
        writeln!(out, "\"RaftAppliedIndex\" : {}", status.applied)?;
        writeln!(out, "\"Errors\" : [{}]", status.errors.join(" "))?;
        writeln!(out, "\"Endpoint\" : {}", quote(endpoint.as_bytes()))?;
        writeln!(out)?;
    }
    Ok(())
}

pub(super) fn members(out: &mut Out, members: &Members) -> io::Result<()> {
    header(out, &members.header)?;
    for member in &members.members {
        writeln!(out, "\"ID\" : {}", member.id)?;
        writeln!(out, "\"Name\" : {}", quote(member.name.as_bytes()))?;
        for url in &member.peer_urls {
            writeln!(out, "\"PeerURL\" : {}", quote(url.as_bytes()))?;
        }
        for url in &member.client_urls {
            writeln!(out, "\"ClientURL\" : {}", quote(url.as_bytes()))?;
        }
        writeln!(out, "\"IsLearner\" : {}", member.learner)?;
        writeln!(out)?;
    }
    Ok(())
}

pub(super) fn health(out: &mut Out, list: &[Health]) -> io::Result<()> {
    for Health { endpoint, took, error } in list {
        writeln!(out, "\"Endpoint\" : {}", quote(endpoint.as_bytes()))?;
        writeln!(out, "\"Health\" : {}", error.is_none())?;
        writeln!(out, "\"Took\" : {took:?}")?;
        writeln!(out, "\"Error\" : {}", error.as_deref().unwrap_or_default())?;
        writeln!(out)?;
    }
    Ok(())
}
