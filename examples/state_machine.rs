//! A state machine of one's own, replicated: a bank whose accounts never fall below zero.
//!
//! ```text
//! cargo run --example state_machine
//! ```
//!
//! Three replicas in one program, each with a directory and a port of its own. They execute the same
//! transfers in the same order; one is stopped and started again, and has the same balances.

use bytes::Bytes;
use kvorum::broadcast::{Load, Piece, StateMachine};
use kvorum::kernel::{Digest, RowKey};
use kvorum::node::{Node, Replica};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
/// Accounts in one row of a checkpoint.
const ROW: usize = 64;

type Accounts = BTreeMap<String, u64>;

/// What the log carries.
#[derive(Serialize, Deserialize)]
enum Command {
    Deposit { to: String, amount: u64 },
    Transfer { from: String, to: String, amount: u64 },
}

impl Command {
    fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("commands are plain data, which always encodes")
    }
}

/// What a command answers: the balance of the account that paid, or was paid into; or why not.
type Reply = Result<u64, String>;

/// The bank: what every replica has after the same commands.
#[derive(Default)]
struct Bank {
    /// Shared with readers; copied when it changes while somebody reads.
    accounts: Arc<Accounts>,
    generation: u32,
    /// The last finished checkpoint.
    saved: Checkpoint,
    /// The one that is being written, and how many of its rows are.
    writing: Option<(Checkpoint, Vec<Bytes>, u32)>,
    /// The number of the next one: no row on the disk has it.
    next: u64,
    /// Rows that the last finished checkpoint does not need: they go with the next one.
    garbage: Vec<RowKey>,
    held: bool,
}

/// A checkpoint: its number is the `main` of its rows, whose `sub` counts from 0.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Checkpoint {
    number: u64,
    rows: u32,
    generation: u32,
}

impl Checkpoint {
    fn decode(meta: &Bytes) -> Option<Self> {
        postcard::from_bytes(meta).ok()
    }

    fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("plain data always encodes").into()
    }

    fn keys(self) -> impl Iterator<Item = RowKey> {
        let Self { number, rows, generation } = self;
        (0..rows).map(move |sub| RowKey { generation, main: number, sub })
    }
}

impl Bank {
    fn execute(&mut self, command: Command) -> Reply {
        let accounts = Arc::make_mut(&mut self.accounts);
        let paid = match command {
            Command::Deposit { to, amount } => {
                let balance = accounts.entry(to).or_default();
                *balance = balance.checked_add(amount).ok_or("too much money")?;
                return Ok(*balance);
            }
            Command::Transfer { from, to, amount } => {
                let balance = |account: &str| accounts.get(account).copied().unwrap_or(0);
                let has = balance(&from);
                let left = has.checked_sub(amount).ok_or(format!("{from} has only {has}"))?;
                // Checked first, whatever it comes to: a command must not panic, nor half happen.
                let gets = if from == to {
                    has
                } else {
                    balance(&to).checked_add(amount).ok_or("too much money")?
                };
                accounts.insert(from.clone(), left);
                accounts.insert(to, gets);
                from
            }
        };
        Ok(accounts[&paid])
    }
}

impl StateMachine for Bank {
    type Reply = Reply;
    type View = Arc<Accounts>;
    type Loader = Loader;

    fn apply(&mut self, _index: u64, command: Bytes) -> Reply {
        let command = postcard::from_bytes(&command).map_err(|e| format!("no command: {e}"))?;
        self.execute(command)
    }

    fn view(&self) -> Arc<Accounts> {
        self.accounts.clone()
    }

    /// Here of everything: a larger bank would keep a sum over its accounts.
    fn digest(&mut self) -> u64 {
        let of = |digest: Digest, (account, balance): (&String, &u64)| {
            digest.bytes(account.as_bytes()).word(*balance)
        };
        self.accounts.iter().fold(Digest::default(), of).value()
    }

