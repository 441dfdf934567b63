//! Upkeep: what a node does about its space by itself, through the log like everyone else.

use super::handle::Handle;
use super::settings::AutoCompaction;
use crate::kv::{Command, Op};
use crate::proto::etcdserverpb::{AlarmRequest, AlarmType, CompactionRequest, alarm_request::AlarmAction};
use crate::storage::Gauge;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

/// How often to look at the space: a disk may write a tenth of the reserve meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// With less room than this puts are refused: the rest is for what is under way by then, for the
/// checkpoint that gives the log's space back, and for what frees more. The ballast is beside it.
pub(super) const RESERVE: u64 = 64 << 20;
/// How long a command of upkeep may take; it is tried again later anyhow.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the leader looks whether revisions may be forgotten, at least.
const COMPACT_EVERY: Duration = Duration::from_secs(300);

/// Raises NOSPACE for this member when its disk is nearly full. Only people lower it. (The quota
/// is the client port's to guard: it knows what is about to be written.)
pub(super) async fn watch_space(handle: Handle, gauge: Gauge) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let Some(view) = handle.view() else { continue };
        let me = handle.member_id();
        let nospace = i32::from(AlarmType::Nospace);
        if view.alarms().any(|a| a.member_id == me && a.alarm == nospace) {
            continue;
        }
        let room = match tokio::task::spawn_blocking({
            let gauge = gauge.clone();
            move || gauge.room()
        })
        .await
        {
            Ok(Ok(room)) => room,
            Ok(Err(_)) | Err(_) => u64::MAX, // unknown; a full disk will tell by itself
        };
        if room >= RESERVE {
            continue;
        }
        warn!(
            room,
            reserve = RESERVE,
            "the disk is nearly full: raises the NOSPACE alarm; free some space, then disarm it (etcdctl alarm disarm)"
        );
        let raise = AlarmRequest { action: AlarmAction::Activate.into(), member_id: me, alarm: nospace };
        if let Err(error) = handle.execute(Op::Alarm(raise).into(), PATIENCE).await {
            warn!(%error, "cannot raise the NOSPACE alarm yet");
        }
    }
}

/// Forgets old revisions, while this replica leads.
pub(super) async fn compact(handle: Handle, mode: AutoCompaction) {
    match mode {
        AutoCompaction::Periodic(period) => {
            // As etcd: short periods at their end, long ones hour by hour; with ten samples each.
            let every = period.min(Duration::from_secs(3600));
            let sample = every / 10;
            let mut samples: VecDeque<(Instant, i64)> = VecDeque::new();
            let mut last = Instant::now();
            loop {
                sleep(sample).await;
                let Some(view) = handle.view() else { continue };
                samples.push_back((Instant::now(), view.revision()));
                let mut due = None;
                while samples.front().is_some_and(|(at, _)| at.elapsed() >= period) {
                    due = samples.pop_front();
                }
                match due {
                    Some((_, revision)) if last.elapsed() + sample > every => {
                        last = Instant::now();
                        compact_to(&handle, revision, view.compacted()).await;
                    }
                    Some(due) => samples.push_front(due),
                    None => {}
                }
            }
        }
        AutoCompaction::Revisions(kept) => loop {
            // Oftener when few are kept: else there could be more to forget than to keep.
            sleep(COMPACT_EVERY.min(Duration::from_millis(kept.unsigned_abs().max(100)))).await;
            let Some(view) = handle.view() else { continue };
            // A tenth more than asked for, so that steady writes do not mean steady compactions.
            if view.revision() - kept - view.compacted().max(0) > kept / 10 {
                compact_to(&handle, view.revision() - kept, view.compacted()).await;
            }
        },
    }
}

async fn compact_to(handle: &Handle, revision: i64, compacted: i64) {
    if !handle.leads() || revision <= compacted.max(0) {
        return;
    }
    let command: Command = Op::Compact(CompactionRequest { revision, physical: false }).into();
    match handle.execute(command, PATIENCE).await {
        Ok(Ok(_)) => info!(revision, "compacted"),
        Ok(Err(why)) => info!(revision, %why, "not compacted"),
        Err(why) => info!(revision, %why, "not compacted yet"),
    }
}
