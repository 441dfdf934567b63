//! The FIFO link in the small world: letters to peers that hold back deliveries at times.

use super::links::Links;
use super::mail::{Letter, Mail, Posted, Sent};
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::kernel::{
    Config, Held, Incarnation, Mutant, ProcessId, Protocol, Stored, Turn, Undecodable, Upon,
};
use crate::links::{Channel, Fifo};
use crate::sim::property::{Property, Verdict, ensure};
use bytes::Bytes;

/// Processes that send each other letters.
#[derive(Clone, Debug)]
pub(super) struct FifoLinks;

const PAIR: Size =
    Size { processes: 2, askers: 2, requests: 2, crashes: 0, ticks: 1, again: false, overtaken: false };

impl Scenario for FifoLinks {
    const NAME: &'static str = "fifo-link";
    const PROPERTIES: &'static [Property] =
        &[Property::ReliableDelivery, Property::NoDuplication, Property::FifoDelivery, Property::NoCreation];
    const TRIALS: &'static [Trial] = &[
        Trial { mutant: Mutant::GapSkipped, by: Property::FifoDelivery, seeds: 20, within: Some(PAIR) },
        Trial {
            mutant: Mutant::GapAcknowledged,
            by: Property::ReliableDelivery,
            seeds: 20,
            within: Some(Size { crashes: 1, ..PAIR }),
        },
        Trial {
            mutant: Mutant::RepeatDelivered,
            by: Property::NoDuplication,
            seeds: 20,
            within: Some(Size { again: true, ..PAIR }),
        },
        Trial {
            mutant: Mutant::StaleStream,
            by: Property::NoDuplication,
            seeds: 0,
            within: Some(Size { requests: 3, crashes: 1, ticks: 0, again: true, ..PAIR }),
        },
    ];
    const CLOSED: Option<Size> = Some(Size {
        processes: 2,
        askers: 2,
        requests: 2,
        crashes: 1,
        ticks: 1,
        again: false,
        overtaken: false,
    });
    const WIDE: Option<Size> = Some(Size {
        processes: 3,
        askers: 3,
        requests: 3,
        crashes: 1,
        ticks: 1,
        again: false,
        overtaken: false,
    });
    type Process = Talker;
    type Monitor = Talk;

    fn configure(config: &mut Config) {
        config.bounds.link_window = 2;
    }
}

/// A process with a FIFO link to each other.
#[derive(Clone, Debug)]
pub(super) struct Talker {
    links: Fifo,
    processes: u8,
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
    Deliver { from: ProcessId, text: Bytes },
    Full { number: usize },
}

impl Protocol for Talker {
    type Request = Ask;
    type Indication = Told;

    fn start(
        config: Config,
        inc: Incarnation,
        _stored: &Stored,
        _turn: &mut Turn,
        _up: &mut Held<Told>,
    ) -> Result<Self, Undecodable> {
        let processes = config.processes as u8;
        Ok(Self { links: Fifo::start(config, inc, Channel(1)), processes })
    }

    fn upon(&mut self, event: Upon<Ask>, turn: &mut Turn, up: &mut Held<Told>) {
        match event {
            Upon::Request(Ask::Send(letter)) => {
                for to in (0..self.processes).map(ProcessId).filter(|p| letter.to.contains(*p)) {
                    if self.links.send(to, letter.text(), turn).is_err() {
                        up.expose(Told::Full { number: letter.number });
                    }
                }
            }
            Upon::Request(Ask::Hold) => self.links.hold(),
            Upon::Request(Ask::Ready) => {
                for (from, texts) in self.links.ready(turn) {
                    texts.into_iter().for_each(|text| up.expose(Told::Deliver { from, text }));
                }
            }
            Upon::Frame { from, frame } => {
                if let Ok(message) = frame.message() {
                    let texts = self.links.upon(from, message, turn).delivered;
                    texts.into_iter().for_each(|text| up.expose(Told::Deliver { from, text }));
                }
            }
            Upon::Tick => self.links.tick(turn),
        }
    }
}

/// Those who send, and what they are handed.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    mail: Mail,
    holding: Vec<bool>,
    /// How often somebody has held deliveries back, which counts as a request.
    holds: usize,
}

impl Monitor<Talker> for Talk {
    fn new(processes: usize) -> Self {
        Self { mail: Mail::new(processes), holding: vec![false; processes], holds: 0 }
    }

    fn asks(&self, at: At<'_>, allowed: usize) -> Vec<Ask> {
        let allowed = allowed.saturating_sub(self.holds);
        let sends = self.mail.to_each(at.process, allowed).into_iter().map(Ask::Send);
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
        let (from, text) = match told {
            Told::Deliver { from, text } => (*from, text),
            Told::Full { number } => {
                self.mail.letters[*number].posted = Posted::Refused;
                return Ok(());
            }
        };
        let p = at.process;
        let number = self.mail.read(at, from, text)?;
        ensure(self.mail.times(number, p) == 0, Property::NoDuplication, || {
            format!("{p} is handed letter {number} of {from} a second time")
        })?;
        let letter = &self.mail.letters[number];
        let same = |l: &&Sent| l.is_akin(letter) && l.reached(p);
        let overtook = self.mail.letters[number + 1..].iter().filter(same).count();
        ensure(overtook == 0 || letter.reached(p), Property::FifoDelivery, || {
            format!("{p} is handed letter {number} of {from} after {overtook} that were sent later")
        })?;
        self.mail.handed(number, p);
        Ok(())
    }

    fn crashed(&mut self, process: ProcessId) {
        self.mail.crashed(process);
        self.holding[process.index()] = false;
    }

    fn finally(&self, links: &Links, up: &[At<'_>]) -> Verdict {
        for (number, letter) in self.mail.letters.iter().enumerate() {
            if !self.mail.stayed(letter.from, letter) || letter.posted == Posted::Refused {
                continue;
            }
            let due = |at: &&At<'_>| {
                letter.to.contains(at.process)
                    && self.mail.stayed(at.process, letter)
                    && links.linked(letter.from, at.process)
                    && !self.holding[at.process.index()]
            };
            for at in up.iter().filter(due) {
                ensure(letter.reached(at.process), Property::ReliableDelivery, || {
                    format!(
                        "{} stayed up, and {} was never handed its letter {number}",
                        letter.from, at.process
                    )
                })?;
            }
        }
        Ok(())
    }
}
