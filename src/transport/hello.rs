//! The hello: what two replicas tell each other before anything else, and when they refuse.

use super::Peer;
use crate::kernel::{Incarnation, ProcessId};
use crate::proto::peer::{Envelope, Hello, Refused, envelope::Body};

/// The version of the peer protocol that this build speaks. It grows with each new command of the log,
/// too, and with what a command comes to: who took it for another, or executed what is refused elsewhere,
/// would have another state.
pub const PROTOCOL: u32 = 6;

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
    /// Where its clients reach it.
    pub client_urls: Vec<String>,
}

impl Identity {
    pub(super) fn hello(&self) -> Envelope {
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
            })),
        }
    }
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
    /// Who says this hello, if it is a peer that belongs here; else why not, for both sides to
    /// read.
    pub fn check(&self, hello: Hello) -> Result<Identity, String> {
        let me = &self.me;
        let between = format!("between {:?} and {:?}", me.name, hello.name);
        if hello.protocol != PROTOCOL {
            return Err(format!(
                "{between}: protocol {PROTOCOL} against {}; upgrade the older one",
                hello.protocol
            ));
        }
        if hello.cluster != me.cluster {
            return Err(format!(
                "{between}: cluster {:016x} against {:016x}; check --initial-cluster and \
                 --initial-cluster-token of both",
                me.cluster, hello.cluster
            ));
        }
        if hello.configuration != me.configuration {
            return Err(format!(
                "{between}: configuration {:016x} against {:016x}; --initial-cluster must be the same on all \
                 members",
                me.configuration, hello.configuration
            ));
        }
        let peer = self
            .peers
            .iter()
            .find(|p| u32::from(p.process.0) == hello.process && p.name == hello.name)
            .ok_or_else(|| {
                format!("{between}: process {} of that name is no peer of {:?}", hello.process, me.name)
            })?;
        Ok(Identity {
            cluster: hello.cluster,
            configuration: hello.configuration,
            process: peer.process,
            name: hello.name,
            incarnation: hello.incarnation,
            disk: hello.disk,
            client_urls: hello.client_urls,
        })
    }
}

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
            client_urls: vec!["http://a:1".into()],
        }
    }

    fn group() -> Group {
        let peer = |p| Peer { process: ProcessId(p), name: format!("n{p}"), addresses: vec![] };
        Group { me: identity(0), peers: vec![peer(1), peer(2)] }
    }

    fn hello(identity: Identity) -> Hello {
        match identity.hello().body {
            Some(Body::Hello(hello)) => hello,
            _ => unreachable!("a hello"),
        }
    }

    #[test]
    fn a_peer_is_recognised() {
        assert_eq!(group().check(hello(identity(2))), Ok(identity(2)));
    }

    #[test]
    fn every_mismatch_is_refused_and_names_both_sides() {
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
            let reason = group().check(hello).unwrap_err();
            assert!(reason.contains(&names.0) && reason.contains(&names.1), "{reason}");
        }
    }
}
