//! The state machine: commands in log order, one at a time.

use super::checkpoint::{Garbage, Progress, Saved};
use super::hits::Before;
use super::record::Key;
use super::view::View;
use super::{Command, Reply, Response};
use crate::kernel::{Hits, RowKey, SharedBounds};
use std::collections::{BTreeMap, VecDeque};

/// The ledger of one replica. Equal logs give equal states and equal replies on every replica.
#[derive(Debug, Default)]
pub struct Ledger {
    pub(super) now: View,
    /// The state that the last finished checkpoint holds.
    pub(super) saved: View,
    /// Where its records are on disk.
    pub(super) rows: BTreeMap<Key, Saved>,
    /// The sum of the digests of these rows.
    pub(super) digest: u64,
    /// The state that was digested last.
    pub(super) digested: View,
    /// The sum of the digests of its records.
    pub(super) sum: u64,
    /// The number of the next row.
    pub(super) next: u64,
    pub(super) generation: u32,
    /// The checkpoint that is being written.
    pub(super) progress: Option<Progress>,
    /// Rows that the last finished checkpoint does not need: the oldest first.
    pub(super) garbage: VecDeque<Garbage>,
    /// Rows of a checkpoint that a crash interrupted.
    pub(super) leftover: Vec<RowKey>,
    /// Someone reads the rows of a checkpoint one after the other.
    pub(super) held: bool,
    pub(super) shared: SharedBounds,
    pub(super) hits: Hits,
}

impl Ledger {
    /// The state as readers may see it. O(1).
    pub fn view(&self) -> View {
        self.now.clone()
    }

    /// Executes the command at `index` of the log; commands come in log order. Every command has a
    /// reply, the same one on every replica.
    pub fn execute(&mut self, index: u64, command: Command) -> Reply {
        let (before, opens) = (Before::new(&self.now, &command), command == Command::OpenPublisher);
        let reply = self.carry_out(index, command);
        before.count(&self.now, &reply, opens, &self.shared, &mut self.hits);
        reply
    }

    fn carry_out(&mut self, index: u64, command: Command) -> Reply {
        assert!(index >= self.now.end, "entry {index} of the log is applied already");
        self.now.end = index + 1;
        let View { instances, transactions, publications, subscribers, bounds, mutants, .. } = &mut self.now;
        let mutants = *mutants;
        Ok(match command {
            Command::Propose { instance, value } => {
                Response::Decided(instances.propose(&instance, value, bounds, mutants)?)
            }
            Command::Begin { transaction, participants, timeout } => Response::Transaction(
                transactions.begin(index, &transaction, &participants, timeout, bounds)?,
            ),
            Command::Vote { transaction, participant, vote } => {
                Response::Transaction(transactions.vote(index, &transaction, &participant, vote, mutants)?)
            }
            Command::TimeOut { transaction, begun } => {
                Response::Transaction(transactions.time_out(index, &transaction, begun, mutants)?)
            }
            Command::Acknowledge { transaction, participant } => Response::Transaction(
                transactions.acknowledge(index, &transaction, &participant, bounds, mutants)?,
            ),
            Command::OpenPublisher => Response::PublisherOpened(publications.open(index, bounds)),
            Command::Publish { topic, publisher, payload } => {
                Response::Published(publications.publish(index, &topic, publisher, payload, bounds, mutants)?)
            }
            Command::SetBounds(changes) => {
                *bounds = bounds.with(&changes);
                Response::Bounds(*bounds)
            }
            Command::Subscribe { subscriber, topic, begin, window } => {
                Response::Subscribed(subscribers.subscribe(
                    index,
                    &subscriber,
                    &topic,
                    (begin, window),
                    publications,
                    &self.shared,
                )?)
            }
            Command::AcknowledgeDelivery { subscriber, position } => {
                subscribers.acknowledge(&subscriber, position, publications, mutants)?;
                Response::DeliveryAcknowledged
            }
            Command::Unsubscribe { subscriber } => {
                subscribers.unsubscribe(&subscriber)?;
                Response::Unsubscribed
            }
        })
    }
}
