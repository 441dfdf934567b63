//! What is refused is refused in one line, and nothing on the disk has changed.

use super::*;
use crate::storage::{files, peek};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// Names, sizes, times and content of everything below a path.
fn snapshot(path: &Path) -> BTreeMap<PathBuf, (u64, Option<SystemTime>, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let Ok(meta) = fs::metadata(path) else { return found };
    let content = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
    found.insert(path.to_owned(), (meta.len(), meta.modified().ok(), content));
    if meta.is_dir() {
        for name in files::names(path).unwrap() {
            found.extend(snapshot(&path.join(name)));
        }
    }
    found
}

fn refused(tmp: &Path, dir: &Path, configuration: &Configuration) -> String {
    let before = snapshot(tmp);
    let Err(refused) = open(dir, configuration, &options()) else { panic!("it was opened") };
    assert!(snapshot(tmp) == before, "a refusal changed something");
    let line = refused.to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn a_directory_of_another_cluster_or_replica_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("data");
    drop(boot(&dir));
    let other = Configuration { cluster_id: 8, ..configuration() };
    assert!(refused(tmp.path(), &dir, &other).contains("belongs to cluster 7, not 8"));
    let other = Configuration { name: "b".into(), ..configuration() };
    assert!(refused(tmp.path(), &dir, &other).contains("belongs to replica \"a\", not \"b\""));
}

#[test]
fn a_directory_in_use_is_refused_with_the_process_that_holds_it() {
    let tmp = tempfile::tempdir().unwrap();
    let first = boot(&tmp.path().join("data"));
    let line = refused(tmp.path(), &tmp.path().join("data"), &configuration());
    assert!(line.contains(&format!("in use by process {}", std::process::id())), "{line}");
    drop(first);
    boot(&tmp.path().join("data"));
}

#[test]
fn a_directory_of_a_newer_format_is_refused() {
    for file in ["identity", "CURRENT"] {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("data");
        drop(boot(&dir));
        let text = fs::read_to_string(dir.join(file)).unwrap().replace("format 1", "format 2");
        let body = &text[..text.rfind("crc32").unwrap()];
        fs::write(dir.join(file), format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes()))).unwrap();
        let line = refused(tmp.path(), &dir, &configuration());
        assert!(line.contains("format 2, and this program knows only up to 1"), "{file}: {line}");
    }
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let (file, full) = (tmp.path().join("file"), tmp.path().join("full"));
    fs::write(&file, b"mine").unwrap();
    assert!(refused(tmp.path(), &file, &configuration()).contains("is not a directory"));
    assert!(refused(tmp.path(), &file.join("below"), &configuration()).contains("is not a directory"));
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.tex"), b"mine").unwrap();
    assert!(refused(tmp.path(), &full, &configuration()).contains("thesis.tex"));
}

#[test]
fn a_store_without_its_identity_is_never_taken_for_a_new_one() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("data");
    drop(boot(&dir));
    for gone in ["identity", "CURRENT", "witness"] {
        fs::remove_file(dir.join(gone)).unwrap();
        assert!(refused(tmp.path(), &dir, &configuration()).contains("lost its identity file"), "{gone}");
    }
}

#[test]
fn a_look_tells_whose_directory_it_is_and_changes_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("data");
    assert_eq!(peek(&dir).unwrap(), None);
    assert!(!dir.exists());
    let identity = boot(&dir).identity;
    let before = snapshot(tmp.path());
    assert_eq!(peek(&dir).unwrap(), Some(identity));
    assert!(snapshot(tmp.path()) == before);
}
