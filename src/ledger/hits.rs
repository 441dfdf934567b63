//! Which bounds a command hit: seen from what it answered, and from what was forgotten for it.

use super::view::View;
use super::{Command, Error, Reply};
use crate::atomic_commit::CommitError;
use crate::broadcast::{PublicationError, SubscribeError};
use crate::consensus::ProposeError;
use crate::kernel::{Bound, Hits, SharedBounds};

/// What there was before a command, of what it may have forgotten.
pub(super) struct Before {
    transactions: usize,
    publishers: usize,
    /// The topic that is published to, and its oldest publication.
    topic: Option<(String, u64)>,
    /// The window that a subscriber asks for.
    window: u64,
}

impl Before {
    pub(super) fn new(view: &View, command: &Command) -> Self {
        let topic = match command {
            Command::Publish { topic, .. } => Some((topic.clone(), view.oldest(topic))),
            _ => None,
        };
        let window = match command {
            Command::Subscribe { window, .. } => *window,
            _ => 0,
        };
        let (transactions, publishers) =
            (view.transactions().table().len(), view.publications().publishers().len());
        Self { transactions, publishers, topic, window }
    }

    /// Counts what the command hit.
    pub(super) fn count(
        self,
        view: &View,
        reply: &Reply,
        opened: bool,
        shared: &SharedBounds,
        hits: &mut Hits,
    ) {
        refused(reply).into_iter().for_each(|bound| hits.hit(bound));
        if view.transactions().table().len() < self.transactions {
            hits.hit(Bound::Finished);
        }
        if opened && view.publications().publishers().len() <= self.publishers {
            hits.hit(Bound::Publishers);
        }
        if reply.is_ok() && self.window > shared.unacknowledged {
            hits.hit(Bound::ReceiverWindow);
        }
        if let Some((topic, oldest)) = self.topic
            && view.oldest(&topic) > oldest
        {
            let full = view.publications().entries(&topic) >= view.bounds().topic_entries;
            hits.hit(if full { Bound::OrderedEntries } else { Bound::OrderedBytes });
        }
    }
}

/// The bound for which a command was refused, if it was for one.
fn refused(reply: &Reply) -> Option<Bound> {
    Some(match reply.as_ref().err()? {
        Error::Propose(ProposeError::TooMany { .. }) => Bound::Instances,
        Error::Propose(ProposeError::TooLarge { .. }) => Bound::DecisionBytes,
        Error::Propose(ProposeError::Full { .. }) => Bound::DecisionsBytes,
        Error::Commit(CommitError::TooManyTransactions { .. }) => Bound::Transactions,
        Error::Commit(CommitError::TooManyParticipants { .. }) => Bound::Participants,
        Error::Publication(PublicationError::TooManyTopics { .. }) => Bound::OrderedTopics,
        Error::Publication(PublicationError::TooLarge { .. }) => Bound::PublicationBytes,
        Error::Subscribe(SubscribeError::TooMany { .. }) => Bound::Receivers,
        _ => return None,
    })
}
