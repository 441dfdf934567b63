//! A store that is to be rewritten while its disk, or a quota, refuses to take more: at whatever write
//! that happens, the store stays what it was. Needs root and `/dev/fuse`; elsewhere the test says that
//! it was skipped.

mod support;

use fuser::Errno;
use kvorum::kernel::{Batch, Disk, RowKey, Store};
use kvorum::storage::{Boot, Configuration, Options, Refused, Verdict, open};
use std::path::Path;
use std::time::Duration;
use support::forgetful::Forgetful;

const ROW: usize = 100_000;
const ROWS: u64 = 80;
/// The first of them stay.
const KEPT: u64 = 5;

fn boot(dir: &Path) -> Result<Boot, Refused> {
    let configuration = Configuration { name: "a".into(), ..Configuration::default() };
    let options =
        Options { ballast: 0, rewrite: 1 << 20, deadline: Duration::from_secs(5), ..Options::default() };
    open(dir, &configuration, &options)
}

/// Most of what is stored here is garbage.
fn outgrown(dir: &Path) {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut store = boot(dir).unwrap();
    let key = |main| RowKey { generation: 0, main, sub: 0 };
    for main in 0..ROWS {
        let value: Vec<u8> = (0..ROW).map(|_| rng.u8(..)).collect();
        store
            .disk
            .commit(&Batch::of(vec![Store::PutRow { key: key(main), value: value.into() }], false))
            .unwrap();
    }
    let deletes = (KEPT..ROWS).map(|main| Store::DeleteRow { key: key(main) });
    store.disk.commit(&Batch::of(deletes.collect(), false)).unwrap();
    store.disk.close().unwrap();
}

/// Opens the store with so much room, and a little more each time, until it can be rewritten.
fn until_rewritten(disk: &Forgetful, dir: &Path, error: Errno) {
    outgrown(dir);
    let (mut refused, mut opened) = (0, 0);
    for more in (0..).map(|n| n * 40_000) {
        disk.refuse_beyond(more, error);
        let before = disk.used();
        match boot(dir) {
            Ok(store) => {
                assert!(!matches!(store.verdict, Verdict::Damaged { .. }), "{more} bytes: {}", store.verdict);
                assert_eq!(store.stored.rows.len() as u64, KEPT, "with {more} bytes");
                disk.refuse_nothing();
                store.disk.close().unwrap();
                opened += 1;
                if disk.used() < before / 2 {
                    break;
                }
            }
            Err(Refused::Full { .. }) => refused += 1,
            Err(other) => panic!("with {more} bytes: {other}"),
        }
    }
    disk.refuse_nothing();
    println!("{error:?}: refused {refused} times, opened {opened} times, then rewritten");
    assert!(refused + opened > 5, "it was rewritten at once");
}

#[test]
fn a_rewrite_that_finds_no_room_leaves_the_store_as_it_was() {
    let tmp = tempfile::tempdir().unwrap();
    let disk = match Forgetful::mount(tmp.path(), 1) {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: {why}"),
    };
    until_rewritten(&disk, &tmp.path().join("space"), Errno::ENOSPC);
    until_rewritten(&disk, &tmp.path().join("quota"), Errno::EDQUOT);
}
