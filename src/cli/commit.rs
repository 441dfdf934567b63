//! `kvorum commit begin|vote|status|outcome|outcomes|acknowledge`

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Failure, block_on,
    connection::{Connection, duration},
};
use crate::client::{Reason, Vote};

/// Commit or abort a transaction among several participants, atomically
#[derive(Debug, Args)]
#[command(after_help = "\
A transaction commits if every participant votes yes; it aborts when one votes no, or when its time runs \
out. There is always an outcome, the same for everyone, for ever, whoever crashes:
  kvorum commit begin transfer/7 bank-a bank-b --timeout 30s
  kvorum commit vote transfer/7 bank-a yes
  kvorum commit vote transfer/7 bank-b no --reason integrity
  kvorum commit outcome transfer/7 --wait
A participant that was down when the outcome came asks for what it has not acknowledged:
  kvorum commit outcomes bank-a
  kvorum commit acknowledge transfer/7 bank-a")]
pub(super) struct Commit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Begin a transaction
    Begin(Begin),
    /// Vote for a participant; the first vote counts
    Vote(Cast),
    /// Print how a transaction stands
    Status(Look),
    /// Print the outcome of a transaction
    #[command(after_help = "Exits with 4 if there is none yet.")]
    Outcome(Outcome),
    /// Print the outcomes that a participant has not acknowledged
    #[command(after_help = "\
Each line is a transaction and its outcome. Without --follow, those that there are; with it, again and \
again, and new ones as they come, until it is interrupted.")]
    Outcomes(Outcomes),
    /// A participant has done what the outcome asks for, and need not be told again
    Acknowledge(Acknowledge),
}

#[derive(Debug, Args)]
struct Begin {
    /// The transaction: a name of 1 to 256 bytes
    transaction: String,
    /// Who votes on it
    #[arg(required = true)]
    participants: Vec<String>,
    /// Abort it unless it has its outcome by then, as 30s or 500ms
    #[arg(long, value_parser = duration, default_value = "30s", value_name = "TIME")]
    timeout: Duration,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
struct Cast {
    /// The transaction
    transaction: String,
    /// The participant
    participant: String,
    /// The vote
    #[arg(value_enum)]
    vote: YesOrNo,
    /// Of a no: integrity, concurrency, disk, suspected, or words of your own
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum YesOrNo {
    Yes,
    No,
}

#[derive(Debug, Args)]
struct Look {
    /// The transaction
    transaction: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
struct Outcome {
    /// The transaction
    transaction: String,
    /// Wait for it, for as long as --command-timeout
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
struct Outcomes {
    /// The participant
    participant: String,
    /// Go on until interrupted
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
struct Acknowledge {
    /// The transaction
    transaction: String,
    /// The participant
    participant: String,
    #[command(flatten)]
    connection: Connection,
}

impl Commit {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        match self.action {
            Action::Begin(begin) => begin.run(before),
            Action::Vote(vote) => vote.run(before),
            Action::Status(look) => look.run(before),
            Action::Outcome(outcome) => outcome.run(before),
            Action::Outcomes(outcomes) => outcomes.run(before),
            Action::Acknowledge(acknowledge) => acknowledge.run(before),
        }
    }
}

impl Begin {
    fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        let status = block_on(async {
            let transaction = connection.client()?.transaction(self.transaction);
            Ok(transaction.begin(self.participants, self.timeout).await?)
        })?;
        printer.transaction(&status)
    }
}

impl Cast {
    fn vote(&self) -> Result<Vote, Failure> {
        match (self.vote, self.reason.as_deref()) {
            (YesOrNo::Yes, None) => Ok(Vote::Yes),
            (YesOrNo::Yes, Some(_)) => Err(Failure::Usage("--reason is for a no".into())),
            (YesOrNo::No, reason) => Ok(Vote::No(match reason.unwrap_or_default() {
                "integrity" => Reason::Integrity,
                "concurrency" => Reason::Concurrency,
                "disk" => Reason::Disk,
                "suspected" => Reason::Suspected,
                words => Reason::Other(words.to_owned()),
            })),
        }
    }

    fn run(self, before: Connection) -> Result<(), Failure> {
        let vote = self.vote()?;
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        let status = block_on(async {
            let transaction = connection.client()?.transaction(self.transaction);
            Ok(transaction.vote(&self.participant, vote).await?)
        })?;
        printer.transaction(&status)
    }
}

impl Look {
    fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        let status =
            block_on(async { Ok(connection.client()?.transaction(self.transaction).status().await?) })?;
        printer.transaction(&status)
    }
}

impl Outcome {
    fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        let outcome = block_on(async {
            let transaction = connection.client()?.transaction(&self.transaction);
            Ok(match self.wait {
                true => transaction.outcome().await?,
                false => transaction.status().await?.outcome,
            })
        })?;
        match outcome {
            Some(outcome) => printer.outcome(&outcome),
            None => Err(Failure::NotYet(format!("transaction {:?} has no outcome yet", self.transaction))),
        }
    }
}

impl Outcomes {
    fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        block_on(async {
            let client = connection.client()?;
            if !self.follow {
                let pending = client.unacknowledged(self.participant).await?;
                return pending.iter().try_for_each(|transaction| printer.owed(transaction));
            }
            let mut outcomes = client.outcomes(self.participant);
            loop {
                printer.owed(&outcomes.next().await?)?;
            }
        })
    }
}

impl Acknowledge {
    fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        block_on(async {
            let transaction = connection.client()?.transaction(self.transaction);
            Ok(transaction.acknowledge(&self.participant).await?)
        })?;
        printer.done()
    }
}