    /// The state as of now: later commands change a copy of it.
    fn begin_checkpoint(&mut self) {
        let all: Vec<(&String, &u64)> = self.accounts.iter().collect();
        let row =
            |row: &[(&String, &u64)]| postcard::to_allocvec(row).expect("plain data always encodes").into();
        let rows: Vec<Bytes> = all.chunks(ROW).map(row).collect();
        let number = self.next.max(1);
        self.next = number + 1;
        let checkpoint = Checkpoint { number, rows: rows.len() as u32, generation: self.generation };
        self.writing = Some((checkpoint, rows, 0));
    }

    /// Rows of the last finished checkpoint stay until the next one is finished; what it does not
    /// need goes now.
    fn checkpoint_piece(&mut self, budget: usize) -> Piece {
        let Some((checkpoint, rows, mut written)) = self.writing.take() else { return Piece::default() };
        let mut piece = Piece::default();
        if !self.held {
            piece.deletes = std::mem::take(&mut self.garbage);
        }
        let mut bytes = 0;
        while let Some(row) = rows.get(written as usize).filter(|_| bytes < budget) {
            let key = RowKey { generation: self.generation, main: checkpoint.number, sub: written };
            bytes += row.len();
            piece.puts.push((key, row.clone()));
            written += 1;
        }
        if written < checkpoint.rows {
            self.writing = Some((checkpoint, rows, written));
            return piece;
        }
        self.garbage.extend(self.saved.keys());
        self.saved = checkpoint;
        piece.finished = Some(checkpoint.encode());
        piece
    }

    fn hold_rows(&mut self, hold: bool) {
        self.held = hold;
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    fn checkpoint_end(meta: &Bytes) -> u64 {
        Checkpoint::decode(meta).map_or(0, |checkpoint| checkpoint.number + 1)
    }

    fn load(loader: Loader) -> Option<Self> {
        let Loader { checkpoint, accounts, rows, others } = loader;
        let (accounts, generation) = (Arc::new(accounts), checkpoint.generation);
        let highest = others.iter().map(|key| key.main).max().unwrap_or(0).max(checkpoint.number);
        let bank = Self {
            accounts,
            generation,
            saved: checkpoint,
            next: highest + 1,
            garbage: others,
            ..Self::default()
        };
        (rows == checkpoint.rows).then_some(bank)
    }

    fn empty_loader() -> Loader {
        Loader::default()
    }

    fn maintain(&mut self) {}
}

/// Builds the bank from the rows of a checkpoint.
#[derive(Default)]
struct Loader {
    checkpoint: Checkpoint,
    accounts: Accounts,
    rows: u32,
    others: Vec<RowKey>,
}

impl Load for Loader {
    fn begin(meta: &Bytes) -> Option<Self> {
        Some(Self { checkpoint: Checkpoint::decode(meta)?, ..Self::default() })
    }

    fn rebase(meta: &Bytes, generation: u32) -> Option<Bytes> {
        Some(Checkpoint { generation, ..Checkpoint::decode(meta)? }.encode())
    }

