//! The logged perfect link and the logged best-effort broadcast in the small world: letters that
//! are confirmed, and end up in the delivery log of each receiver. The two are tried alike.

use super::links::Links;
use super::mail::{Letter, Mail, Posted, Sent};
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::broadcast::LoggedBestEffort;
use crate::kernel::{
    Config, Held, Incarnation, LogId, LoggedLog, Mutant, ProcessId, Protocol, Stored, Turn, Undecodable, Upon,
};
use crate::links::{Delivered, LinkMessage, LoggedPerfect, Refused};
use crate::sim::property::{Property, Verdict, ensure};
use bytes::Bytes;
use std::fmt::Debug;

/// Letters to one process each.
#[derive(Clone, Debug)]
pub(super) struct LoggedLinks;

/// Letters to everybody.
#[derive(Clone, Debug)]
pub(super) struct LoggedBroadcast;

const PAIR: Size =
    Size { processes: 2, askers: 2, requests: 1, crashes: 1, ticks: 1, again: false, overtaken: false };

impl Scenario for LoggedLinks {
    const NAME: &'static str = "logged-link";
    const PROPERTIES: &'static [Property] = &[
        Property::ReliableDelivery,
        Property::NoDuplication,
        Property::FifoDelivery,
        Property::NoCreation,
        Property::DurableHint,
    ];
    const TRIALS: &'static [Trial] = &[
        Trial {
            mutant: Mutant::OutboxForgotten,
            by: Property::ReliableDelivery,
            seeds: 20,
            within: Some(PAIR),
        },
        Trial {
            mutant: Mutant::DeliveredForgotten,
            by: Property::NoDuplication,
            seeds: 40,
            within: Some(PAIR),
        },
        Trial { mutant: Mutant::ExposeBeforeSync, by: Property::DurableHint, seeds: 20, within: Some(PAIR) },
    ];
    const CLOSED: Option<Size> = Some(Size {
        processes: 2,
        askers: 1,
        requests: 2,
        crashes: 1,
        ticks: 1,
        again: false,
        overtaken: false,
    });
    const WIDE: Option<Size> = Some(Size {
        processes: 3,
        askers: 3,
        requests: 2,
        crashes: 1,
        ticks: 1,
        again: false,
        overtaken: false,
    });
    type Process = Reader<LoggedPerfect>;
    type Monitor = Readers<false>;

    fn configure(config: &mut Config) {
        config.bounds.link_window = 2;
        config.bounds.outbox_entries = 6;
    }
}

impl Scenario for LoggedBroadcast {
    const NAME: &'static str = "best-effort";
    const PROPERTIES: &'static [Property] =
        &[Property::Validity, Property::NoDuplication, Property::NoCreation, Property::DurableHint];
    const TRIALS: &'static [Trial] = &[Trial {
        mutant: Mutant::OneReceiverSuffices,
        by: Property::Validity,
        seeds: 20,
        within: Some(Size { ticks: 2, ..PAIR }),
    }];
    const CLOSED: Option<Size> = Some(Size {
        processes: 2,
        askers: 2,
        requests: 1,
        crashes: 1,
        ticks: 1,
        again: false,
        overtaken: false,
    });
    const WIDE: Option<Size> = Some(Size {
        processes: 3,
        askers: 3,
        requests: 2,
        crashes: 1,
        ticks: 1,
        again: false,
        overtaken: false,
    });
    type Process = Reader<LoggedBestEffort>;
    type Monitor = Readers<true>;

    fn configure(config: &mut Config) {
        LoggedLinks::configure(config);
    }
}

/// What sends letters to logs.
pub(super) trait Logging: Clone + Debug {
    fn start(config: Config, inc: Incarnation, stored: &Stored) -> Result<Self, Undecodable>;
    fn send(&mut self, letter: &Letter, turn: &mut Turn) -> Result<(), Refused>;
    fn upon(&mut self, from: ProcessId, message: LinkMessage, turn: &mut Turn) -> Vec<Delivered>;
    fn hold(&mut self);
    fn ready(&mut self, turn: &mut Turn) -> Vec<Delivered>;
    fn tick(&mut self, turn: &mut Turn);
}

