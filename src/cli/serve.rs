//! `kvorum serve`

use std::{io::Read, path::PathBuf, pin::pin, process, thread};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::{Failure, output, unsupported::Unsupported};
use crate::{
    Node,
    node::{Builder, Error, descriptors, setting},
    transport::Address,
};

/// Run a replica
#[derive(Debug, Args)]
#[command(after_help = "\
Without flags: one replica, for clients on 127.0.0.1:2379, in ./default.kvorum.
A cluster of three, one line on each of three machines:
  kvorum serve --name a --listen-client-urls http://10.0.0.1:2379 \\
    --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380
The configuration is kept with the data: a restart needs only the name, or the directory. Flags that \
are given all the same hold for that run; those that name the cluster must be what they were.

With room for less than 64 MiB on its disk a replica raises the NOSPACE alarm, and nothing that grows is taken \
any more, on any replica: free some space, then disarm it (etcdctl alarm disarm).

A backup is a copy of the directory of a replica that is stopped: to restore it, put the copy in place of \
the directory, and start once with --adopt-copied-directory. A copy of a replica that runs, or that has run \
since, has forgotten what was promised: without the flag it receives the log and counts in no majority.

A port of 0 takes a free one; where the replica listens is printed to standard output, one line each:
client URL, peer URL. SIGTERM and Ctrl-C hand leadership over and stop; a second one stops at once.

Exit codes:
  0  it was stopped
  1  it could not start; nothing was changed on the disk
  2  the command line is wrong
  5  it halted, because its disk failed; restart it once the disk is well")]
pub(super) struct Serve {
    /// Name of this member [default: default, or what was stored]
    #[arg(long)]
    name: Option<String>,
    /// Directory of the data [default: NAME.kvorum]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen for clients [default: http://127.0.0.1:2379]
    #[arg(long, value_name = "URLS")]
    listen_client_urls: Option<String>,
    /// Where to listen for peers [default: this member's URL in --initial-cluster, or
    /// http://127.0.0.1:2380]
    #[arg(long, value_name = "URLS")]
    listen_peer_urls: Option<String>,
    /// Where clients are told to reach this member [default: where it listens]
    #[arg(long, value_name = "URLS")]
    advertise_client_urls: Option<String>,
    /// Where peers reach this member; the same as in --initial-cluster
    #[arg(long, value_name = "URLS")]
    initial_advertise_peer_urls: Option<String>,
    /// All members, this one among them; the same on each of them
    #[arg(long, value_name = "NAME=URL,...")]
    initial_cluster: Option<String>,
    /// Tells clusters apart that have equal members [default: kvorum-cluster]
    #[arg(long, value_name = "TOKEN")]
    initial_cluster_token: Option<String>,
    /// Whether the cluster is founded (new), or has been [default: new]
    #[arg(long, value_name = "new|existing")]
    initial_cluster_state: Option<String>,
    /// How often replicas ask after each other [default: 100]
    #[arg(long, value_name = "MS")]
    heartbeat_interval: Option<String>,
    /// How long a silent leader is trusted [default: 1000]
    #[arg(long, value_name = "MS")]
    election_timeout: Option<String>,
    /// The largest request [default: 1572864]
    #[arg(long, value_name = "BYTES")]
    max_request_bytes: Option<String>,
    /// The most operations in a transaction [default: 128]
    #[arg(long, value_name = "N")]
    max_txn_ops: Option<String>,
    /// The most that one read may answer: keys, values, and 100 bytes for each key; clients ask for
    /// more in parts, with a limit [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    max_reply_bytes: Option<String>,
    /// Bytes of keys and values after which puts are refused; negative for no limit
    /// [default: 2147483648]
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    quota_backend_bytes: Option<String>,
    /// What --auto-compaction-retention counts [default: periodic]
    #[arg(long, value_name = "periodic|revision")]
    auto_compaction_mode: Option<String>,
    /// How much history to keep: hours, a duration (30m), or revisions; 0 for all of it
    /// [default: 0]
    #[arg(long, value_name = "N")]
    auto_compaction_retention: Option<String>,
    /// How many deliveries of topics to keep for readers; twice as many where a subscriber lags
    /// [default: 16384]
    #[arg(long, value_name = "N")]
    topic_retention_messages: Option<String>,
    /// How many bytes of them [default: 33554432]
    #[arg(long, value_name = "BYTES")]
    topic_retention_bytes: Option<String>,
    /// The most topics of which deliveries are kept [default: 1024]
    #[arg(long, value_name = "N")]
    max_topics: Option<String>,
    /// The most subscribers with acknowledged redelivery [default: 256]
    #[arg(long, value_name = "N")]
    max_subscribers: Option<String>,
    /// The most registers [default: 4096]
    #[arg(long, value_name = "N")]
    max_registers: Option<String>,
    /// The directory is a copy, and counts all the same: the original was stopped before it was
    /// copied, and never starts again. To be given once
    #[arg(long)]
    adopt_copied_directory: bool,
    /// How much to say on standard error
    #[arg(long, value_name = "LEVEL", default_value = "info",
          value_parser = ["trace", "debug", "info", "warn", "error", "panic", "fatal"])]
    log_level: String,
    /// Stop at once when standard input ends: nobody then is left behind by a parent that dies.
    #[arg(long, hide = true)]
    exit_with_parent: bool,
    #[command(flatten)]
    unsupported: Unsupported,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        log_to_stderr(&self.log_level);
        if self.exit_with_parent {
            exit_with_parent()?;
        }
        descriptors::raise();
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::Other(format!("cannot start the runtime: {e}")))?
            .block_on(self.serve())
    }

    async fn serve(self) -> Result<(), Failure> {
        let cannot = |e| Failure::Other(format!("cannot listen for signals: {e}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut told = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let node = tokio::select! {
            node = self.builder().start() => node.map_err(failure)?,
            _ = told() => return Ok(()), // nothing has begun
        };
        announce(&node);
        let halted = {
            let ready = pin!(node.handle().serving());
            let mut ready = Some(ready);
            let mut halted = pin!(node.handle().halted());
            loop {
                tokio::select! {
                    Ok(()) = async { ready.as_mut().expect("polled while it is there").await }, if ready.is_some() => {
                        ready = None;
                        info!("serves clients");
                    }
                    why = &mut halted => break Some(why),
                    signal = told() => {
                        info!(signal, "stops; once more to stop at once");
                        break None;
                    }
                }
            }
        };
        if let Some(why) = halted {
            return Err(Failure::Halted(why.to_string()));
        }
        tokio::select! {
            stopped = node.shutdown() => stopped.map_err(|why| Failure::Halted(why.to_string())),
            _ = told() => process::exit(1),
        }
    }

    fn builder(self) -> Builder {
        let name = self.name.as_deref().unwrap_or("default");
        let dir = self.data_dir.unwrap_or_else(|| format!("{name}.kvorum").into());
        let given = [
            (setting::NAME, self.name),
            (setting::LISTEN_CLIENT, self.listen_client_urls),
            (setting::LISTEN_PEER, self.listen_peer_urls),
            (setting::ADVERTISE_CLIENT, self.advertise_client_urls),
            (setting::ADVERTISE_PEER, self.initial_advertise_peer_urls),
            (setting::CLUSTER, self.initial_cluster),
            (setting::TOKEN, self.initial_cluster_token),
            (setting::STATE, self.initial_cluster_state),
            (setting::HEARTBEAT, self.heartbeat_interval),
            (setting::ELECTION, self.election_timeout),
            (setting::MAX_REQUEST, self.max_request_bytes),
            (setting::MAX_OPS, self.max_txn_ops),
            (setting::MAX_REPLY, self.max_reply_bytes),
            (setting::QUOTA, self.quota_backend_bytes),
            (setting::COMPACTION_MODE, self.auto_compaction_mode),
            (setting::COMPACTION_RETENTION, self.auto_compaction_retention),
            (setting::DELIVERIES, self.topic_retention_messages),
            (setting::DELIVERY_BYTES, self.topic_retention_bytes),
            (setting::TOPICS, self.max_topics),
            (setting::SUBSCRIBERS, self.max_subscribers),
            (setting::REGISTERS, self.max_registers),
        ];
        let defaults = Node::builder(dir)
            .set_default(setting::LISTEN_CLIENT, "http://127.0.0.1:2379")
            .set_default(setting::LISTEN_PEER, "http://127.0.0.1:2380");
        let defaults = if self.adopt_copied_directory { defaults.adopt_copied_directory() } else { defaults };
        given.into_iter().fold(defaults, |builder, (name, value)| match value {
            Some(value) => builder.set(name, value),
            None => builder,
        })
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Config(_) => Failure::Usage(error.to_string()),
        Error::Halted(_) => Failure::Halted(error.to_string()),
        Error::Listen { .. } | Error::Directory(_) | Error::Stored(_) | Error::System { .. } => {
            Failure::Other(error.to_string())
        }
    }
}

