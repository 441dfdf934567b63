//! Clients of registers, and what must hold of what they are told.

use super::atomicity::{Atomicity, Begun};
use super::clients::{Asked, Glimpse, Life};
use super::coverage::Coverage;
use super::property::{Property, Verdict, ensure};
use super::sizes::{Sizes, padded};
use crate::kernel::{Bounds, ProcessId, Ticks};
use crate::register::{Ask, Failed, Outcome};
use crate::stack::{Event, RequestId};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

const NAMES: [&str; 2] = ["x", "y"];
/// Requests of these clients are numbered from here on.
const FIRST: RequestId = 1 << 32;

/// A request of these clients, for people.
pub(super) struct Number(pub(super) RequestId);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {}", self.0.wrapping_sub(FIRST))
    }
}

/// What a client waits for.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    request: RequestId,
    at: ProcessId,
    /// The life of it that was asked.
    life: Life,
    since: Ticks,
    /// Whether the value is larger than a register holds.
    large: bool,
    register: usize,
    operation: Begun,
}

/// Clients that read and write registers, one operation at a time each.
#[derive(Debug)]
pub(super) struct RegisterClients {
    pub(super) rng: Rng,
    clients: Vec<Option<Waiting>>,
    registers: [Atomicity; NAMES.len()],
    next: RequestId,
    patience: Ticks,
    sizes: Sizes,
    bounds: Bounds,
    /// Clients from here on are probes.
    programs: usize,
    /// Probes to be made again, once their process takes more requests.
    again: BTreeMap<usize, ProcessId>,
    stopped: bool,
    /// Clients of whose operations one failed, for want of a majority.
    failed: BTreeSet<usize>,
    /// The longest that an operation took, in ticks of the process that was asked.
    pub(super) longest: Ticks,
}

