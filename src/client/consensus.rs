//! Consensus, by named instance.

use bytes::Bytes;

use super::{Client, Error};
use crate::proto::kvorum::v1::{DecisionRequest, ProposeRequest};

/// An instance of consensus: of the values that are proposed to it one is decided, the same for
/// everyone, for ever.
///
/// ```no_run
/// # async fn example(client: kvorum::Client) -> Result<(), kvorum::client::Error> {
/// // Each of several processes proposes itself, and all of them learn of the same one.
/// let coordinator = client.consensus("coordinator/7").propose("process a").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Consensus {
    client: Client,
    instance: String,
}

impl Consensus {
    pub(super) fn new(client: Client, instance: String) -> Self {
        Self { client, instance }
    }

    /// Proposes a value; returns the decision, which may be another's.
    ///
    /// Safe to repeat. Dropped, the proposal may be decided all the same.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` where the replicas keep as many decisions as they may, and
    /// `INVALID_ARGUMENT` for a value that is too large: nothing was proposed.
    /// [`Error::Unsettled`] where no answer came in time.
    pub async fn propose(&self, value: impl Into<Bytes>) -> Result<Bytes, Error> {
        let request = ProposeRequest { instance: self.instance.clone(), value: value.into() };
        Ok(self.client.settle(request).await?.decision)
    }

    /// Waits for the decision; nothing, if there is none by the client's deadline.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// If no replica answers in time.
    pub async fn decision(&self) -> Result<Option<Bytes>, Error> {
        self.client.wait(self.question(true), |reply| Ok(reply.decision)).await
    }

    /// The decision, if there is one now.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// If no replica answers in time.
    pub async fn decided(&self) -> Result<Option<Bytes>, Error> {
        Ok(self.client.read(self.question(false)).await?.decision)
    }

    fn question(&self, wait: bool) -> DecisionRequest {
        DecisionRequest { instance: self.instance.clone(), wait }
    }
}
