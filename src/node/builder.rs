//! How a node starts: everything is checked, and the ports are bound, before anything is written.

use super::cluster::Founding;
use super::core;
use super::error::{Error, Halted};
use super::launch::Prepared;
use super::replica::Replica;
use super::settings::{AutoCompaction, Settings, Texts, name};
use super::shared::Machine;
use super::{Node, ports};
use crate::kernel::{self, Mutants, ProcessId};
use crate::storage::{self, Boot, Configuration, Verdict};
use crate::transport::Address;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::info;

/// Settles how a node starts. What is not settled here is taken from what was stored at the first
/// boot, and else has etcd's default.
#[derive(Clone, Debug)]
pub struct Builder {
    dir: PathBuf,
    /// Yield to what is stored.
    defaults: Texts,
    given: Texts,
    storage: storage::Options,
    adopt_copy: bool,
}

impl Builder {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            defaults: Texts::new(),
            given: Texts::new(),
            storage: storage::Options::default(),
            adopt_copy: false,
        }
    }

    /// A setting by the name and in the grammar of its flag of `kvorum serve`.
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.given.insert(name.to_owned(), value.into());
        self
    }

    /// A setting that yields to what was stored at the first boot.
    pub fn set_default(mut self, name: &str, value: impl Into<String>) -> Self {
        self.defaults.insert(name.to_owned(), value.into());
        self
    }

    /// The name of this member. Default: `default`.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.set(name::NAME, name)
    }

    /// All members, this one among them: name, and `http://host:port` for its peers. Must be the
    /// same on all members. Without it, the node is a cluster of its own.
    pub fn initial_cluster<N: AsRef<str>, U: AsRef<str>>(
        self,
        members: impl IntoIterator<Item = (N, U)>,
    ) -> Self {
        let member = |(name, url): (N, U)| format!("{}={}", name.as_ref(), url.as_ref());
        self.set(name::CLUSTER, members.into_iter().map(member).collect::<Vec<_>>().join(","))
    }

    /// Tells clusters apart that have equal members. Default: `kvorum-cluster`.
    pub fn initial_cluster_token(self, token: impl Into<String>) -> Self {
        self.set(name::TOKEN, token)
    }

    /// Listens for clients on `http://host:port`. Default: no port.
    pub fn listen_client(self, url: impl Into<String>) -> Self {
        self.set(name::LISTEN_CLIENT, url)
    }

    /// Listens for peers on `http://host:port`. Default: what `initial_cluster` says of this
    /// member.
    pub fn listen_peer(self, url: impl Into<String>) -> Self {
        self.set(name::LISTEN_PEER, url)
    }

    /// Where clients are told to reach this member. Default: where it listens.
    pub fn advertise_client(self, url: impl Into<String>) -> Self {
        self.set(name::ADVERTISE_CLIENT, url)
    }

    /// How often replicas ask after each other, and how long a silent leader is trusted: at least
    /// five times as long. Defaults: 100 ms and 1 s.
    pub fn timing(self, heartbeat: Duration, election: Duration) -> Self {
        self.set(name::HEARTBEAT, heartbeat.as_millis().to_string())
            .set(name::ELECTION, election.as_millis().to_string())
    }

    /// Bytes of keys and values after which puts are refused. Default: 2 GiB.
    pub fn quota(self, bytes: u64) -> Self {
        let bytes = i64::try_from(bytes).unwrap_or(-1);
        self.set(name::QUOTA, bytes.to_string())
    }

    /// How many deliveries of topics this replica keeps for readers, and how many bytes of them; twice
    /// as much where a subscriber lags. Topics in total order are replicated: see
    /// [`Handle::set_ledger_bounds`](super::Handle::set_ledger_bounds). Defaults: 16,384 and 32 MiB.
    pub fn topic_retention(self, messages: u64, bytes: u64) -> Self {
        self.set(name::DELIVERIES, messages.to_string()).set(name::DELIVERY_BYTES, bytes.to_string())
    }

    /// Forgets old revisions by itself. Default: never.
    pub fn auto_compaction(self, mode: AutoCompaction) -> Self {
        let (mode, retention) = match mode {
            AutoCompaction::Periodic(period) => ("periodic", format!("{}ms", period.as_millis())),
            AutoCompaction::Revisions(kept) => ("revision", kept.to_string()),
        };
        self.set(name::COMPACTION_MODE, mode).set(name::COMPACTION_RETENTION, retention)
    }

    /// How the store is kept.
    pub fn storage(mut self, options: storage::Options) -> Self {
        self.storage = options;
        self
    }

    /// The data directory is a copy, and counts in majorities all the same: **the original was stopped
    /// before it was copied, and never starts again**. If that is not so, writes that were acknowledged
    /// may be lost. For this boot: the directory remembers. Without it, a replica with peers that starts on
    /// a copy receives the log and counts in no majority; a replica alone always adopts a copy.
    pub fn adopt_copied_directory(mut self) -> Self {
        self.adopt_copy = true;
        self
    }

    /// Starts the node, on the current tokio runtime. A member of a cluster serves once a majority
    /// of it is up: see [`Handle::serving`](super::Handle::serving).
    ///
    /// # Errors
    /// When the settings contradict themselves or what is stored, when a port is taken, or when
    /// the data directory cannot be used: then nothing has changed on the disk. When the system has
    /// no more threads or sockets: then the boot was counted, and no more.
    pub async fn start(self) -> Result<Node, Error> {
        self.prepared(None).await?.launch()?.serve()
    }

    /// Starts a replica of a state machine of one's own, on the current tokio runtime: it serves
    /// its peers and this program, and no clients. The data directory remembers the name of the
    /// state machine, and is opened under no other. Nobody watches its space: when its disk is full,
    /// it halts.
    ///
    /// # Errors
    /// As [`Builder::start`]; also when a client port is set.
    pub async fn replicate<M: Machine>(self, machine: &str) -> Result<Replica<M>, Error> {
        if machine.is_empty() || machine.len() > kernel::MAX_NAME {
            return Err(Error::Config(format!(
                "the name of a state machine must have 1 to {} bytes, and {machine:?} has {}",
                kernel::MAX_NAME,
                machine.len()
            )));
        }
        let launched = self.prepared(Some(machine.to_owned())).await?.launch()?;
        Ok(launched.replica)
    }

    async fn prepared<M: Machine>(self, machine: Option<String>) -> Result<Prepared<M>, Error> {
        let prepared = tokio::task::spawn_blocking(move || self.prepare(machine)).await;
        prepared.map_err(|e| Halted::Broken(format!("the boot panicked: {e}")))?
    }

    /// Everything that blocks.
    fn prepare<M: Machine>(self, machine: Option<String>) -> Result<Prepared<M>, Error> {
        let Self { dir, mut defaults, mut given, mut storage, adopt_copy } = self;
        storage.adopt_copy |= adopt_copy;
        // Which state machine it is, the type says.
        defaults.remove(name::MACHINE);
        given.remove(name::MACHINE);
        let found = storage::peek(&dir)?;
        let stored = found.as_ref().map(|identity| &identity.configuration);
        if let Some(stored) = stored {
            held_to(stored.settings.get(name::MACHINE), machine.as_ref(), &dir)?;
        }
        given.extend(machine.map(|machine| (name::MACHINE.to_owned(), machine)));
        let mut settings = settle(&defaults, stored, &given).map_err(Error::Config)?;
        if settings.machine.is_some() && !settings.listen_client.is_empty() {
            return Err(Error::Config(
                "a replica of one's own state machine serves no clients: set no client port".into(),
            ));
        }
        if let Some(stored) = stored {
            settings.cluster.get_or_insert(members_of(stored)?);
        } else if settings.joins_existing {
            return Err(Error::Config(format!(
                "--initial-cluster-state existing: a new member cannot join a running cluster yet, and {} has \
                 no data; start all founding members with --initial-cluster-state new",
                dir.display()
            )));
        }
        let said = |texts: &Texts| texts.contains_key(name::LISTEN_PEER);
        if !said(&given)
            && !stored.is_some_and(|stored| said(&stored.settings))
            && let Some(members) = settings.cluster.as_ref().filter(|members| members.len() > 1)
            && let Some((_, own)) = members.iter().find(|(name, _)| *name == settings.name)
        {
            settings.listen_peer = own.clone();
        }
        let client_ports = ports::bind(&settings.listen_client, "client")?;
        let peer_ports = ports::bind(&settings.listen_peer, "peer")?;
        if settings.advertise_client.is_empty() {
            settings.advertise_client = ports::reachable(&client_ports);
        }
        if settings.advertise_peer.is_empty() {
            settings.advertise_peer = ports::reachable(&peer_ports);
        }
        let asked = configuration(&settings, &given);
        let Boot { mut disk, rows, stored, identity, verdict, origin, gauge } =
            storage::open(&dir, &asked, &storage)?;

        let founding = Founding {
            token: identity.configuration.token.clone(),
            machine: settings.machine.clone(),
            members: members_of(&identity.configuration)?,
        };
        let me = ProcessId(identity.configuration.index);
        let config = kernel::Config {
            me,
            processes: founding.members.len(),
            configuration: founding.configuration(),
            disk: identity.disk_id,
            boot: fastrand::u64(1..),
            damaged: matches!(verdict, Verdict::Damaged { .. }) || identity.replaces.is_some(),
            origin,
            timing: settings.timing,
            bounds: settings.bounds,
            mutants: Mutants::default(),
        };
        let booted = core::boot(config, stored, &mut disk)?;
        let incarnation = booted.stack.status().incarnation;
        let disk_id = identity.disk_id;
        info!(name = %settings.name, incarnation, "{verdict}");
        Ok(Prepared {
            settings,
            founding,
            cluster_id: identity.configuration.cluster_id,
            me,
            disk_id,
            booted,
            disk,
            rows,
            verdict,
            gauge,
            client_ports,
            peer_ports,
        })
    }
}

