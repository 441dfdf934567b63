//! Commands: what the log carries for the ledger.

use crate::atomic_commit::Vote;
use crate::broadcast::{Begin, Publisher, for_second};
use crate::kernel::BoundChanges;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

const FORMAT: u8 = 1;

/// A command. The place of a variant in this list is its number on the log: new ones come last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Proposes a value to an instance of consensus.
    Propose {
        /// The instance.
        instance: String,
        /// The value.
        value: Bytes,
    },
    /// Begins a transaction.
    Begin {
        /// Its name.
        transaction: String,
        /// Who must vote yes for it to commit.
        participants: Vec<String>,
        /// Milliseconds after which it is aborted.
        timeout: u64,
    },
    /// Votes on a transaction.
    Vote {
        /// The transaction.
        transaction: String,
        /// Who votes.
        participant: String,
        /// Its vote.
        vote: Vote,
    },
    /// The time of a transaction ran out.
    TimeOut {
        /// The transaction.
        transaction: String,
        /// The log entry that began it.
        begun: u64,
    },
    /// Acknowledges the outcome of a transaction.
    Acknowledge {
        /// The transaction.
        transaction: String,
        /// Who has learned it.
        participant: String,
    },
    /// Opens a publisher.
    OpenPublisher,
    /// Publishes to a total-order topic.
    Publish {
        /// The topic.
        topic: String,
        /// Who publishes, and under which number, where it is to be published once however often
        /// the log carries it.
        publisher: Option<Publisher>,
        /// What.
        payload: Bytes,
    },
    /// Changes bounds of the ledger.
    SetBounds(BoundChanges),
    /// Has the publications of a topic delivered to a subscriber until it acknowledges them.
    Subscribe {
        /// The subscriber.
        subscriber: String,
        /// The topic.
        topic: String,
        /// Where it begins, if it is new, or goes on, if it fell off.
        begin: Begin,
        /// Publications that it is delivered from the oldest that it has not acknowledged on.
        window: u64,
    },
    /// A subscriber has processed a publication.
    AcknowledgeDelivery {
        /// The subscriber.
        subscriber: String,
        /// Where the publication is.
        position: u64,
    },
    /// Forgets a subscriber.
    Unsubscribe {
        /// The subscriber.
        subscriber: String,
    },
}

impl Command {
    /// Whether it adds to what is kept: such commands are refused while space is short. What ends
    /// something, or moves it on to its end, is not, and neither is what replaces an older one of a
    /// few.
    pub fn grows(&self) -> bool {
        match self {
            Command::Propose { .. } | Command::Begin { .. } | Command::Publish { .. } => true,
            Command::Vote { .. }
            | Command::TimeOut { .. }
            | Command::Acknowledge { .. }
            | Command::OpenPublisher
            | Command::SetBounds(_)
            | Command::Subscribe { .. }
            | Command::AcknowledgeDelivery { .. }
            | Command::Unsubscribe { .. } => false,
        }
    }

    /// As the log carries it beside the store's commands.
    pub fn encode(&self) -> Bytes {
        for_second(&self.encode_alone())
    }

    /// As a log carries it that has no other commands.
    pub fn encode_alone(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).expect("a vector takes everything that is written to it")
    }

    /// Reads what [`encode_alone`](Self::encode_alone) wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => postcard::from_bytes(rest).ok(),
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic_commit::Reason;

    #[test]
    fn a_command_reads_back_as_it_was() {
        let commands = [
            Command::Propose { instance: "i".into(), value: "v".into() },
            Command::Vote {
                transaction: "t".into(),
                participant: "p".into(),
                vote: Vote::No(Reason::Other("the moon".into())),
            },
            Command::Publish {
                topic: "t".into(),
                publisher: Some(Publisher { id: 1 << 40, seq: 2 }),
                payload: Bytes::new(),
            },
            Command::SetBounds(BoundChanges::default()),
            Command::Subscribe {
                subscriber: "s".into(),
                topic: "t".into(),
                begin: Begin::At(1 << 40),
                window: 2,
            },
            Command::AcknowledgeDelivery { subscriber: "s".into(), position: 7 },
            Command::Unsubscribe { subscriber: "s".into() },
        ];
        for command in commands {
            assert_eq!(Command::decode(&command.encode_alone()), Some(command));
        }
    }

    #[test]
    fn a_command_has_the_number_that_it_has_on_logs() {
        let number = |command: Command| command.encode_alone()[1];
        assert_eq!(number(Command::SetBounds(BoundChanges::default())), 7);
        let (begin, window) = (Begin::Now, 1);
        let [subscriber, topic] = ["s", "t"].map(str::to_owned);
        assert_eq!(number(Command::Subscribe { subscriber, topic, begin, window }), 8);
        assert_eq!(number(Command::AcknowledgeDelivery { subscriber: "s".into(), position: 7 }), 9);
        assert_eq!(number(Command::Unsubscribe { subscriber: "s".into() }), 10);
    }

    #[test]
    fn a_command_cut_short_or_of_another_version_is_none() {
        let bytes = Command::Propose { instance: "i".into(), value: "v".into() }.encode_alone();
        (0..bytes.len()).for_each(|len| assert_eq!(Command::decode(&bytes[..len]), None));
        assert_eq!(Command::decode(&[FORMAT + 1, 5]), None);
        assert_eq!(Command::decode(&[FORMAT, 99]), None);
    }
}
