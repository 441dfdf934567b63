//! `kvorum cluster`

mod demo;
mod load;
mod replicas;

use std::{net::TcpListener, path::PathBuf, time::Duration};

use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};

use super::{Failure, output};
use replicas::{Exit, Replicas};

/// Between the client ports of two replicas.
const PORT_STEP: u16 = 10_000;
/// A replica that dies sooner than this after its start waits longer and longer for the next one.
const LIVELY: Duration = Duration::from_secs(5);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Run a local cluster, one process per replica
#[derive(Debug, Args)]
#[command(after_help = "\
Clients find the replicas on the ports 2379, 12379, 22379, ...; peers talk one above. A replica that \
dies is started again: try kill -9. Ctrl-C stops them all, and none stays when this process dies.

  kvorum cluster --demo
shows what it is about: clients write without pause to a cluster on free ports, in a temporary \
directory, while replicas are killed and stopped; then everything that was acknowledged is looked for \
on every replica, and the history of a few contended keys is checked.

Exit codes:
  0  it was stopped; with --demo: nothing was lost
  1  it could not start; with --demo: something was lost, or the history is wrong
  2  the command line is wrong")]
pub(super) struct Cluster {
    /// How many replicas
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    replicas: u8,
    /// Directory of the data and the logs of all replicas
    #[arg(long, value_name = "DIR", default_value = "cluster.kvorum")]
    data_dir: PathBuf,
    /// Client port of the first replica; the others are 10000 apart
    #[arg(long, value_name = "PORT", default_value_t = 2379, value_parser = clap::value_parser!(u16).range(1..))]
    base_port: u16,
    /// How much the replicas say in their logs
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// Kill, stop and restart replicas under load, then account for every write
    #[arg(long, conflicts_with_all = ["data_dir", "base_port"])]
    demo: bool,
}

impl Cluster {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::Other(format!("cannot start the runtime: {e}")))?;
        runtime.block_on(async {
            if self.demo { demo::run(usize::from(self.replicas)).await } else { self.supervise().await }
        })
    }

    async fn supervise(self) -> Result<(), Failure> {
        let cannot = |e| Failure::Other(format!("cannot listen for signals: {e}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut replicas = Replicas::new(&self.data_dir, &self.ports()?, &self.log_level);
        (0..replicas.len()).try_for_each(|n| replicas.start(n))?;
        introduce(&replicas, &self.data_dir)?;

        let mut health = vec![(BACKOFF.0, Instant::now()); replicas.len()];
        let mut leader = None;
        let mut look = tokio::time::interval(Duration::from_millis(500));
        let (again, mut due) = tokio::sync::mpsc::unbounded_channel();
        let result = loop {
            tokio::select! {
                _ = terminate.recv() => break Ok(()),
                _ = interrupt.recv() => break Ok(()),
                exit = replicas.exit() => {
                    let (backoff, since) = &mut health[exit.replica];
                    *backoff = if since.elapsed() > LIVELY { BACKOFF.0 } else { (*backoff * 2).min(BACKOFF.1) };
                    if leader.is_none() && could_not_start(&exit) {
                        let name = &replicas.get(exit.replica).name;
                        let words = replicas.last_words(exit.replica);
                        break Err(Failure::Other(format!("{name} cannot start: {words}")));
                    }
                    report(&replicas, &exit);
                    let (again, pause, which) = (again.clone(), *backoff, exit.replica);
                    tokio::spawn(async move {
                        sleep(pause).await;
                        let _ = again.send(which); // nobody waits once all stop
                    });
                }
                Some(which) = due.recv() => {
                    health[which].1 = Instant::now();
                    if let Err(failure) = replicas.start(which) {
                        break Err(failure);
                    }
                    eprintln!("{} runs again, as process {}", replicas.get(which).name, pid(&replicas, which));
                }
                _ = look.tick() => {
                    let now = replicas.leader().await;
                    if now.is_some() && now != leader {
                        leader = now;
                        output::line(format_args!("leader {}", now.map_or("", |n| &replicas.get(n).name)))?;
                    }
                }
            }
        };
        eprintln!("stopping; once more to stop at once");
        tokio::select! {
            () = replicas.stop() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        replicas.kill_all().await;
        result
    }

    /// Client and peer port of each replica, free when it was looked.
    fn ports(&self) -> Result<Vec<(u16, u16)>, Failure> {
        let mut ports = Vec::new();
        for n in 0..u16::from(self.replicas) {
            let pair = n
                .checked_mul(PORT_STEP)
                .and_then(|offset| self.base_port.checked_add(offset))
                .and_then(|client| Some((client, client.checked_add(1)?)));
            let (client, peer) = pair.ok_or_else(|| {
                let least = u32::from(u16::MAX) - 1 - u32::from(PORT_STEP) * u32::from(self.replicas - 1);
                Failure::Usage(format!(
                    "--base-port {} leaves no ports for {} replicas, {PORT_STEP} apart: use at most {least}",
                    self.base_port, self.replicas
                ))
            })?;
            for port in [client, peer] {
                TcpListener::bind(("127.0.0.1", port)).map_err(|e| {
                    Failure::Other(format!(
                        "cannot listen on port {port}: {e}; stop who listens there, or choose another --base-port"
                    ))
                })?;
            }
            ports.push((client, peer));
        }
        Ok(ports)
    }
}

fn introduce(replicas: &Replicas, dir: &std::path::Path) -> Result<(), Failure> {
    for (n, replica) in replicas.iter().enumerate() {
        let (name, port) = (&replica.name, replica.client_port);
        output::line(format_args!("{name} http://127.0.0.1:{port} process {}", pid(replicas, n)))?;
    }
    let endpoints = replicas.endpoints().join(",");
    output::line(format_args!("endpoints {endpoints}"))?;
    eprintln!(
        "data and logs are in {}; try: kvorum --endpoints {endpoints} put greeting hello; Ctrl-C stops",
        dir.display()
    );
    Ok(())
}

fn pid(replicas: &Replicas, which: usize) -> String {
    replicas.pid(which).map_or_else(|| "-".into(), |pid| pid.to_string())
}

/// Refused its configuration, its directory or its ports: starting it again would not help.
fn could_not_start(exit: &Exit) -> bool {
    exit.status.as_ref().is_ok_and(|status| matches!(status.code(), Some(1 | 2)))
}

fn report(replicas: &Replicas, exit: &Exit) {
    let name = &replicas.get(exit.replica).name;
    match &exit.status {
        Ok(status) => eprintln!("{name} (process {}) ended: {status}", exit.pid),
        Err(e) => eprintln!("{name} (process {}) is lost: {e}", exit.pid),
    }
}
