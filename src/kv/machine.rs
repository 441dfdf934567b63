//! The state machine: commands in log order, one at a time.

use super::checkpoint::Progress;
use super::meter::{Budget, Meter};
use super::range::header;
use super::revision::Revision;
use super::scrub::Scrub;
use super::session::{Admission, Sessions};
use super::txn::Execution;
use super::view::{Size, View};
use super::{Command, Error, Op, Reply, Response};
use crate::kernel::{Bound, Bounds, Hits, Mutant, Mutants, RowKey};
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, CompactionRequest, CompactionResponse,
};

/// The key-value store of one replica. Equal logs give equal states and equal replies on every
/// replica, whatever each has on disk.
pub struct Machine {
    pub(super) now: View,
    pub(super) sessions: Sessions,
    pub(super) scrub: Scrub,
    /// The checkpoint that is being written.
    pub(super) progress: Option<Progress>,
    /// The log prefix that the last finished checkpoint covers.
    pub(super) checkpointed: u64,
    /// Rows of a checkpoint that a crash interrupted, to be deleted by the next one.
    pub(super) leftover: Vec<RowKey>,
    /// Someone reads the rows of a checkpoint one after the other.
    pub(super) held: bool,
    pub(super) bounds: Bounds,
    pub(super) hits: Hits,
    /// Bugs put in on purpose.
    pub(super) mutants: Mutants,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// An empty store, at revision 1.
    pub fn new() -> Machine {
        Machine {
            now: View::new(),
            sessions: Sessions::default(),
            scrub: Scrub::default(),
            progress: None,
            checkpointed: 0,
            leftover: Vec::new(),
            held: false,
            bounds: Bounds::default(),
            hits: Hits::default(),
            mutants: Mutants::default(),
        }
    }

    /// The state as readers may see it. O(1).
    pub fn view(&self) -> View {
        self.now.clone()
    }

    /// Sets what a transaction may cost: the same on every replica, before anything is executed.
    pub fn limit(&mut self, budget: Budget) {
        self.now.budget = budget;
    }

    /// The length of the log prefix that has been applied.
    pub fn applied(&self) -> u64 {
        self.now.applied
    }

    /// The generation of the rows on disk.
    pub fn generation(&self) -> u32 {
        self.now.space.generation
    }

    /// How much there is.
    pub fn size(&self) -> Size {
        self.now.size()
    }

    /// Executes the command at `index` of the log; commands come in log order. Every command that
    /// decodes has a reply, the same one on every replica.
    pub fn apply(&mut self, index: u64, command: &Command) -> Reply {
        self.take(index, command, u64::MAX)
    }

    /// The same, where nobody waits for the reply: it is made only as far as a session remembers it.
    pub fn follow(&mut self, index: u64, command: &Command) {
        let _ = self.take(index, command, 0);
    }

    /// Executes a command, and makes of the reply what is wanted of it, in bytes, or remembered.
    fn take(&mut self, index: u64, command: &Command, wanted: u64) -> Reply {
        assert!(index >= self.now.applied, "entry {index} of the log is applied already");
        self.now.applied = index + 1;
        let budget = if self.mutants.on(Mutant::BudgetIgnored) { Budget::NONE } else { self.now.budget };
        let Some(call) = command.session else {
            return self.execute(&command.op, &mut Meter::making(budget, wanted));
        };
        match self.sessions.admit(self.now.applied, call) {
            Admission::Execute => {
                let mut meter = Meter::making(budget, wanted.max(self.bounds.shared.longest_reply() as u64));
                let reply = self.execute(&command.op, &mut meter);
                // A refusal is whole, wherever it came to that: also where less of the reply was made.
                let whole = reply.is_err() || meter.is_whole();
                self.sessions.remember(call, &command.op, whole.then_some(&reply));
                reply
            }
            Admission::Answer(reply) => reply,
        }
    }

    /// Follows compactions and checkpoints in memory, by `budget` versions at most; true while there
    /// is more to do. Readers see nothing of it. A turn without anything else to do may call it, and
    /// a checkpoint does.
    pub fn scrub(&mut self, budget: usize) -> bool {
        let space = &mut self.now.space;
        let mut left = budget;
        while left > 0 && space.drop_saved_value() {
            left -= 1;
        }
        left -= self.scrub.settle(space, Revision::end_of(self.now.compacted), left);
        left -= self.scrub.mark(space, left);
        left == 0
    }

