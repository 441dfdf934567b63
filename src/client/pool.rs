//! The endpoints of a cluster: which one to ask now, which one next.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Error, channel::Channel};

/// Endpoints remembered at most, hints of servers included.
const MAX_ENDPOINTS: usize = 32;

#[derive(Debug)]
pub(super) struct Pool {
    dial: Duration,
    /// There is nowhere else to go: in-process, or what is asked for is there only.
    fixed: bool,
    state: Mutex<State>,
}

/// `current < endpoints.len()`.
#[derive(Debug)]
struct State {
    endpoints: Vec<Endpoint>,
    current: usize,
}

#[derive(Debug)]
struct Endpoint {
    uri: String,
    channel: Option<Channel>,
}

impl Pool {
    /// Starts at the first endpoint, or at a random one, so that many clients spread over the replicas.
    pub(super) fn tcp<E: AsRef<str>>(
        endpoints: impl IntoIterator<Item = E>,
        dial: Duration,
        in_order: bool,
    ) -> Result<Self, Error> {
        let mut list: Vec<Endpoint> = Vec::new();
        for text in endpoints {
            let uri = normalize(text.as_ref())?;
            if list.iter().all(|e| e.uri != uri) {
                list.push(Endpoint { uri, channel: None });
            }
        }
        if list.is_empty() || list.len() > MAX_ENDPOINTS {
            let reason = format!("give 1 to {MAX_ENDPOINTS} endpoints, not {}", list.len());
            return Err(Error::Endpoint { endpoint: String::new(), reason });
        }
        let current = if in_order { 0 } else { fastrand::usize(..list.len()) };
        Ok(Self { dial, fixed: false, state: Mutex::new(State { endpoints: list, current }) })
    }

    pub(super) fn local(channel: Channel) -> Self {
        let endpoint = Endpoint { uri: "in-process".into(), channel: Some(channel) };
        Self {
            dial: Duration::ZERO,
            fixed: true,
            state: Mutex::new(State { endpoints: vec![endpoint], current: 0 }),
        }
    }

    /// The endpoint to ask now, and no other.
    pub(super) fn only(&self) -> Self {
        let state = self.lock();
        let Endpoint { uri, channel } = &state.endpoints[state.current];
        let endpoint = Endpoint { uri: uri.clone(), channel: channel.clone() };
        Self {
            dial: self.dial,
            fixed: true,
            state: Mutex::new(State { endpoints: vec![endpoint], current: 0 }),
        }
    }

    pub(super) fn dial(&self) -> Duration {
        self.dial
    }

    pub(super) fn len(&self) -> usize {
        self.lock().endpoints.len()
    }

    /// The endpoint to ask now.
    pub(super) fn current(&self) -> Result<(String, Channel), Error> {
        let mut state = self.lock();
        let current = state.current;
        let endpoint = &mut state.endpoints[current];
        let channel = match &endpoint.channel {
            Some(channel) => channel.clone(),
            None => endpoint.channel.insert(Channel::tcp(&endpoint.uri, self.dial)?).clone(),
        };
        Ok((endpoint.uri.clone(), channel))
    }

    /// `uri` failed: ask the next one, unless another call has moved on already.
    pub(super) fn advance(&self, uri: &str) {
        let mut state = self.lock();
        if state.endpoints[state.current].uri == uri {
            state.current = (state.current + 1) % state.endpoints.len();
        }
    }

    /// A server says that the leader is at `hint`. False if that leads nowhere new.
    pub(super) fn follow(&self, from: &str, hint: &str) -> bool {
        let Ok(uri) = normalize(hint) else { return false };
        if self.fixed || uri == from {
            return false;
        }
        let mut state = self.lock();
        let known = state.endpoints.iter().position(|e| e.uri == uri);
        let Some(index) = known.or_else(|| {
            let room = state.endpoints.len() < MAX_ENDPOINTS;
            room.then(|| {
                state.endpoints.push(Endpoint { uri, channel: None });
                state.endpoints.len() - 1
            })
        }) else {
            return false;
        };
        state.current = index;
        true
    }

    /// `uri` did not answer: its connection may be dead without knowing, so dial anew next time.
    pub(super) fn disconnect(&self, uri: &str) {
        if self.fixed {
            return;
        }
        for endpoint in self.lock().endpoints.iter_mut().filter(|e| e.uri == uri) {
            endpoint.channel = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change above is complete before it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `host:port` or `http://host:port`, as `http://host:port`.
fn normalize(text: &str) -> Result<String, Error> {
    let refuse = |reason: &str| Err(Error::Endpoint { endpoint: text.to_owned(), reason: reason.to_owned() });
    let trimmed = text.trim().trim_end_matches('/');
    let address = match trimmed.split_once("://") {
        None => trimmed,
        Some(("http", address)) => address,
        Some(("https", _)) => return refuse("TLS is not supported yet; use http:// on a trusted network"),
        Some(_) => return refuse("only http:// is supported"),
    };
    let Some((host, port)) = address.rsplit_once(':') else {
        return refuse("it names no port; write it as host:port");
    };
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return refuse("it names no host; write it as host:port");
    }
    if port.parse::<u16>().is_err() {
        return refuse("its port is not a number from 0 to 65535");
    }
    Ok(format!("http://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(endpoints: &[&str]) -> Pool {
        Pool::tcp(endpoints, Duration::from_secs(1), false).unwrap()
    }

    fn current(pool: &Pool) -> String {
        let state = pool.lock();
        state.endpoints[state.current].uri.clone()
    }

    #[test]
    fn endpoints_are_taken_with_or_without_scheme() {
        for text in ["127.0.0.1:2379", "http://127.0.0.1:2379", " http://127.0.0.1:2379/ "] {
            assert_eq!(normalize(text).unwrap(), "http://127.0.0.1:2379");
        }
        assert_eq!(normalize("[::1]:2379").unwrap(), "http://[::1]:2379");
    }

    #[test]
    fn endpoints_that_cannot_work_are_refused_with_the_reason() {
        for (text, reason) in [
            ("https://a:1", "TLS"),
            ("unix:///tmp/a", "only http"),
            ("a", "no port"),
            (":2379", "no host"),
            ("a:99999", "port"),
            ("a/b:1", "host"),
        ] {
            let error = normalize(text).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
        assert!(Pool::tcp([""; 0], Duration::ZERO, false).is_err());
    }

    #[test]
    fn asked_in_order_they_begin_with_the_first() {
        for _ in 0..20 {
            let pool = Pool::tcp(["a:1", "b:1", "c:1"], Duration::ZERO, true).unwrap();
            assert_eq!(current(&pool), "http://a:1");
        }
    }

    #[test]
    fn a_failure_moves_on_once_however_many_calls_saw_it() {
        let pool = pool(&["a:1", "b:1", "c:1"]);
        let first = current(&pool);
        pool.advance(&first);
        let second = current(&pool);
        pool.advance(&first);
        assert_ne!(first, second);
        assert_eq!(current(&pool), second);
    }

    #[test]
    fn a_hint_is_followed_also_to_an_unlisted_endpoint() {
        let pool = pool(&["a:1"]);
        assert!(!pool.follow("http://a:1", "http://a:1"), "a replica that names itself");
        assert!(!pool.follow("http://a:1", "https://b:1"));
        assert!(pool.follow("http://a:1", "http://b:1"));
        assert_eq!(current(&pool), "http://b:1");
        for port in 0..200 {
            pool.follow("http://a:1", &format!("c:{port}"));
        }
        assert_eq!(pool.len(), MAX_ENDPOINTS);
    }
}
