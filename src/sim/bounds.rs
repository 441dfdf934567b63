//! Which bounds the processes of a run have: drawn anew for each run, so that what happens at a
//! bound happens, in ever other combinations.

use crate::kernel::{Bounds, SharedBounds};
use fastrand::Rng;

/// How often, of a hundred draws, a bound is as small as it may be: in some runs none, since what
/// goes wrong needs many entries; in some every other one.
const TINY: [u8; 4] = [0, 10, 20, 50];
/// How often it is that of production.
const DEFAULT: u8 = 5;

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
    ($draw:ident: $of:ident { $($bound:ident: $least:literal, $most:literal;)+ } $($rest:ident)?) => {
        $of {
            $($bound: $draw.pick($least, $most, $of::DEFAULT.$bound as u64) as _,)+
            $($rest)?
        }
    };
}

/// The bounds of a run. Of each the least, and the most that is called small.
pub(super) fn draw(rng: &mut Rng) -> Bounds {
    let tiny = TINY[rng.usize(..TINY.len())];
    let mut draw = Draw { rng, tiny };
    let shared = draw!(draw: SharedBounds {
        sessions: 1, 8;
        session_calls: 1, 64;
        reply_bytes: 64, 16_384;
        // As many as there are clients of this kind, and what they ask for.
        subscribers: 3, 12;
        unacknowledged: 2, 8;
    });
    let drawn = draw!(draw: Bounds {
        requests: 16, 64;
        undecided_bytes: 256, 4096;
        frame_entries: 1, 32;
        frame_bytes: 64, 2048;
        peer_frames: 16, 128;
        peer_bytes: 1024, 65_536;
        window: 1, 64;
        sync_bytes: 512, 8192;
        checkpoint_entries: 4, 128;
        checkpoint_bytes: 512, 65_536;
        checkpoint_step: 64, 2048;
        checkpoint_span: 1, 64;
        scrub_versions: 1, 64;
        sweep_rows: 1, 64;
        sweeps: 1, 64;
        tail_entries: 0, 32;
        registers: 2, 8;
        register_bytes: 8, 64;
        link_window: 1, 16;
        outbox_entries: 4, 64;
        outbox_bytes: 64, 4096;
        topics: 6, 24;
        message_bytes: 8, 64;
        undelivered: 1, 32;
        relayed_entries: 1, 64;
        relayed_bytes: 64, 4096;
        delivery_entries: 1, 64;
        delivery_bytes: 64, 4096;
        subscribers: 1, 8;
        unacknowledged: 1, 16;
        redelivery_scan: 1, 32;
    } shared);
    let bounds = agreeing(drawn);
    bounds.check().expect("bounds that were made to agree");
    bounds
}

/// The bounds with those raised or lowered that others make demands of.
fn agreeing(drawn: Bounds) -> Bounds {
    let Bounds { frame_bytes, delivery_bytes, message_bytes, undelivered, .. } = drawn;
    Bounds {
        undecided_bytes: drawn.undecided_bytes.max(frame_bytes),
        message_bytes: message_bytes.min(frame_bytes).min(delivery_bytes / 2),
        relayed_entries: drawn.relayed_entries.max(undelivered as usize),
        ..drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_agrees_and_most_differ() {
        let mut rng = Rng::with_seed(7);
        let drawn: Vec<Bounds> = (0..1000).map(|_| draw(&mut rng)).collect();
        assert!(drawn.windows(2).all(|pair| pair[0] != pair[1]));
        let tiny = drawn.iter().filter(|bounds| bounds.window == 1).count();
        assert!((150..600).contains(&tiny), "{tiny} of 1000 windows are of one entry");
    }
}
