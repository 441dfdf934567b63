//! Topics: what programs publish, each message under the guarantee of its topic, and what they are
//! delivered.
//!
//! ```text
//!  Publish ─► parked, such that its context is delivered ─► fifo, causal ─► uniform reliable ─┐
//!     └─────► logged best effort ───────────────────────────────────────────────────────────┤
//!                                                                                           ▼
//!  Delivered, Redelivered ◄─ cursors, redelivery ◄───────────────────────────────── delivery log
//! ```
//!
//! Requests and indications: [`TopicRequest`], [`TopicIndication`]. Properties: those of the modules
//! that it is made of.
//!
//! **On recovery** requests are nobody's: a message that was stored is broadcast all the same, and
//! who published it finds it in the delivery log. The first indication repeats all that the log keeps.

use super::best_effort::LoggedBestEffort;
use super::causal::{self, Context};
use super::deliveries::{Deliveries, Record};
use super::fifo;
use super::message::{
    BroadcastMessage, Delivery, Guarantee, MAX_NAME, MessageId, Order, Topic, is_publishable,
};
use super::redelivery::Redelivery;
use super::topic::{PublishError, Published, TopicIndication, TopicRequest};
use super::uniform_reliable::UniformReliable;
use crate::kernel::{
    Account, Bound, Bounds, Config, Held, Incarnation, Memory, Opened, Parked, ProcessId, ProcessSet,
    Protocol, SLOT, Stored, Ticks, Turn, Undecodable, Upon,
};
use crate::links::{Delivered, LinkMessage, Mark, Refused};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A message to be published.
#[derive(Clone, Debug)]
struct Publish {
    request: u64,
    topic: Topic,
    context: Context,
    payload: Bytes,
}

/// The topics of one process.
///
/// Bounds: `parked` holds at most `bounds.requests`, and `waiting` at most `bounds.undelivered`.
#[derive(Clone, Debug)]
pub struct Topics {
    config: Config,
    best_effort: LoggedBestEffort,
    broadcast: UniformReliable,
    deliveries: Deliveries,
    redelivery: Redelivery,
    /// Such that their context is delivered.
    parked: Parked<Publish>,
    /// Who waits for the delivery of an own message, by its number, and for how long.
    waiting: BTreeMap<u64, (u64, Ticks)>,
    up: Vec<TopicIndication>,
}

impl Topics {
    /// Everything as it was last durable.
    ///
    /// # Errors
    /// When what is stored does not decode.
    pub fn start(config: Config, inc: Incarnation, stored: &Stored) -> Result<Self, Undecodable> {
        let deliveries = Deliveries::start(config.clone(), stored)?;
        let broadcast = UniformReliable::start(config.clone(), stored, &deliveries)?;
        Ok(Self {
            best_effort: LoggedBestEffort::start(config.clone(), inc, stored)?,
            redelivery: Redelivery::start(config.clone(), stored)?,
            parked: Parked::new(config.bounds.requests),
            waiting: BTreeMap::new(),
            up: Vec::new(),
            broadcast,
            deliveries,
            config,
        })
    }

    /// With whom facts are exchanged: see [`UniformReliable::set_voters`].
    pub fn set_voters(&mut self, voters: ProcessSet) {
        self.best_effort.set_voters(voters);
        self.broadcast.set_voters(voters);
    }

    /// Publications: `requests` are parked, and `undelivered` are stored and not answered. The rest is
    /// that of the modules below.
    pub fn memory(&self) -> Vec<Memory> {
        let Bounds { requests, message_bytes, undelivered, .. } = self.config.bounds;
        let most = requests * (SLOT + Bounds::MESSAGE_HEADER + message_bytes) + undelivered as usize * SLOT;
        let parked = self.parked.iter().map(|p| p.topic.name.len() + p.payload.len());
        let held = (parked.len() + self.waiting.len(), parked.sum());
        let own = Memory::new(Account::Publications, held, most);
        let [outbox, links] = self.best_effort.memory();
        [own, outbox, links, self.broadcast.memory(), self.deliveries.memory(), self.redelivery.memory()]
            .into()
    }

