//! What leaves a process: frames to the network, indications to clients, one by one.

use super::clients::Glimpse;
use super::ledger;
use super::monitors::{Failure, Property, Verdict};
use super::network::Sent;
use super::service;
use super::trace::{Note, Trace};
use super::words;
use super::world::{World, crc};
use crate::kernel::{Exposed, Opened, Outgoing, ProcessId, Rows};
use crate::stack::{Event, Indication};

impl World {
    /// The next frame leaves a process.
    pub(super) fn send_next(&mut self, p: ProcessId) -> Verdict {
        let step = self.step;
        let next = self.alive(p).and_then(|alive| alive.frames.front());
        if next.is_some_and(|frame| frame.get().to == p) {
            // What it has told before, or with it, reaches those outside before the frame reaches it.
            while self.alive(p).is_some_and(|alive| !alive.indications.is_empty()) {
                self.show_next(p)?;
            }
        }
        let Some(alive) = self.processes[p.index()].alive.as_deref_mut() else { return Ok(()) };
        let Some(exposed) = alive.frames.pop_front() else { return Ok(()) };
        let Outgoing { to, frame } = Exposed::into_inner(exposed);
        let bytes = frame.bytes().clone();
        self.trace.fold(u64::from(crc(&bytes)));
        if to == p {
            // What a process says to itself is part of it: reliable and in order, until it crashes.
            self.trace.note(step, || Note::Delivered { from: p, to, id: 0, bytes: bytes.clone() });
            if let Ok(frame) = Opened::check(bytes) {
                alive.inbox.push_back(Event::Frame { from: p, frame });
            }
            return Ok(());
        }
        if alive.mute > 0 {
            alive.mute -= 1;
            self.coverage.send_omissions += 1;
            self.trace.note(step, || Note::Dropped { from: p, to, id: 0, bytes });
            return Ok(());
        }
        if self.network.send(p, to, alive.inc, &frame) == Sent::Dropped {
            self.coverage.dropped += 1;
        }
        let id = self.network.sent();
        self.trace.note(step, || Note::Sent { from: p, to, id, bytes });
        Ok(())
    }

    /// The next indication leaves a process.
    pub(super) fn show_next(&mut self, p: ProcessId) -> Verdict {
        let process = &mut self.processes[p.index()];
        let Some(alive) = process.alive.as_deref_mut() else { return Ok(()) };
        let Some(exposed) = alive.indications.pop_front() else { return Ok(()) };
        let indication = exposed.into_inner();
        if let Indication::LogsDiffer(divergence) = &indication {
            return self.halt(p, divergence);
        }
        if self.apart.is_some() && !matches!(indication, Indication::Fetch { .. }) {
            return Ok(());
        }
        match &indication {
            Indication::Publish { applied, view } => {
                self.trace.fold(*applied);
                let (step, revision) = (self.step, service::revision(view));
                self.trace.note(step, || Note::Shown { at: p, revision });
                let mut state = Trace::new(0);
                state.fold(service::revision(view));
                self.effects.shows(p, service::revision(view))?;
                self.ledger.shows(p, &view.second, &mut self.coverage)?;
                ledger::fold(&view.second, |word| state.fold(word));
                for key in &self.keys {
                    let found = service::peek(view, key, &process.disk).map_err(|e| Failure {
                        property: Property::ClientHistory,
                        detail: format!("{p} cannot read {key} in the view that it publishes: {e}"),
                    })?;
                    if let Some((value, revision)) = found {
                        self.effects.wrote(&value, revision)?;
                        state.fold(revision);
                    }
                    state.fold(0);
                }
                self.effects.state(p, *applied, state.hash())?;
                alive.view = Some(view.clone());
                return Ok(());
            }
            Indication::Fetch { ticket, from, end, max_bytes } => {
                let rows = match self.rng.u8(..8) {
                    0 if self.failing_reads => {
                        self.coverage.failed_reads += 1;
                        None
                    }
                    _ => process.disk.scan(*from, *end, *max_bytes).ok(),
                };
                let event = Event::Rows { ticket: *ticket, rows };
                alive.inbox.push_back(event);
                return Ok(());
            }
            Indication::HandedOver | Indication::LogsDiffer(_) => {}
            Indication::Diverged => {
                alive.view = None;
                self.befalls(p, || "finds that its state is not that of a majority".into());
            }
            Indication::Topics(told) => {
                let step = self.step;
                self.trace.note(step, || words::told(p, &indication));
                let seen = (&process.disk, process.ticks);
                return self.topics.upon(p, told, seen, &mut self.coverage);
            }
            Indication::Returned { request, outcome } => {
                let step = self.step;
                self.trace.note(step, || words::told(p, &indication));
                let ticks = process.ticks;
                return self.registers.upon(p, *request, outcome, ticks, &mut self.coverage);
            }
            Indication::Reply { .. } | Indication::Readable { .. } | Indication::Refused { .. } => {
                let step = self.step;
                self.trace.note(step, || words::told(p, &indication));
                self.told = Some((p, step));
                if self.ledger.asked(&indication) {
                    let glimpse = Glimpse { processes: &self.processes, now: self.step };
                    return self.ledger.upon(p, &indication, glimpse, &mut self.coverage);
                }
            }
        }
        let glimpse = Glimpse { processes: &self.processes, now: self.step };
        let next = self.clients.upon(p, &indication, glimpse, &mut self.coverage)?;
        self.ask(next)?;
        Ok(())
    }
}
