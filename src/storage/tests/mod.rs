//! Tests of the whole store, against a naive image of what was committed.

mod copies;
mod crash;
mod damage;
mod faults;
mod golden;
mod image;
mod refusals;
mod round_trip;

use super::{Boot, Configuration, Options, Refused, open};
use std::path::Path;
use std::time::Duration;

fn configuration() -> Configuration {
    Configuration { cluster_id: 7, token: "test".into(), name: "a".into(), ..Configuration::default() }
}

fn options() -> Options {
    Options { ballast: 0, cache: 8 << 20, deadline: Duration::from_secs(10), ..Options::default() }
}

fn boot(dir: &Path) -> Boot {
    try_boot(dir).unwrap_or_else(|refused| panic!("{refused}"))
}

fn try_boot(dir: &Path) -> Result<Boot, Refused> {
    open(dir, &configuration(), &options())
}