    /// The delivery log, for monitors.
    pub fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }

    /// What is not as in another recovery from the same stable storage, for monitors. Of the subscribers
    /// what is stored of them: how far was looked for them is found again.
    pub fn differs(&self, other: &Self) -> Option<&'static str> {
        if self.deliveries.differs(&other.deliveries) {
            return Some("deliveries");
        }
        if self.broadcast.differs(&other.broadcast) {
            return Some("relayed messages");
        }
        self.redelivery.differs(&other.redelivery).then_some("subscribers")
    }

    /// The layer above asks.
    pub fn ask(&mut self, request: TopicRequest, turn: &mut Turn) {
        match request {
            TopicRequest::Publish { request, topic, context, payload, patience } => {
                self.publish(Publish { request, topic, context, payload }, patience, turn);
            }
            TopicRequest::Subscribe { request, subscriber, topic, from } => {
                let outcome = self.redelivery.subscribe(&subscriber, topic, from, &self.deliveries, turn);
                self.up.push(TopicIndication::Subscribed { request, outcome });
            }
            TopicRequest::Acknowledge { request, subscriber, position } => {
                let outcome = self.redelivery.stop(&subscriber, position, &self.deliveries, turn);
                self.up.push(TopicIndication::Acknowledged { request, outcome });
            }
            TopicRequest::Unsubscribe { request, subscriber } => {
                let outcome = self.redelivery.unsubscribe(&subscriber, turn);
                self.up.push(TopicIndication::Unsubscribed { request, outcome });
            }
        }
    }

    /// Nobody waits for the request any more. A message that was stored is delivered all the same.
    pub fn cancel(&mut self, request: u64) {
        self.parked.retain(|p| p.request != request);
        self.waiting.retain(|_, (waiting, _)| *waiting != request);
    }

    /// Time passes.
    pub fn tick(&mut self, turn: &mut Turn) {
        self.best_effort.tick(turn);
        self.broadcast.tick(&mut self.deliveries, turn);
        self.redelivery.tick();
        for late in self.parked.tick() {
            self.refuse(late.request, PublishError::ContextAhead);
        }
        let late: Vec<u64> = self.waiting.iter().filter(|(_, (_, p))| *p == 0).map(|(seq, _)| *seq).collect();
        for seq in late {
            if let Some((request, _)) = self.waiting.remove(&seq) {
                self.refuse(request, PublishError::Unknown);
            }
        }
        self.waiting.values_mut().for_each(|(_, patience)| *patience -= 1);
        self.trim(turn);
    }

    fn trim(&mut self, turn: &mut Turn) {
        if self.deliveries.trim(self.redelivery.wanted(), turn) {
            self.redelivery.upon_trimmed(&self.deliveries, turn);
        }
    }

    /// Gives up every request: this process lost its memory.
    pub fn give_up(&mut self) {
        for parked in self.parked.take() {
            self.refuse(parked.request, PublishError::NotAVoter);
        }
        for (request, _) in std::mem::take(&mut self.waiting).into_values() {
            self.refuse(request, PublishError::Unknown);
        }
    }

    /// What follows from what happened. Returns what the layer above is told, in order.
    pub fn settle(&mut self, turn: &mut Turn) -> Vec<TopicIndication> {
        loop {
            let any = self.broadcast.settle(&mut self.deliveries, turn);
            let delivered = self.deliveries.delivered();
            let parked = self.parked.release(|p| causal::admits(&p.context, delivered));
            let released = parked.map(|(parked, patience)| self.store(parked, patience, turn)).is_some();
            if !(any || released) {
                break;
            }
        }
        self.deliveries.ask_if_over(turn);
        if let Some((first, records)) = self.deliveries.take_news() {
            records.iter().for_each(|record| self.upon_delivered(record));
            let kept = self.deliveries.first();
            // Before the confirmations: who is told that a message is published finds it in the log.
            self.up.insert(0, TopicIndication::Delivered { first, records, kept });
        }
        let redelivered = self.redelivery.settle(&self.deliveries, turn);
        let redelivered = redelivered
            .into_iter()
            .map(|(subscriber, outcome)| TopicIndication::Redelivered { subscriber, outcome });
        self.up.extend(redelivered);
        std::mem::take(&mut self.up)
    }

    fn refuse(&mut self, request: u64, why: PublishError) {
        self.up.push(TopicIndication::Published { request, outcome: Err(why) });
    }

    fn publish(&mut self, publish: Publish, patience: Ticks, turn: &mut Turn) {
        let bounds = &self.config.bounds;
        let request = publish.request;
        if !(1..=MAX_NAME).contains(&publish.topic.name.len()) {
            self.refuse(request, PublishError::Name);
        } else if publish.payload.len() > bounds.message_bytes {
            turn.hit(Bound::MessageBytes);
            self.refuse(request, PublishError::TooLarge { limit: bounds.message_bytes });
        } else if self.deliveries.is_full_for(&publish.topic) {
            turn.hit(Bound::Topics);
            self.refuse(request, PublishError::TooManyTopics { limit: bounds.topics });
        } else if !self.broadcast.counts() {
            self.refuse(request, PublishError::NotAVoter);
        } else if publish.topic.guarantee == Guarantee::BestEffort {
            self.send(publish, turn);
        } else if causal::admits(&publish.context, self.deliveries.delivered()) {
            self.store(publish, patience, turn);
        } else if self.parked.park(publish, patience).is_err() {
            turn.hit(Bound::Parked);
            self.refuse(request, PublishError::TooMany);
        }
    }

    /// Sends a message to everybody, and confirms it: it is stored with this turn.
    fn send(&mut self, publish: Publish, turn: &mut Turn) {
        let Publish { request, topic, payload, .. } = publish;
        let message = postcard::to_allocvec(&(topic.name, payload))
            .expect("messages are plain data, which always encodes");
        let outcome = match self.best_effort.broadcast(&message.into(), turn) {
            Ok(Mark { index: seq, .. }) => {
                let id = MessageId { origin: self.config.me, seq };
                Ok(Published { id, context: Context::default() })
            }
            Err(Refused::Full { .. }) => Err(PublishError::TooMany),
            Err(Refused::TooLarge { limit }) => Err(PublishError::TooLarge { limit }),
            Err(Refused::Forgot) => Err(PublishError::NotAVoter),
        };
        self.up.push(TopicIndication::Published { request, outcome });
    }

    /// A message that was sent to everybody arrives.
    fn take(&mut self, delivered: Delivered, turn: &mut Turn) {
        let Delivered { from: origin, mark: Mark { index: seq, .. }, message } = delivered;
        let Ok((name, payload)) = postcard::from_bytes::<(String, Bytes)>(&message) else { return };
        if !is_publishable(&name, &payload, &self.config.bounds) {
            return;
        }
        let topic = Topic { guarantee: Guarantee::BestEffort, name };
        let id = MessageId { origin, seq };
        let delivery = Delivery { topic, id, context: Context::default(), payload };
        self.deliveries.append(Record::Delivery(delivery), turn);
    }

    /// Broadcasts a message under the name that is next.
    fn store(&mut self, publish: Publish, patience: Ticks, turn: &mut Turn) {
        let Publish { request, topic, context, payload } = publish;
        let Some(id) = self.broadcast.next(&self.deliveries) else {
            if self.broadcast.counts() {
                turn.hit(Bound::Undelivered);
            }
            return self.refuse(request, PublishError::TooMany);
        };
        let order = self.order(topic.guarantee, &context);
        self.broadcast.broadcast(id, topic.name, order, payload, turn);
        self.waiting.insert(id.seq, (request, patience));
    }

    /// The header of the next message: it comes after what this process has delivered, and after its own
    /// messages that wait to be delivered.
    fn order(&self, guarantee: Guarantee, context: &Context) -> Order {
        let waiting = self.broadcast.own_waiting().rev();
        match guarantee {
            Guarantee::BestEffort | Guarantee::Reliable => Order::None,
            Guarantee::Fifo => fifo::header(self.deliveries.end_of_fifo(), waiting),
            Guarantee::Causal => causal::header(self.deliveries.causal(), waiting, context),
        }
    }

    fn upon_delivered(&mut self, record: &Record) {
        let Record::Delivery(Delivery { topic, id, context, .. }) = record else { return };
        let is_own = id.origin == self.config.me && topic.guarantee != Guarantee::BestEffort;
        if let Some((request, _)) = is_own.then(|| self.waiting.remove(&id.seq)).flatten() {
            let outcome = Ok(Published { id: *id, context: context.clone() });
            self.up.push(TopicIndication::Published { request, outcome });
        }
    }

    fn react(&mut self, turn: &mut Turn, up: &mut Held<TopicIndication>) {
        self.settle(turn).into_iter().for_each(|told| up.expose(told));
    }
}

