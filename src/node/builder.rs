//! How a node starts: everything is checked, and the ports are bound, before anything is written.

use super::cluster::Founding;
use super::core::{self, Booted};
use super::error::{Error, Halted};
use super::handle::{Handle, Inner, REQUEST_BYTES, REQUESTS};
use super::settings::{AutoCompaction, Settings, Texts, name};
use super::shared::Shared;
use super::{Node, PARTING, ports, timeouts, upkeep};
use crate::api;
use crate::kernel::{self, Bounds, Journal, Mutants, ProcessId, Rows};
use crate::stack::Stack;
use crate::storage::{self, Boot, Configuration, Gauge, SledDisk, Verdict};
use crate::transport::{Address, Identity, Peer, Transport};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tracing::info;

/// How long a request waits for the log, beside the time that it takes to find another leader.
const PATIENCE: Duration = Duration::from_secs(5);

/// Settles how a node starts. What is not settled here is taken from what was stored at the first
/// boot, and else has etcd's default.
#[derive(Clone, Debug)]
pub struct Builder {
    dir: PathBuf,
    /// Yield to what is stored.
    defaults: Texts,
    given: Texts,
    storage: storage::Options,
}

impl Builder {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            defaults: Texts::new(),
            given: Texts::new(),
            storage: storage::Options::default(),
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

    /// Starts the node, on the current tokio runtime. A member of a cluster serves once a majority
    /// of it is up: see [`Handle::serving`].
    ///
    /// # Errors
    /// When the settings contradict themselves or what is stored, when a port is taken, or when
    /// the data directory cannot be used. Then nothing has changed on the disk.
    pub async fn start(self) -> Result<Node, Error> {
        let prepared = tokio::task::spawn_blocking(move || self.prepare()).await;
        let prepared = prepared.map_err(|e| Halted::Broken(format!("the boot panicked: {e}")))??;
        prepared.launch()
    }

    /// Everything that blocks.
    fn prepare(self) -> Result<Prepared, Error> {
        let Self { dir, defaults, given, storage } = self;
        let found = storage::peek(&dir)?;
        let stored = found.as_ref().map(|identity| &identity.configuration);
        let mut settings = settle(&defaults, stored, &given).map_err(Error::Config)?;
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
        let Boot { mut disk, rows, stored, identity, verdict, gauge } =
            storage::open(&dir, &asked, &storage)?;

        let founding = Founding {
            token: identity.configuration.token.clone(),
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
            timing: settings.timing,
            bounds: Bounds::default(),
            mutants: Mutants::default(),
        };
        let journal = Journal::new(config.mutants);
        let booted = core::boot(journal, |turn, up| Stack::start(config, stored, turn, up), &mut disk)?;
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

/// A replica that has booted, and the ports that are its own.
struct Prepared {
    settings: Settings,
    founding: Founding,
    cluster_id: u64,
    me: ProcessId,
    disk_id: u64,
    booted: Booted,
    disk: SledDisk,
    rows: Arc<dyn Rows>,
    verdict: Verdict,
    gauge: Gauge,
    client_ports: Vec<(Address, TcpListener)>,
    peer_ports: Vec<(Address, TcpListener)>,
}

impl Prepared {
    /// Sets it all going, on the current tokio runtime.
    fn launch(self) -> Result<Node, Error> {
        let system = |doing| move |source| Error::System { doing, source };
        let addresses = |ports: &[(Address, TcpListener)]| ports.iter().map(|(a, _)| a.clone()).collect();
        let (client_addresses, peer_addresses) = (addresses(&self.client_ports), addresses(&self.peer_ports));
        let client_urls: Vec<String> =
            self.settings.advertise_client.iter().map(Address::to_string).collect();
        let status = self.booted.stack.status();
        let shared = Shared::new(status.clone(), self.disk_id);
        let identity = Identity {
            cluster: self.cluster_id,
            configuration: self.founding.configuration(),
            process: self.me,
            name: self.settings.name.clone(),
            incarnation: status.incarnation,
            disk: self.disk_id,
            client_urls: client_urls.clone(),
        };
        let peers = self.founding.members.iter().enumerate().filter(|(place, _)| *place != self.me.index());
        let peers = peers.map(|(place, (name, addresses))| Peer {
            process: ProcessId(place as u8),
            name: name.clone(),
            addresses: addresses.clone(),
        });
        let listeners = self.peer_ports.into_iter().map(|(_, listener)| listener).collect();
        let transport = Transport::start(identity, listeners, peers.collect(), core::listener(&shared))
            .map_err(system("listen for peers"))?;
        let transport = Arc::new(transport);
        shared.set_transport(&transport);
        let close = |disk: SledDisk| disk.close();
        core::spawn(self.booted, self.disk, close, shared.clone(), transport, self.rows.clone(), self.me)
            .map_err(system("start the replica's threads"))?;

        let handle = Handle {
            inner: Arc::new(Inner {
                shared,
                rows: self.rows,
                cluster: self.founding.cluster(self.cluster_id, self.me, client_urls),
                verdict: self.verdict,
                limits: self.settings.limits,
                quota: self.settings.quota,
                election: self.settings.election(),
                next: AtomicU64::new(1),
                requests: Arc::new(Semaphore::new(REQUESTS)),
                bytes: Arc::new(Semaphore::new(REQUEST_BYTES)),
            }),
        };
        let limits = api::Limits {
            request: self.settings.limits,
            quota: self.settings.quota,
            patience: PATIENCE + 2 * self.settings.election(),
            requests: REQUESTS,
            request_bytes: REQUEST_BYTES,
            drain: PARTING,
            ..api::Limits::default()
        };
        let routes = api::routes(handle.clone(), limits);
        let (leave, leaving) = watch::channel(false);
        let mut node = Node {
            handle: handle.clone(),
            routes: routes.clone(),
            client_addresses,
            peer_addresses,
            leave,
            services: Vec::new(),
            upkeep: Vec::new(),
        };
        for (_, listener) in self.client_ports {
            let listener = listener
                .set_nonblocking(true)
                .and_then(|()| tokio::net::TcpListener::from_std(listener))
                .map_err(system("listen for clients"))?;
            let mut leaving = leaving.clone();
            let left = async move {
                let _ = leaving.wait_for(|leave| *leave).await; // a node that is gone has told so, too
            };
            node.services.push(tokio::spawn(api::serve(listener, routes.clone(), limits, left)));
        }
        node.upkeep.push(tokio::spawn(upkeep::watch_space(handle.clone(), self.gauge)));
        node.upkeep.push(tokio::spawn(timeouts::abort(handle.clone())));
        if let Some(mode) = self.settings.compaction {
            node.upkeep.push(tokio::spawn(upkeep::compact(handle, mode)));
        }
        Ok(node)
    }
}
