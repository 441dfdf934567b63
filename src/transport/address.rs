//! Addresses as people write them: `http://host:port`.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Where a replica is reached: `http://host:port`.
///
/// ```
/// use kvorum::transport::Address;
/// let address: Address = "http://127.0.0.1:2380".parse()?;
/// assert_eq!((address.host(), address.port()), ("127.0.0.1", 2380));
/// assert!("https://127.0.0.1:2380".parse::<Address>().is_err());
/// # Ok::<(), kvorum::transport::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why an address is none.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AddressError {
    /// TLS is not spoken here.
    #[error(
        "{0:?} asks for TLS, which kvorum does not speak yet: use http:// on a network you trust, or a TLS proxy"
    )]
    Tls(String),
    /// Another scheme.
    #[error("{0:?} is not an http:// URL: write http://HOST:PORT")]
    Scheme(String),
    /// No host.
    #[error("{0:?} names no host: write http://HOST:PORT")]
    Host(String),
    /// No port, or none that is a number up to 65535.
    #[error("{0:?} names no port between 0 and 65535: write http://HOST:PORT")]
    Port(String),
    /// Something behind the port.
    #[error("{0:?} has a path, which an address must not have: write http://HOST:PORT")]
    Path(String),
}

impl Address {
    /// An address from its parts; a host that is an IPv6 address comes without brackets.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The host: a name, or an IP address (without brackets).
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 asks the system for any free one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    /// Whether it stands for every address of this machine, and so is none to connect to.
    pub fn is_unspecified(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_unspecified())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, AddressError> {
        let error = |make: fn(String) -> AddressError| make(url.to_owned());
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(error(AddressError::Scheme));
        };
        match scheme {
            "http" => {}
            "https" | "unixs" => return Err(error(AddressError::Tls)),
            _ => return Err(error(AddressError::Scheme)),
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(error(AddressError::Path));
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| error(AddressError::Port))?;
        let host = match host.strip_prefix('[') {
            Some(v6) => v6
                .strip_suffix(']')
                .filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
                .ok_or_else(|| error(AddressError::Host))?,
            None => host,
        };
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty()
            || !(host.chars().all(named) || host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_ok())
        {
            return Err(error(AddressError::Host));
        }
        let port = port.parse().map_err(|_| error(AddressError::Port))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "http://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "http://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were_written() {
        for url in ["http://127.0.0.1:2379", "http://node-1.example:0", "http://[::1]:2380"] {
            assert_eq!(url.parse::<Address>().unwrap().to_string(), url);
        }
        assert_eq!("http://a:1/".parse::<Address>().unwrap().to_string(), "http://a:1");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in [
            "",
            "127.0.0.1:2379",
            "https://127.0.0.1:2379",
            "unix://a:1",
            "http://",
            "http://:1",
            "http://a",
            "http://a:x",
            "http://a:65536",
            "http://a:-1",
            "http://a:1/path",
            "http://a:1?q",
            "http://u@a:1",
            "http://a b:1",
            "http://[::1:2380",
            "http://[a]:1",
        ] {
            assert!(url.parse::<Address>().is_err(), "{url:?} passed for an address");
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        let is = |url: &str| url.parse::<Address>().unwrap().is_loopback();
        assert!(is("http://localhost:1") && is("http://127.0.0.9:1") && is("http://[::1]:1"));
        assert!(!is("http://0.0.0.0:1") && !is("http://10.0.0.1:1") && !is("http://example.org:1"));
    }
}
