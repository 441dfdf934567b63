//! Money moves between two banks, each with a SQLite database of its own: in both or in neither,
//! whoever is killed in between.
//!
//! ```text
//! cargo run --example two_databases
//! ```
//!
//! Replicas and banks are processes, started from this same program, so that they can be killed. A
//! bank
//!
//! 1. reads transfers from a total-order topic, and stores where it stands in the topic *in the same
//!    database transaction* as what it did: after a crash it goes on exactly there;
//! 2. votes yes only once the transfer is prepared on disk: it can be done, and will be if it commits;
//! 3. is told the outcome, again and again until it acknowledges that it has done what it says.

use kvorum::client::{Cursor, Error, Guarantee, Outcome, Reason, Start, Vote};
use kvorum::{Client, Node};
use rusqlite::{Connection, OptionalExtension};
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BANKS: [&str; 2] = ["bank-a", "bank-b"];
const TOPIC: &str = "transfers";
const LONG: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => drive().await,
        ["replica", dir, name, peers, client] => replica(dir, name, peers, client).await,
        ["bank", name, file, endpoints] => bank(name, Path::new(file), endpoints).await,
        _ => Err("run it without arguments".into()),
    }
}

// ── A bank ───────────────────────────────────────────────────────────────────────────────────

async fn bank(name: &str, file: &Path, endpoints: &str) -> Result<()> {
    end_with_parent();
    let mut db = Connection::open(file)?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS account (balance INTEGER NOT NULL);
         INSERT INTO account SELECT 100 WHERE NOT EXISTS (SELECT * FROM account);
         CREATE TABLE IF NOT EXISTS prepared (transfer TEXT PRIMARY KEY, amount INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS stands (cursor BLOB NOT NULL);",
    )?;
    let client = Client::builder().endpoints(endpoints.split(',')).deadline(LONG).connect()?;
    // It may have been killed after it had prepared, and before it had voted.
    for transfer in prepared(&db)? {
        vote(&client, &transfer, name, Vote::Yes).await?;
    }
    let cursor = db.query_row("SELECT cursor FROM stands", [], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    let start = cursor.map_or(Start::Oldest, |cursor| Start::After(Cursor(cursor.into())));
    let mut transfers = client.topic(TOPIC, Guarantee::Total).subscribe(start);
    let mut outcomes = client.outcomes(name);
    loop {
        tokio::select! {
            transfer = transfers.next() => {
                let transfer = transfer?;
                let (id, amount) = transfer.text().and_then(|t| t.split_once(' ')).ok_or("no transfer")?;
                let amount: i64 = amount.parse()?;
                let amount = if name == BANKS[0] { -amount } else { amount };
                let possible = prepare(&mut db, id, amount, &transfer.cursor)?;
                let what = if possible { Vote::Yes } else { Vote::No(Reason::Integrity) };
                vote(&client, id, name, what).await?;
            }
            told = outcomes.next() => {
                let told = told?;
                finish(&mut db, &told.name, told.outcome == Some(Outcome::Committed))?;
                client.transaction(&told.name).acknowledge(name).await?;
            }
        }
    }
}

/// Has a transfer ready to be done, if it can be done, and goes on in the topic: both or neither.
fn prepare(db: &mut Connection, transfer: &str, amount: i64, cursor: &Cursor) -> Result<bool> {
    let t = db.transaction()?;
    let left: i64 = t.query_row(
        "SELECT balance + (SELECT TOTAL(MIN(amount, 0)) FROM prepared) + ?1 FROM account",
        [amount],
        |row| row.get::<_, f64>(0).map(|left| left as i64),
    )?;
    if left >= 0 {
        t.execute("INSERT INTO prepared VALUES (?1, ?2)", (transfer, amount))?;
    }
    t.execute("DELETE FROM stands", [])?;
    t.execute("INSERT INTO stands VALUES (?1)", [&cursor.0[..]])?;
    t.commit()?;
    Ok(left >= 0)
}

/// Does what was prepared, or drops it. Told again, it finds nothing to do.
fn finish(db: &mut Connection, transfer: &str, committed: bool) -> Result<()> {
    let t = db.transaction()?;
    let amount =
        t.query_row("DELETE FROM prepared WHERE transfer = ?1 RETURNING amount", [transfer], |row| {
            row.get::<_, i64>(0)
        });
    if let (Some(amount), true) = (amount.optional()?, committed) {
        t.execute("UPDATE account SET balance = balance + ?1", [amount])?;
    }
    t.commit()?;
    Ok(())
}

fn prepared(db: &Connection) -> Result<Vec<String>> {
    let mut query = db.prepare("SELECT transfer FROM prepared")?;
    let rows = query.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<std::result::Result<_, _>>()?)
}