macro_rules! logging {
    ($module:ty, $send:expr) => {
        impl Logging for $module {
            fn start(config: Config, inc: Incarnation, stored: &Stored) -> Result<Self, Undecodable> {
                let everybody = config.members().collect();
                let mut module = Self::start(config, inc, stored)?;
                module.set_voters(everybody);
                Ok(module)
            }

            fn send(&mut self, letter: &Letter, turn: &mut Turn) -> Result<(), Refused> {
                let send: fn(&mut Self, &Letter, &mut Turn) -> _ = $send;
                send(self, letter, turn).map(|_| ())
            }

            fn upon(&mut self, from: ProcessId, message: LinkMessage, turn: &mut Turn) -> Vec<Delivered> {
                self.upon(from, message, turn)
            }

            fn hold(&mut self) {
                self.hold();
            }

            fn ready(&mut self, turn: &mut Turn) -> Vec<Delivered> {
                self.ready(turn)
            }

            fn tick(&mut self, turn: &mut Turn) {
                self.tick(turn);
            }
        }
    };
}

logging!(LoggedPerfect, |links, letter, turn| links.send(letter.to, &letter.text(), turn));
logging!(LoggedBestEffort, |links, letter, turn| links.broadcast(&letter.text(), turn));

/// A process that keeps a log of what is delivered to it.
#[derive(Clone, Debug)]
pub(super) struct Reader<L> {
    links: L,
    log: LoggedLog,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Send(Letter),
    Hold,
    Ready,
}

/// What is told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Confirm {
        number: usize,
    },
    Refused {
        number: usize,
    },
    /// The delivery log is so long.
    Deliver {
        upto: u64,
    },
}

impl<L: Logging> Reader<L> {
    /// The position of a delivery is told once the log holds it.
    fn deliver(&mut self, delivered: Vec<Delivered>, turn: &mut Turn, up: &mut Held<Told>) {
        if delivered.is_empty() {
            return;
        }
        let entry = |d: Delivered| Bytes::from([&[d.from.0], &d.message[..]].concat());
        self.log.append(delivered.into_iter().map(entry).collect(), turn);
        up.expose(Told::Deliver { upto: self.log.len() });
    }
}

impl<L: Logging> Protocol for Reader<L> {
    type Request = Ask;
    type Indication = Told;

    fn start(
        config: Config,
        inc: Incarnation,
        stored: &Stored,
        _turn: &mut Turn,
        up: &mut Held<Told>,
    ) -> Result<Self, Undecodable> {
        let log = LoggedLog::recover(LogId::DELIVERIES, stored);
        up.expose(Told::Deliver { upto: log.len() });
        Ok(Self { links: L::start(config, inc, stored)?, log })
    }

    fn upon(&mut self, event: Upon<Ask>, turn: &mut Turn, up: &mut Held<Told>) {
        match event {
            Upon::Request(Ask::Send(letter)) => match self.links.send(&letter, turn) {
                Ok(()) => up.expose(Told::Confirm { number: letter.number }),
                Err(_) => up.expose(Told::Refused { number: letter.number }),
            },
            Upon::Request(Ask::Hold) => self.links.hold(),
            Upon::Request(Ask::Ready) => {
                let delivered = self.links.ready(turn);
                self.deliver(delivered, turn, up);
            }
            Upon::Frame { from, frame } => {
                if let Ok(message) = frame.message() {
                    let delivered = self.links.upon(from, message, turn);
                    self.deliver(delivered, turn, up);
                }
            }
            Upon::Tick => self.links.tick(turn),
        }
    }
}

