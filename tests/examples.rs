//! The examples run, and what they assert holds: two databases agree though participants and leader
//! are killed between vote and outcome; processes agree on inputs; answers follow questions.

use std::process::Command;

/// Runs an example to its end: what it printed.
fn run(example: &str) -> String {
    let args = ["run", "--quiet", "--offline", "--example", example];
    let output =
        Command::new(env!("CARGO")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{example}: {printed}{errors}");
    printed.into_owned()
}

#[test]
fn two_databases_survive_kill_9_of_both_participants_and_of_the_leader_between_vote_and_outcome() {
    let printed = run("two_databases");
    for line in [
        "transfer/1: committed; bank-a has 70, bank-b has 130",
        "transfer/2: aborted by bank-a (integrity); bank-a has 70, bank-b has 130",
        "bank-b has voted yes: kill -9 bank-b",
        "transfer/3: committed, and bank-b does not know it",
        "transfer/3: committed; bank-a has 50, bank-b has 150",
    ] {
        assert!(printed.lines().any(|l| l == line), "{line:?} is missing in:\n{printed}");
    }
}

#[test]
fn processes_with_differing_and_missing_sensors_agree_on_their_inputs() {
    let printed = run("sensors");
    for round in 0..3 {
        let goes_on = format!("round {round}: goes on with ");
        let decided: Vec<&str> = printed.lines().filter_map(|l| Some(l.split_once(&goes_on)?.1)).collect();
        assert_eq!(decided.len(), 3, "{printed}");
        assert!(decided.iter().all(|d| *d == decided[0]), "{printed}");
    }
}

#[test]
fn in_a_chat_in_causal_order_nobody_hears_an_answer_before_its_question() {
    assert_eq!(run("chat").matches("anna: is it raining?").count(), 3);
}

#[test]
fn a_state_machine_of_ones_own_is_replicated_and_recovers() {
    let printed = run("state_machine");
    for line in [
        "anna pays 70 to bert, and has 30",
        "anna pays 70 to bert again: anna has only 30",
        "the replica is back, incarnation 2: {\"anna\": 10, \"bert\": 90}",
    ] {
        assert!(printed.lines().any(|l| l == line), "{line:?} is missing in:\n{printed}");
    }
}