    fn execute(&mut self, op: &Op, meter: &mut Meter) -> Reply {
        let reply = self.perform(op, meter);
        match &reply {
            Err(Error::TooManyKeys { .. }) => self.hits.hit(Bound::TxnVisits),
            Err(Error::ReplyTooLong { .. }) => self.hits.hit(Bound::TxnBytes),
            Err(Error::TooManyAlarms { .. }) => self.hits.hit(Bound::Alarms),
            Err(_) | Ok(_) => {}
        }
        reply
    }

    fn perform(&mut self, op: &Op, meter: &mut Meter) -> Reply {
        self.allows(op)?;
        Ok(match op {
            Op::Put(r) => Response::Put(self.change(meter, |txn| txn.put(r))?),
            Op::DeleteRange(r) => Response::DeleteRange(self.change(meter, |txn| txn.delete(r))?),
            Op::Txn(r) => {
                if self.mutants.on(Mutant::BudgetOfVersions) {
                    meter.visit(self.now.size().versions)?;
                }
                let (response, unresolved) = self.change(meter, |txn| txn.txn(r))?;
                Response::Txn(response, unresolved)
            }
            Op::Compact(r) => Response::Compact(self.compact(r)?),
            Op::Alarm(r) => Response::Alarm(self.alarm(r)?),
            Op::OpenSession => Response::SessionOpened(self.sessions.open(self.now.applied)),
            Op::CloseSession(id) => {
                self.sessions.close(*id);
                Response::SessionClosed
            }
        })
    }

    /// What alarms forbid.
    fn allows(&self, op: &Op) -> Result<(), Error> {
        if let Op::Alarm(_) | Op::OpenSession | Op::CloseSession(_) = op {
            return Ok(());
        }
        if self.now.has(AlarmType::Corrupt) {
            return Err(Error::Corrupt);
        }
        if op.grows() && self.now.is_full() {
            return Err(Error::NoSpace);
        }
        Ok(())
    }

    /// Changes the state, or refuses to before anything has changed.
    fn change<T>(
        &mut self,
        meter: &mut Meter,
        f: impl FnOnce(&mut Execution<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let View { space, revision, compacted, .. } = &mut self.now;
        let mut execution = Execution::new(space, *revision, *compacted, meter);
        let result = f(&mut execution);
        *revision = execution.now();
        result
    }

    /// Compaction takes effect at once; the space is given back little by little.
    fn compact(&mut self, r: &CompactionRequest) -> Result<CompactionResponse, Error> {
        if r.revision <= self.now.compacted {
            return Err(Error::Compacted);
        }
        if r.revision > self.now.revision {
            return Err(Error::FutureRevision);
        }
        self.now.compacted = r.revision;
        Ok(CompactionResponse { header: header(self.now.revision) })
    }

    /// Alarms go by member. Of an alarm that is lowered, member 0 stands for every one, and no
    /// kind for every kind.
    fn alarm(&mut self, r: &AlarmRequest) -> Result<AlarmResponse, Error> {
        let any = r.alarm() == AlarmType::None;
        let asked = |on: &AlarmMember| any || on.alarm == i32::from(r.alarm());
        let alarms = match r.action() {
            AlarmAction::Get => self.now.alarms().filter(asked).collect(),
            AlarmAction::Activate if any => Vec::new(),
            AlarmAction::Activate => {
                let alarm = (r.alarm().into(), r.member_id);
                let limit = self.bounds.shared.alarms;
                if self.now.alarms.len() >= limit && !self.now.alarms.contains(&alarm) {
                    return Err(Error::TooManyAlarms { limit: limit as u64 });
                }
                self.now.alarms.insert(alarm);
                vec![AlarmMember { member_id: r.member_id, alarm: r.alarm().into() }]
            }
            AlarmAction::Deactivate => {
                let whose = |on: &AlarmMember| r.member_id == 0 || on.member_id == r.member_id;
                let off: Vec<_> = self.now.alarms().filter(|on| asked(on) && whose(on)).collect();
                for on in &off {
                    self.now.alarms.remove(&(on.alarm, on.member_id));
                }
                off
            }
        };
        Ok(AlarmResponse { header: header(self.now.revision), alarms })
    }
}
