//! The stubborn link in the small world: letters, each handed over as often as it arrives, until
//! the layer above acknowledges it.

use super::links::Links;
use super::mail::{Letter, Mail, Posted, Sent};
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::kernel::{
    Config, Held, Incarnation, Mutant, ProcessId, ProcessSet, Protocol, Stored, Turn, Undecodable, Upon,
};
use crate::links::{Channel, Stubborn, Taken};
use crate::sim::property::{Property, Verdict, ensure};
use bytes::Bytes;

/// Processes that send letters, and acknowledge at times what they have received so far.
#[derive(Clone, Debug)]
pub(super) struct StubbornLinks;

impl Scenario for StubbornLinks {
    const NAME: &'static str = "stubborn-link";
    const PROPERTIES: &'static [Property] = &[Property::StubbornDelivery, Property::NoCreation];
    const TRIALS: &'static [Trial] = &[Trial {
        mutant: Mutant::StubbornGivesUp,
        by: Property::StubbornDelivery,
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
    }];
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
    type Process = Sender;
    type Monitor = Receivers;

    fn configure(config: &mut Config) {
        config.bounds.link_window = 2;
    }
}

/// A process with a stubborn link to each other.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    link: Stubborn,
    /// Of each peer: its life that was heard, and below which number everything has arrived.
    arrived: Vec<(Incarnation, u64)>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Send(Letter),
    /// What has arrived of a peer need not be sent again.
    Acknowledge(ProcessId),
}

/// What is told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Deliver { from: ProcessId, text: Bytes },
    Full { number: usize },
}

impl Protocol for Sender {
    type Request = Ask;
    type Indication = Told;

    fn start(
        config: Config,
        inc: Incarnation,
        _stored: &Stored,
        _turn: &mut Turn,
        _up: &mut Held<Told>,
    ) -> Result<Self, Undecodable> {
        let arrived = vec![(0, 0); config.processes];
        Ok(Self { link: Stubborn::start(config, inc, Channel(1)), arrived })
    }

    fn upon(&mut self, event: Upon<Ask>, turn: &mut Turn, up: &mut Held<Told>) {
        match event {
            Upon::Request(Ask::Send(letter)) => {
                for to in (0..self.arrived.len() as u8).map(ProcessId).filter(|p| letter.to.contains(*p)) {
                    if self.link.send(to, letter.text(), turn).is_err() {
                        up.expose(Told::Full { number: letter.number });
                    }
                }
            }
            Upon::Request(Ask::Acknowledge(peer)) => {
                let (inc, below) = self.arrived[peer.index()];
                self.link.acknowledge(peer, inc, below, turn);
            }
            Upon::Frame { from, frame } => {
                let Ok(message) = frame.message() else { return };
                if let Some(Taken::Packet(packet)) = self.link.upon(from, message, turn) {
                    let (inc, below) = &mut self.arrived[from.index()];
                    if packet.inc > *inc {
                        (*inc, *below) = (packet.inc, packet.low);
                    }
                    if packet.inc == *inc {
                        *below = (*below).max(packet.low);
                        *below += u64::from(packet.number == *below);
                    }
                    up.expose(Told::Deliver { from, text: packet.message });
                }
            }
            Upon::Tick => self.link.tick(turn),
        }
    }
}

/// Those who send, and what they are handed.
#[derive(Clone, Debug)]
pub(super) struct Receivers {
    mail: Mail,
    /// For each process what it has acknowledged of whom.
    acknowledged: Vec<Vec<bool>>,
}

impl Monitor<Sender> for Receivers {
    fn new(processes: usize) -> Self {
        Self { mail: Mail::new(processes), acknowledged: vec![vec![false; processes]; processes] }
    }

    fn asks(&self, at: At<'_>, allowed: usize) -> Vec<Ask> {
        let letters = self.mail.letters.iter().enumerate();
        let received = letters.filter(|(number, _)| self.mail.times(*number, at.process) > 0);
        let from: ProcessSet = received.map(|(_, letter)| letter.from).collect();
        let new = |p: &ProcessId| from.contains(*p) && !self.acknowledged[at.process.index()][p.index()];
        let sends = self.mail.to_each(at.process, allowed).into_iter().map(Ask::Send);
        sends.chain(self.mail.members().filter(new).map(Ask::Acknowledge)).collect()
    }

    fn asked(&mut self, at: At<'_>, request: &Ask) {
        match request {
            Ask::Send(letter) => self.mail.asked(at, letter),
            Ask::Acknowledge(peer) => {
                self.acknowledged[at.process.index()][peer.index()] = true;
                // Whatever has arrived is acknowledged, also what was not handed over yet.
                let sent = |l: &&mut Sent| l.from == *peer && l.to.contains(at.process);
                self.mail.letters.iter_mut().filter(sent).for_each(|l| l.posted = Posted::Confirmed);
            }
        }
    }

    fn indicated(&mut self, at: At<'_>, told: &Told) -> Verdict {
        match told {
            Told::Deliver { from, text } => {
                let number = self.mail.read(at, *from, text)?;
                // Again and again, of which twice is enough to know.
                if self.mail.times(number, at.process) < 2 {
                    self.mail.handed(number, at.process);
                    self.acknowledged[at.process.index()][from.index()] = false;
                }
            }
            Told::Full { number } => self.mail.letters[*number].posted = Posted::Refused,
        }
        Ok(())
    }

    fn crashed(&mut self, process: ProcessId) {
        self.mail.crashed(process);
        self.acknowledged[process.index()].fill(false);
    }

    fn finally(&self, links: &Links, up: &[At<'_>]) -> Verdict {
        for (number, letter) in self.mail.letters.iter().enumerate() {
            if !self.mail.stayed(letter.from, letter) || letter.posted != Posted::Asked {
                continue;
            }
            for at in
                up.iter().filter(|at| letter.to.contains(at.process) && links.linked(letter.from, at.process))
            {
                ensure(letter.reached(at.process), Property::StubbornDelivery, || {
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
