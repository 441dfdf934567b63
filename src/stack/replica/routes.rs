//! What arrives, and which module it is for.

use super::{Out, Stack, returned};
use crate::broadcast::{
    CatchUpMessage, CrossCheckMessage, PublishError, StateMachine, TopicIndication, TopicRequest,
    TotalOrderMessage,
};
use crate::consensus::{Accept, Heartbeat, Membership, Notice, Paxos};
use crate::kernel::{Bound, Component, Mutant, Opened, ProcessId, Turn};
use crate::register::{Failed, RegisterMessage};
use crate::stack::{Event, Indication, Refusal, sweep};

impl<M: StateMachine> Stack<M> {
    /// An event goes to the module that reacts to it.
    pub(super) fn handle(&mut self, event: Event, turn: &mut Turn, up: Out<'_, M>) {
        if turn.is_full() && self.is_put_off(&event, up) {
            turn.hit(Bound::Journal);
            return;
        }
        match event {
            Event::Frame { from, frame } => self.upon_frame(from, &frame, turn, up),
            Event::Tick => self.tick(turn, up),
            Event::Connected { peer } => self.members.upon_connected(peer, turn),
            Event::Refused { peer } => self.detector.suspect(peer),
            Event::Execute { request, command, patience } => {
                if self.refuses_growth() && M::grows(&command) {
                    up.expose(Indication::Refused { request, why: Refusal::NoSpace });
                } else if let Err(why) = self.total_order.broadcast(request, command, patience, turn) {
                    up.expose(Indication::Refused { request, why: why.into() });
                }
            }
            Event::Read { request, patience } => {
                if !self.reads.ask(request, patience) {
                    turn.hit(Bound::Reads);
                    up.expose(Indication::Refused { request, why: Refusal::TooMany });
                }
            }
            Event::Register { request, name, ask, patience } => {
                if let Err(why) = self.registers.ask(request, &name, ask, patience, turn) {
                    up.expose(Indication::Returned { request, outcome: Err(why) });
                }
            }
            Event::Topics(request) => {
                self.topics.set_voters(self.members.voters());
                self.topics.ask(request, turn);
            }
            Event::Cancel { request } => {
                self.total_order.cancel(request);
                self.reads.cancel(request);
                self.registers.cancel(request);
                self.topics.cancel(request);
            }
            Event::HandOver => {
                self.leaving = true;
                self.paxos.hand_over();
            }
            Event::Rows { ticket, rows } => match rows {
                rows if ticket == sweep::TICKET => {
                    if self.sweeper.upon_rows(rows.as_deref()) {
                        turn.hit(Bound::SweepRows);
                    }
                }
                Some(rows) => self.source.upon_rows(ticket, rows, self.paxos.prom(), turn),
                None => self.source.upon_failed(ticket),
            },
        }
    }

    /// Whether an event is not taken while the disk is behind: a frame of another process is lost, as
    /// links may lose it, and a request refused. What comes from this process itself, and of time, is
    /// taken: it is what lets the disk get on.
    fn is_put_off(&self, event: &Event, up: Out<'_, M>) -> bool {
        match event {
            // Heartbeats store nothing, and wait for nothing: without them who is behind would stand.
            Event::Frame { from, frame } => {
                *from != self.config.me && frame.component() != Component::Detector
            }
            Event::Execute { request, .. } | Event::Read { request, .. } => {
                up.refuse(Indication::Refused { request: *request, why: Refusal::TooMany });
                true
            }
            Event::Register { request, .. } => {
                up.refuse(Indication::Returned { request: *request, outcome: Err(Failed::TooMany) });
                true
            }
            Event::Topics(TopicRequest::Publish { request, .. }) => {
                let outcome = Err(PublishError::TooMany);
                up.refuse(Indication::Topics(TopicIndication::Published { request: *request, outcome }));
                true
            }
            Event::Topics(_)
            | Event::Tick
            | Event::Connected { .. }
            | Event::Refused { .. }
            | Event::Cancel { .. }
            | Event::HandOver
            | Event::Rows { .. } => false,
        }
    }

