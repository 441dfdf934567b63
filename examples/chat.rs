//! A chat in causal order: nobody sees an answer before its question.
//!
//! Three people, each at a replica of their own. Bob answers what Anna asks, Carla what Bob says. The
//! network may bring Bob's message to Carla's replica before Anna's: it is kept back until Anna's is
//! delivered. Messages that do not know of each other may come in any order, and do.
//!
//! ```text
//! cargo run --example chat
//! ```

use kvorum::client::{Context, Error, Guarantee, Start, Topic};
use kvorum::{Client, Node};
use std::net::TcpListener;
use std::time::Duration;

/// Who says what, and after hearing what; small talk waits for nobody.
const SAYS: [(&str, &str, Option<&str>); 6] = [
    ("anna", "is it raining?", None),
    ("anna", "(sips her tea)", None),
    ("bob", "it is", Some("is it raining?")),
    ("bob", "(looks out)", None),
    ("carla", "then take an umbrella", Some("it is")),
    ("carla", "(sneezes)", None),
];

/// One person: says what it has to once it has heard what it answers; returns all that it heard.
async fn person(name: &str, chat: Topic) -> Result<Vec<String>, Error> {
    let mut heard: Vec<String> = Vec::new();
    let mut known = Context::default();
    let mut to_say: Vec<_> = SAYS.iter().filter(|(who, ..)| *who == name).collect();
    let mut subscription = chat.subscribe(Start::Oldest);
    loop {
        let may = |answers: &Option<&str>| answers.is_none_or(|to| heard.iter().any(|h| h.ends_with(to)));
        if let Some(next) = to_say.iter().position(|(.., answers)| may(answers)) {
            let (_, text, answers) = to_say.remove(next);
            // Small talk follows nothing; an answer follows all that was heard.
            let after = if answers.is_some() { known.clone() } else { Context::default() };
            chat.publish(format!("{name}: {text}")).after(&after).await?;
        } else if heard.len() < SAYS.len() {
            let delivery = subscription.next().await?;
            heard.push(delivery.text().unwrap_or_default().to_owned());
            known = delivery.context;
        } else {
            return Ok(heard);
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    // Ports that are free now.
    let sockets = (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let addresses = sockets.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    drop(sockets);
    let members = || addresses.iter().enumerate().map(|(n, at)| (format!("n{n}"), format!("http://{at}")));
    let start = |n: usize| {
        Node::builder(dir.path().join(format!("n{n}")))
            .name(format!("n{n}"))
            .initial_cluster(members())
            .start()
    };
    let (a, b, c) = tokio::try_join!(start(0), start(1), start(2))?;
    let chat = |node: &Node| {
        let client: Client = node.client().with_deadline(Duration::from_secs(30));
        client.topic("chat", Guarantee::Causal)
    };
    let (anna, bob, carla) =
        tokio::try_join!(person("anna", chat(&a)), person("bob", chat(&b)), person("carla", chat(&c)))?;

    for (name, heard) in [("anna", anna), ("bob", bob), ("carla", carla)] {
        println!("{name} heard:");
        heard.iter().for_each(|message| println!("  {message}"));
        let at = |text: &str| heard.iter().position(|message| message.ends_with(text));
        let order = ["is it raining?", "it is", "then take an umbrella"].map(at);
        assert!(order.is_sorted() && order[0].is_some(), "no answer before its question");
    }
    for node in [a, b, c] {
        node.shutdown().await?;
    }
    Ok(())
}
