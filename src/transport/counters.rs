//! What the transport counts, and how rarely it complains.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Defines the counters once as atomics, and once as plain numbers.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of a transport, since it started.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(super) struct Counts { $(pub $name: Count,)* }

        impl Counts {
            pub fn read(&self) -> Counters {
                Counters { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Frames received that passed their check.
    frames_in,
    /// Bytes of those frames.
    bytes_in,
    /// Frames handed to a stream.
    frames_out,
    /// Bytes of those frames.
    bytes_out,
    /// Frames not sent: the peer was away, its window was full, or a newer one took the place.
    frames_dropped,
    /// Frames received that failed their check.
    frames_corrupt,
    /// Connections on the peer port that spoke something else.
    garbage,
    /// Frames of streams that had not proved whose they are.
    frames_unproven,
    /// Hellos refused, by this replica or by a peer.
    refused,
    /// Streams opened to peers again after one broke.
    reconnects,
}

#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// Lets one complaint in ten seconds through: whoever sends garbage must not fill the log.
#[derive(Debug)]
pub(super) struct Seldom {
    start: Instant,
    next: AtomicU64,
}

impl Seldom {
    const PAUSE: Duration = Duration::from_secs(10);

    pub fn new() -> Self {
        Self { start: Instant::now(), next: AtomicU64::new(0) }
    }

    /// Whether to complain now.
    pub fn now(&self) -> bool {
        let now = self.start.elapsed().as_millis() as u64;
        let next = self.next.load(Ordering::Relaxed);
        let after = now + Self::PAUSE.as_millis() as u64;
        now >= next && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
