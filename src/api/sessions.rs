//! Service `kvorum.v1.Sessions`.

use super::Replica;
use super::service::{Service, another_kind, reply};
use crate::kv::{self, Op};
use crate::proto::kvorum::v1::sessions_server::Sessions;
use crate::proto::kvorum::v1::{CloseReply, CloseRequest, OpenReply, OpenRequest};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl<R: Replica> Sessions for Service<R> {
    async fn open(&self, request: Request<OpenRequest>) -> Result<Response<OpenReply>, Status> {
        let call = self.call(&request)?;
        match self.execute(Op::OpenSession, call).await? {
            kv::Response::SessionOpened(session) => reply(OpenReply { session }),
            other => Err(another_kind(other)),
        }
    }

    async fn close(&self, request: Request<CloseRequest>) -> Result<Response<CloseReply>, Status> {
        let call = self.call(&request)?;
        match self.execute(Op::CloseSession(request.into_inner().session), call).await? {
            kv::Response::SessionClosed => reply(CloseReply {}),
            other => Err(another_kind(other)),
        }
    }
}
