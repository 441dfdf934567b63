//! Service `kvorum.v1.Consensus`.

use super::Replica;
use super::ledger::unexpected;
use super::service::{Service, reply};
use crate::ledger::{Command, Response as Done};
use crate::proto::kvorum::v1::consensus_server::Consensus;
use crate::proto::kvorum::v1::{DecisionReply, DecisionRequest, ProposeReply, ProposeRequest};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl<R: Replica> Consensus for Service<R> {
    async fn propose(&self, request: Request<ProposeRequest>) -> Result<Response<ProposeReply>, Status> {
        let call = self.call(&request)?;
        let ProposeRequest { instance, value } = request.into_inner();
        // What is decided stays so: no need to ask the log.
        if let Some(decision) = self.replica().ledger().and_then(|view| view.decision(&instance)) {
            return reply(ProposeReply { decision });
        }
        self.has_room()?;
        match self.ledger(Command::Propose { instance, value }, call).await? {
            Done::Decided(decision) => reply(ProposeReply { decision }),
            other => Err(unexpected(other)),
        }
    }

    async fn decision(&self, request: Request<DecisionRequest>) -> Result<Response<DecisionReply>, Status> {
        let call = self.call(&request)?;
        let DecisionRequest { instance, wait } = request.into_inner();
        let decision = self.find(wait, call, |view| view.decision(&instance)).await?;
        reply(DecisionReply { decision })
    }
}
