//! File descriptors: the system bounds how many a process may have open. Clients get those that the
//! disk and the peers can spare: without one of its own a client waits, the disk fails.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the peer port, where strangers may come as well.
const PEERS: u64 = 256;
/// For the store, the streams to peers, and the program itself.
const OWN: u64 = 64;

/// Lets this process have as many files open as its administrator allows.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// How many connections clients may have, of those that are wanted.
pub(super) fn for_clients(wanted: usize) -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wanted };
    let connections = share(limit, wanted);
    if connections < wanted {
        tracing::warn!(
            limit,
            "takes {connections} connections of clients, not {wanted}: the system lets this process have no \
             more files open; raise that limit (ulimit -n, or LimitNOFILE of systemd)"
        );
    }
    connections
}

fn share(limit: u64, wanted: usize) -> usize {
    let reserved = (PEERS + OWN).min(limit / 2);
    usize::try_from(limit - reserved).unwrap_or(usize::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_replica_can_spare() {
        assert_eq!(share(1 << 20, 4096), 4096);
        assert_eq!(share(4096, 4096), 4096 - 320);
        assert_eq!(share(1024, 4096), 704);
        assert_eq!(share(200, 4096), 100);
        assert_eq!(share(u64::MAX, 4096), 4096);
        assert_eq!(share(0, 4096), 0);
    }
}
