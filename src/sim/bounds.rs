//! Which bounds the processes of a run have: drawn anew for each run, so that what happens at a
//! bound happens, in ever other combinations.

use crate::kernel::{Bounds, ReplicatedBounds, SharedBounds};
use fastrand::Rng;

/// How often, of a hundred draws, a bound is as small as it may be.
const TINY: [u8; 4] = [0; 4];
/// How often it is that of production.
const DEFAULT: u8 = 0;

struct Draw<'a> {
    rng: &'a mut Rng,
    tiny: u8,
}

impl Draw<'_> {
    /// The least, a power of two times that, or that of production.
    fn pick(&mut self, least: u64, most: u64, default: u64) -> u64 {
        match self.rng.u8(..100) {
            n if n < self.tiny => least,
            n if n >= 100 - DEFAULT => default,
            _ if least == 0 => self.rng.u64(..=most),
            _ => least << self.rng.u32(..=(most / least).ilog2()),
        }
    }
}

macro_rules! draw {
    ($draw:ident: $of:ident { $($bound:ident: $least:literal, $most:literal;)+ }) => {
        $of {
            $($bound: $draw.pick($least, $most, $of::DEFAULT.$bound as u64) as _,)+
            ..$of::DEFAULT
        }
    };
}

/// The bounds of a run. Of each the least, and the most that is called small.
pub(super) fn draw(rng: &mut Rng) -> Bounds {
    let tiny = TINY[rng.usize(..TINY.len())];
    let mut draw = Draw { rng, tiny };
    let shared = draw!(draw: SharedBounds {
        sessions: 1, 32;
        reply_bytes: 4096, 65_536;
        // What is not made costly on purpose costs less, a delete of one key among it.
        txn_visits: 16, 128;
        txn_bytes: 128, 4096;
        alarms: 1, 8;
    });
    let drawn = draw!(draw: Bounds {
        requests: 32, 32;
        queue_bytes: 512, 8192;
        undecided_bytes: 4096, 4096;
        entry_bytes: 512, 4096;
        frame_entries: 2, 32;
        frame_bytes: 256, 2048;
        peer_frames: 128, 128;
        peer_bytes: 32_768, 65_536;
        journal_bytes: 16_384, 65_536;
        window: 4, 64;
        window_bytes: 256, 2048;
        sync_bytes: 512, 8192;
        checkpoint_entries: 16, 128;
        checkpoint_bytes: 65_536, 65_536;
        checkpoint_step: 64, 2048;
        digest_entries: 1, 32;
        tail_entries: 0, 31;
        tail_bytes: 128, 4096;
        pinned_bytes: 1024, 16_384;
        register_bytes: 8, 64;
        message_bytes: 8, 64;
        relayed_bytes: 64, 4096;
        delivery_bytes: 256, 4096;
        undelivered: 4, 32;
        relayed_entries: 4, 64;
        delivery_entries: 4, 64;
        unacknowledged: 1, 16;
    });
    let bounds = agreeing(Bounds { shared, ..drawn });
    bounds.check().expect("bounds that were made to agree");
    bounds
}

/// What the ledger of a run is bounded to, once somebody has said so: small, so that there is something
/// to forget; and enough for every instance of a run.
pub(super) const REPLICATED: ReplicatedBounds = ReplicatedBounds {
    instances: 64,
    decisions_bytes: 256,
    transactions: 8,
    participants: 3,
    finished: 2,
    topics: 2,
    topic_entries: 4,
    topic_bytes: 512,
    publication_bytes: 256,
    publishers: 3,
    ..ReplicatedBounds::MOST
};

/// The bounds with those raised or lowered that others make demands of.
fn agreeing(drawn: Bounds) -> Bounds {
    let Bounds { frame_bytes, delivery_bytes, message_bytes, undelivered, .. } = drawn;
    Bounds {
        undecided_bytes: drawn.undecided_bytes.max(frame_bytes),
        message_bytes: message_bytes.min(frame_bytes - Bounds::MESSAGE_HEADER).min(delivery_bytes / 2),
        relayed_entries: drawn.relayed_entries.max(undelivered as usize),
        ..drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_agrees() {
        let mut rng = Rng::with_seed(7);
        let drawn: Vec<Bounds> = (0..1000).map(|_| draw(&mut rng)).collect();
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
