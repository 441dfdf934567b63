//! Subscribers of total-order topics. Any client receives and acknowledges for any of them, at any
//! process: what one process was told, the others must respect.

use super::coverage::Coverage;
use super::monitors::{Publications, Receipts, Shown, Verdict};
use crate::broadcast::{Begin, FellOff, SubscribeError};
use crate::kernel::{Mutant, Mutants, SharedBounds};
use crate::ledger::{Command, Error, Reply, Response, View};
use fastrand::Rng;

/// Small, so that it is full at times.
const WINDOW: u64 = 2;
/// How many there may be at a time.
const NAMES: usize = 3;
/// One that comes and goes, so that there is something for checkpoints to forget.
const PASSING: &str = "passer-by";

/// What a client does for a subscriber.
#[derive(Debug)]
pub(super) enum Turn {
    /// It asks the log for something.
    Execute(Command),
    /// It receives what a process delivers, which is what that shows behind a read barrier.
    Receive(usize),
    /// The same, where a mutant takes what a process shows for all there is.
    ReceiveAtOnce(usize),
}

/// All subscribers.
#[derive(Debug)]
pub(super) struct Receivers {
    receipts: [Receipts; 2],
    /// Who fell off, and has to say where it goes on.
    fell: [Option<FellOff>; 2],
    topics: [&'static str; 2],
    shared: SharedBounds,
    mutants: Mutants,
}

impl Receivers {
    pub(super) fn new(topics: [&'static str; 2], shared: SharedBounds, mutants: Mutants) -> Self {
        let window = WINDOW.min(shared.unacknowledged);
        let receipts = [Receipts::new("s0", topics[0], window), Receipts::new("s1", topics[1], window)];
        Self { receipts, fell: [None, None], topics, shared, mutants }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.receipts.len()
    }

    /// What a client does, from what it sees at a process.
    pub(super) fn draw(&mut self, rng: &mut Rng, view: &View) -> Option<Turn> {
        let number = rng.usize(..=self.receipts.len());
        let Some(receipts) = self.receipts.get_mut(number) else {
            return self.pass_by(rng, view).map(Turn::Execute);
        };
        let subscriber = receipts.name().to_owned();
        let subscribe = |begin| {
            let (subscriber, topic) = (subscriber.clone(), receipts.topic().to_owned());
            Some(Turn::Execute(Command::Subscribe { subscriber, topic, begin, window: WINDOW }))
        };
        if let Some(fell) = self.fell[number].take() {
            // Perhaps that is gone, too, by now.
            return subscribe(if rng.bool() { Begin::Oldest } else { Begin::At(fell.oldest) });
        }
        if !receipts.is_known() {
            return subscribe(if rng.bool() { Begin::Oldest } else { Begin::Now });
        }
        match rng.u8(..16) {
            0 => subscribe(Begin::Now),
            1..=7 if self.mutants.on(Mutant::ReceivedUnconfirmed) => Some(Turn::ReceiveAtOnce(number)),
            1..=7 => Some(Turn::Receive(number)),
            8 => Some(Turn::Execute(acknowledge(receipts, receipts.last() + rng.u64(..20)))),
            9 => {
                let position = receipts.last().saturating_sub(rng.u64(..20));
                Some(Turn::Execute(acknowledge(receipts, position)))
            }
            // The last one more often than not, so that one before it is open.
            10..=13 => {
                let position = *receipts.pending().last()?;
                Some(Turn::Execute(acknowledge(receipts, position)))
            }
            _ => {
                let position = *receipts.pending().first()?;
                Some(Turn::Execute(acknowledge(receipts, position)))
            }
        }
    }

    fn pass_by(&self, rng: &mut Rng, view: &View) -> Option<Command> {
        let subscriber = PASSING.to_owned();
        Some(match rng.u8(..4) {
            0 | 1 => {
                let topic = self.topics[rng.usize(..self.topics.len())].to_owned();
                Command::Subscribe { subscriber, topic, begin: Begin::Oldest, window: WINDOW }
            }
            2 => {
                let pending = view.pending(PASSING)?.ok()?;
                let position = pending.get(rng.usize(..pending.len().max(1)))?.position;
                Command::AcknowledgeDelivery { subscriber, position }
            }
            _ => Command::Unsubscribe { subscriber },
        })
    }

    /// A process delivers to a subscriber what it shows to be pending.
    pub(super) fn receive(
        &mut self,
        number: usize,
        shown: Shown<'_>,
        publications: &mut Publications,
        end: bool,
        coverage: &mut Coverage,
    ) -> Verdict {
        let name = self.receipts[number].name();
        match shown.view.pending(name) {
            Some(Ok(pending)) => coverage.receipts += pending.len() as u64,
            Some(Err(fell)) => {
                coverage.receivers_fell_off += 1;
                self.fell[number] = Some(fell);
            }
            None => {}
        }
        self.receipts[number].delivers(shown, publications, end)
    }

    /// A process answers; nothing where that is no answer to the command.
    pub(super) fn upon(&mut self, command: &Command, reply: &Reply, shown: Shown<'_>) -> Option<Verdict> {
        let (Command::Subscribe { subscriber, .. }
        | Command::AcknowledgeDelivery { subscriber, .. }
        | Command::Unsubscribe { subscriber }) = command
        else {
            return None;
        };
        let receipts = self.receipts.iter_mut().find(|r| r.name() == subscriber);
        Some(match (command, reply, receipts) {
            (Command::Subscribe { begin, .. }, Ok(Response::Subscribed(low)), Some(receipts)) => {
                receipts.subscribed((shown.at, shown.now), *begin, Ok(*low))
            }
            (Command::Subscribe { .. }, Err(Error::Subscribe(SubscribeError::TooMany { limit })), _)
                if *limit == self.shared.subscribers && *limit < NAMES =>
            {
                Ok(())
            }
            (Command::Subscribe { begin, .. }, Err(Error::Subscribe(why)), Some(receipts)) => {
                receipts.subscribed((shown.at, shown.now), *begin, Err(why))
            }
            (
                Command::AcknowledgeDelivery { position, .. },
                Ok(Response::DeliveryAcknowledged),
                Some(receipts),
            ) => receipts.acknowledged(shown, *position, Ok(())),
            (Command::AcknowledgeDelivery { position, .. }, Err(Error::Acknowledge(why)), Some(receipts)) => {
                receipts.acknowledged(shown, *position, Err(why))
            }
            (Command::Subscribe { .. }, Ok(Response::Subscribed(_)) | Err(Error::Subscribe(_)), None)
            | (
                Command::AcknowledgeDelivery { .. },
                Ok(Response::DeliveryAcknowledged) | Err(Error::Acknowledge(_)),
                None,
            )
            | (Command::Unsubscribe { .. }, Ok(Response::Unsubscribed) | Err(Error::Unsubscribe(_)), None) => {
                Ok(())
            }
            _ => return None,
        })
    }
}

fn acknowledge(receipts: &mut Receipts, position: u64) -> Command {
    receipts.acknowledges(position);
    Command::AcknowledgeDelivery { subscriber: receipts.name().to_owned(), position }
}
