//! Service `etcdserverpb.Maintenance`.

use super::service::{Service, another_kind, reply};
use super::unserved::not_yet;
use super::{Replica, VERSION, status};
use crate::kv::{self, Op, View};
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::maintenance_server::Maintenance;
use crate::proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeRequest,
    DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest,
    MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
};
use crate::stack::Role;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl<R: Replica> Maintenance for Service<R> {
    /// Of this replica, whatever its state.
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let stack = self.replica().status();
        let cluster = self.replica().cluster();
        let view = self.replica().view();
        let size = view.as_ref().map(View::size).unwrap_or_default();
        let leader = stack.leader.and_then(|p| cluster.member(p)).map_or(0, |m| m.id);
        let mut errors = self.replica().problems();
        if leader == 0 {
            errors.push(status::no_leader().message().to_owned());
        }
        errors.extend(view.iter().flat_map(View::alarms).map(alarm_text));
        let mut response = Response::new(StatusResponse {
            header: Some(self.header(view.as_ref().map_or(0, View::revision))),
            version: VERSION.into(),
            db_size: size.bytes.cast_signed(),
            leader,
            raft_index: stack.log_len,
            raft_term: stack.promised.counter,
            raft_applied_index: stack.applied,
            errors,
            db_size_in_use: size.live_bytes.cast_signed(),
            is_learner: matches!(stack.role, Role::Learner(_)),
            storage_version: VERSION.into(),
            db_size_quota: self.limits().quota.cast_signed(),
            downgrade_info: None,
        });
        // What answers is not etcd, whatever version it claims for the sake of its clients.
        let own = tonic::metadata::AsciiMetadataValue::from_static(env!("CARGO_PKG_VERSION"));
        response.metadata_mut().insert("kvorum-version", own);
        Ok(response)
    }

    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let call = self.call(&request)?;
        let r = request.into_inner();
        self.check_alarm(&r)?;
        match self.execute(Op::Alarm(r), call).await? {
            kv::Response::Alarm(mut response) => {
                self.fill(&mut response.header);
                reply(response)
            }
            other => Err(another_kind(other)),
        }
    }

    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        Err(not_yet("defragmentation"))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        Err(not_yet("the hash of the store"))
    }

    async fn hash_kv(&self, _: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        Err(not_yet("the hash of the keys"))
    }

    type SnapshotStream = Empty<Result<SnapshotResponse, Status>>;

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(not_yet("a snapshot"))
    }

    async fn move_leader(
        &self,
        _: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        Err(not_yet("moving leadership"))
    }

    async fn downgrade(&self, _: Request<DowngradeRequest>) -> Result<Response<DowngradeResponse>, Status> {
        Err(not_yet("a downgrade"))
    }
}

impl<R: Replica> Service<R> {
    /// An alarm that is raised is some member's, or nobody's: ids out of thin air would fill the room
    /// that there is for alarms.
    fn check_alarm(&self, r: &AlarmRequest) -> Result<(), Status> {
        let id = r.member_id;
        let known = id == 0 || self.replica().cluster().members.iter().any(|m| m.id == id);
        if r.action() == AlarmAction::Activate && !known {
            let text =
                format!("kvorum: no member has the id {id}: an alarm is raised for a member, or for 0");
            return Err(Status::not_found(text));
        }
        Ok(())
    }
}

/// As etcd writes it.
fn alarm_text(alarm: AlarmMember) -> String {
    format!("memberID:{} alarm:{}", alarm.member_id, alarm.alarm().as_str_name())
}
