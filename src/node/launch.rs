//! The launch: the threads of a replica that has booted, its streams, and then its services.

use super::cluster::Founding;
use super::core::{self, Booted};
use super::error::Error;
use super::handle::{Handle, Inner};
use super::replica::Replica;
use super::requests::{REQUEST_BYTES, REQUESTS, Requests};
use super::settings::Settings;
use super::shared::{Machine, Shared};
use super::{Node, PARTING, descriptors, timeouts, upkeep};
use crate::api;
use crate::kernel::{ProcessId, Rows};
use crate::ledger::Replicated;
use crate::storage::{Gauge, SledDisk, Verdict};
use crate::transport::{Address, Identity, Peer, Transport};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a request waits for the log, beside the time that it takes to find another leader.
const PATIENCE: Duration = Duration::from_secs(5);

/// A replica that has booted, and the ports that are its own.
pub(super) struct Prepared<M: Machine> {
    pub settings: Settings,
    pub founding: Founding,
    pub cluster_id: u64,
    pub me: ProcessId,
    pub disk_id: u64,
    pub booted: Booted<M>,
    pub disk: SledDisk,
    pub rows: Arc<dyn Rows>,
    pub verdict: Verdict,
    pub gauge: Gauge,
    pub client_ports: Vec<(Address, TcpListener)>,
    pub peer_ports: Vec<(Address, TcpListener)>,
}

/// A replica that runs, and what its services need.
pub(super) struct Launched<M: Machine> {
    pub replica: Replica<M>,
    settings: Settings,
    gauge: Gauge,
    client_ports: Vec<(Address, TcpListener)>,
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::System { doing, source }
}

fn addresses(ports: &[(Address, TcpListener)]) -> Vec<Address> {
    ports.iter().map(|(address, _)| address.clone()).collect()
}

impl<M: Machine> Prepared<M> {
    /// Sets the replica going, on the current tokio runtime.
    pub fn launch(self) -> Result<Launched<M>, Error> {
        let peer_addresses = addresses(&self.peer_ports);
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
            life: fastrand::u64(1..),
            client_urls: client_urls.clone(),
        };
        let peers = self.founding.members.iter().enumerate().filter(|(place, _)| *place != self.me.index());
        let peers = peers.map(|(place, (name, addresses))| Peer {
            process: ProcessId(place as u8),
            name: name.clone(),
            addresses: addresses.clone(),
        });
        let listeners = self.peer_ports.into_iter().map(|(_, listener)| listener).collect();
        let (bounds, heard) = (self.settings.bounds, core::listener(&shared));
        let transport = Transport::start(identity, listeners, peers.collect(), bounds, heard)
            .map_err(system("listen for peers"))?;
        let transport = Arc::new(transport);
        shared.set_transport(&transport);
        let close = |disk: SledDisk| disk.close();
        core::spawn(self.booted, self.disk, close, shared.clone(), transport, self.rows.clone(), self.me)
            .map_err(system("start the replica's threads"))?;
        let replica = Replica {
            requests: Requests::new(shared),
            rows: self.rows,
            cluster: self.founding.cluster(self.cluster_id, self.me, client_urls),
            verdict: self.verdict,
            election: self.settings.election(),
            peer_addresses,
        };
        let Self { settings, gauge, client_ports, .. } = self;
        Ok(Launched { replica, settings, gauge, client_ports })
    }
}

impl Launched<Replicated> {
    /// Serves clients.
    pub fn serve(self) -> Result<Node, Error> {
        let Self { replica, settings, gauge, client_ports } = self;
        let client_addresses = addresses(&client_ports);
        let handle = Handle {
            inner: Arc::new(Inner {
                requests: replica.requests.clone(),
                rows: replica.rows.clone(),
                cluster: replica.cluster.clone(),
                verdict: replica.verdict.clone(),
                limits: settings.limits,
                quota: settings.quota,
                election: replica.election,
            }),
        };
        let connections = descriptors::for_clients(api::Limits::default().connections);
        let limits = api::Limits {
            connections: connections / client_ports.len().max(1),
            request: settings.limits,
            quota: settings.quota,
            reply_bytes: settings.reply_bytes,
            unsent_bytes: api::Limits::REPLIES * settings.reply_bytes as usize,
            patience: PATIENCE + 2 * settings.election(),
            requests: REQUESTS,
            request_bytes: REQUEST_BYTES,
            drain: PARTING,
            ..api::Limits::default()
        };
        let routes = api::routes(handle.clone(), limits);
        let (leave, leaving) = watch::channel(false);
        let mut node = Node {
            replica,
            handle: handle.clone(),
            routes: routes.clone(),
            client_addresses,
            leave,
            services: Vec::new(),
            upkeep: Vec::new(),
        };
        for (_, listener) in client_ports {
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
        node.upkeep.push(tokio::spawn(upkeep::watch_space(handle.clone(), gauge)));
        node.upkeep.push(tokio::spawn(timeouts::abort(handle.clone())));
        if let Some(mode) = settings.compaction {
            node.upkeep.push(tokio::spawn(upkeep::compact(handle, mode)));
        }
        Ok(node)
    }
}