/// Says where the node listens, for people and for scripts, and warns of what is open to the world.
fn announce(node: &Node) {
    for (purpose, addresses) in [("client", node.client_addresses()), ("peer", node.peer_addresses())] {
        for address in addresses {
            let _ = output::line(format_args!("{purpose} {address}")); // nobody may read it
            info!(%address, "listens for {purpose}s");
        }
        if let Some(open) = addresses.iter().find(|a: &&Address| !a.is_loopback()) {
            warn!(
                address = %open,
                "the {purpose} port is open beyond this machine, without TLS and without authentication: whoever \
                 reaches it reads and writes everything"
            );
        }
    }
}

/// Logs go to standard error, from this level on, in colour where a person looks.
fn log_to_stderr(level: &str) {
    use std::io::IsTerminal;
    let level = match level {
        "panic" | "fatal" => "error", // etcd's; nothing here is that loud
        level => level,
    };
    // What the libraries below have to say concerns those who write them.
    let filter = format!("{level},h2=warn,hyper=warn,hyper_util=warn,tower=warn,tonic=warn,sled=warn");
    // Fails only where a logger is set already, which then has the logs.
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .try_init();
}

/// Ends the program when standard input does. The parent holds the other end of that pipe, and
/// loses it however it dies.
fn exit_with_parent() -> Result<(), Failure> {
    let watch = || {
        let mut stdin = std::io::stdin();
        let mut nothing = [0; 64];
        while stdin.read(&mut nothing).is_ok_and(|n| n > 0) {}
        process::exit(0);
    };
    thread::Builder::new()
        .name("kvorum-parent".into())
        .spawn(watch)
        .map(|_| ())
        .map_err(|e| Failure::Other(format!("cannot start a thread: {e}")))
}
