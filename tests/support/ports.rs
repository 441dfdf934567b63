//! Ports for replicas that are killed and come back on the same ones.

use std::net::TcpListener;

/// So many ports that nobody listens on. They lie below those that the system gives away by itself
/// (32768 and up): a connection of anybody's could take one of those while a replica is down.
pub fn free(count: usize) -> Vec<u16> {
    let mut rng = fastrand::Rng::new();
    let mut held: Vec<TcpListener> = Vec::new();
    while held.len() < count {
        held.extend(TcpListener::bind(("127.0.0.1", rng.u16(10_000..32_000))));
    }
    held.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}
