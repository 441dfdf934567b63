//! A data directory of each format that was ever released opens, and holds what it held then.

use super::crash::copy_tree;
use super::image::{Image, normal};
use super::*;
use crate::kernel::{Batch, Disk, LogId, RowKey, Store};
use crate::storage::Verdict;
use std::path::PathBuf;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data-format-1")
}

fn batches() -> [Batch; 3] {
    let log = LogId::REPLICATED;
    let key = |main| RowKey { generation: 1, main, sub: 2 };
    let row = |main| Store::PutRow { key: key(main), value: format!("row {main}").into() };
    let entries = |range: std::ops::Range<u64>| range.map(|i| format!("entry {i}").into()).collect();
    [
        Batch::of(
            vec![
                Store::Put { var: "consensus/inc".into(), value: vec![1].into() },
                Store::Put { var: "large".into(), value: vec![7; 10_000].into() },
            ],
            true,
        ),
        Batch::of(vec![Store::Append { log, first: 0, entries: entries(0..40) }, row(1), row(2)], false),
        Batch::of(
            vec![
                Store::TruncateSuffix { log, len: 30 },
                Store::Append { log, first: 30, entries: entries(100..105) },
                Store::TruncatePrefix { log, before: 10 },
                Store::Reset { log: LogId(3), first: 1000 },
                Store::DeleteRow { key: key(1) },
            ],
            false,
        ),
    ]
}

#[test]
fn a_data_directory_of_format_1_opens() {
    let tmp = tempfile::tempdir().unwrap();
    copy_tree(&golden(), tmp.path());
    let found = boot(tmp.path());
    assert_eq!(found.verdict, Verdict::Recovered { entries: 25, torn: false });
    assert_eq!(found.identity.configuration, configuration());
    let mut image = Image::default();
    batches().iter().for_each(|batch| image.apply(batch));
    assert_eq!(normal(found.stored), image.stored());
}

#[test]
#[ignore = "writes the golden directory anew: only for a format that was never released"]
fn write_golden_directory() {
    let _ = std::fs::remove_dir_all(golden());
    let mut now = boot(&golden());
    for batch in batches() {
        now.disk.commit(&batch).unwrap();
    }
    drop(now);
    std::fs::remove_file(golden().join("LOCK")).unwrap();
}
