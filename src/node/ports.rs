//! The ports of a node: bound before anything is written.

use super::error::Error;
use crate::transport::Address;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// Binds addresses. A port that a killed process has just left is free at once (SO_REUSEADDR, which
/// the standard library sets), and one that somebody listens on never is.
pub(super) fn bind(
    addresses: &[Address],
    purpose: &'static str,
) -> Result<Vec<(Address, TcpListener)>, Error> {
    let bind = |address: &Address| {
        let listener = (address.host(), address.port())
            .to_socket_addrs()
            .and_then(|found| {
                let found: Vec<SocketAddr> = found.collect();
                TcpListener::bind(&found[..])
            })
            .map_err(|source| Error::Listen { address: address.to_string(), purpose, source })?;
        let port = listener
            .local_addr()
            .map_err(|source| Error::System { doing: "tell which port is bound", source })?
            .port();
        Ok((Address::new(address.host(), port), listener))
    };
    addresses.iter().map(bind).collect()
}

/// Where others reach what listens here: the same, unless that is no address to connect to.
pub(super) fn reachable(listening: &[(Address, TcpListener)]) -> Vec<Address> {
    let reachable = |(address, _): &(Address, TcpListener)| match address.is_unspecified() {
        true => Address::new("localhost", address.port()),
        false => address.clone(),
    };
    listening.iter().map(reachable).collect()
}
