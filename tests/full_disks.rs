//! Real processes whose disks are nearly full: what grows is refused, and nothing else.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/small_disk.rs"]
mod small_disk;

use kvorum::Client;
use kvorum::client::Error;
use kvorum::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kvorum::proto::etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction};
use small_disk::SmallDisks;
use std::time::{Duration, Instant};
use tonic::transport::Endpoint;

const MIB: u64 = 1 << 20;

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
