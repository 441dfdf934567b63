//! A configuration in words: the state of each process, what it holds durably, its in-buffer, its
//! out-buffer, and what is on its way to the others.

use super::process::{Alive, Process};
use super::trace::{self, Words};
use super::world::World;
use crate::kernel::ProcessId;
use crate::stack::{Event, Role};
use std::fmt::Write as _;

/// Items of one list that are told one by one.
const ITEMS: usize = 8;

/// The configuration after the last step.
pub(super) fn of(world: &World) -> String {
    let mut text = format!("Configuration after step {}\n", world.steps());
    for process in &world.processes {
        text.push('\n');
        let _ = match process.alive.as_deref() {
            None => writeln!(text, "{}  down, incarnation {}", process.id, process.disk.facts().inc),
            Some(alive) => writeln!(text, "{}  up, incarnation {}, {}", process.id, alive.inc, role(alive)),
        };
        if let Some(alive) = process.alive.as_deref() {
            volatile(&mut text, alive);
        }
        durable(&mut text, process);
        if let Some(alive) = process.alive.as_deref() {
            disk(&mut text, alive);
            list(&mut text, "inbox", alive.inbox.iter().map(event).collect());
            let frames = alive.frames.iter().map(|f| {
                let out = f.get();
                format!("to {}: {}", out.to, Words(out.frame.bytes()))
            });
            let mut outbox: Vec<String> = frames.collect();
            if !alive.indications.is_empty() {
                outbox.push(format!("{} indications", alive.indications.len()));
            }
            list(&mut text, "outbox", outbox);
        }
        for to in world.members().filter(|to| *to != process.id) {
            links(&mut text, world, process.id, to);
        }
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "    {name:<10} {value}");
}

/// One item a line; a list without any has none.
fn list(text: &mut String, name: &str, items: Vec<String>) {
    let more = items.len().saturating_sub(ITEMS);
    for (i, item) in items.iter().take(ITEMS).enumerate() {
        line(text, if i == 0 { name } else { "" }, item);
    }
    if more > 0 {
        line(text, "", &format!("and {more} more"));
    }
}

fn role(alive: &Alive) -> String {
    let status = alive.stack.status();
    match status.role {
        Role::Forming => "its cluster has not formed".into(),
        Role::Learner(why) => format!("learner ({why:?})"),
        Role::Follower => match status.leader {
            Some(leader) => format!("follows {leader}"),
            None => "follows nobody".into(),
        },
        Role::Candidate => format!("stands in {}", status.promised),
        Role::Leader => format!("leads in {}", status.accepted),
    }
}

fn volatile(text: &mut String, alive: &Alive) {
    let s = alive.stack.status();
    line(text, "ballots", &format!("prom {}, accRnd {}", s.promised, s.accepted));
    let log = format!("{}..{}, decided {}, applied {}", s.log_first, s.log_len, s.decided, s.applied);
    line(text, "log", &log);
}

fn durable(text: &mut String, process: &Process) {
    let f = process.disk.facts();
    let log = format!("log {}..{}, decided {}", f.first, f.len, f.decided);
    line(text, "durable", &format!("inc {}, prom {}, accRnd {}, {log}", f.inc, f.prom, f.acc));
}

fn disk(text: &mut String, alive: &Alive) {
    if let Some(commit) = &alive.commit {
        line(text, "on disk", &format!("being written: {}", trace::words(commit.batch())));
    }
    if alive.synced.is_some() {
        line(text, "on disk", "a batch is durable, and the process does not know yet");
    }
    if !alive.journal.pending().is_empty() {
        line(text, "to store", &trace::words(alive.journal.pending()));
    }
    let (frames, indications) = alive.journal.waiting();
    let mut waiting: Vec<String> =
        frames.map(|out| format!("to {}: {}", out.to, Words(out.frame.bytes()))).collect();
    if indications > 0 {
        waiting.push(format!("{indications} indications"));
    }
    list(text, "waiting", waiting);
}

fn event(event: &Event) -> String {
    match event {
        Event::Frame { from, frame } => {
            format!("from {from}: {:?}, kind {}", frame.component(), frame.kind())
        }
        Event::Tick => "a tick".into(),
        Event::Connected { peer } => format!("connected to {peer}"),
        Event::Refused { peer } => format!("refused by {peer}"),
        Event::Execute { request, .. } => format!("execute request {request}"),
        Event::Read { request, .. } => format!("read, request {request}"),
        Event::Register { request, name, .. } => format!("register {name}, request {request}"),
        Event::Topics(_) => "something about topics".into(),
        Event::Cancel { request } => format!("cancel request {request}"),
        Event::HandOver => "hand over".into(),
        Event::Rows { ticket, .. } => format!("rows of fetch {ticket}"),
    }
}

fn links(text: &mut String, world: &World, from: ProcessId, to: ProcessId) {
    let network = world.network();
    let cut = if network.is_cut(from, to) { ", cut" } else { "" };
    let flight = network.flight(from, to).iter().map(|f| Words(&f.bytes).to_string());
    let held = network.shelf(from, to).iter().map(|f| format!("held back: {}", Words(&f.bytes)));
    let mut items: Vec<String> = flight.chain(held).collect();
    if items.is_empty() && !cut.is_empty() {
        items.push("nothing".into());
    }
    list(text, &format!("→ {to}{cut}"), items);
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::super::action::{Action, Delivery, Haste};
    use super::super::monitors::Verdict;
    use super::*;
    use fastrand::Rng;

    /// One tick everywhere; a frame takes one.
    fn round(world: &mut World) -> Verdict {
        let in_flight: Vec<_> = world.pairs().map(|(p, q)| (p, q, world.network.in_flight(p, q))).collect();
        for (from, to, frames) in in_flight {
            for _ in 0..frames {
                world.deliver(from, to, 0, Delivery::Once)?;
            }
        }
        for at in world.members() {
            world.perform(Action::Tick { at })?;
            world.hasten(at, Haste::Disk)?;
        }
        Ok(())
    }

    #[test]
    fn a_configuration_tells_state_in_buffer_and_out_buffer() {
        let options = Options { processes: 2, ..Options::default() };
        let mut world = World::new(1, &options, &mut Rng::with_seed(1), 0);
        for p in world.members() {
            world.recover(p).unwrap();
            world.hasten(p, Haste::Disk).unwrap();
        }
        (0..100).for_each(|_| round(&mut world).unwrap());
        let leader = world.members().find(|p| world.role(*p) == Some(Role::Leader)).unwrap();
        // The leader has appended a command, which is being written; a second one waits, and the
        // other process is gone.
        let other = ProcessId(1 - leader.0);
        world.processes[other.index()].alive = None;
        for request in [7, 8] {
            let command = super::super::service::open_session();
            world.arrives(leader, Event::Execute { request, command, patience: 9 });
            world.handle(leader, usize::MAX).unwrap();
            world.disk(leader, None).unwrap();
            world.send_next(leader).unwrap();
        }
        world.arrives(leader, Event::Tick);
        world.arrives(leader, Event::Read { request: 9, patience: 9 });
        world.network.set_cut(leader, other, true);
        world.pass_to(42);
        let text = of(&world);
        assert_eq!(text, include_str!("configuration.txt"), "\n{text}");
    }
}