    /// Rows of another checkpoint are older, or of one that a crash interrupted: they do not count.
    fn row(&mut self, key: RowKey, value: Bytes) -> bool {
        if key.main != self.checkpoint.number {
            self.others.push(key);
            return true;
        }
        let Ok(row) = postcard::from_bytes::<Vec<(String, u64)>>(&value) else { return false };
        self.accounts.extend(row);
        self.rows += 1;
        true
    }
}

/// Three ports that nobody listens on.
fn ports() -> Vec<u16> {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (23_790..).filter(is_free).take(3).collect()
}

async fn replica(dir: &Path, ports: &[u16], which: usize) -> Result<Replica<Bank>, kvorum::node::Error> {
    let members = ports.iter().enumerate();
    let members = members.map(|(n, port)| (format!("n{n}"), format!("http://127.0.0.1:{port}")));
    let name = format!("n{which}");
    Node::builder(dir.join(&name)).name(name).initial_cluster(members).replicate("bank").await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let ports = ports();
    let a = replica(dir.path(), &ports, 0).await?;
    let b = replica(dir.path(), &ports, 1).await?;
    let c = replica(dir.path(), &ports, 2).await?;

    let deposit = Command::Deposit { to: "anna".into(), amount: 100 };
    let balance = a.execute(deposit.encode(), PATIENCE).await??;
    println!("anna has {balance}");
    let transfer = |amount| Command::Transfer { from: "anna".into(), to: "bert".into(), amount }.encode();
    let balance = b.execute(transfer(70), PATIENCE).await??;
    println!("anna pays 70 to bert, and has {balance}");
    let refused = c.execute(transfer(70), PATIENCE).await?.unwrap_err();
    println!("anna pays 70 to bert again: {refused}");

    // Without a farewell: what it had acknowledged is on its disk, and on that of another.
    drop(c);
    let balance = a.execute(transfer(20), PATIENCE).await??;
    println!("anna pays 20 to bert while a replica is down, and has {balance}");

    let c = reopen(dir.path(), &ports).await?;
    let accounts = c.read(PATIENCE).await?;
    println!("the replica is back, incarnation {}: {accounts:?}", c.status().incarnation);

    for replica in [a, b, c] {
        replica.shutdown().await?;
    }
    Ok(())
}

/// Opens the directory of a replica that is stopping, once it has stopped.
async fn reopen(dir: &Path, ports: &[u16]) -> Result<Replica<Bank>, kvorum::node::Error> {
    for _ in 0..100 {
        match replica(dir, ports, 2).await {
            Ok(replica) => return Ok(replica),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    replica(dir, ports, 2).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is durable: rows, and the last finished checkpoint.
    #[derive(Default)]
    struct Disk {
        rows: BTreeMap<RowKey, Bytes>,
        meta: Option<Bytes>,
    }

    impl Disk {
        /// Stores the next piece; says whether that finished the checkpoint.
        fn store(&mut self, piece: Piece) -> bool {
            assert!(piece.puts.iter().all(|(key, _)| !piece.deletes.contains(key)));
            piece.deletes.iter().for_each(|key| assert!(self.rows.remove(key).is_some(), "{key:?}"));
            self.rows.extend(piece.puts);
            let finished = piece.finished.is_some();
            self.meta = piece.finished.or(self.meta.take());
            finished
        }

        fn boot(&self) -> Bank {
            let mut loader =
                self.meta.as_ref().map_or_else(Bank::empty_loader, |m| Loader::begin(m).unwrap());
            assert!(self.rows.iter().all(|(key, value)| loader.row(*key, value.clone())));
            Bank::load(loader).expect("rows and checkpoint agree")
        }
    }

    fn deposit(bank: &mut Bank, to: usize) {
        let command = Command::Deposit { to: format!("account {to}"), amount: 1 };
        bank.apply(0, command.encode().into()).unwrap();
    }

    #[test]
    fn a_crash_at_any_piece_of_a_checkpoint_leaves_the_one_before_it() {
        for pieces in 1..8 {
            let (mut disk, mut bank) = (Disk::default(), Bank::default());
            (0..200).for_each(|n| deposit(&mut bank, n));
            bank.begin_checkpoint();
            let before = bank.accounts.clone();
            while !disk.store(bank.checkpoint_piece(1)) {}

            (0..400).for_each(|n| deposit(&mut bank, n));
            bank.begin_checkpoint();
            let after = bank.accounts.clone();
            let mut finished = false;
            for _ in 0..pieces {
                finished = finished || disk.store(bank.checkpoint_piece(1));
            }
            bank = disk.boot();
            assert_eq!(bank.accounts, if finished { after.clone() } else { before });

            // What the crash left behind is gone after two more.
            for _ in 0..2 {
                bank.begin_checkpoint();
                while !disk.store(bank.checkpoint_piece(1)) {}
            }
            assert_eq!(disk.boot().accounts, bank.accounts);
            assert_eq!(
                disk.rows.len(),
                2 * bank.accounts.len().div_ceil(ROW),
                "the last one, and the one before"
            );
        }
    }
}
