//! Replicas as child processes: started, watched, signalled, never left behind.
//!
//! A child ends when its standard input does (`--exit-with-parent`), whose other end is held here:
//! the system closes it however this program dies. One that is stopped just then cannot notice; but
//! each child has a process group of its own, and a group that loses its parent with a stopped
//! process in it is sent SIGHUP and SIGCONT by the kernel.

use std::{
    fs::File,
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Command, sync::mpsc, task::JoinHandle, time::timeout};

use crate::{
    Client,
    cli::Failure,
    client::{self, Retry},
};

/// How long a replica may take to stop before it is killed.
const PARTING: Duration = Duration::from_secs(10);

/// One replica, whether it runs or not.
pub(super) struct Replica {
    pub name: String,
    pub client_port: u16,
    pub peer_port: u16,
    pub log: PathBuf,
    running: Option<Running>,
}

struct Running {
    pid: u32,
    /// To the task that waits for the child: it signals no one whom it has buried already.
    signals: mpsc::UnboundedSender<Signal>,
    task: JoinHandle<()>,
}

/// What became of a child.
pub(super) struct Exit {
    pub replica: usize,
    pub pid: u32,
    pub status: io::Result<ExitStatus>,
}

/// The replicas of a local cluster.
pub(super) struct Replicas {
    all: Vec<Replica>,
    dir: PathBuf,
    level: String,
    exits: mpsc::UnboundedReceiver<Exit>,
    exited: mpsc::UnboundedSender<Exit>,
}

impl Replica {
    /// A client of this replica alone. A new one each time, and without a retry: one that has heard
    /// of other replicas would turn to them.
    pub fn client(&self, deadline: Duration) -> Result<Client, client::Error> {
        let endpoint = format!("127.0.0.1:{}", self.client_port);
        Client::builder().endpoints([endpoint]).deadline(deadline).retry(Retry::NEVER).connect()
    }
}

