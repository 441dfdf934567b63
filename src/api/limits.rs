//! The bounds of the client port, in one place.

use crate::kv;
use std::time::Duration;

/// Bounds of the client port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bounds on one request.
    pub request: kv::Limits,
    /// Bytes of keys and values, all versions, beyond which nothing is added; 0: no bound. Reaching
    /// it raises the alarm `NOSPACE`.
    pub quota: u64,
    /// How long a request waits for a reply from the log; a client's own deadline may be earlier.
    pub patience: Duration,
    /// Requests that have no reply yet.
    pub requests: usize,
    /// Bytes of these requests.
    pub request_bytes: usize,
    /// Long reads at a time; more wait.
    pub scans: usize,
    /// Streams that clients follow: each may hold a message that its client is slow to take.
    pub subscriptions: usize,
    /// Connections.
    pub connections: usize,
    /// Concurrent requests of one connection.
    pub streams: u32,
    /// How long open connections may take to end, once the port closes.
    pub drain: Duration,
}

impl Limits {
    /// etcd's default, 2 GiB.
    pub const QUOTA: u64 = 2 << 30;

    /// The largest message that is received at all. Between the bound on requests and this one lies
    /// what else a message may hold, as in etcd.
    pub(super) fn max_message(&self) -> usize {
        self.request.max_request_bytes.saturating_add(512 << 10)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request: kv::Limits::default(),
            quota: Self::QUOTA,
            patience: Duration::from_secs(5),
            requests: 4096,
            request_bytes: 128 << 20,
            scans: 16,
            subscriptions: 1024,
            connections: 4096,
            streams: 1024,
            drain: Duration::from_secs(5),
        }
    }
}