/// A data directory belongs to one state machine.
fn held_to(stored: Option<&String>, asked: Option<&String>, dir: &Path) -> Result<(), Error> {
    let called = |machine: Option<&String>| machine.map_or("the store".to_owned(), |m| format!("{m:?}"));
    if stored == asked {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{} is a replica of {}, and was to be opened as one of {}: use another directory",
        dir.display(),
        called(stored),
        called(asked)
    )))
}

/// Defaults, then what is stored, then what is given.
fn settle(defaults: &Texts, stored: Option<&Configuration>, given: &Texts) -> Result<Settings, String> {
    let mut texts = defaults.clone();
    if let Some(stored) = stored {
        texts.extend(stored.settings.clone());
        texts.insert(name::NAME.into(), stored.name.clone());
        texts.insert(name::TOKEN.into(), stored.token.clone());
    }
    texts.extend(given.clone());
    Settings::parse(&texts)
}

/// The founding members, as stored.
fn members_of(stored: &Configuration) -> Result<Vec<(String, Vec<Address>)>, Error> {
    let address = |url: &String| {
        url.parse().map_err(|e| Error::Config(format!("the stored configuration is damaged: {e}")))
    };
    let member = |m: &storage::Member| {
        Ok((m.name.clone(), m.peer_urls.iter().map(address).collect::<Result<_, Error>>()?))
    };
    stored.members.iter().map(member).collect()
}

/// What this boot takes for the configuration: the first one stores it, later ones are held to it.
fn configuration(settings: &Settings, given: &Texts) -> Configuration {
    let founding = settings.founding(&settings.advertise_peer);
    let index = founding.members.iter().position(|(name, _)| *name == settings.name);
    let member = |(name, urls): &(String, Vec<Address>)| storage::Member {
        name: name.clone(),
        peer_urls: urls.iter().map(Address::to_string).collect(),
    };
    let elsewhere = [name::NAME, name::CLUSTER, name::TOKEN, name::STATE, name::ADVERTISE_PEER];
    let kept = given.iter().filter(|(name, _)| !elsewhere.contains(&name.as_str()));
    Configuration {
        cluster_id: founding.cluster_id(),
        token: founding.token.clone(),
        name: settings.name.clone(),
        index: index.unwrap_or_default() as u8,
        members: founding.members.iter().map(member).collect(),
        client_urls: settings.advertise_client.iter().map(Address::to_string).collect(),
        settings: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}
