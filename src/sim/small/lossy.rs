//! The fair-loss link in the small world, under the lossy best-effort broadcast: letters to
//! everybody, which are sent once, or again with every tick.

use super::links::Links;
use super::mail::{Letter, Mail};
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::broadcast::BestEffort;
use crate::kernel::{
    Component, Config, Held, Incarnation, Message, Mutant, ProcessId, Protocol, Slot, Stored, Turn,
    Undecodable, Upon,
};
use crate::sim::property::{Property, Verdict, ensure};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Processes that broadcast letters, and lose some.
#[derive(Clone, Debug)]
pub(super) struct Lossy;

impl Scenario for Lossy {
    const NAME: &'static str = "fair-loss-link";
    const PROPERTIES: &'static [Property] =
        &[Property::FairLoss, Property::FiniteDuplication, Property::NoCreation];
    const TRIALS: &'static [Trial] = &[
        Trial {
            mutant: Mutant::OneLeftOut,
            by: Property::FairLoss,
            seeds: 20,
            within: Some(Size {
                processes: 2,
                askers: 2,
                requests: 2,
                crashes: 1,
                ticks: 1,
                again: false,
                overtaken: false,
            }),
        },
        Trial { mutant: Mutant::FramesMultiply, by: Property::FiniteDuplication, seeds: 20, within: None },
        Trial { mutant: Mutant::FrameUnchecked, by: Property::NoCreation, seeds: 20, within: None },
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
    type Process = Caller;
    type Monitor = Listeners;
}

/// A letter on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Call(Bytes);

impl Message for Call {
    const COMPONENT: Component = Component::Link;

    fn kind(&self) -> u8 {
        0
    }

    fn slot(&self) -> Slot {
        Slot::Window
    }
}

/// A process that broadcasts.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    broadcast: BestEffort<Call>,
    /// What it sends with every tick.
    repeated: Vec<Bytes>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Once(Letter),
    Repeat(Letter),
}

/// What is told.
#[derive(Clone, Debug)]
pub(super) struct Deliver {
    from: ProcessId,
    text: Bytes,
}

impl Protocol for Caller {
    type Request = Ask;
    type Indication = Deliver;

    fn start(
        config: Config,
        _inc: Incarnation,
        _stored: &Stored,
        _turn: &mut Turn,
        _up: &mut Held<Deliver>,
    ) -> Result<Self, Undecodable> {
        Ok(Self { broadcast: BestEffort::start(&config), repeated: Vec::new() })
    }

    fn upon(&mut self, event: Upon<Ask>, turn: &mut Turn, up: &mut Held<Deliver>) {
        match event {
            Upon::Request(Ask::Once(letter)) => self.broadcast.broadcast(&Call(letter.text()), turn),
            Upon::Request(Ask::Repeat(letter)) => self.repeated.push(letter.text()),
            Upon::Frame { from, frame } => {
                if let Some(Call(text)) = self.broadcast.deliver(&frame) {
                    up.expose(Deliver { from, text });
                }
            }
            Upon::Tick => {
                for text in &self.repeated {
                    self.broadcast.broadcast(&Call(text.clone()), turn);
                }
            }
        }
    }
}

/// More often than the network ever doubles one frame.
const MANY: usize = 40;

/// Those who call, and what they hear.
#[derive(Clone, Debug)]
pub(super) struct Listeners {
    mail: Mail,
    /// Which letters are repeated.
    repeated: Vec<bool>,
}

impl Monitor<Caller> for Listeners {
    fn new(processes: usize) -> Self {
        Self { mail: Mail::new(processes), repeated: Vec::new() }
    }

    fn asks(&self, at: At<'_>, allowed: usize) -> Vec<Ask> {
        let letter = || self.mail.to_all(at.process, allowed).into_iter();
        letter().map(Ask::Repeat).chain(letter().map(Ask::Once)).collect()
    }

    fn asked(&mut self, at: At<'_>, request: &Ask) {
        let (letter, repeated) = match request {
            Ask::Once(letter) => (letter, false),
            Ask::Repeat(letter) => (letter, true),
        };
        self.mail.asked(at, letter);
        self.repeated.push(repeated);
    }

    fn indicated(&mut self, at: At<'_>, Deliver { from, text }: &Deliver) -> Verdict {
        let number = self.mail.read(at, *from, text)?;
        let p = at.process;
        if !self.repeated[number] || !self.mail.letters[number].reached(p) {
            self.mail.handed(number, p);
        }
        let times = self.mail.letters[number].handed.iter().filter(|(q, _)| *q == p).count();
        ensure(times <= MANY, Property::FiniteDuplication, || {
            format!("{p} hears letter {number} of {from}, which was sent once, for the {times}th time")
        })
    }

    fn crashed(&mut self, process: ProcessId) {
        self.mail.crashed(process);
    }

    fn finally(&self, links: &Links, up: &[At<'_>]) -> Verdict {
        for (number, letter) in self.mail.letters.iter().enumerate() {
            if !self.repeated[number] || !self.mail.stayed(letter.from, letter) {
                continue;
            }
            for at in up.iter().filter(|at| links.linked(letter.from, at.process)) {
                ensure(letter.reached(at.process), Property::FairLoss, || {
                    let (from, to) = (letter.from, at.process);
                    format!("{from} repeats letter {number} for ever, and {to} has never heard it")
                })?;
            }
        }
        Ok(())
    }
}
