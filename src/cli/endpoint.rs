//! `kvorum endpoint status|health`

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use tokio::task::JoinHandle;

use super::{Failure, block_on, connection::Connection};
use crate::client::{self, Client, Retry, Status};

/// The state of each endpoint
#[derive(Debug, Args)]
pub(super) struct Endpoint {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What each replica says of itself
    #[command(after_help = "\
With -w simple, a line is: endpoint, id, version, size on disk, is leader, is learner, term, log index, \
applied index, errors.
  kvorum endpoint status --cluster -w table")]
    Status(Which),
    /// Whether each replica can serve a linearizable read
    #[command(after_help = "Exits with 1 unless all are healthy.")]
    Health(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// Ask every member of the cluster, not only --endpoints
    #[arg(long)]
    cluster: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What asking one endpoint for its health came to.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) endpoint: String,
    pub(super) took: Duration,
    pub(super) error: Option<String>,
}

impl Endpoint {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        match self.action {
            Action::Status(which) => status(which.cluster, which.connection.or(before)),
            Action::Health(which) => health(which.cluster, which.connection.or(before)),
        }
    }
}

fn status(cluster: bool, connection: Connection) -> Result<(), Failure> {
    let answers = block_on(ask_each(cluster, &connection, async |client| client.status().await))?;
    let mut list: Vec<(String, Status)> = Vec::new();
    let mut silent = 0;
    for (endpoint, _, answer) in answers {
        match answer {
            Ok(status) => list.push((endpoint, status)),
            Err(error) => {
                eprintln!("Failed to get the status of endpoint {endpoint} ({error})");
                silent += 1;
            }
        }
    }
    connection.printer().status(&list)?;
    match silent {
        0 => Ok(()),
        _ => Err(Failure::Other(format!("{silent} of {} endpoints did not answer", list.len() + silent))),
    }
}

fn health(cluster: bool, connection: Connection) -> Result<(), Failure> {
    let answers = block_on(ask_each(cluster, &connection, async |client| client.get("health").await))?;
    let list: Vec<Health> = answers
        .into_iter()
        .map(|(endpoint, took, answer)| {
            let error = match answer {
                // Whoever may not read the key has been told so by a majority.
                Err(error) if error.code() == Some(tonic::Code::PermissionDenied) => None,
                Err(error) => Some(error.to_string()),
                Ok(_) => None,
            };
            Health { endpoint, took, error }
        })
        .collect();
    connection.printer().health(&list)?;
    if list.iter().all(|health| health.error.is_none()) {
        Ok(())
    } else {
        Err(Failure::Other("unhealthy cluster".into()))
    }
}

type Answer<T> = (String, Duration, Result<T, client::Error>);

/// Asks every endpoint the same, once and at once.
async fn ask_each<T: Send + 'static>(
    cluster: bool,
    connection: &Connection,
    ask: impl AsyncFn(Client) -> Result<T, client::Error> + Copy + 'static,
) -> Result<Vec<Answer<T>>, Failure> {
    let endpoints = if cluster {
        let members = connection.client()?.members().await?.members;
        members.into_iter().flat_map(|member| member.client_urls).collect()
    } else {
        connection.endpoints()
    };
    let local = tokio::task::LocalSet::new();
    let mut asked: Vec<(String, JoinHandle<_>)> = Vec::new();
    for endpoint in endpoints {
        let client = connection.builder().endpoints([&endpoint]).retry(Retry::NEVER).connect()?;
        let begun = Instant::now();
        let task = local.spawn_local(async move { (ask(client).await, begun.elapsed()) });
        asked.push((endpoint, task));
    }
    local
        .run_until(async {
            let mut answers = Vec::new();
            for (endpoint, task) in asked {
                let answer = task.await;
                let (answer, took) = answer.map_err(|e| Failure::Other(format!("{endpoint}: {e}")))?;
                answers.push((endpoint, took, answer));
            }
            Ok(answers)
        })
        .await
}
