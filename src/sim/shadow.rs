//! A replica equals its own reload.
//!
//! The state machine that is simulated is the one that nodes run, watched. Of some of the checkpoints
//! that it writes, the rows and what the last piece says are loaded into a second machine, as a boot
//! would, or a peer that they are sent to. The second one executes what the first one has executed
//! since the checkpoint began, and then, for a while, each command that the first one executes. Both
//! must answer alike, have the same digest after each command, and be the same in the end.

use crate::broadcast::{Load, Piece, StateMachine};
use crate::kernel::{Config, Hits, Memory, RowKey};
use crate::ledger::Replicated;
use bytes::Bytes;
use fastrand::Rng;
use std::collections::BTreeMap;

/// Commands that a reload executes beside the machine.
const COMMANDS: u32 = 64;

type Reply = <Replicated as StateMachine>::Reply;
type Inner = <Replicated as StateMachine>::Loader;

/// The replicated state machine, and at times its reload.
pub(super) struct Shadowed {
    machine: Replicated,
    config: Option<Config>,
    rng: Rng,
    /// The rows that the disk has, once all pieces are durable.
    rows: BTreeMap<RowKey, Bytes>,
    /// What was executed since a checkpoint began that is to be loaded.
    since: Option<Vec<(u64, Bytes, Option<Reply>)>>,
    /// Its reload, and how many commands it has yet to execute.
    reload: Option<(Replicated, u32)>,
    reloads: u64,
    /// The first difference.
    difference: Option<String>,
    /// The digest after each command, by the length of the prefix.
    digests: Vec<(u64, u64)>,
}

/// Loads the machine, and keeps the rows.
pub(super) struct Loader {
    inner: Inner,
    rows: BTreeMap<RowKey, Bytes>,
}

impl Shadowed {
    fn of(machine: Replicated, rows: BTreeMap<RowKey, Bytes>) -> Self {
        Self {
            machine,
            config: None,
            rng: Rng::with_seed(0),
            rows,
            since: None,
            reload: None,
            reloads: 0,
            difference: None,
            digests: Vec::new(),
        }
    }

    /// How the machine differs from its reload, if it ever did.
    pub(super) fn difference(&self) -> Option<&str> {
        self.difference.as_deref()
    }

    /// How often it was compared with one.
    pub(super) fn reloads(&self) -> u64 {
        self.reloads
    }

    /// The digests of the states that follow a prefix of the log.
    pub(super) fn digests_after(&self, applied: u64) -> &[(u64, u64)] {
        &self.digests[self.digests.partition_point(|(at, _)| *at <= applied)..]
    }

    fn differs(&mut self, how: String) {
        self.difference.get_or_insert(how);
        self.reload = None;
    }

    /// A checkpoint is finished.
    fn finished(&mut self, meta: &Bytes) {
        let Some(since) = self.since.take() else { return };
        let sent = self.rng.bool();
        let Some(mut reload) = self.load(meta, sent) else {
            return self.differs(format!("its checkpoint cannot be loaded (sent to a peer: {sent})"));
        };
        for (index, command, reply) in since {
            let again = reload.apply(index, command);
            if let Some(reply) = reply.filter(|reply| again != *reply) {
                return self
                    .differs(format!("entry {index} was answered {reply:?}, and after a reload {again:?}"));
            }
        }
        self.reloads += 1;
        self.reload = Some((reload, COMMANDS));
        self.compare();
    }

    /// The machine as a boot finds it, or a peer that the checkpoint was sent to.
    fn load(&self, meta: &Bytes, sent: bool) -> Option<Replicated> {
        let own = self.machine.generation();
        let generation = if sent { own + 1 } else { own };
        let meta = if sent { Inner::rebase(meta, generation)? } else { meta.clone() };
        let end = if sent { Replicated::checkpoint_end(&meta) } else { u64::MAX };
        let mut loader = Inner::begin(&meta)?;
        for (key, row) in self.rows.iter().filter(|(key, _)| key.generation == own && key.main < end) {
            if !loader.row(RowKey { generation, ..*key }, row.clone()) {
                return None;
            }
        }
        let mut machine = Replicated::load(loader)?;
        machine.configure(self.config.as_ref()?);
        Some(machine)
    }

