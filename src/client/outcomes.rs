//! What a participant of transactions is told until it acknowledges it.

use super::{Client, Error, TransactionStatus, stream::Stream};
use crate::proto::kvorum::v1::{self as pb, OutcomesRequest};

/// The outcomes of a participant, redelivered until they are acknowledged.
///
/// ```no_run
/// # async fn example(client: kvorum::Client) -> Result<(), kvorum::client::Error> {
/// let mut outcomes = client.outcomes("bank a");
/// loop {
///     let transaction = outcomes.next().await?;
///     // Do what it asks for, unless that was done before: it comes again after a crash.
///     client.transaction(&transaction.name).acknowledge("bank a").await?;
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Outcomes {
    stream: Stream<OutcomesRequest>,
}

impl Outcomes {
    pub(super) fn new(client: Client, participant: String) -> Self {
        Self { stream: Stream::new(client, OutcomesRequest { participant }) }
    }

    /// The next transaction that has its outcome, and this participant's acknowledgement not. Waits
    /// until there is one, and goes to another replica where one fails.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no replica could be reached for as long as the client's deadline:
    /// call again to go on.
    pub async fn next(&mut self) -> Result<TransactionStatus, Error> {
        let transaction: pb::Transaction = self.stream.next().await?;
        Ok(transaction.into())
    }
}
