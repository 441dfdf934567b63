//! Which bounds the processes of a run have: drawn anew for each run, so that what happens at a
//! bound happens, in ever other combinations.

use crate::kernel::{Bounds, ReplicatedBounds, SharedBounds};
use fastrand::Rng;

/// How often, of a hundred draws, a bound is as small as it may be: in some runs never, since what
/// goes wrong needs many entries; in some every other time.
const TINY: [u8; 4] = [0, 10, 20, 50];
/// How often it is that of production.
const DEFAULT: u8 = 5;

struct Draw<'a> {
    rng: &'a mut Rng,
    tiny: u8,
}

impl<'a> Draw<'a> {
    fn new(rng: &'a mut Rng) -> Self {
        let tiny = TINY[rng.usize(..TINY.len())];
        Self { rng, tiny }
    }

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
    ($draw:ident: $of:ident { $($bound:ident: $least:literal, $most:literal;)+ } $($rest:ident)?) => {
        $of {
            $($bound: $draw.pick($least, $most, $of::default().$bound as u64) as _,)+
            $($rest)?
        }
    };
}

/// The bounds of a run. Of each the least, and the most that is called small.
pub(super) fn draw(rng: &mut Rng) -> Bounds {
    let mut draw = Draw::new(rng);
    let shared = draw!(draw: SharedBounds {
        sessions: 1, 32;
        session_calls: 1, 64;
        reply_bytes: 16, 4096;
        // What is not made costly on purpose costs less, a delete of one key among it.
        txn_visits: 16, 128;
        txn_bytes: 128, 4096;
        alarms: 1, 8;
        subscribers: 1, 8;
        unacknowledged: 1, 8;
    });
    let drawn = draw!(draw: Bounds {
        requests: 1, 64;
        queue_bytes: 512, 8192;
        undecided_bytes: 512, 4096;
        entry_bytes: 512, 4096;
        frame_entries: 1, 32;
        frame_bytes: 256, 2048;
        peer_frames: 16, 128;
        peer_bytes: 1024, 65_536;
        journal_bytes: 16_384, 65_536;
        window: 1, 64;
        window_bytes: 64, 2048;
        sync_bytes: 512, 8192;
        checkpoint_entries: 4, 128;
        checkpoint_bytes: 512, 65_536;
        checkpoint_step: 64, 2048;
        checkpoint_span: 1, 64;
        digest_entries: 1, 32;
        scrub_versions: 1, 64;
        sweep_rows: 1, 64;
        sweeps: 1, 64;
        tail_entries: 0, 32;
        tail_bytes: 128, 4096;
        pinned_bytes: 1024, 16_384;
        registers: 1, 8;
        register_bytes: 8, 64;
        link_window: 1, 16;
        outbox_entries: 4, 64;
        outbox_bytes: 64, 4096;
        topics: 1, 16;
        message_bytes: 8, 64;
        undelivered: 1, 32;
        relayed_entries: 4, 64;
        relayed_bytes: 64, 4096;
        delivery_entries: 4, 64;
        delivery_bytes: 256, 4096;
        subscribers: 1, 8;
        unacknowledged: 1, 16;
        redelivery_scan: 1, 32;
    } shared);
    let bounds = agreeing(drawn);
    bounds.check().expect("bounds that were made to agree");
    bounds
}

/// What the ledger of a run is bounded to, once somebody has said so.
pub(super) fn draw_replicated(rng: &mut Rng) -> ReplicatedBounds {
    let mut draw = Draw::new(rng);
    draw!(draw: ReplicatedBounds {
        instances: 1, 64;
        decision_bytes: 3, 48;
        decisions_bytes: 8, 256;
        transactions: 1, 8;
        participants: 1, 4;
        finished: 1, 8;
        topics: 1, 4;
        topic_entries: 1, 8;
        topic_bytes: 32, 512;
        publication_bytes: 8, 256;
        publishers: 1, 4;
    })
}

/// The bounds with those raised or lowered that others make demands of.
fn agreeing(drawn: Bounds) -> Bounds {
    let Bounds { frame_bytes, delivery_bytes, message_bytes, undelivered, .. } = drawn;
    let SharedBounds { reply_bytes, session_calls, .. } = drawn.shared;
    Bounds {
        shared: SharedBounds { reply_bytes: reply_bytes.max(session_calls as usize), ..drawn.shared },
        undecided_bytes: drawn.undecided_bytes.max(frame_bytes),
        journal_bytes: drawn.journal_bytes.max(frame_bytes),
        message_bytes: message_bytes.min(frame_bytes - Bounds::MESSAGE_HEADER).min(delivery_bytes / 2),
        relayed_entries: drawn.relayed_entries.max(undelivered as usize),
        ..drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_agrees_and_each_is_another() {
        let mut rng = Rng::with_seed(7);
        let drawn: Vec<Bounds> = (0..1000).map(|_| draw(&mut rng)).collect();
        assert!(drawn.windows(2).all(|pair| pair[0] != pair[1]));
        let tiny = drawn.iter().filter(|bounds| bounds.window == 1).count();
        assert!((150..600).contains(&tiny), "{tiny} of 1000 windows are of one entry");
    }
}