    /// A command was executed, and answered, if anybody here asked. The reload answers always.
    fn executed(&mut self, index: u64, command: Bytes, reply: Option<&Reply>) {
        let digest = self.machine.digest();
        self.digests.push((index + 1, digest));
        if let Some(since) = &mut self.since {
            since.push((index, command.clone(), reply.cloned()));
        }
        if let Some((reload, left)) = &mut self.reload {
            let again = reload.apply(index, command);
            *left -= 1;
            let (same, last) = (reload.digest() == digest, *left == 0);
            if let Some(reply) = reply.filter(|reply| again != **reply) {
                self.differs(format!("entry {index} is answered {reply:?}, and after a reload {again:?}"));
            } else if !same {
                self.differs(format!("after entry {index} it has another digest than its reload"));
            } else if last {
                self.compare();
                self.reload = None;
            }
        }
    }

    /// Whether both are the same.
    fn compare(&mut self) {
        let Some((reload, _)) = &mut self.reload else { return };
        let store = self.machine.first().differs(reload.first());
        let ledger = self.machine.second().differs(reload.second());
        if let Some(what) = store.or(ledger.then_some("the ledger")) {
            self.differs(format!("it differs from its reload in {what}"));
        } else if self.machine.digest() != reload.digest() {
            self.differs("it has another digest than its reload".into());
        }
    }
}

impl StateMachine for Shadowed {
    type Reply = Reply;
    type View = <Replicated as StateMachine>::View;
    type Loader = Loader;

    fn apply(&mut self, index: u64, command: Bytes) -> Reply {
        let reply = self.machine.apply(index, command.clone());
        self.executed(index, command, Some(&reply));
        reply
    }

    fn follow(&mut self, index: u64, command: Bytes) {
        self.machine.follow(index, command.clone());
        self.executed(index, command, None);
    }

    fn view(&self) -> Self::View {
        self.machine.view()
    }

    fn digest(&mut self) -> u64 {
        self.machine.digest()
    }

    fn begin_checkpoint(&mut self) {
        self.machine.begin_checkpoint();
        self.since = (self.reload.is_none() && self.rng.bool()).then(Vec::new);
    }

    fn checkpoint_piece(&mut self, budget: usize) -> Piece {
        let piece = self.machine.checkpoint_piece(budget);
        for key in &piece.deletes {
            self.rows.remove(key);
        }
        self.rows.extend(piece.puts.iter().cloned());
        if let Some(meta) = &piece.finished {
            self.finished(meta);
        }
        piece
    }

    fn hold_rows(&mut self, hold: bool) {
        self.machine.hold_rows(hold);
    }

    fn is_full(&self) -> bool {
        self.machine.is_full()
    }

    fn grows(command: &Bytes) -> bool {
        Replicated::grows(command)
    }

    fn gives_back(&self) -> bool {
        self.machine.gives_back()
    }

    fn generation(&self) -> u32 {
        self.machine.generation()
    }

    fn checkpoint_end(meta: &Bytes) -> u64 {
        Replicated::checkpoint_end(meta)
    }

    fn load(loader: Loader) -> Option<Self> {
        Some(Self::of(Replicated::load(loader.inner)?, loader.rows))
    }

    fn empty_loader() -> Loader {
        Loader { inner: Replicated::empty_loader(), rows: BTreeMap::new() }
    }

    fn memory(&self) -> Vec<Memory> {
        self.machine.memory()
    }

    fn take_hits(&mut self) -> Hits {
        self.machine.take_hits()
    }

    /// The reload is left as it is: housekeeping is nobody's to see.
    fn maintain(&mut self) {
        self.machine.maintain();
    }

    fn configure(&mut self, config: &Config) {
        self.machine.configure(config);
        self.rng = Rng::with_seed(config.boot);
        self.config = Some(config.clone());
    }
}

impl Load for Loader {
    fn begin(meta: &Bytes) -> Option<Self> {
        Some(Self { inner: Inner::begin(meta)?, rows: BTreeMap::new() })
    }

    fn rebase(meta: &Bytes, generation: u32) -> Option<Bytes> {
        Inner::rebase(meta, generation)
    }

    fn row(&mut self, key: RowKey, value: Bytes) -> bool {
        self.rows.insert(key, value.clone());
        self.inner.row(key, value)
    }
}
