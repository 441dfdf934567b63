//! Service `grpc.health.v1.Health`: serving means that there is a leader, and a view to read.

use super::service::{Service, follow, reply};
use super::{Replica, routes};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// How often a watched health is looked at.
const PERIOD: Duration = Duration::from_millis(250);

impl<R: Replica> Service<R> {
    /// Whether this replica can serve, as far as it knows.
    pub(super) fn is_serving(&self) -> bool {
        let status = self.replica().status();
        status.leader.is_some() && self.replica().view().is_some()
    }

    /// The health of a service; the empty name stands for the whole port.
    fn health(&self, service: &str) -> Option<ServingStatus> {
        (service.is_empty() || routes::SERVED.contains(&service)).then(|| match self.is_serving() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        })
    }
}

#[tonic::async_trait]
impl<R: Replica> Health for Service<R> {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match self.health(&service) {
            Some(status) => reply(HealthCheckResponse { status: status.into() }),
            None => Err(Status::not_found(format!("unknown service {service}"))),
        }
    }

    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let this = self.clone();
        let (send, receive) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut last = None;
            loop {
                let status = this.health(&service).unwrap_or(ServingStatus::ServiceUnknown);
                let said = HealthCheckResponse { status: status.into() };
                if last != Some(status) && send.send(Ok(said)).await.is_err() {
                    return;
                }
                last = Some(status);
                tokio::select! {
                    () = send.closed() => return,
                    () = tokio::time::sleep(PERIOD) => {}
                }
            }
        });
        follow(receive)
    }
}