impl Replicas {
    /// Replicas named n1, n2, … on pairs of a client port and a peer port, with their data under
    /// `dir`. None runs yet.
    pub fn new(dir: &Path, ports: &[(u16, u16)], level: &str) -> Self {
        let (exited, exits) = mpsc::unbounded_channel();
        let replica = |(n, &(client_port, peer_port)): (usize, &(u16, u16))| {
            let name = format!("n{}", n + 1);
            let log = dir.join(format!("{name}.log"));
            Replica { name, client_port, peer_port, log, running: None }
        };
        let all = ports.iter().enumerate().map(replica).collect();
        Self { all, dir: dir.to_owned(), level: level.to_owned(), exits, exited }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.all.iter()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn get(&self, replica: usize) -> &Replica {
        &self.all[replica]
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.all.iter().map(|r| format!("127.0.0.1:{}", r.client_port)).collect()
    }

    /// Starts a replica that does not run.
    pub fn start(&mut self, replica: usize) -> Result<(), Failure> {
        let cannot = |what: &str, e: io::Error| Failure::Other(format!("cannot {what}: {e}"));
        let cluster: Vec<String> =
            self.all.iter().map(|r| format!("{}=http://127.0.0.1:{}", r.name, r.peer_port)).collect();
        let it = &self.all[replica];
        std::fs::create_dir_all(&self.dir)
            .map_err(|e| cannot(&format!("make the directory {}", self.dir.display()), e))?;
        let log = File::options().create(true).append(true).open(&it.log);
        let log = log.map_err(|e| cannot(&format!("write to {}", it.log.display()), e))?;
        let program = std::env::current_exe().map_err(|e| cannot("find this program", e))?;
        let mut command = Command::new(program);
        // What was meant for this command is not meant for its children.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KVORUM_") {
                command.env_remove(name);
            }
        }
        command
            .args(["serve", "--exit-with-parent", "--name", &it.name, "--log-level", &self.level])
            .arg("--data-dir")
            .arg(self.dir.join(&it.name))
            .args(["--listen-client-urls", &format!("http://127.0.0.1:{}", it.client_port)])
            .args(["--initial-cluster", &cluster.join(",")])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| cannot("start a replica", e))?;
        let pid = child.id().unwrap_or_default();
        let lifeline = child.stdin.take();
        let (signals, mut to_send) = mpsc::unbounded_channel();
        let exited = self.exited.clone();
        let task = tokio::spawn(async move {
            let _lifeline = lifeline; // or waiting would close it
            let status = loop {
                tokio::select! {
                    biased;
                    status = child.wait() => break status,
                    Some(signal) = to_send.recv() => {
                        // Not waited for yet, so the pid is still its own.
                        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
                            let _ = kill_process(pid, signal); // it may just have died
                        }
                    }
                }
            };
            let _ = exited.send(Exit { replica, pid, status }); // nobody may care any more
        });
        self.all[replica].running = Some(Running { pid, signals, task });
        Ok(())
    }

    pub fn pid(&self, replica: usize) -> Option<u32> {
        self.all[replica].running.as_ref().map(|running| running.pid)
    }

    /// Sends a signal to a replica, if it runs.
    pub fn signal(&self, replica: usize, signal: Signal) {
        if let Some(running) = &self.all[replica].running {
            let _ = running.signals.send(signal); // it may just have died
        }
    }

    /// Waits until a replica dies.
    pub async fn exit(&mut self) -> Exit {
        let exit = self.exits.recv().await.expect("a sender is kept here");
        self.all[exit.replica].running = None;
        exit
    }

    /// Stops all replicas: gently, then not.
    pub async fn stop(&mut self) {
        for replica in 0..self.all.len() {
            self.signal(replica, Signal::CONT);
            self.signal(replica, Signal::TERM);
        }
        let gone = async {
            while self.all.iter().any(|r| r.running.is_some()) {
                self.exit().await;
            }
        };
        if timeout(PARTING, gone).await.is_err() {
            self.kill_all().await;
        }
    }

    /// Kills all replicas and waits until they are gone.
    pub async fn kill_all(&mut self) {
        (0..self.all.len()).for_each(|replica| self.signal(replica, Signal::KILL));
        while self.all.iter().any(|r| r.running.is_some()) {
            self.exit().await;
        }
    }

    /// The replica that leads, if one that answers says so of itself.
    pub async fn leader(&self) -> Option<usize> {
        let mut asked = tokio::task::JoinSet::new();
        for (n, replica) in self.all.iter().enumerate().filter(|(_, r)| r.running.is_some()) {
            let client = replica.client(Duration::from_secs(1));
            asked.spawn(async move { Ok::<_, client::Error>((n, client?.status().await?)) });
        }
        let mut best = None;
        while let Some(answer) = asked.join_next().await {
            if let Ok(Ok((n, status))) = answer
                && status.leader == status.header.member
            {
                best = best.max(Some((status.term, n)));
            }
        }
        best.map(|(_, n)| n)
    }

    /// What a replica last complained about.
    pub fn last_words(&self, replica: usize) -> String {
        let log = std::fs::read_to_string(&self.all[replica].log).unwrap_or_default();
        let words = log.lines().rev().find(|line| line.starts_with("Error: "));
        words.map_or_else(|| format!("see {}", self.all[replica].log.display()), |line| line[7..].to_owned())
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        // Each task owns its child, which dies with it.
        self.all.iter().filter_map(|r| r.running.as_ref()).for_each(|running| running.task.abort());
    }
}

/// Ports that nobody listens on, in pairs.
pub(super) fn free_ports(pairs: usize) -> io::Result<Vec<(u16, u16)>> {
    // All at once, so that none comes twice.
    let sockets = (0..2 * pairs).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let ports = sockets.iter().map(|s| Ok(s.local_addr()?.port())).collect::<io::Result<Vec<u16>>>()?;
    Ok(ports.chunks(2).map(|pair| (pair[0], pair[1])).collect())
}
