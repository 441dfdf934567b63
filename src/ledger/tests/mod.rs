//! Transcripts of the ledger, its checkpoints, and the pair of it with the store.

mod checkpoint;
mod machine;
mod pair;

use super::*;
use crate::atomic_commit::Vote;
use crate::broadcast::{Begin, Load, Piece, Publisher, StateMachine};
use crate::kernel::{BoundChanges, ReplicatedBounds, RowKey};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a checkpoint leaves on disk.
#[derive(Clone, Default)]
struct Image {
    rows: BTreeMap<RowKey, Bytes>,
    meta: Option<Bytes>,
}

impl Image {
    /// Stores a piece, as the stack does: puts, then deletes, then the flip.
    fn store(&mut self, piece: Piece) -> bool {
        self.rows.extend(piece.puts);
        piece.deletes.iter().for_each(|key| drop(self.rows.remove(key)));
        let finished = piece.finished.is_some();
        self.meta = piece.finished.or(self.meta.take());
        finished
    }

    /// What a process boots from the disk.
    fn boot<M: StateMachine>(&self) -> Option<M> {
        let mut loader = match &self.meta {
            Some(meta) => M::Loader::begin(meta)?,
            None => M::empty_loader(),
        };
        self.rows.iter().all(|(key, row)| loader.row(*key, row.clone())).then_some(())?;
        M::load(loader)
    }

    /// What a learner boots that received the checkpoint as a snapshot.
    fn send<M: StateMachine>(&self, generation: u32) -> Image {
        let meta = self.meta.as_ref().unwrap();
        let below = |(key, _): &(&RowKey, &Bytes)| key.main < M::checkpoint_end(meta);
        let staged = |(key, row): (&RowKey, &Bytes)| (RowKey { generation, ..*key }, row.clone());
        let rows = self.rows.iter().filter(below).map(staged).collect();
        Image { rows, meta: M::Loader::rebase(meta, generation) }
    }
}

/// Writes a whole checkpoint.
fn checkpoint<M: StateMachine>(machine: &mut M, image: &mut Image) {
    machine.begin_checkpoint();
    while !image.store(machine.checkpoint_piece(200)) {}
}

fn propose(instance: &str, value: &str) -> Command {
    Command::Propose { instance: instance.into(), value: value.to_owned().into() }
}

fn begin(transaction: &str, participants: &[&str]) -> Command {
    let participants = participants.iter().map(|p| (*p).to_owned()).collect();
    Command::Begin { transaction: transaction.into(), participants, timeout: 1000 }
}

fn vote(transaction: &str, participant: &str, vote: Vote) -> Command {
    Command::Vote { transaction: transaction.into(), participant: participant.into(), vote }
}

fn acknowledge(transaction: &str, participant: &str) -> Command {
    Command::Acknowledge { transaction: transaction.into(), participant: participant.into() }
}

fn publish(topic: &str, publisher: Option<(u64, u64)>, payload: &str) -> Command {
    let publisher = publisher.map(|(id, seq)| Publisher { id, seq });
    Command::Publish { topic: topic.into(), publisher, payload: payload.to_owned().into() }
}

fn subscribe(subscriber: &str, topic: &str, begin: Begin) -> Command {
    Command::Subscribe { subscriber: subscriber.into(), topic: topic.into(), begin, window: 2 }
}

fn stop(subscriber: &str, position: u64) -> Command {
    Command::AcknowledgeDelivery { subscriber: subscriber.into(), position }
}

/// Small bounds, so that there is something to forget.
fn small() -> Command {
    Command::SetBounds(BoundChanges {
        finished: Some(2),
        topic_entries: Some(3),
        publishers: Some(2),
        ..BoundChanges::default()
    })
}

/// Commands of all kinds, drawn from a seed: records come, change, and go.
fn commands(seed: u64, count: usize) -> Vec<Command> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut commands = vec![small()];
    while commands.len() < count {
        let name = |rng: &mut fastrand::Rng, kind: &str| format!("{kind}{}", rng.u8(..6));
        let participant = ["a", "b"][rng.usize(..2)];
        commands.push(match rng.u8(..11) {
            0 => propose(&format!("i{}", rng.u8(..40)), &rng.u8(..).to_string()),
            1 => begin(&name(&mut rng, "t"), &["a", "b"]),
            2 | 3 => vote(&name(&mut rng, "t"), participant, Vote::Yes),
            4 | 5 => acknowledge(&name(&mut rng, "t"), participant),
            6 => publish(&name(&mut rng, "p"), None, &"x".repeat(rng.usize(..40))),
            7 => Command::OpenPublisher,
            8 => subscribe(&name(&mut rng, "s"), &name(&mut rng, "p"), Begin::Oldest),
            // Of the last publications of some topic.
            9 => stop(&name(&mut rng, "s"), (commands.len() as u64).saturating_sub(rng.u64(..40))),
            _ => match rng.u8(..8) {
                0 => Command::Unsubscribe { subscriber: name(&mut rng, "s") },
                _ => stop(&name(&mut rng, "s"), (commands.len() as u64).saturating_sub(rng.u64(..40))),
            },
        });
    }
    commands
}
