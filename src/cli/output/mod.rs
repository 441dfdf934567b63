//! What commands print: those that etcdctl has too, byte for byte as etcdctl 3.4 does.

mod fields;
mod json;
mod services;
mod simple;
mod table;

use std::{
    fmt,
    io::{self, Write, stdout},
};

use clap::ValueEnum;

use super::{Failure, endpoint::Health};
use crate::client::{DeleteReply, GetReply, Member, Members, PutReply, Status, TxnReply};

/// Format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people and pipes
    Simple,
    /// One line; keys and values in base64
    Json,
    /// One field per line
    Fields,
    /// For endpoint and member
    Table,
}

/// What of the keys found is shown in the simple format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    WithKeys,
    Only,
    Count,
}

/// Prints replies to standard output.
pub(super) struct Printer {
    format: Format,
    hex: bool,
}

impl Printer {
    pub(super) fn new(format: Format, hex: bool) -> Self {
        Self { format, hex }
    }

    pub(super) fn is_simple(&self) -> bool {
        self.format == Format::Simple
    }

    /// Before a command runs whose reply has no table.
    pub(super) fn refuse_table(&self) -> Result<(), Failure> {
        match self.format {
            Format::Table => Err(Failure::Usage("table is not an output format of this command".into())),
            Format::Simple | Format::Json | Format::Fields => Ok(()),
        }
    }

    pub(super) fn put(&self, reply: &PutReply) -> Result<(), Failure> {
        self.reply(
            |out| simple::put(out, reply, self.hex),
            || json::line(&json::Put::from(reply)),
            |out| fields::put(out, reply),
        )
    }

    pub(super) fn get(&self, reply: &GetReply, values: Values) -> Result<(), Failure> {
        self.reply(
            |out| simple::get(out, reply, values, self.hex),
            || json::line(&json::Get::from(reply)),
            |out| fields::get(out, reply),
        )
    }

    pub(super) fn delete(&self, reply: &DeleteReply) -> Result<(), Failure> {
        self.reply(
            |out| simple::delete(out, reply, self.hex),
            || json::line(&json::Delete::from(reply)),
            |out| fields::delete(out, reply),
        )
    }

    pub(super) fn txn(&self, reply: &TxnReply) -> Result<(), Failure> {
        self.reply(
            |out| simple::txn(out, reply, self.hex),
            || json::line(&json::Txn::from(reply)),
            |out| fields::txn(out, reply),
        )
    }

    fn reply(
        &self,
        simple: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        json: impl FnOnce() -> io::Result<Vec<u8>>,
        fields: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = Vec::new();
        let made = match self.format {
            // Refused before the call was made.
            Format::Simple | Format::Table => simple(&mut out),
            Format::Json => json().map(|line| out = line),
            Format::Fields => fields(&mut out),
        };
        made.and_then(|()| stdout().write_all(&out)).map_err(Failure::Output)
    }

    pub(super) fn status(&self, list: &[(String, Status)]) -> Result<(), Failure> {
        let header = [
            "endpoint",
            "ID",
            "version",
            "db size",
            "is leader",
            "is learner",
            "raft term",
            "raft index",
            "raft applied index",
            "errors",
        ];
        let row = |(endpoint, status): &(String, Status)| {
            vec![
                endpoint.clone(),
                format!("{:x}", status.header.member),
                status.version.clone(),
                size(status.db_size),
                (status.leader == status.header.member).to_string(),
                status.learner.to_string(),
                status.term.to_string(),
                status.index.to_string(),
                status.applied.to_string(),
                status.errors.join(", "),
            ]
        };
        self.list(list, &header, row, json::status, fields::status)
    }

    pub(super) fn members(&self, members: &Members) -> Result<(), Failure> {
        let header = ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"];
        let row = |member: &Member| {
            vec![
                format!("{:x}", member.id),
                if member.name.is_empty() { "unstarted" } else { "started" }.into(),
                member.name.clone(),
                member.peer_urls.join(","),
                member.client_urls.join(","),
                member.learner.to_string(),
            ]
        };
        self.list(
            &members.members,
            &header,
            row,
            |_| json::line(&json::List::from(members)),
            |out, _| fields::members(out, members),
        )
    }

    pub(super) fn health(&self, list: &[Health]) -> Result<(), Failure> {
        let header = ["endpoint", "health", "took", "error"];
        let row = |health: &Health| {
            let error = health.error.clone().unwrap_or_default();
            vec![health.endpoint.clone(), error.is_empty().to_string(), format!("{:?}", health.took), error]
        };
        if self.is_simple() {
            return simple::health(list);
        }
        self.list(list, &header, row, json::health, fields::health)
    }

    fn list<T>(
        &self,
        list: &[T],
        header: &[&str],
        row: impl Fn(&T) -> Vec<String>,
        json: impl FnOnce(&[T]) -> io::Result<Vec<u8>>,
        fields: impl FnOnce(&mut Vec<u8>, &[T]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let rows = list.iter().map(row);
        let mut out = Vec::new();
        let made = match self.format {
            Format::Simple => rows.into_iter().try_for_each(|row| writeln!(out, "{}", row.join(", "))),
            Format::Table => table::write(&mut out, header, &rows.collect::<Vec<_>>()),
            Format::Json => json(list).map(|line| out = line),
            Format::Fields => fields(&mut out, list),
        };
        made.and_then(|()| stdout().write_all(&out)).map_err(Failure::Output)
    }
}

/// One line on standard output.
pub(super) fn line(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    writeln!(stdout(), "{text}").map_err(Failure::Output)
}

/// Bytes in steps of a thousand, with two digits at least: `512 B`, `1.5 kB`, `20 kB`.
fn size(bytes: i64) -> String {
    let bytes = bytes.max(0);
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let (mut value, mut step) = (bytes as f64, 0);
    while value >= 1000.0 {
        value /= 1000.0;
        step += 1;
    }
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    let unit = ["B", "kB", "MB", "GB", "TB", "PB", "EB"][step];
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (20_480, "20 kB"),
            (1_536_000, "1.5 MB"),
            (i64::MAX, "9.2 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
