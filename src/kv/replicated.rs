//! The key-value store as a replicated state machine.

use super::{Budget, Command, Error, Loader, Machine, Piece, Reply, View, meta};
use crate::broadcast::{Load, Piece as Rows, StateMachine};
use crate::kernel::{Bound, Config, Hits, Memory, RowKey};
use bytes::Bytes;

impl StateMachine for Machine {
    type Reply = Reply;
    type View = View;
    type Loader = Loader;

    fn apply(&mut self, index: u64, command: Bytes) -> Reply {
        match decode(index, command) {
            Some(command) => Machine::apply(self, index, &command),
            None => Err(Error::Malformed),
        }
    }

    fn follow(&mut self, index: u64, command: Bytes) {
        if let Some(command) = decode(index, command) {
            Machine::follow(self, index, &command);
        }
    }

    fn view(&self) -> View {
        Machine::view(self)
    }

    fn digest(&mut self) -> u64 {
        Machine::digest(self)
    }

    fn begin_checkpoint(&mut self) {
        self.checkpoint_begin();
    }

    fn checkpoint_piece(&mut self, budget: usize) -> Rows {
        match self.checkpoint_step(budget) {
            Piece::More { puts, deletes } => Rows { puts, deletes, finished: None },
            Piece::Finished { puts, deletes, meta } => Rows { puts, deletes, finished: Some(meta) },
        }
    }

    fn hold_rows(&mut self, hold: bool) {
        Machine::hold_rows(self, hold);
    }

    fn is_full(&self) -> bool {
        self.now.is_full()
    }

    fn grows(command: &Bytes) -> bool {
        Command::decode(command.clone()).is_ok_and(|command| command.op.grows())
    }

    fn gives_back(&self) -> bool {
        Machine::gives_back(self)
    }

    fn generation(&self) -> u32 {
        Machine::generation(self)
    }

    fn checkpoint_end(meta: &Bytes) -> u64 {
        meta::summary(meta).map_or(0, |summary| summary.revision.cast_unsigned() + 1)
    }

    fn load(loader: Loader) -> Option<Machine> {
        loader.finish().inspect_err(|damaged| tracing::error!(%damaged, "a checkpoint cannot be loaded")).ok()
    }

    fn empty_loader() -> Loader {
        Loader::empty()
    }

    fn maintain(&mut self) {
        if self.scrub(self.bounds.scrub_versions) {
            self.hits.hit(Bound::ScrubVersions);
        }
    }

    fn configure(&mut self, config: &Config) {
        self.bounds = config.bounds;
        self.limit(Budget::from(config.bounds.shared));
        self.sessions.configure(config);
        self.mutants = config.mutants;
    }

    fn memory(&self) -> Vec<Memory> {
        vec![self.sessions.memory()]
    }

    fn take_hits(&mut self) -> Hits {
        let mut hits = std::mem::take(&mut self.hits);
        hits += std::mem::take(&mut self.sessions.hits);
        hits
    }
}

fn decode(index: u64, command: Bytes) -> Option<Command> {
    let refused = |malformed: &_| {
        tracing::error!(index, %malformed, "a command of the log is refused, by every replica alike");
    };
    Command::decode(command).inspect_err(refused).ok()
}

impl Load for Loader {
    fn begin(meta: &Bytes) -> Option<Loader> {
        Loader::new(meta.clone())
            .inspect_err(|damaged| tracing::error!(%damaged, "a checkpoint cannot be loaded"))
            .ok()
    }

    fn rebase(meta: &Bytes, generation: u32) -> Option<Bytes> {
        meta::with_generation(meta, generation).ok()
    }

    fn row(&mut self, key: RowKey, value: Bytes) -> bool {
        Loader::row(self, key, value)
            .inspect_err(|damaged| tracing::error!(%damaged, "a checkpoint cannot be loaded"))
            .is_ok()
    }
}
