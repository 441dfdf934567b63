//! Rule 13 of ARCHITECTURE.md, every execution within bounds: see README.md.

mod bounds;
mod search;
mod state;
mod steps;

use bounds::Bounds;

fn main() {
    let mut bounds = Bounds::default();
    for argument in std::env::args().skip(1) {
        let (name, value) = argument.split_once('=').unwrap_or((&argument, "1"));
        let number = || value.parse().unwrap_or_else(|e| panic!("{argument}: {e}"));
        match name {
            "ballots" => bounds.ballots = number(),
            "entries" => bounds.entries = number(),
            "crashes" => bounds.crashes = number(),
            "states" => bounds.states = number() as usize * 1_000_000,
            "nomarks" => bounds.marks = false,
            "nohash" => bounds.hash = false,
            "noshort" => bounds.short = false,
            "owners" => bounds.owners = value.split('-').map(|p| p.parse().expect("a process")).collect(),
            "anylife" => bounds.anylife = true,
            "settled" => bounds.settled = true,
            _ => panic!(
                "what is {argument}? ballots, owners, entries, crashes, states (millions), settled, anylife, \
                 nomarks, nohash, noshort"
            ),
        }
    }
    println!("{}", search::search(&bounds));
}
