//! The simulator's speed: it bounds how many executions a night sees.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kvorum::sim::{self, Options};

fn seeds(c: &mut Criterion) {
    let options = Options { steps: 5_000, ..Options::default() };
    let mut group = c.benchmark_group("simulator");
    group.sample_size(10);
    // Seeds take different numbers of steps; these take the same ones in every run.
    let steps: u64 = (0..4).map(|seed| sim::run(seed, &options).coverage.steps).sum();
    group.throughput(Throughput::Elements(steps));
    group.bench_function("steps", |b| {
        b.iter(|| (0..4).map(|seed| sim::run(seed, &options).hash).fold(0, u64::wrapping_add));
    });
    group.finish();
}

criterion_group!(benches, seeds);
criterion_main!(benches);