/// Those who send, and read the logs.
#[derive(Clone, Debug)]
pub(super) struct Readers<const ALL: bool> {
    mail: Mail,
    holding: Vec<bool>,
    /// How often somebody has held deliveries back, which counts as a request.
    holds: usize,
    /// How much of each log was read.
    read: Vec<u64>,
}

impl<const ALL: bool, L: Logging> Monitor<Reader<L>> for Readers<ALL> {
    fn new(processes: usize) -> Self {
        Self {
            mail: Mail::new(processes),
            holding: vec![false; processes],
            holds: 0,
            read: vec![0; processes],
        }
    }

    fn asks(&self, at: At<'_>, allowed: usize) -> Vec<Ask> {
        let allowed = allowed.saturating_sub(self.holds);
        let letters = match ALL {
            true => self.mail.to_all(at.process, allowed),
            false => self.mail.to_each(at.process, allowed),
        };
        let sends = letters.into_iter().map(Ask::Send);
        match self.holding[at.process.index()] {
            true => [Ask::Ready].into_iter().chain(sends).collect(),
            false => sends.chain((self.mail.letters.len() < allowed).then_some(Ask::Hold)).collect(),
        }
    }

    fn asked(&mut self, at: At<'_>, request: &Ask) {
        match request {
            Ask::Send(letter) => self.mail.asked(at, letter),
            Ask::Hold => {
                self.holds += 1;
                self.holding[at.process.index()] = true;
            }
            Ask::Ready => self.holding[at.process.index()] = false,
        }
    }

    fn indicated(&mut self, at: At<'_>, told: &Told) -> Verdict {
        match told {
            Told::Confirm { number } => self.mail.letters[*number].posted = Posted::Confirmed,
            Told::Refused { number } => self.mail.letters[*number].posted = Posted::Refused,
            Told::Deliver { upto } => {
                let held = at.disk.log(LogId::DELIVERIES).count() as u64;
                ensure(*upto <= held, Property::DurableHint, || {
                    format!("{} is told of {upto} deliveries, and its log holds {held}", at.process)
                })?;
            }
        }
        Ok(())
    }

    /// Reads what has come into the log of a process.
    fn stored(&mut self, at: At<'_>) -> Verdict {
        let p = at.process;
        for (position, entry) in at.disk.log(LogId::DELIVERIES).skip(self.read[p.index()] as usize) {
            self.read[p.index()] = position + 1;
            let from = ProcessId(entry[0]);
            let number = self.mail.read(at, from, &entry.slice(1..))?;
            let letter = &self.mail.letters[number];
            ensure(!letter.reached(p), Property::NoDuplication, || {
                format!("the log of {p} holds letter {number} of {from} a second time, at {position}")
            })?;
            let later = |l: &&Sent| l.from == from && l.reached(p);
            let overtook = self.mail.letters[number + 1..].iter().filter(later).count();
            ensure(overtook == 0, Property::FifoDelivery, || {
                format!(
                    "the log of {p} holds letter {number} of {from} after {overtook} that were sent later"
                )
            })?;
            self.mail.handed(number, p);
        }
        Ok(())
    }

    fn crashed(&mut self, process: ProcessId) {
        self.mail.crashed(process);
        self.holding[process.index()] = false;
    }

    fn finally(&self, links: &Links, up: &[At<'_>]) -> Verdict {
        let property = if ALL { Property::Validity } else { Property::ReliableDelivery };
        for (number, letter) in self.mail.letters.iter().enumerate() {
            let due = |at: &&At<'_>| {
                letter.posted == Posted::Confirmed
                    && letter.to.contains(at.process)
                    && links.linked(letter.from, at.process)
                    && !self.holding[at.process.index()]
            };
            for at in up.iter().filter(due) {
                ensure(letter.reached(at.process), property, || {
                    format!(
                        "letter {number} of {} was confirmed, and {} never has it",
                        letter.from, at.process
                    )
                })?;
            }
        }
        Ok(())
    }
}
