//! `kvorum bounds`

use clap::Args;

use super::{Failure, block_on, connection::Connection};
use crate::client::BoundSet;

/// Print or set the bounds of consensus, transactions and total-order topics
#[derive(Debug, Args)]
#[command(after_help = "\
The bounds are replicated: the same on every replica, and changed through the log. Without flags they are \
printed. What lies beyond a new bound already stays; a topic is cut to its retention when something is \
published to it.
  kvorum bounds --topic-entries 1000 --topic-bytes 1048576
What a replica keeps by itself (the deliveries of other topics, registers) is set where it starts: see \
`kvorum serve --help`.")]
pub(super) struct Bounds {
    /// Instances of consensus; a decision is kept for ever
    #[arg(long, value_name = "N")]
    instances: Option<u64>,
    /// Bytes of one decision
    #[arg(long, value_name = "BYTES")]
    decision_bytes: Option<u64>,
    /// Bytes of all decisions
    #[arg(long, value_name = "BYTES")]
    decisions_bytes: Option<u64>,
    /// Transactions that are not finished
    #[arg(long, value_name = "N")]
    transactions: Option<u64>,
    /// Participants of one transaction
    #[arg(long, value_name = "N")]
    participants: Option<u64>,
    /// Finished transactions that are remembered
    #[arg(long, value_name = "N")]
    finished: Option<u64>,
    /// Total-order topics
    #[arg(long, value_name = "N")]
    topics: Option<u64>,
    /// Publications that a total-order topic retains
    #[arg(long, value_name = "N")]
    topic_entries: Option<u64>,
    /// Bytes that a total-order topic retains
    #[arg(long, value_name = "BYTES")]
    topic_bytes: Option<u64>,
    /// Bytes of one publication
    #[arg(long, value_name = "BYTES")]
    publication_bytes: Option<u64>,
    /// Publishers whose last publication is remembered
    #[arg(long, value_name = "N")]
    publishers: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

impl Bounds {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        let asked = BoundSet {
            instances: self.instances,
            decision_bytes: self.decision_bytes,
            decisions_bytes: self.decisions_bytes,
            transactions: self.transactions,
            participants: self.participants,
            finished: self.finished,
            topics: self.topics,
            topic_entries: self.topic_entries,
            topic_bytes: self.topic_bytes,
            publication_bytes: self.publication_bytes,
            publishers: self.publishers,
        };
        let bounds = block_on(async {
            let client = connection.client()?;
            Ok(match asked == BoundSet::default() {
                true => client.bounds().await?,
                false => client.set_bounds(asked).await?,
            })
        })?;
        printer.bounds(&bounds)
    }
}
