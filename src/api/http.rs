//! What the port serves over plain HTTP.

use super::service::Service;
use super::{Replica, VERSION};
use crate::kv::View;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// A linearizable read that takes longer is no sign of health.
const PATIENCE: Duration = Duration::from_secs(1);

/// `GET /version`, as etcd answers it.
pub(super) async fn version() -> Response {
    let own = env!("CARGO_PKG_VERSION");
    json(
        StatusCode::OK,
        format!(
            r#"{{"etcdserver":"{VERSION}","etcdcluster":"{VERSION}","storage":"{VERSION}","kvorum":"{own}"}}"#
        ),
    )
}

/// `GET /health`, as etcd answers it: no alarm is on, there is a leader, and a read goes through.
/// `serializable=true` reads what this replica has; `exclude=NOSPACE` overlooks an alarm.
pub(super) async fn health<R: Replica>(State(service): State<Service<R>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    match sickness(&service, query).await {
        None => json(StatusCode::OK, r#"{"health":"true","reason":""}"#.into()),
        Some(reason) => {
            tracing::debug!(reason, "not healthy");
            json(StatusCode::SERVICE_UNAVAILABLE, format!(r#"{{"health":"false","reason":"{reason}"}}"#))
        }
    }
}

/// Why a replica is not healthy.
async fn sickness<R: Replica>(service: &Service<R>, query: &str) -> Option<String> {
    let asks =
        |key: &str, value: &str| query.split('&').any(|pair| pair.split_once('=') == Some((key, value)));
    if service.has_diverged() && !asks("exclude", "CORRUPT") {
        return Some("ALARM CORRUPT".into());
    }
    let view = service.replica().view();
    let alarms = view.iter().flat_map(View::alarms).map(|on| on.alarm().as_str_name());
    if let Some(alarm) = alarms.into_iter().find(|alarm| !asks("exclude", alarm)) {
        return Some(format!("ALARM {alarm}"));
    }
    if asks("serializable", "true") {
        return view.is_none().then(|| "RANGE ERROR:nothing to read yet".into());
    }
    if service.replica().status().leader.is_none() {
        return Some("RAFT NO LEADER".into());
    }
    let read = service.replica().read_barrier(PATIENCE).await;
    read.err().map(|why| format!("QGET ERROR:{why}"))
}

fn json(code: StatusCode, body: String) -> Response {
    (code, [(CONTENT_TYPE, "application/json")], body).into_response()
}
