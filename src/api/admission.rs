//! Who is let in: a bound on the requests without a reply, and on the bytes that they hold.
//!
//! Bytes are counted as they arrive, not once a message is complete: many large messages, each half
//! sent, would otherwise fill the memory before any of them was a request.

use super::unserved::is_grpc;
use super::{Limits, status};
use axum::BoxError;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tonic::{Code, Status};

/// The room for requests of one port.
pub(super) struct Gate {
    requests: Semaphore,
    bytes: Semaphore,
}

impl Gate {
    pub fn new(limits: &Limits) -> Arc<Self> {
        let [requests, bytes] =
            [limits.requests, limits.request_bytes].map(|n| Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Arc::new(Gate { requests, bytes })
    }
}

/// Lets a gRPC request in, or refuses it. A stream counts until its first reply only.
pub(super) async fn admit(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    if !is_grpc(&request) {
        return next.run(request).await;
    }
    let Ok(_permit) = gate.requests.try_acquire() else { return status::too_many().into_http() };
    let meter = Arc::new(Meter { gate: gate.clone(), held: Mutex::new(Some(0)) });
    let _settled_at_the_end = Settle(meter.clone());
    let request = request.map(|body| {
        let chunks = body.into_data_stream();
        Body::from_stream(chunks.map(move |chunk| meter.count(chunk.map_err(BoxError::from)?)))
    });
    too_large(next.run(request).await)
}

/// What one request holds of the gate's bytes; nothing any more once it has its reply.
struct Meter {
    gate: Arc<Gate>,
    held: Mutex<Option<usize>>,
}

impl Meter {
    fn count(&self, chunk: Bytes) -> Result<Bytes, BoxError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_mut() {
            let len = u32::try_from(chunk.len()).map_err(|_| status::too_large())?;
            self.gate.bytes.try_acquire_many(len).map_err(|_| status::too_many())?.forget();
            *held += chunk.len();
        }
        Ok(chunk)
    }
}

/// Gives the bytes back, also when the client has gone away.
struct Settle(Arc<Meter>);

impl Drop for Settle {
    fn drop(&mut self) {
        let held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.0.gate.bytes.add_permits(held.unwrap_or(0));
    }
}

/// tonic's own refusal of a message over the limit, in etcd's words.
fn too_large(response: Response) -> Response {
    let status = response.extensions().get::<Status>();
    let refused = status.is_some_and(|s| {
        s.code() == Code::OutOfRange && s.message().starts_with("Error, decoded message length too large")
    });
    if refused { status::too_large().into_http() } else { response }
}
