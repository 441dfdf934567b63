//! A replica inside a program: no server, no port, and nothing lost when the program is killed.
//!
//! ```text
//! cargo run --example embedded
//! ```

use kvorum::Node;
use kvorum::client::{Compare, Op};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join("kvorum-embedded");
    let node = Node::open(&dir).await?;
    println!("{}: {}", dir.display(), node.status().verdict);

    // The same client as for a cluster over the network.
    let client = node.client();
    let runs = client.get("runs").await?;
    let before: u64 = runs.first().and_then(|kv| kv.text()?.parse().ok()).unwrap_or(0);

    // Counts this run, unless another client has counted meanwhile.
    let unchanged = match runs.first() {
        Some(kv) => Compare::mod_revision("runs").eq(kv.mod_revision),
        None => Compare::version("runs").eq(0),
    };
    let counted = client
        .txn()
        .when([unchanged])
        .then([Op::put("runs", (before + 1).to_string())])
        .otherwise([Op::get("runs")])
        .await?;
    println!("run {} of this directory, at revision {}", before + 1, counted.header.revision);

    // Leaves in order. Without it, nothing would be lost either.
    node.shutdown().await?;
    Ok(())
}
