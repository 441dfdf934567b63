//! Memory and disk of real processes: bounded in bytes, and kept when the disk is nearly full.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/small_disk.rs"]
mod small_disk;

use cluster::{Cluster, PATIENCE};
use kvorum::Client;
use kvorum::client::Error;
use kvorum::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kvorum::proto::etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction};
use rustix::process::Signal;
use small_disk::SmallDisks;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::transport::Endpoint;

const MIB: u64 = 1 << 20;

/// A line of `/proc/PID/status`, in bytes.
fn memory(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|l| l.strip_prefix(line)).expect("the line is there");
    value.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() << 10
}

/// What a directory takes on its disk.
fn usage(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    meta.blocks() * 512 + inside.map(|entry| usage(&entry.path())).sum::<u64>()
}

async fn overwrite(client: &Client, times: u64) {
    let writers = (0..4u64).map(|writer| {
        let client = client.clone();
        tokio::spawn(async move {
            for n in (0..times).filter(|n| n % 4 == writer) {
                client.put("large", vec![n as u8; MIB as usize]).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

fn told(cluster: &Cluster, what: &str) {
    for n in 0..3 {
        let Some(process) = &cluster.running[n] else { continue };
        let (peak, now) = (memory(process.0.id(), "VmHWM:") / MIB, memory(process.0.id(), "VmRSS:") / MIB);
        let disk = usage(&cluster.dir.path().join(format!("n{n}"))) / MIB;
        println!("{what}: n{n} {now} MiB of memory, {peak} at most, {disk} MiB on disk");
    }
}

/// Three replicas, and later two of them and one that is stopped: a value of 1 MiB is overwritten
/// again and again. The most memory that one of them took.
async fn three_overwrite(times: u64) -> u64 {
    let mut cluster = Cluster::new();
    (0..3).for_each(|n| cluster.start(n));
    let client = cluster.client();
    overwrite(&client, times / 2).await;
    told(&cluster, "all up");
    let stopped = (cluster.leader().await + 1) % 3;
    cluster.running[stopped].as_ref().unwrap().signal(Signal::STOP);
    overwrite(&client, times / 2).await;
    told(&cluster, &format!("n{stopped} stopped"));
    cluster.running[stopped].as_ref().unwrap().signal(Signal::CONT);
    cluster.leader().await;
    client.put("small", "last").await.unwrap();
    let start = Instant::now();
    let only = cluster.only(stopped);
    while !only.get("small").serializable().await.is_ok_and(|got| got.first().is_some()) {
        assert!(start.elapsed() < 2 * PATIENCE, "it does not catch up: {}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    told(&cluster, "all up again");
    let peak = |n: usize| memory(cluster.running[n].as_ref().unwrap().0.id(), "VmHWM:");
    let most = (0..3).map(peak).max().unwrap();
    (0..3).for_each(|n| cluster.kill(n));
    let start = Instant::now();
    cluster.start(0);
    cluster.start(1);
    cluster.serves(0).await;
    println!("a restart takes {:.1?}", start.elapsed());
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_take_memory_within_bounds() {
    let most = three_overwrite(240).await;
    // In the log alone 240 MiB were kept when its tail was bounded in entries.
    assert!(most < 420 * MIB, "{} MiB", most / MIB);
}

/// `cargo test --test space -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: it writes some gigabytes"]
async fn measure_2500_overwrites_of_1_mib() {
    let most = three_overwrite(2500).await;
    println!("{} MiB of memory at most", most / MIB);
}

// ── A disk that is nearly full ───────────────────────────────────────────────────────────────

/// How many space alarms are on, as the first replica says.
async fn alarms(disks: &SmallDisks) -> usize {
    let endpoint = disks.endpoint(0);
    let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).unwrap();
    let channel = endpoint.connect().await.unwrap_or_else(|e| panic!("{e:?}; {}", disks.logs()));
    let request =
        AlarmRequest { action: AlarmAction::Get.into(), member_id: 0, alarm: AlarmType::Nospace.into() };
    MaintenanceClient::new(channel).alarm(request).await.unwrap().into_inner().alarms.len()
}

fn mib(bytes: Vec<u64>) -> Vec<u64> {
    bytes.into_iter().map(|bytes| bytes / MIB).collect()
}

fn is_full(error: &Error) -> bool {
    error.to_string().contains("database space exceeded")
}

/// Puts until something is refused: how many were taken.
async fn fill(client: &Client) -> u32 {
    for n in 0.. {
        match client.put(format!("k{n}"), vec![n as u8; 64 << 10]).await {
            Ok(_) => assert!(n < 1 << 14, "a disk of 140 MiB takes no gigabyte"),
            Err(error) if is_full(&error) => return n,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_growth_and_nothing_else() {
    let Some(mut disks) = SmallDisks::mount(3, 140 * MIB) else { return };
    (0..3).for_each(|n| disks.start(n));
    let client = disks.client();
    let taken = fill(&client).await;
    println!("refused after {taken} puts of 64 KiB; free: {:?} MiB", mib(disks.free()));
    assert!(taken > 100, "{taken}");

    // The space of the log is given back, and then nobody takes any more, whoever asks.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let before = disks.free();
    println!("at rest: {:?} MiB free", mib(before.clone()));
    let mut refused = 0;
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        for n in 0..3 {
            let error = disks.only(n).put("more", vec![0; 64 << 10]).await.unwrap_err();
            assert!(is_full(&error), "{error}");
            refused += 1;
        }
    }
    let after = disks.free();
    println!("after {refused} more puts: {:?} MiB free", mib(after.clone()));
    for (before, after) in before.into_iter().zip(after) {
        assert!(after + 2 * MIB >= before, "{before} bytes were free, and now {after} are");
    }

    // Each comes up again, even if others fill the disk to the brim meanwhile.
    for n in 0..3 {
        disks.kill(n);
        disks.fill(n);
        disks.start(n);
        disks.serves(n).await;
        assert_eq!(
            disks.only(n).get("k0").serializable().await.unwrap().first().unwrap().value.len(),
            64 << 10
        );
        disks.clear(n);
    }
    assert!(alarms(&disks).await > 0);
    assert!(is_full(&client.put("more", "1").await.unwrap_err()));

    // What shrinks is taken. (How the store gives the space back to the disk is another matter.)
    assert!(client.delete("k1").await.unwrap().deleted == 1);
}
