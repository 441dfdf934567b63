//! Each request of the wire, and the method that takes it.

use tonic::{Request, Response, Status, codegen::BoxFuture};

use super::channel::Channel;
use crate::proto::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, MemberListRequest,
        MemberListResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest,
        StatusResponse, TxnRequest, TxnResponse, cluster_client::ClusterClient, kv_client::KvClient,
        maintenance_client::MaintenanceClient,
    },
    kvorum::v1::{
        CloseReply, CloseRequest, OpenReply, OpenRequest, ReadReply, ReadRequest, WriteReply, WriteRequest,
        register_client::RegisterClient, sessions_client::SessionsClient,
    },
};

/// A unary call.
pub(super) trait Rpc: Clone + Send + 'static {
    type Reply: Send + 'static;

    fn send(request: Request<Self>, channel: Channel) -> BoxFuture<Response<Self::Reply>, Status>;
}

macro_rules! rpc {
    ($($client:ident :: $method:ident ( $request:ty ) -> $reply:ty;)*) => {$(
        impl Rpc for $request {
            type Reply = $reply;

            fn send(request: Request<Self>, channel: Channel) -> BoxFuture<Response<$reply>, Status> {
                // The server bounds what it answers; a limit here would only lose the answer to a write.
                let mut client = $client::new(channel).max_decoding_message_size(usize::MAX);
                Box::pin(async move { client.$method(request).await })
            }
        }
    )*};
}

rpc! {
    KvClient::range(RangeRequest) -> RangeResponse;
    KvClient::put(PutRequest) -> PutResponse;
    KvClient::delete_range(DeleteRangeRequest) -> DeleteRangeResponse;
    KvClient::txn(TxnRequest) -> TxnResponse;
    KvClient::compact(CompactionRequest) -> CompactionResponse;
    MaintenanceClient::status(StatusRequest) -> StatusResponse;
    ClusterClient::member_list(MemberListRequest) -> MemberListResponse;
    RegisterClient::read(ReadRequest) -> ReadReply;
    RegisterClient::write(WriteRequest) -> WriteReply;
    SessionsClient::open(OpenRequest) -> OpenReply;
    SessionsClient::close(CloseRequest) -> CloseReply;
}
