//! Maintenance, Cluster, health, reflection, and what is not there.

use super::*;
use crate::kernel::ProcessId;
use crate::proto::etcdserverpb::auth_client::AuthClient;
use crate::proto::etcdserverpb::cluster_client::ClusterClient;
use crate::proto::etcdserverpb::lease_client::LeaseClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::proto::etcdserverpb::{
    AuthenticateRequest, HashKvRequest, LeaseGrantRequest, MemberAddRequest, MemberListRequest, StatusRequest,
};
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn all(fake: &Fake) -> Routes {
    routes(fake.clone(), Limits::default())
}

#[tokio::test]
async fn the_status_says_how_a_replica_is_whatever_its_state() {
    let fake = Fake::default();
    kv(&fake).put(put("a", "12")).await.unwrap();
    kv(&fake).put(put("a", "345")).await.unwrap();
    let mut maintenance = MaintenanceClient::new(all(&fake));
    let response = maintenance.status(StatusRequest {}).await.unwrap();
    assert_eq!(response.metadata().get("kvorum-version").unwrap(), env!("CARGO_PKG_VERSION"));
    let status = response.into_inner();
    assert_eq!(status.header, header(3));
    assert!(status.version.starts_with("3.6."), "{}", status.version);
    assert_eq!((status.leader, status.raft_term), (100, 3));
    assert_eq!((status.raft_index, status.raft_applied_index), (3, 2));
    assert_eq!((status.db_size, status.db_size_in_use, status.db_size_quota), (7, 4, 2 << 30));
    assert_eq!((status.is_learner, status.errors.len()), (false, 0));

    fake.state().leader = None;
    fake.state().serving = false;
    fake.state().problems = vec!["the disk is full".into()];
    let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.leader, status.header), (0, header(0)));
    assert_eq!(status.errors, ["the disk is full", "etcdserver: no leader"]);
}

#[tokio::test]
async fn members_are_listed_with_the_urls_where_they_are_reached() {
    let fake = Fake::default();
    let mut cluster = ClusterClient::new(all(&fake));
    let list = cluster.member_list(MemberListRequest { linearizable: true }).await.unwrap().into_inner();
    assert_eq!((list.header, fake.state().barriers), (header(1), 1));
    let names: Vec<_> = list.members.iter().map(|m| (m.id, m.name.as_str())).collect();
    assert_eq!(names, [(100, "n0"), (101, "n1"), (102, "n2")]);
    assert_eq!(list.members[1].client_ur_ls, ["http://10.0.0.1:2379"]);
    assert_eq!(list.members[1].peer_ur_ls, ["http://10.0.0.1:2380"]);

    fake.state().leader = None;
    let list = cluster.member_list(MemberListRequest { linearizable: true }).await;
    refused(list, Code::Unavailable, "etcdserver: no leader");
    let list = cluster.member_list(MemberListRequest { linearizable: false }).await.unwrap();
    assert_eq!(list.into_inner().members.len(), 3);
}

#[tokio::test]
async fn a_replica_is_healthy_with_a_leader_and_a_view() {
    let fake = Fake::default();
    let mut health = HealthClient::new(all(&fake));
    let ask = |service: &str| HealthCheckRequest { service: service.into() };
    for (leader, serving, expected) in [
        (Some(ProcessId(1)), true, ServingStatus::Serving),
        (None, true, ServingStatus::NotServing),
        (Some(ProcessId(1)), false, ServingStatus::NotServing),
    ] {
        fake.state().leader = leader;
        fake.state().serving = serving;
        for service in ["", "etcdserverpb.KV"] {
            let reply = health.check(ask(service)).await.unwrap().into_inner();
            assert_eq!(reply.status(), expected, "{service}");
        }
    }
    assert_eq!(health.check(ask("etcdserverpb.Watch")).await.unwrap_err().code(), Code::NotFound);

    let mut watch = health.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    fake.state().serving = true;
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn a_replica_whose_state_is_not_that_of_a_majority_serves_nothing_and_says_so() {
    const CORRUPT: &str = "etcdserver: corrupt cluster";
    let fake = Fake::default();
    kv(&fake).put(put("a", "1")).await.unwrap();
    fake.state().diverged = true;
    let status = refused(kv(&fake).put(put("a", "2")).await, Code::DataLoss, CORRUPT);
    assert_eq!(status.metadata().get("kvorum-fate").unwrap(), "not-executed", "another replica does better");
    refused(kv(&fake).range(get("a")).await, Code::DataLoss, CORRUPT);
    let stale = crate::proto::etcdserverpb::RangeRequest { serializable: true, ..get("a") };
    refused(kv(&fake).range(stale).await, Code::DataLoss, CORRUPT);
    let ask = HealthCheckRequest { service: String::new() };
    let health = HealthClient::new(all(&fake)).check(ask).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::NotServing);
    let status = MaintenanceClient::new(all(&fake)).status(StatusRequest {}).await.unwrap().into_inner();
    assert!(status.is_learner);
}

#[tokio::test]
async fn reflection_lists_what_is_served_and_nothing_else() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
    let mut client = ServerReflectionClient::new(all(&Fake::default()));
    let requests = ["*", "etcdserverpb.KV"].map(|name| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(match name {
            "*" => MessageRequest::ListServices(name.into()),
            _ => MessageRequest::FileContainingSymbol(name.into()),
        }),
    });
    let replies = client.server_reflection_info(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let replies: Vec<ServerReflectionResponse> = replies.map(Result::unwrap).collect().await;
    let [list, file] = &replies[..] else { panic!("{replies:?}") };
    let Some(MessageResponse::ListServicesResponse(list)) = &list.message_response else {
        panic!("{list:?}")
    };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for name in ["etcdserverpb.KV", "etcdserverpb.Cluster", "kvorum.v1.Sessions", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(!names.iter().any(|n| n.contains("peer") || n.contains("Watch")), "{names:?}");
    assert!(matches!(file.message_response, Some(MessageResponse::FileDescriptorResponse(_))));
}

#[tokio::test]
async fn what_is_not_served_yet_is_refused_and_never_as_if_honoured() {
    let fake = Fake::default();
    let authenticate = AuthenticateRequest { name: "a".into(), password: "b".into() };
    refused(
        AuthClient::new(all(&fake)).authenticate(authenticate).await,
        Code::Unimplemented,
        "kvorum: authentication is not served yet: connect without user and password",
    );
    refused(
        LeaseClient::new(all(&fake)).lease_grant(LeaseGrantRequest { ttl: 5, id: 0 }).await,
        Code::Unimplemented,
        "kvorum: etcdserverpb.Lease/LeaseGrant is not served yet",
    );
    refused(
        MaintenanceClient::new(all(&fake)).hash_kv(HashKvRequest { revision: 0 }).await,
        Code::Unimplemented,
        "kvorum: the hash of the keys is not served yet",
    );
    refused(
        ClusterClient::new(all(&fake)).member_add(MemberAddRequest::default()).await,
        Code::Unimplemented,
        "kvorum: adding a member is not served yet",
    );
}
