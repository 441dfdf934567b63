//! Three processes with sensors of their own agree on one set of inputs.
//!
//! Their readings differ, and one sensor is broken. If each went on with its own, they would steer
//! apart. So each writes what it reads to a register, fills in from the others' what it lacks, and
//! proposes that; all go on with what is decided: the same inputs everywhere.
//!
//! ```text
//! cargo run --example sensors
//! ```

use kvorum::{Client, Node};
use std::collections::BTreeMap;
use std::error::Error;
use std::net::TcpListener;
use std::time::Duration;

const PROCESSES: usize = 3;

/// Sensors by name; those that are missing gave nothing.
type Readings = BTreeMap<String, f64>;

/// What a process reads: each a little different, and one sensor of process 1 is broken.
fn read_sensors(process: usize, round: u32) -> Readings {
    let (t, p) = (f64::from(round), process as f64);
    let all = [("altitude", 100.0 + t + p / 10.0), ("speed", 50.0 - t + p / 10.0), ("heading", 270.0)];
    let works = |(name, _): &(&str, f64)| !(process == 1 && *name == "speed");
    all.into_iter().filter(works).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// `altitude=100.1 heading=270 speed=50`
fn encode(readings: &Readings) -> String {
    readings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn decode(text: &str) -> Readings {
    let pair = |pair: &str| pair.split_once('=').and_then(|(name, v)| Some((name.into(), v.parse().ok()?)));
    text.split(' ').filter_map(pair).collect()
}

/// One process: shares what it reads, fills in what it lacks, and goes on with what is decided.
async fn process(me: usize, client: Client) -> Result<Vec<String>, kvorum::client::Error> {
    let mut decided = Vec::new();
    for round in 0..3 {
        let mut inputs = read_sensors(me, round);
        println!("process {me}, round {round}: reads    {}", encode(&inputs));
        let register = |process| client.register(format!("readings/{process}"));
        register(me).write(encode(&inputs)).await?;
        for other in 0..PROCESSES {
            // Others may have read something else by now, or nothing yet: no two see the same.
            if let Some(written) = register(other).read().await? {
                let theirs = decode(written.text().unwrap_or_default());
                for (name, value) in theirs {
                    inputs.entry(name).or_insert(value);
                }
            }
        }
        let decision = client.consensus(format!("inputs/{round}")).propose(encode(&inputs)).await?;
        let decision = String::from_utf8_lossy(&decision).into_owned();
        println!("process {me}, round {round}: goes on with {decision}");
        decided.push(decision);
    }
    Ok(decided)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    // Ports that are free now.
    let sockets = (0..PROCESSES).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let addresses = sockets.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    drop(sockets);
    let members = || addresses.iter().enumerate().map(|(n, at)| (format!("n{n}"), format!("http://{at}")));
    let start = |n: usize| {
        Node::builder(dir.path().join(format!("n{n}")))
            .name(format!("n{n}"))
            .initial_cluster(members())
            .start()
    };
    let (a, b, c) = tokio::try_join!(start(0), start(1), start(2))?;
    let nodes = [a, b, c];

    let clients = nodes.each_ref().map(|node| node.client().with_deadline(Duration::from_secs(30)));
    let [a, b, c] = clients;
    let decided = tokio::try_join!(process(0, a), process(1, b), process(2, c))?;
    assert!(decided.0 == decided.1 && decided.1 == decided.2, "they agree");
    println!("all three go on with the same inputs");

    for node in nodes {
        node.shutdown().await?;
    }
    Ok(())
}
