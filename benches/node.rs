//! A lone replica, from the client to the disk and back: every put is synced before it is answered.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kvorum::{Client, Node};
use tempfile::tempdir;
use tokio::runtime::Runtime;

async fn puts(client: &Client, concurrent: u64) {
    let puts: Vec<_> = (0..concurrent)
        .map(|i| {
            let client = client.clone();
            tokio::spawn(async move { client.put(format!("k{i}"), "value").await.unwrap() })
        })
        .collect();
    for put in puts {
        put.await.unwrap();
    }
}

fn node(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let dir = tempdir().unwrap();
    let node = runtime.block_on(Node::open(dir.path())).unwrap();
    let client = node.client();
    let mut group = c.benchmark_group("a lone replica");
    for concurrent in [1u64, 16, 256] {
        group.throughput(Throughput::Elements(concurrent));
        group.bench_function(BenchmarkId::new("put, durable", concurrent), |b| {
            b.to_async(&runtime).iter(|| puts(&client, concurrent));
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("get, linearizable", |b| {
        b.to_async(&runtime).iter(|| async { client.get("k0").await.unwrap() });
    });
    group.bench_function("get, serializable", |b| {
        b.to_async(&runtime).iter(|| async { client.get("k0").serializable().await.unwrap() });
    });
    group.finish();
    runtime.block_on(node.shutdown()).unwrap();
}

criterion_group!(benches, node);
criterion_main!(benches);
