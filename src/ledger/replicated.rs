//! The ledger as a replicated state machine.

use super::{Command, Error, Ledger, Loader, Reply, View, meta::Meta};
use crate::broadcast::{Load, Piece, StateMachine};
use crate::kernel::{Config, Hits, Memory, RowKey};
use bytes::Bytes;

impl StateMachine for Ledger {
    type Reply = Reply;
    type View = View;
    type Loader = Loader;

    fn apply(&mut self, index: u64, command: Bytes) -> Reply {
        match Command::decode(&command) {
            Some(command) => self.execute(index, command),
            None => {
                tracing::error!(index, "a command of the log is refused, by every replica alike");
                Err(Error::Malformed)
            }
        }
    }

    fn view(&self) -> View {
        Ledger::view(self)
    }

    fn digest(&mut self) -> u64 {
        Ledger::digest(self)
    }

    fn begin_checkpoint(&mut self) {
        self.checkpoint_begin();
    }

    fn checkpoint_piece(&mut self, budget: usize) -> Piece {
        self.checkpoint_step(budget)
    }

    fn hold_rows(&mut self, hold: bool) {
        self.held = hold;
    }

    fn grows(command: &Bytes) -> bool {
        Command::decode(command).is_some_and(|command| command.grows())
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    fn checkpoint_end(meta: &Bytes) -> u64 {
        Meta::decode(meta).map_or(0, |meta| meta.next)
    }

    fn load(loader: Loader) -> Option<Ledger> {
        let ledger = loader.finish();
        if ledger.is_none() {
            tracing::error!("the rows of the ledger are not those of its checkpoint");
        }
        ledger
    }

    fn empty_loader() -> Loader {
        Loader::default()
    }

    fn maintain(&mut self) {}

    fn configure(&mut self, config: &Config) {
        self.now.mutants = config.mutants;
        self.shared = config.bounds.shared;
    }

    fn memory(&self) -> Vec<Memory> {
        vec![self.now.memory(&self.shared)]
    }

    fn take_hits(&mut self) -> Hits {
        std::mem::take(&mut self.hits)
    }
}

impl Load for Loader {
    fn begin(meta: &Bytes) -> Option<Loader> {
        Loader::new(meta)
    }

    fn rebase(meta: &Bytes, generation: u32) -> Option<Bytes> {
        Some(Meta { generation, ..Meta::decode(meta)? }.encode())
    }

    fn row(&mut self, key: RowKey, value: Bytes) -> bool {
        Loader::row(self, key, &value)
    }
}
