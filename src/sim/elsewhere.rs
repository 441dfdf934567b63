//! Bounds that no run of the simulator can reach, since it has no sockets and no file system, or since
//! its clients are too few and not patient enough.

use crate::kernel::Bound;

/// A bound that a test reaches.
pub(super) struct Elsewhere {
    /// What is kept within it, and what happens when it is hit.
    pub(super) bound: &'static str,
    /// The test, and its file.
    pub(super) test: (&'static str, &'static str),
}

const fn reached(bound: &'static str, file: &'static str, test: &'static str) -> Elsewhere {
    Elsewhere { bound, test: (file, test) }
}

/// All of them.
pub(super) const ELSEWHERE: &[Elsewhere] = &[
    reached(
        Bound::Parked.describe(),
        "src/broadcast/tests.rs",
        "publications_that_wait_for_their_context_are_bounded",
    ),
    reached(
        Bound::CommandSpan.describe(),
        "src/broadcast/total_order.rs",
        "numbers_reach_no_further_than_every_filter_has_room_for",
    ),
    reached(
        "requests in flight at one node: one more is refused",
        "src/node/tests.rs",
        "too_many_requests_are_refused_and_the_rest_go_on",
    ),
    reached(
        "requests of the client port, and their bytes: one more is refused",
        "src/api/tests/writes.rs",
        "beyond_the_bounds_requests_are_refused_and_the_room_is_given_back",
    ),
    reached(
        "bytes of one message of a client: a longer one is refused",
        "src/api/tests/port.rs",
        "a_message_over_the_limit_gets_etcds_words_over_the_network_too",
    ),
    reached(
        "connections of clients: one more is closed",
        "src/api/tests/port.rs",
        "connections_beyond_the_limit_are_closed_and_room_is_given_back",
    ),
    reached(
        "room for the frames of a peer: its stream is held back",
        "src/transport/tests.rs",
        "a_sender_waits_for_the_room_that_its_frames_take_up",
    ),
    reached(
        "space on the disk: the replica halts, and its ballast opens the store again",
        "src/storage/tests/faults.rs",
        "a_full_disk_stops_the_store_and_the_ballast_opens_it_again",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_that_is_named_is_there() {
        for Elsewhere { test: (file, test), .. } in ELSEWHERE {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("fn {test}()")), "{file} has no test {test}");
        }
    }
}
