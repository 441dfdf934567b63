//! Which service answers which path.

use super::admission::{Gate, admit};
use super::outflow::Outflow;
use super::paced::pace;
use super::service::Service;
use super::{Limits, Replica, http, unserved};
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::etcdserverpb::cluster_server::{self, ClusterServer};
use crate::proto::etcdserverpb::kv_server::{self, KvServer};
use crate::proto::etcdserverpb::maintenance_server::{self, MaintenanceServer};
use crate::proto::kvorum::v1::atomic_commit_server::{self, AtomicCommitServer};
use crate::proto::kvorum::v1::bounds_server::{self, BoundsServer};
use crate::proto::kvorum::v1::broadcast_server::{self, BroadcastServer};
use crate::proto::kvorum::v1::consensus_server::{self, ConsensusServer};
use crate::proto::kvorum::v1::register_server::{self, RegisterServer};
use crate::proto::kvorum::v1::sessions_server::{self, SessionsServer};
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tonic::service::Routes;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_reflection::server::Builder as Reflection;

/// The services of the port, reflection aside.
pub(super) const SERVED: [&str; 10] = [
    kv_server::SERVICE_NAME,
    cluster_server::SERVICE_NAME,
    maintenance_server::SERVICE_NAME,
    sessions_server::SERVICE_NAME,
    register_server::SERVICE_NAME,
    consensus_server::SERVICE_NAME,
    atomic_commit_server::SERVICE_NAME,
    broadcast_server::SERVICE_NAME,
    bounds_server::SERVICE_NAME,
    health_server::SERVICE_NAME,
];

/// Everything that the client port of a replica answers; also without any port, for a client in
/// the same program. Needs a tokio runtime where it is called.
pub fn routes<R: Replica>(replica: R, limits: Limits) -> Routes {
    let outflow = Outflow::new(&limits);
    let service = Service::new(replica, limits, outflow.clone());
    let max = limits.max_message();
    let plain = Router::new()
        .route("/health", get(http::health::<R>))
        .with_state(service.clone())
        .route("/version", get(http::version))
        .fallback(unserved::answer);
    let (v1, v1alpha) = (reflection().build_v1(), reflection().build_v1alpha());
    let (v1, v1alpha) = v1.and_then(|v1| Ok((v1, v1alpha?))).expect("the descriptors were compiled in");
    let routes = Routes::from(plain)
        .add_service(KvServer::new(service.clone()).max_decoding_message_size(max))
        .add_service(ClusterServer::new(service.clone()).max_decoding_message_size(max))
        .add_service(MaintenanceServer::new(service.clone()).max_decoding_message_size(max))
        .add_service(SessionsServer::new(service.clone()).max_decoding_message_size(max))
        .add_service(RegisterServer::new(service.clone()).max_decoding_message_size(max))
        .add_service(ConsensusServer::new(service.clone()).max_decoding_message_size(max))
        .add_service(AtomicCommitServer::new(service.clone()).max_decoding_message_size(max))
        .add_service(BroadcastServer::new(service.clone()).max_decoding_message_size(max))
        .add_service(BoundsServer::new(service.clone()).max_decoding_message_size(max))
        .add_service(HealthServer::new(service).max_decoding_message_size(max))
        .add_service(v1)
        .add_service(v1alpha);
    let router = routes.into_axum_router().layer(from_fn_with_state(Gate::new(&limits), admit));
    router.layer(from_fn_with_state(outflow, pace)).into()
}

fn reflection<'a>() -> Reflection<'a> {
    let all = Reflection::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    SERVED.into_iter().fold(all, Reflection::with_service_name)
}
