//! The rules of the house that a compiler does not check: which folder may import which, what the
//! pure core may not touch, and how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

/// What each folder of `src/` may import: dependencies point one way.
const IMPORTS: &[(&str, &[&str])] = &[
    ("kernel", &[]),
    ("history", &[]),
    ("consensus", &["kernel"]),
    ("atomic_commit", &["kernel"]),
    ("links", &["kernel"]),
    ("broadcast", &["kernel", "links"]),
    ("register", &["kernel", "broadcast"]),
    ("stack", &["kernel", "consensus", "broadcast", "register"]),
    ("kv", &["kernel", "broadcast", "proto"]),
    ("ledger", &["kernel", "consensus", "broadcast", "atomic_commit", "kv"]),
    ("storage", &["kernel"]),
    ("transport", &["kernel", "proto"]),
    ("client", &["proto"]),
    (
        "sim",
        &[
            "kernel",
            "links",
            "consensus",
            "broadcast",
            "register",
            "atomic_commit",
            "stack",
            "kv",
            "ledger",
            "history",
            "proto",
        ],
    ),
    (
        "api",
        &["kernel", "consensus", "broadcast", "register", "atomic_commit", "stack", "kv", "ledger", "proto"],
    ),
    (
        "node",
        &[
            "kernel",
            "consensus",
            "broadcast",
            "register",
            "atomic_commit",
            "stack",
            "kv",
            "ledger",
            "storage",
            "transport",
            "proto",
            "api",
            "client",
        ],
    ),
];

/// Folders that run under the simulator as they run in production.
const PURE: &[&str] = &[
    "kernel",
    "links",
    "consensus",
    "broadcast",
    "register",
    "atomic_commit",
    "stack",
    "kv",
    "ledger",
    "history",
];

/// What would make them depend on anything but their inputs.
const IMPURE: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::net",
    "std::time",
    "std::thread",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::atomic",
    "std::cell",
    "std::env",
    "static ",
    "thread_local!",
    "unsafe ",
    "HashMap",
    "HashSet",
    "SystemTime",
    "Instant",
];

const MAX_LINES: usize = 600;

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The lines of a file that are neither comments nor its unit tests.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let inside = path.strip_prefix(src()).expect("files of src/ are asked for");
    if inside.iter().any(|part| part == "tests" || part == "tests.rs") {
        return Vec::new();
    }
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(i, line)| (i + 1, line.to_string()))
        .collect()
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn imports_point_one_way() {
    let mut problems = Vec::new();
    let folders: Vec<&str> = IMPORTS.iter().map(|(f, _)| *f).chain(["cli", "proto"]).collect();
    for (folder, allowed) in IMPORTS {
        for path in files(&src().join(folder)) {
            for (number, line) in code(&path) {
                for (i, _) in line.match_indices("crate::") {
                    let name: String =
                        line[i + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    let known = folders.contains(&name.as_str());
                    if known && name != *folder && !allowed.contains(&name.as_str()) {
                        problems.push(format!("{}:{number}: {folder} imports {name}", path.display()));
                    }
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn every_folder_has_a_place_in_the_order() {
    for entry in fs::read_dir(src()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "cli" {
            assert!(IMPORTS.iter().any(|(f, _)| *f == name), "src/{name} is missing from IMPORTS");
        }
    }
}

#[test]
fn the_core_is_pure() {
    let mut problems = Vec::new();
    for folder in PURE {
        for path in files(&src().join(folder)) {
            for (number, line) in code(&path) {
                for word in IMPURE {
                    if line.contains(word) && !line.contains("'static ") {
                        problems.push(format!("{}:{number}: `{word}`: {}", path.display(), line.trim()));
                    }
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn the_journal_has_no_back_door() {
    let mut problems = Vec::new();
    for path in files(&src().join("kernel")) {
        for (number, line) in code(&path) {
            if line.contains("pub(crate)") {
                problems.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    report(&problems);
}

#[test]
fn two_kinds_of_message_pass_by_the_journal() {
    let mut early = Vec::new();
    for path in files(&src()) {
        early
            .extend(code(&path).into_iter().filter(|(_, l)| l.starts_with("impl Early for")).map(|(_, l)| l));
    }
    assert_eq!(early, ["impl Early for Accept {}", "impl Early for Heartbeat {}"]);
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let mut problems = Vec::new();
    for path in files(&src()) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > MAX_LINES {
            problems.push(format!("{}: {lines} lines", path.display()));
        }
    }
    report(&problems);
}
