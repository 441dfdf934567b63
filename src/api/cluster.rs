//! Service `etcdserverpb.Cluster`.

use super::Replica;
use super::service::{Service, reply};
use super::unserved::not_yet;
use crate::proto::etcdserverpb::cluster_server::Cluster;
use crate::proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest,
    MemberUpdateResponse,
};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl<R: Replica> Cluster for Service<R> {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let call = self.call(&request)?;
        let view = match request.into_inner().linearizable {
            true => Some(self.view(false, call).await?),
            false => self.replica().view(),
        };
        let member = |m: super::Member| Member {
            id: m.id,
            name: m.name,
            peer_ur_ls: m.peer_urls,
            client_ur_ls: m.client_urls,
            is_learner: m.learner,
        };
        let members = self.replica().cluster().members.into_iter().map(member).collect();
        reply(MemberListResponse { header: Some(self.header(view.map_or(0, |v| v.revision()))), members })
    }

    async fn member_add(&self, _: Request<MemberAddRequest>) -> Result<Response<MemberAddResponse>, Status> {
        Err(not_yet("adding a member"))
    }

    async fn member_remove(
        &self,
        _: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        Err(not_yet("removing a member"))
    }

    async fn member_update(
        &self,
        _: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        Err(not_yet("updating a member"))
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        Err(not_yet("promoting a member"))
    }
}