impl RegisterClients {
    pub(super) fn new(mut rng: Rng, clients: usize, patience: Ticks, bounds: Bounds) -> Self {
        let registers = NAMES.map(Atomicity::new);
        let sizes = Sizes::around([bounds.register_bytes], &mut rng);
        Self {
            rng,
            clients: vec![None; clients],
            registers,
            next: FIRST,
            patience,
            sizes,
            bounds,
            programs: clients,
            again: BTreeMap::new(),
            stopped: false,
            failed: BTreeSet::new(),
            longest: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// No operation begins any more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// How many operations of processes that stayed up have not returned.
    pub(super) fn waiting(&self) -> usize {
        self.clients.iter().flatten().count() + self.again.len()
    }

    /// A client's turn: it begins an operation, or finds that the process it asked has crashed.
    pub(super) fn act(&mut self, number: usize, world: Glimpse<'_>) -> Asked {
        if let Some(waiting) = self.clients[number] {
            if world.life(waiting.at) != Some(waiting.life) {
                self.clients[number] = None;
            }
            return None;
        }
        if let Some(at) = self.again.remove(&number) {
            return self.begin(number, at, 0, Some(0), world);
        }
        if self.stopped {
            return None;
        }
        let at = ProcessId(self.rng.u8(..world.processes.len() as u8));
        let (register, writes) = (self.rng.usize(..NAMES.len()), self.rng.bool());
        let size = self.sizes.draw(&mut self.rng);
        self.begin(number, at, register, writes.then_some(size), world)
    }

    /// A write at one process, by a client of its own: where faults have stopped it must return.
    pub(super) fn probe(&mut self, at: ProcessId, world: Glimpse<'_>) -> Asked {
        self.clients.push(None);
        self.begin(self.clients.len() - 1, at, 0, Some(0), world)
    }

    /// Whether that many probes, the last clients that there are, have all succeeded.
    pub(super) fn probes_returned(&self, probes: usize) -> bool {
        let last = self.clients.len() - probes;
        self.clients[last..].iter().all(Option::is_none) && self.failed.iter().all(|number| *number < last)
    }

    fn begin(
        &mut self,
        number: usize,
        at: ProcessId,
        register: usize,
        writes: Option<usize>,
        world: Glimpse<'_>,
    ) -> Asked {
        let life = world.life(at)?;
        let request = self.next;
        self.next += 1;
        let ask = match writes {
            Some(size) => Ask::Write(Bytes::from(padded(&format!("v{}", request - FIRST), size))),
            None => Ask::Read,
        };
        let large = ask.value().is_some_and(|value| value.len() > self.bounds.register_bytes);
        let operation = self.registers[register].begin(at, ask.value());
        let since = world.processes[at.index()].ticks;
        self.clients[number] = Some(Waiting { request, at, life, since, large, register, operation });
        let name = NAMES[register].to_owned();
        Some((at, Event::Register { request, name, ask, patience: self.patience }))
    }

    /// An operation returned.
    pub(super) fn upon(
        &mut self,
        at: ProcessId,
        request: RequestId,
        outcome: &Outcome,
        now: Ticks,
        coverage: &mut Coverage,
    ) -> Verdict {
        let is_mine = |w: &Option<Waiting>| w.is_some_and(|w| w.request == request && w.at == at);
        let Some(number) = self.clients.iter().position(is_mine) else { return Ok(()) };
        let Some(waiting) = self.clients[number].take() else { return Ok(()) };
        let returned = match outcome {
            Ok(returned) => returned,
            Err(Failed::TooMany) if number >= self.programs => {
                self.again.insert(number, at);
                return Ok(());
            }
            Err(Failed::Full) if self.bounds.registers < NAMES.len() => return Ok(()),
            // It may take effect, and nobody was told so.
            Err(Failed::NoMajority | Failed::Unknown | Failed::TooMany) => {
                self.failed.insert(number);
                return Ok(());
            }
            Err(Failed::TooLarge { .. }) if waiting.large => {
                coverage.too_large += 1;
                return Ok(());
            }
            Err(other) => {
                return ensure(false, Property::RegisterTermination, || {
                    format!("{at} refuses request {request}: {other}")
                });
            }
        };
        coverage.registers += 1;
        self.longest = self.longest.max(now - waiting.since);
        self.registers[waiting.register].end(waiting.operation, returned)
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::{Action, Delivery, Haste};
    use super::super::disk::Fault;
    use super::super::world::World;
    use super::super::{Failure, Options};
    use super::*;
    use crate::stack::Role;

    /// One tick everywhere; a frame takes one. Clients ask survivors.
    fn round(world: &mut World) -> Result<(), Failure> {
        let in_flight: Vec<_> = world.pairs().map(|(p, q)| (p, q, world.network.in_flight(p, q))).collect();
        for (from, to, frames) in in_flight {
            for _ in 0..frames {
                world.deliver(from, to, 0, Delivery::Once)?;
            }
        }
        for at in world.members() {
            if world.is_up(at) {
                world.perform(Action::Tick { at })?;
                world.hasten(at, Haste::Disk)?;
            }
        }
        for number in world.clients.len()..world.clients() {
            let moved = world.perform(Action::Client { number })?;
            moved.map_or(Ok(()), |p| world.hasten(p, Haste::Disk))?;
        }
        Ok(())
    }

    /// Three processes that lose nothing, and whose leader crashes for good or does not: the
    /// longest operation on a register of those that stay up, the longest time without a leader,
    /// and how many operations returned.
    fn run(seed: u64, crash: bool) -> Result<(Ticks, u64, u64), Failure> {
        let mut rng = Rng::with_seed(seed);
        let options = Options { processes: 3, ..Options::default() };
        let mut world = World::new(seed, &options, &mut rng, 0);
        for p in world.members() {
            world.recover(p)?;
            world.hasten(p, Haste::Disk)?;
        }
        let (mut leaderless, mut longest_leaderless) = (0, 0);
        for tick in 0..1000 {
            let leader = world.members().find(|p| world.role(*p) == Some(Role::Leader));
            if tick == 300 {
                // Whatever was asked while the cluster formed is not what is measured.
                world.registers.longest = 0;
            }
            if tick == 500 && crash {
                world.crash(leader.expect("a leader by then"), Fault::CrashBefore)?;
            }
            leaderless = if leader.is_some() || tick < 300 { 0 } else { leaderless + 1 };
            longest_leaderless = longest_leaderless.max(leaderless);
            round(&mut world)?;
        }
        Ok((world.registers.longest, longest_leaderless, world.coverage.registers))
    }

    #[test]
    fn no_operation_takes_longer_across_a_leaders_crash() {
        for seed in 0..6 {
            let (calm, never, _) = run(seed, false).unwrap();
            let (crashed, leaderless, returned) = run(seed, true).unwrap();
            assert_eq!(never, 0, "seed {seed}: a leader all the time");
            assert!(leaderless > 10, "seed {seed}: nobody led for {leaderless} ticks");
            assert!(returned > 500, "seed {seed}: {returned} operations");
            assert!(crashed <= calm, "seed {seed}: {crashed} ticks with the crash, {calm} without");
        }
    }
}
