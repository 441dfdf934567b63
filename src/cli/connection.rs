//! The flags of every command that talks to a cluster, and the client that they make.

use std::time::Duration;

use clap::Args;

use super::{
    Failure,
    output::{Format, Printer},
};
use crate::client::{Client, ClientBuilder};

pub(super) const HEADING: &str = "Connection and output";

/// Given before the command, after it, or both: then the later ones win.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = HEADING)]
pub(super) struct Connection {
    /// Client ports of the cluster: host:port, with or without http:// [default: 127.0.0.1:2379]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    endpoints: Option<Vec<String>>,
    /// How long the command may take, all retries included, as 5s or 500ms [default: 5s]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    command_timeout: Option<Duration>,
    /// How long to wait for a connection before trying another endpoint [default: 2s]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    dial_timeout: Option<Duration>,
    /// Format of the output [default: simple]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    write_out: Option<Format>,
    /// Print keys and values as hexadecimal escapes
    #[arg(long)]
    hex: bool,
}

impl Connection {
    /// These flags, completed by those before the command.
    pub(super) fn or(self, before: Self) -> Self {
        Self {
            endpoints: self.endpoints.or(before.endpoints),
            command_timeout: self.command_timeout.or(before.command_timeout),
            dial_timeout: self.dial_timeout.or(before.dial_timeout),
            write_out: self.write_out.or(before.write_out),
            hex: self.hex || before.hex,
        }
    }

    pub(super) fn endpoints(&self) -> Vec<String> {
        self.endpoints.clone().unwrap_or_else(|| vec!["127.0.0.1:2379".into()])
    }

    /// A client of all endpoints.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        Ok(self.builder().endpoints(self.endpoints()).connect()?)
    }

    /// A client without endpoints as yet.
    pub(super) fn builder(&self) -> ClientBuilder {
        let deadline = self.command_timeout.unwrap_or(Duration::from_secs(5));
        let dial = self.dial_timeout.unwrap_or(Duration::from_secs(2));
        Client::builder().deadline(deadline).dial_timeout(dial)
    }

    pub(super) fn printer(&self) -> Printer {
        Printer::new(self.write_out.unwrap_or(Format::Simple), self.hex)
    }
}

/// Runs calls of a client, and ends its session.
pub(super) async fn with<T>(
    client: Client,
    calls: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let result = calls(&client).await;
    // Nobody should wait for a courtesy.
    client.with_deadline(Duration::from_millis(200)).close().await;
    result
}

/// `5s`, `500ms`, `1m30s`, `2h`: as Go writes durations.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write it as 500ms, 5s or 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |length| digits + length);
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = match &rest[digits..unit_end] {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        rest = &rest[unit_end..];
    }
    if total.is_zero() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "5", "s", "5x", "-1s", "0s", "1e9999h", "5s3"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
