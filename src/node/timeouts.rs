//! Upkeep of transactions: the leader says in the log whose time ran out.

use super::handle::Handle;
use crate::atomic_commit::Timeouts;
use crate::ledger::Command;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

/// How often to look.
const LOOK: Duration = Duration::from_millis(50);
/// How long the log may take to say so; it is tried again anyhow.
const PATIENCE: Duration = Duration::from_secs(2);

/// Aborts transactions whose time ran out, while this replica leads and by its clock. Only the log
/// makes it an outcome: a vote that comes first, wins.
pub(super) async fn abort(handle: Handle) {
    let start = Instant::now();
    let mut timeouts = Timeouts::default();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let Some(view) = handle.ledger().filter(|_| handle.leads()) else {
            timeouts.stop();
            continue;
        };
        let now = start.elapsed().as_millis() as u64;
        for (name, begun) in timeouts.look(now, view.transactions()) {
            let command = Command::TimeOut { transaction: name.to_string(), begun };
            match handle.attempt(&command, PATIENCE).await {
                Ok(_) => info!(transaction = %name, "its time ran out"),
                Err(error) => {
                    warn!(transaction = %name, %error, "cannot abort it yet");
                    break; // nor the others
                }
            }
        }
    }
}
