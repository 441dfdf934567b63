//! What is asked of the port and not there.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use tonic::Status;

/// The answer for what comes with a later version.
pub(super) fn not_yet(what: &str) -> Status {
    Status::unimplemented(format!("kvorum: {what} is not served yet"))
}

/// The answer to a path that no service has.
pub(super) async fn answer(request: Request) -> Response {
    let path = request.uri().path();
    if is_grpc(&request) {
        return refuse(path).into_http::<Body>();
    }
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

/// Whether a request is gRPC.
pub(super) fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"))
}

fn refuse(path: &str) -> Status {
    let path = path.trim_start_matches('/');
    let (service, method) = path.split_once('/').unwrap_or((path, ""));
    match service {
        // Not etcd's "authentication is not enabled": its clients take that for leave to go on
        // without the user that they were given.
        "etcdserverpb.Auth" => Status::unimplemented(
            "kvorum: authentication is not served yet: connect without user and password",
        ),
        "etcdserverpb.Watch" | "etcdserverpb.Lease" | "v3lockpb.Lock" | "v3electionpb.Election" => {
            not_yet(&format!("{service}/{method}"))
        }
        _ => Status::unimplemented(format!("unknown service {service}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn what_is_not_served_says_so() {
        for (path, text) in [
            ("/etcdserverpb.Watch/Watch", "kvorum: etcdserverpb.Watch/Watch is not served yet"),
            ("/etcdserverpb.Lease/LeaseGrant", "kvorum: etcdserverpb.Lease/LeaseGrant is not served yet"),
            (
                "/etcdserverpb.Auth/Authenticate",
                "kvorum: authentication is not served yet: connect without user and password",
            ),
            ("/a.B/C", "unknown service a.B"),
            ("/", "unknown service "),
        ] {
            let status = refuse(path);
            assert_eq!((status.code(), status.message()), (Code::Unimplemented, text));
        }
    }
}
