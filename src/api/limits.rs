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
    /// Bytes that one read may answer: keys and values, and [`kv::OVERHEAD`] for each key.
    pub reply_bytes: u64,
    /// Bytes of replies that are made and not sent; each connection may hold one of
    /// [`REPLIES`](Self::REPLIES) parts.
    pub unsent_bytes: usize,
    /// The same for streams that clients follow.
    pub unsent_stream_bytes: usize,
    /// A connection is closed on which something that is to be sent does not move for so long.
    pub stall: Duration,
    /// The same where a client follows a stream, and may be slow to take what comes.
    pub stream_stall: Duration,
    /// Bytes a second: a connection is closed, too, on which it has not arrived after that and the time
    /// that it takes at this rate.
    pub least_rate: u64,
    /// Long reads at a time; more wait.
    pub scans: usize,
    /// Streams that clients follow: each may hold a message that its client is slow to take.
    pub subscriptions: usize,
    /// Connections of one port.
    pub connections: usize,
    /// Concurrent requests of one connection.
    pub streams: u32,
    /// How long open connections may take to end, once the port closes.
    pub drain: Duration,
}

impl Limits {
    /// etcd's default, 2 GiB.
    pub const QUOTA: u64 = 2 << 30;
    /// The default bound on what one read may answer.
    pub const REPLY_BYTES: u64 = 64 << 20;
    /// Of the longest replies so many may be made and not sent, and each connection may hold one.
    pub const REPLIES: usize = 4;

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
            reply_bytes: Self::REPLY_BYTES,
            unsent_bytes: Self::REPLIES * Self::REPLY_BYTES as usize,
            unsent_stream_bytes: 64 << 20,
            stall: Duration::from_secs(30),
            stream_stall: Duration::from_secs(300),
            least_rate: 64 << 10,
            scans: 16,
            subscriptions: 1024,
            connections: 4096,
            streams: 1024,
            drain: Duration::from_secs(5),
        }
    }
}
