//! Service `kvorum.v1.Bounds`.

use super::Replica;
use super::ledger::unexpected;
use super::service::{Service, reply};
use crate::kernel::{BoundChanges, ReplicatedBounds};
use crate::ledger::{Command, Response as Done};
use crate::proto::kvorum::v1::bounds_server::Bounds;
use crate::proto::kvorum::v1::{BoundSet, GetBoundsRequest};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl<R: Replica> Bounds for Service<R> {
    async fn get_bounds(&self, request: Request<GetBoundsRequest>) -> Result<Response<BoundSet>, Status> {
        let call = self.call(&request)?;
        let view = self.replica().ledger_barrier(call.patience).await;
        reply(told(view.map_err(|why| self.refused(why))?.bounds()))
    }

    async fn set_bounds(&self, request: Request<BoundSet>) -> Result<Response<BoundSet>, Status> {
        let call = self.call(&request)?;
        let changes = changes(request.get_ref())?;
        match self.ledger(Command::SetBounds(changes), call).await? {
            Done::Bounds(bounds) => reply(told(bounds)),
            other => Err(unexpected(other)),
        }
    }
}

fn told(bounds: ReplicatedBounds) -> BoundSet {
    let ReplicatedBounds {
        instances,
        decision_bytes,
        decisions_bytes,
        transactions,
        participants,
        finished,
        topics,
        topic_entries,
        topic_bytes,
        publication_bytes,
        publishers,
    } = bounds;
    BoundSet {
        instances: Some(instances),
        decision_bytes: Some(decision_bytes),
        decisions_bytes: Some(decisions_bytes),
        transactions: Some(transactions),
        participants: Some(participants),
        finished: Some(finished),
        topics: Some(topics),
        topic_entries: Some(topic_entries),
        topic_bytes: Some(topic_bytes),
        publication_bytes: Some(publication_bytes),
        publishers: Some(publishers),
    }
}

/// What is asked for, if all of it can be.
fn changes(asked: &BoundSet) -> Result<BoundChanges, Status> {
    let most = ReplicatedBounds::MOST;
    Ok(BoundChanges {
        instances: bound("instances", asked.instances, most.instances)?,
        decision_bytes: bound("decision_bytes", asked.decision_bytes, most.decision_bytes)?,
        decisions_bytes: bound("decisions_bytes", asked.decisions_bytes, most.decisions_bytes)?,
        transactions: bound("transactions", asked.transactions, most.transactions)?,
        participants: bound("participants", asked.participants, most.participants)?,
        finished: bound("finished", asked.finished, most.finished)?,
        topics: bound("topics", asked.topics, most.topics)?,
        topic_entries: bound("topic_entries", asked.topic_entries, most.topic_entries)?,
        topic_bytes: bound("topic_bytes", asked.topic_bytes, most.topic_bytes)?,
        publication_bytes: bound("publication_bytes", asked.publication_bytes, most.publication_bytes)?,
        publishers: bound("publishers", asked.publishers, most.publishers)?,
    })
}

fn bound(name: &str, asked: Option<u64>, most: u64) -> Result<Option<u64>, Status> {
    match asked {
        Some(n) if !(1..=most).contains(&n) => Err(Status::invalid_argument(format!(
            "kvorum: the bound {name} must be between 1 and {most}, and {n} was asked for"
        ))),
        within => Ok(within),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_can_be_asked_for_and_comes_to_the_same() {
        let now = ReplicatedBounds { topics: 7, instances: 9, ..ReplicatedBounds::MOST };
        assert_eq!(ReplicatedBounds::MOST.with(&changes(&told(now)).unwrap()), now);
    }

    #[test]
    fn a_bound_of_nothing_or_of_too_much_is_refused() {
        for n in [0, ReplicatedBounds::MOST.topics + 1] {
            let asked = BoundSet { topics: Some(n), ..BoundSet::default() };
            let refused = changes(&asked).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
            assert!(refused.message().contains("between 1 and 256"), "{refused}");
        }
    }
}
