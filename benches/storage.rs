//! Commits to stable storage, each of them synced: how much a commit of many entries costs beside
//! one of a single entry, and what opening a store costs by its size.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kvorum::kernel::{Batch, Disk, LogId, RowKey, Store};
use kvorum::storage::{Boot, Configuration, Options, open};
use std::path::Path;
use tempfile::tempdir;

/// The size of an entry, in bytes.
const ENTRY: usize = 256;

fn boot(dir: &Path) -> Boot {
    let configuration =
        Configuration { cluster_id: 7, token: "bench".into(), name: "a".into(), ..Default::default() };
    let options = Options { ballast: 0, ..Options::default() };
    open(dir, &configuration, &options).unwrap_or_else(|refused| panic!("{refused}"))
}

fn commits(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit, synced");
    for count in [1u64, 16, 64, 256, 1024] {
        let entries: Vec<Bytes> = (0..count).map(|i| Bytes::from(vec![i as u8; ENTRY])).collect();
        let dir = tempdir().unwrap();
        let mut store = boot(dir.path());
        let mut first = 0;
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("entries", count), |b| {
            b.iter(|| {
                let append = Store::Append { log: LogId::REPLICATED, first, entries: entries.clone() };
                // As the log does: what is behind is trimmed, so that the store stays small.
                let trim = Store::TruncatePrefix { log: LogId::REPLICATED, before: first };
                store.disk.commit(&Batch::of(vec![trim, append], false)).unwrap();
                first += count;
            });
        });
    }
    group.finish();
}

fn boots(c: &mut Criterion) {
    let mut group = c.benchmark_group("boot");
    group.sample_size(10);
    for rows in [0u64, 1_000, 20_000] {
        let dir = tempdir().unwrap();
        let mut store = boot(dir.path());
        for first in (0..rows).step_by(100) {
            let row = |main| Store::PutRow {
                key: RowKey { generation: 0, main, sub: 0 },
                value: vec![1; ENTRY].into(),
            };
            store.disk.commit(&Batch::of((first..first + 100).map(row).collect(), false)).unwrap();
        }
        store.disk.close().unwrap();
        group.bench_function(BenchmarkId::new("rows", rows), |b| {
            b.iter(|| boot(dir.path()).disk.close().unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, commits, boots);
criterion_main!(benches);
