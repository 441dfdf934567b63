//! Flags of etcd's that `kvorum serve` does not have: whoever brings one is told why not.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

const TLS: &str = "kvorum does not speak TLS yet; leave the flag out, and listen on a network you trust or behind a TLS \
                   proxy";
const AUTH: &str = "kvorum has no authentication yet; leave the flag out, and listen on a network you trust";
const DISCOVERY: &str = "kvorum has no discovery; name all members with --initial-cluster";
const STORE: &str = "kvorum keeps log and state together in --data-dir, and decides by itself when to write a \
                     checkpoint and trim the log; leave the flag out";
const LOGS: &str = "kvorum logs to standard error; choose how much with --log-level";
const METRICS: &str = "kvorum has no metrics port yet; leave the flag out";
const HTTP: &str = "kvorum serves no browsers yet; leave the flag out";
const V2: &str = "kvorum speaks the v3 API only; leave the flag out";
const ALWAYS: &str = "kvorum needs no such switch: its elections always do so; leave the flag out";
const FILE: &str = "kvorum reads flags and KVORUM_... variables, and keeps the configuration with the data";
const MEMBERS: &str =
    "the members of a cluster cannot be changed yet; restart members of the cluster as it is";
const SYNC: &str = "kvorum never skips a sync; leave the flag out";
const CONNECTION: &str = "kvorum sees to its connections by itself; leave the flag out";

const FLAGS: &[(&str, &[&str])] = &[
    (
        TLS,
        &[
            "cert-file",
            "key-file",
            "client-cert-auth",
            "client-crl-file",
            "client-cert-allowed-hostname",
            "trusted-ca-file",
            "ca-file",
            "auto-tls",
            "peer-cert-file",
            "peer-key-file",
            "peer-client-cert-auth",
            "peer-trusted-ca-file",
            "peer-ca-file",
            "peer-auto-tls",
            "peer-crl-file",
            "peer-cert-allowed-cn",
            "peer-cert-allowed-hostname",
            "cipher-suites",
            "self-signed-cert-validity",
            "tls-min-version",
            "tls-max-version",
        ],
    ),
    (AUTH, &["auth-token", "auth-token-ttl", "bcrypt-cost"]),
    (
        DISCOVERY,
        &[
            "discovery",
            "discovery-srv",
            "discovery-srv-name",
            "discovery-fallback",
            "discovery-proxy",
            "discovery-token",
            "discovery-endpoints",
        ],
    ),
    (
        STORE,
        &[
            "wal-dir",
            "snapshot-count",
            "max-snapshots",
            "max-wals",
            "backend-batch-limit",
            "backend-batch-interval",
            "backend-bbolt-freelist-type",
        ],
    ),
    (LOGS, &["logger", "log-outputs", "log-format", "log-package-levels", "debug", "enable-log-rotation"]),
    (METRICS, &["metrics", "listen-metrics-urls", "enable-pprof"]),
    (HTTP, &["cors", "host-whitelist", "listen-client-http-urls", "enable-grpc-gateway"]),
    (V2, &["enable-v2", "v2-deprecation", "proxy", "proxy-failure-wait", "proxy-refresh-interval"]),
    (ALWAYS, &["pre-vote", "initial-election-tick-advance"]),
    (FILE, &["config-file"]),
    (MEMBERS, &["force-new-cluster", "strict-reconfig-check"]),
    (SYNC, &["unsafe-no-fsync"]),
    (
        CONNECTION,
        &[
            "grpc-keepalive-min-time",
            "grpc-keepalive-interval",
            "grpc-keepalive-timeout",
            "max-concurrent-streams",
            "socket-reuse-port",
            "socket-reuse-address",
        ],
    ),
];

/// Takes none of them.
#[derive(Debug)]
pub(super) struct Unsupported;

impl Args for Unsupported {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, (reason, flags)| {
            flags.iter().fold(command, |command, flag| {
                let refuse = move |_: &str| Err::<String, String>((*reason).to_owned());
                let arg = Arg::new(*flag).long(*flag).hide(true).value_name("...").action(ArgAction::Set);
                command.arg(arg.num_args(0..=1).default_missing_value("").value_parser(refuse))
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Unsupported {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self)
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }
}