    fn upon_frame(&mut self, from: ProcessId, frame: &Opened, turn: &mut Turn, up: Out<'_, M>) {
        self.members.upon_stamp(from, frame.stamp());
        // A body that does not decode after its checksum was right comes from another build: it is
        // as good as lost.
        match frame.component() {
            Component::Members => {
                if let Ok(message) = frame.message::<Membership>() {
                    self.members.upon(from, message, turn);
                }
            }
            Component::Detector => {
                if let Ok(message) = frame.message::<Heartbeat>() {
                    if !self.paxos.believes(message.ballots()) {
                        return;
                    }
                    let facts = self.facts();
                    let prom = self.detector.upon(from, message, &facts, turn);
                    if let Some(prom) = prom
                        && !self.config.mutants.on(Mutant::HappyWithoutMajority)
                    {
                        self.paxos.outranked(prom);
                    }
                }
            }
            Component::Consensus => {
                if let Ok(message) = frame.message::<Paxos>() {
                    self.paxos.upon(from, message, turn);
                }
            }
            Component::Proposal => {
                if let Ok(message) = frame.message::<Accept>() {
                    self.paxos.upon_accept(from, message, turn);
                }
            }
            Component::TotalOrder => {
                if let Ok(message) = frame.message::<TotalOrderMessage>() {
                    self.upon_total_order(from, message, turn);
                }
            }
            Component::CatchUp => {
                if let Ok(message) = frame.message::<CatchUpMessage>() {
                    self.upon_catch_up(from, message, turn, up);
                }
            }
            Component::Register => {
                if let Ok(message) = frame.message::<RegisterMessage>() {
                    self.registers.set_voters(self.members.voters());
                    returned(self.registers.upon(from, message, turn), up);
                }
            }
            Component::CrossCheck => {
                if let Ok(message) = frame.message::<CrossCheckMessage>()
                    && !self.has_diverged()
                {
                    let diverged = self.cross_check.upon(from, &message, turn);
                    self.upon_compared(diverged, turn, up);
                }
            }
            Component::Broadcast | Component::Link => {
                self.topics.set_voters(self.members.voters());
                self.topics.upon_frame(from, frame, turn);
            }
        }
    }

    /// What the log tells.
    pub(super) fn upon_notice(&mut self, notice: Notice, turn: &mut Turn) {
        match notice {
            Notice::ReadAt { asked: (process, inc, number), index } => {
                if process == self.config.me {
                    self.reads.upon_read_at(inc, number, index);
                } else {
                    turn.send(process, &TotalOrderMessage::ReadAt { inc, number, index });
                }
            }
            Notice::Behind { source } => self.catch_up.begin(source, self.paxos.decided(), turn),
            Notice::MayStand => self.paxos.stand(turn),
            Notice::Forgot { boot } => self.members.upon_forgot(boot, turn),
            Notice::Diverged(divergence) => self.log_differs = Some(divergence),
        }
    }

    fn upon_total_order(&mut self, from: ProcessId, message: TotalOrderMessage, turn: &mut Turn) {
        match message {
            TotalOrderMessage::Forward { entries } => {
                if self.paxos.leads() {
                    self.total_order.upon_forward(from, entries, turn);
                }
            }
            TotalOrderMessage::ReadAsk { inc, number } => self.paxos.ask_read((from, inc, number), turn),
            TotalOrderMessage::ReadAt { inc, number, index } => self.reads.upon_read_at(inc, number, index),
        }
    }

    fn upon_catch_up(&mut self, from: ProcessId, message: CatchUpMessage, turn: &mut Turn, up: Out<'_, M>) {
        match message {
            CatchUpMessage::Ask { from: asked, snapshot } => self.give(from, asked, snapshot, turn, up),
            CatchUpMessage::Entries { from: first, entries, decided, prefix, prom } => {
                // What nobody asked for is nobody's answer.
                if self.catch_up.source() != Some(from) {
                    return;
                }
                self.paxos.learn(from, (first, entries), prefix, prom, turn);
                self.learner_gate(decided);
                self.catch_up.upon_entries(from, self.paxos.decided(), decided, turn);
            }
            CatchUpMessage::Chunk(chunk) => {
                if let Some(snapshot) = self.catch_up.upon_chunk(from, self.paxos.decided(), chunk, turn) {
                    self.install(snapshot, turn, up);
                }
            }
        }
    }

    /// A learner never receives an `AcceptSync`: it serves once it has caught up with what its
    /// source had decided when it was first asked.
    fn learner_gate(&mut self, decided: u64) {
        if self.members.distrust().is_some() {
            self.paxos.learn_gate(decided);
        }
    }
}
