//! The hello: what two replicas tell each other before anything else, and when they refuse.

use super::Peer;
use crate::kernel::{Incarnation, ProcessId};
use crate::proto::peer::{Envelope, Hello, Refused, envelope::Body};

/// The version of the peer protocol that this build speaks. It grows with each new command of the log,
/// too, and with what a command comes to: who took it for another, or executed what is refused elsewhere,
/// would have another state.
pub const PROTOCOL: u32 = 8;

/// What a replica says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster that it belongs to.
    pub cluster: u64,
    /// The hash of its configuration.
    pub configuration: u64,
    /// Its place in the configuration.
    pub process: ProcessId,
    /// Its name.
    pub name: String,
    /// Which life this is.
    pub incarnation: Incarnation,
    /// The directory that it stands on.
    pub disk: u64,
    /// Drawn at random at each boot: tells it from another process of its name. Peers alone use the boot
    /// that the members' module tells; this one is told to whoever dials.
    pub life: u64,
    /// Where its clients reach it.
    pub client_urls: Vec<String>,
}

impl Identity {
    /// Its hello. The dialer's says what the other is to name as proof on a stream of its own.
    pub(super) fn hello(&self, call: u64) -> Envelope {
        Envelope {
            body: Some(Body::Hello(Hello {
                protocol: PROTOCOL,
                cluster: self.cluster,
                configuration: self.configuration,
                process: u32::from(self.process.0),
                incarnation: self.incarnation,
                disk: self.disk,
                name: self.name.clone(),
                client_urls: self.client_urls.clone(),
                life: self.life,
                call,
            })),
        }
    }
}

/// Why two replicas do not belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mismatch {
    /// For the other side: of what kind it is. A stranger learns nothing from it.
    pub told: &'static str,
    /// For the own log: what differs.
    pub why: String,
}

pub(super) fn refusal(reason: &str) -> Envelope {
    Envelope { body: Some(Body::Refused(Refused { reason: reason.to_owned() })) }
}

/// This replica and its peers.
#[derive(Debug)]
pub(super) struct Group {
    pub me: Identity,
    pub peers: Vec<Peer>,
}

impl Group {
    /// Who says this hello, if it is a peer that belongs here; else why not.
    pub fn check(&self, hello: Hello) -> Result<Identity, Mismatch> {
        let me = &self.me;
        let name: String = hello.name.chars().take(NAME).collect();
        let between = format!("between {:?} and {name:?}", me.name);
        if hello.protocol != PROTOCOL {
            let told = "another protocol is spoken here: upgrade the older of both";
            let why =
                format!("{between}: protocol {PROTOCOL} against {}; upgrade the older one", hello.protocol);
            return Err(Mismatch { told, why });
        }
        let told = "this is another cluster, or has another configuration: compare --initial-cluster and \
                    --initial-cluster-token of both";
        if hello.cluster != me.cluster {
            let why = format!(
                "{between}: cluster {:016x} against {:016x}; check --initial-cluster and \
                 --initial-cluster-token of both",
                me.cluster, hello.cluster
            );
            return Err(Mismatch { told, why });
        }
        if hello.configuration != me.configuration {
            let why = format!(
                "{between}: configuration {:016x} against {:016x}; --initial-cluster must be the same on all \
                 members",
                me.configuration, hello.configuration
            );
            return Err(Mismatch { told, why });
        }
        let peer = self
            .peers
            .iter()
            .find(|p| u32::from(p.process.0) == hello.process && p.name == hello.name)
            .ok_or_else(|| {
                let why =
                    format!("{between}: process {} of that name is no peer of {:?}", hello.process, me.name);
                Mismatch { told, why }
            })?;
        Ok(Identity {
            cluster: hello.cluster,
            configuration: hello.configuration,
            process: peer.process,
            name: hello.name,
            incarnation: hello.incarnation,
            disk: hello.disk,
            life: hello.life,
            client_urls: hello.client_urls,
        })
    }

    /// Who was met is not who was dialed.
    pub fn met(&self, dialed: &Peer, met: &Identity) -> Mismatch {
        let told = "this is another replica than the one that was dialed: check --initial-cluster";
        let why = format!(
            "{:?} dialed {:?} and met {:?}; check --initial-cluster",
            self.me.name, dialed.name, met.name
        );
        Mismatch { told, why }
    }

    /// A second process of one name.
    pub fn twin(&self, of: &str) -> Mismatch {
        let told = "another process of this name is alive: one data directory must not run twice, nor a copy of it \
                    beside it; stop one of them";
        let why = format!("between {:?} and {of:?}: {told}", self.me.name);
        Mismatch { told, why }
    }

    /// What a refusal by another is to be compared with.
    pub fn own(&self) -> String {
        let Identity { name, cluster, configuration, .. } = &self.me;
        format!(
            "{name:?} speaks protocol {PROTOCOL}, of cluster {cluster:016x}, configuration {configuration:016x}"
        )
    }
}

/// Characters of a stranger's name that are worth a line in the log.
const NAME: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(process: u8) -> Identity {
        Identity {
            cluster: 1,
            configuration: 2,
            process: ProcessId(process),
            name: format!("n{process}"),
            incarnation: 3,
            disk: 4,
            life: 5,
            client_urls: vec!["http://a:1".into()],
        }
    }

    fn group() -> Group {
        let peer = |p| Peer { process: ProcessId(p), name: format!("n{p}"), addresses: vec![] };
        Group { me: identity(0), peers: vec![peer(1), peer(2)] }
    }

    fn hello(identity: Identity) -> Hello {
        match identity.hello(0).body {
            Some(Body::Hello(hello)) => hello,
            _ => unreachable!("a hello"),
        }
    }

    #[test]
    fn a_peer_is_recognised() {
        assert_eq!(group().check(hello(identity(2))), Ok(identity(2)));
    }

    #[test]
    fn every_mismatch_is_refused_and_names_both_sides_to_nobody_but_the_own_log() {
        let base = hello(identity(1));
        let wrong = [
            Hello { protocol: PROTOCOL + 1, ..base.clone() },
            Hello { cluster: 9, ..base.clone() },
            Hello { configuration: 9, ..base.clone() },
            Hello { process: 9, ..base.clone() },
            Hello { process: 257, ..base.clone() },
            Hello { process: 0, name: "n0".into(), ..base.clone() },
            Hello { name: "n2".into(), ..base.clone() },
        ];
        for hello in wrong {
            let names = (format!("{:?}", "n0"), format!("{:?}", hello.name));
            let Mismatch { told, why } = group().check(hello).unwrap_err();
            assert!(why.contains(&names.0) && why.contains(&names.1), "{why}");
            assert!(!told.contains(|c: char| c.is_ascii_digit()), "{told}");
        }
    }
}
