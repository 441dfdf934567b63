//! Each request of the wire, and the method that takes it.

use tonic::{Request, Response, Status, Streaming, codegen::BoxFuture};

use super::{channel::Channel, stream::StreamRpc};
use crate::proto::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, MemberListRequest,
        MemberListResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest,
        StatusResponse, TxnRequest, TxnResponse, cluster_client::ClusterClient, kv_client::KvClient,
        maintenance_client::MaintenanceClient,
    },
    kvorum::v1::{
        AcknowledgeOutcomeReply, AcknowledgeOutcomeRequest, AcknowledgeReply, AcknowledgeRequest,
        BeginRequest, BoundSet, CloseReply, CloseRequest, DecisionReply, DecisionRequest, GetBoundsRequest,
        LookRequest, OpenPublisherReply, OpenPublisherRequest, OpenReply, OpenRequest, OutcomesRequest,
        ProposeReply, ProposeRequest, PublishReply, PublishRequest, ReadReply, ReadRequest, ReceiveRequest,
        SubscribeReply, SubscribeRequest, Transaction, UnacknowledgedReply, UnsubscribeReply,
        UnsubscribeRequest, VoteRequest, WriteReply, WriteRequest, atomic_commit_client::AtomicCommitClient,
        bounds_client::BoundsClient, broadcast_client::BroadcastClient, consensus_client::ConsensusClient,
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
    ConsensusClient::propose(ProposeRequest) -> ProposeReply;
    ConsensusClient::decision(DecisionRequest) -> DecisionReply;
    AtomicCommitClient::begin(BeginRequest) -> Transaction;
    AtomicCommitClient::vote(VoteRequest) -> Transaction;
    AtomicCommitClient::look(LookRequest) -> Transaction;
    AtomicCommitClient::unacknowledged(OutcomesRequest) -> UnacknowledgedReply;
    AtomicCommitClient::acknowledge(AcknowledgeOutcomeRequest) -> AcknowledgeOutcomeReply;
    BoundsClient::get_bounds(GetBoundsRequest) -> BoundSet;
    BoundsClient::set_bounds(BoundSet) -> BoundSet;
    BroadcastClient::publish(PublishRequest) -> PublishReply;
    BroadcastClient::open_publisher(OpenPublisherRequest) -> OpenPublisherReply;
    BroadcastClient::acknowledge(AcknowledgeRequest) -> AcknowledgeReply;
    BroadcastClient::unsubscribe(UnsubscribeRequest) -> UnsubscribeReply;
    SessionsClient::open(OpenRequest) -> OpenReply;
    SessionsClient::close(CloseRequest) -> CloseReply;
}

macro_rules! stream_rpc {
    ($($client:ident :: $method:ident ( $request:ty ) -> $item:ty;)*) => {$(
        impl StreamRpc for $request {
            type Item = $item;

            fn open(
                request: Request<Self>,
                channel: Channel,
            ) -> BoxFuture<Response<Streaming<$item>>, Status> {
                let mut client = $client::new(channel).max_decoding_message_size(usize::MAX);
                Box::pin(async move { client.$method(request).await })
            }
        }
    )*};
}

stream_rpc! {
    AtomicCommitClient::outcomes(OutcomesRequest) -> Transaction;
    BroadcastClient::subscribe(SubscribeRequest) -> SubscribeReply;
    BroadcastClient::receive(ReceiveRequest) -> SubscribeReply;
}