/// Alone, among processes that never lose their memory.
impl Protocol for Topics {
    type Request = TopicRequest;
    type Indication = TopicIndication;

    fn start(
        config: Config,
        inc: Incarnation,
        stored: &Stored,
        turn: &mut Turn,
        up: &mut Held<TopicIndication>,
    ) -> Result<Self, Undecodable> {
        let voters = config.members().collect();
        let mut topics = Self::start(config, inc, stored)?;
        topics.set_voters(voters);
        topics.react(turn, up);
        Ok(topics)
    }

    fn upon(&mut self, event: Upon<TopicRequest>, turn: &mut Turn, up: &mut Held<TopicIndication>) {
        match event {
            Upon::Request(request) => self.ask(request, turn),
            Upon::Frame { from, frame } => self.upon_frame(from, &frame, turn),
            Upon::Tick => self.tick(turn),
        }
        self.react(turn, up);
    }
}

impl Topics {
    /// A frame for the modules of this one.
    pub fn upon_frame(&mut self, from: ProcessId, frame: &Opened, turn: &mut Turn) {
        if let Ok(message) = frame.message::<BroadcastMessage>() {
            match message {
                BroadcastMessage::Told { end } if from == self.config.me => {
                    if self.deliveries.upon_told(end) {
                        self.trim(turn);
                    }
                }
                message => self.broadcast.upon(from, message, &self.deliveries, turn),
            }
        } else if let Ok(message) = frame.message::<LinkMessage>() {
            for delivered in self.best_effort.upon(from, message, turn) {
                self.take(delivered, turn);
            }
        }
    }

    /// The name that the next message of this process would have, if it took one.
    pub fn next(&self) -> Option<MessageId> {
        self.broadcast.next(&self.deliveries)
    }
}
