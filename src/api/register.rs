//! Service `kvorum.v1.Register`.

use super::call::Call;
use super::service::{Service, reply};
use super::{Replica, status};
use crate::proto::kvorum::v1::register_server::Register;
use crate::proto::kvorum::v1::{ReadReply, ReadRequest, Stamp, WriteReply, WriteRequest};
use crate::register::{Ask, Returned, Tag};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl<R: Replica> Register for Service<R> {
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadReply>, Status> {
        let call = self.call(&request)?;
        let found = self.register(&request.get_ref().name, Ask::Read, call).await?;
        let (value, stamp) = found.map(|cell| (cell.value, self.stamp(cell.tag))).unzip();
        reply(ReadReply { value, stamp })
    }

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteReply>, Status> {
        let call = self.call(&request)?;
        self.has_room()?;
        let WriteRequest { name, value } = request.into_inner();
        let written = self.register(&name, Ask::Write(value), call).await?;
        reply(WriteReply { stamp: written.map(|cell| self.stamp(cell.tag)) })
    }
}

impl<R: Replica> Service<R> {
    async fn register(&self, name: &str, ask: Ask, call: Call) -> Result<Returned, Status> {
        let outcome = self.replica().register(name, ask, call.patience).await;
        outcome.map_err(status::of_refused)?.map_err(status::of_register)
    }

    fn stamp(&self, tag: Tag) -> Stamp {
        Stamp { number: tag.number, writer: self.id_of(tag.writer) }
    }
}