/// Votes; a vote that comes too late is told the outcome like any other.
async fn vote(client: &Client, transfer: &str, name: &str, vote: Vote) -> Result<()> {
    match client.transaction(transfer).vote(name, vote).await {
        Ok(_) | Err(Error::Refused { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

// ── A replica ────────────────────────────────────────────────────────────────────────────────

async fn replica(dir: &str, name: &str, peers: &str, client: &str) -> Result<()> {
    end_with_parent();
    let peers = peers.split(',').filter_map(|peer| peer.split_once('='));
    let node = Node::builder(dir).name(name).initial_cluster(peers).listen_client(client).start().await?;
    Err(node.handle().halted().await.into())
}

/// A child holds the other end of a pipe, which breaks when its parent dies.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}

// ── The one who kills ────────────────────────────────────────────────────────────────────────

/// A process that is killed, as by `kill -9`, when it is dropped.
struct Process(Child);

impl Process {
    fn start(args: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Self(command.args(args).stdin(Stdio::piped()).spawn()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

struct World {
    dir: tempfile::TempDir,
    endpoints: Vec<String>,
    peers: String,
    client: Client,
}

impl World {
    fn replica(&self, n: usize) -> Result<Process> {
        let (dir, url) = (self.dir.path().join(format!("n{n}")), format!("http://{}", self.endpoints[n]));
        Process::start(&["replica", &dir.to_string_lossy(), &format!("n{n}"), &self.peers, &url])
    }

    fn bank(&self, name: &str) -> Result<Process> {
        let file = self.dir.path().join(format!("{name}.sqlite"));
        Process::start(&["bank", name, &file.to_string_lossy(), &self.endpoints.join(",")])
    }

    async fn begin(&self, transfer: &str, amount: i64) -> Result<()> {
        println!("{transfer}: {amount} from bank-a to bank-b");
        self.client.transaction(transfer).begin(BANKS, LONG).await?;
        self.client.topic(TOPIC, Guarantee::Total).publish(format!("{transfer} {amount}")).await?;
        Ok(())
    }

    /// Waits until every bank has done what the outcome says.
    async fn finished(&self, transfer: &str) -> Result<()> {
        let transaction = self.client.transaction(transfer);
        let outcome = transaction.outcome().await?.ok_or("there is no outcome")?;
        while !transaction.status().await?.participants.iter().all(|p| p.acknowledged) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let balance = |name: &&str| -> Result<i64> {
            let db = Connection::open(self.dir.path().join(format!("{name}.sqlite")))?;
            Ok(db.query_row("SELECT balance FROM account", [], |row| row.get(0))?)
        };
        let [a, b] = [balance(&BANKS[0])?, balance(&BANKS[1])?];
        println!("{transfer}: {outcome}; bank-a has {a}, bank-b has {b}");
        assert_eq!(a + b, 200, "no money is lost, and none is made");
        Ok(())
    }

    async fn leader(&self) -> Result<usize> {
        loop {
            for n in 0..3 {
                let one = Client::connect([&self.endpoints[n]])?.with_deadline(Duration::from_millis(500));
                if one.status().await.is_ok_and(|status| status.leader == status.header.member) {
                    return Ok(n);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn drive() -> Result<()> {
    // Ports that are free now.
    let sockets =
        (0..6).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::result::Result<Vec<_>, _>>()?;
    let addresses = sockets.iter().map(|s| Ok(s.local_addr()?.to_string())).collect::<Result<Vec<_>>>()?;
    drop(sockets);
    let (endpoints, peers) = addresses.split_at(3);
    let peers = peers.iter().enumerate().map(|(n, at)| format!("n{n}=http://{at}")).collect::<Vec<_>>();
    let world = World {
        dir: tempfile::tempdir()?,
        client: Client::builder().endpoints(endpoints).deadline(LONG).connect()?,
        endpoints: endpoints.to_vec(),
        peers: peers.join(","),
    };
    let mut replicas = (0..3).map(|n| world.replica(n)).collect::<Result<Vec<_>>>()?;

    let bank_a = world.bank("bank-a")?;
    let bank_b = world.bank("bank-b")?;
    world.begin("transfer/1", 30).await?;
    world.finished("transfer/1").await?;
    world.begin("transfer/2", 500).await?;
    world.finished("transfer/2").await?;

    println!("kill -9 bank-a");
    drop(bank_a);
    world.begin("transfer/3", 20).await?;
    let transaction = world.client.transaction("transfer/3");
    while transaction.status().await?.participants[1].vote != Some(Vote::Yes) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("bank-b has voted yes: kill -9 bank-b");
    drop(bank_b);
    let leader = world.leader().await?;
    println!("kill -9 n{leader}, the leader");
    drop(replicas.remove(leader));

    println!("bank-a is back");
    let _bank_a = world.bank("bank-a")?;
    let outcome = transaction.outcome().await?.ok_or("there is no outcome")?;
    println!("transfer/3: {outcome}, and bank-b does not know it");
    println!("bank-b and n{leader} are back");
    replicas.push(world.replica(leader)?);
    let _bank_b = world.bank("bank-b")?;
    world.finished("transfer/3").await
}
