//! Frames that any peer could send, into live stacks: of every module and kind, with fields that are
//! extreme, random, or just off, and real frames, damaged and sealed again. Nothing that a peer sends
//! panics or halts a replica, in this life or at its next boot; and one peer that lies does not keep the
//! others from going on once it is silent.
//!
//! `KVORUM_FRAMES` says how many frames (20,000), `KVORUM_SEED` where the seeds begin.

#[path = "support/draw.rs"]
mod draw;
#[path = "support/victims.rs"]
mod victims;

use draw::Draw;
use fastrand::Rng;
use kvorum::broadcast::{BroadcastMessage, CatchUpMessage, CrossCheckMessage, Entry, TotalOrderMessage};
use kvorum::consensus::{Accept, Heartbeat, Membership, Paxos};
use kvorum::kernel::{Component, Frame, HEADER, Message, Opened, ProcessId};
use kvorum::ledger;
use kvorum::links::LinkMessage;
use kvorum::register::RegisterMessage;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};
use victims::{Victims, commands};

/// Frames into one group of victims; then others take their place, so that most of them are healthy.
const FRAMES_EACH: usize = 2_500;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text:?}")))
}

/// A frame that a module takes for one of its own, if it checks nothing else.
fn drawn(component: Component, draw: &mut Draw) -> Opened {
    fn seal<M: Message>(draw: &mut Draw) -> Opened {
        Opened::check(Frame::seal(&draw.value::<M>()).bytes().clone()).unwrap()
    }
    match component {
        Component::Members => seal::<Membership>(draw),
        Component::Detector => seal::<Heartbeat>(draw),
        Component::Consensus => seal::<Paxos>(draw),
        Component::Proposal => seal::<Accept>(draw),
        Component::TotalOrder => seal::<TotalOrderMessage>(draw),
        Component::CatchUp => seal::<CatchUpMessage>(draw),
        Component::Register => seal::<RegisterMessage>(draw),
        Component::Link => seal::<LinkMessage>(draw),
        Component::Broadcast => seal::<BroadcastMessage>(draw),
        Component::CrossCheck => seal::<CrossCheckMessage>(draw),
    }
}

/// A real frame, damaged so that its check does not notice.
fn damaged(bytes: &[u8], rng: &mut Rng) -> Option<Opened> {
    let (header, body) = bytes.split_at(HEADER);
    let mut body = body.to_vec();
    for _ in 0..rng.usize(1..4) {
        if body.is_empty() {
            break;
        }
        let at = rng.usize(..body.len());
        match rng.u8(..5) {
            0 => body[at] = rng.u8(..),
            1 => body[at] = body[at].wrapping_add(1),
            2 => body[at] = body[at].wrapping_sub(1),
            // A number takes as many bytes as it needs: the greatest one in the place of another.
            3 => {
                let end = body[at..].iter().position(|b| b & 0x80 == 0).map_or(body.len(), |n| at + n + 1);
                body.splice(at..end, [[0xff; 9].as_slice(), &[1]].concat());
            }
            _ => drop(body.splice(at.., [])),
        }
    }
    // Version, component, kind, 0; length; checksum of everything but itself; stamp; body.
    let (start, stamp) = (header[..4].to_vec(), &header[12..]);
    let mut sealed = [start, (body.len() as u32).to_be_bytes().to_vec()].concat();
    let mut crc = crc32fast::Hasher::new();
    [&sealed, stamp, &body].into_iter().for_each(|part| crc.update(part));
    sealed.extend(crc.finalize().to_be_bytes());
    sealed.extend(stamp);
    sealed.extend(body);
    Opened::check(sealed.into()).ok()
}

/// Who lies, and about what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Liars {
    /// Everybody, about everything.
    All,
    /// One process, about all but what only a leader or a source says that is believed: what is decided.
    One,
}

const LIAR: u8 = 2;

fn is_allowed(liars: Liars, frame: &Opened) -> bool {
    liars == Liars::All
        || match frame.component() {
            Component::CatchUp => {
                !matches!(frame.message(), Ok(CatchUpMessage::Entries { .. } | CatchUpMessage::Chunk(_)))
            }
            Component::Proposal => false,
            // Who is told of another decided prefix halts, until a person has looked.
            Component::Consensus => {
                !matches!(
                    frame.message(),
                    Ok(Paxos::Prepare { n, .. } | Paxos::Diverged { n, .. }) if n.counter < 1 << 40
                ) && !matches!(
                    frame.message(),
                    Ok(Paxos::AcceptSync { .. }
                        | Paxos::Decide { .. }
                        | Paxos::Promise { .. }
                        | Paxos::Accepted { .. })
                )
            }
            _ => true,
        }
}

fn lie(liars: Liars, victims: &mut Victims, rng: &mut Rng) -> Option<(ProcessId, ProcessId, Opened)> {
    let from = if liars == Liars::One { LIAR } else { rng.u8(..3) };
    let to = (from + rng.u8(1..3)) % 3;
    let frame = match rng.u8(..10) {
        0..6 => {
            let ballots = victims.ballots();
            let (numbers, mut blobs) = (victims.numbers(liars == Liars::All, rng), victims.blobs.clone());
            let mut draw = Draw {
                rng,
                numbers: &numbers,
                blobs: &commands(),
                processes: 3,
                speaker: from,
                ballots: &ballots,
                next: VecDeque::new(),
            };
            let ledger: ledger::Command = draw.value();
            blobs.extend([ledger.encode().to_vec(), draw.bytes()]);
            let mut draw = Draw {
                rng,
                numbers: &numbers,
                blobs: &blobs,
                processes: 3,
                speaker: from,
                ballots: &ballots,
                next: VecDeque::new(),
            };
            let entry: Entry = draw.value();
            blobs.extend([entry.encode().to_vec(), entry.encode().to_vec()]);
            let component = *rng.choice(&Component::ALL).unwrap();
            let mut draw = Draw {
                rng,
                numbers: &numbers,
                blobs: &blobs,
                processes: 3,
                speaker: from,
                ballots: &ballots,
                next: VecDeque::new(),
            };
            drawn(component, &mut draw)
        }
        6..9 => damaged(rng.choice(&victims.recorded)?, rng)?,
        _ => Opened::check(rng.choice(&victims.recorded)?.clone()).unwrap(),
    };
    is_allowed(liars, &frame).then_some((ProcessId(from), ProcessId(to), frame))
}

/// Lies to a group of victims for a while. Returns them, and how many frames they took.
fn torment(seed: u64, liars: Liars, frames: usize) -> (Victims, usize) {
    let mut rng = Rng::with_seed(seed);
    let mut victims = Victims::new(seed);
    (0..60).for_each(|_| victims.tick());
    let mut sent = 0;
    while sent < frames {
        match rng.u8(..20) {
            0..3 => victims.tick(),
            3 => victims.ask(&mut rng),
            4 if liars == Liars::All && rng.u8(..20) == 0 => victims.restart(rng.usize(..3)),
            4 => victims.deliver(&mut rng),
            _ => {
                let Some((from, to, frame)) = lie(liars, &mut victims, &mut rng) else { continue };
                let heard = frame.clone();
                let start = Instant::now();
                let outcome = catch_unwind(AssertUnwindSafe(|| victims.hear(from, to, frame)));
                let about = || format!("{from} → {to}: {heard:?}").chars().take(400).collect::<String>();
                if let Err(panic) = outcome {
                    eprintln!("seed {seed}, frame {sent}: {}", about());
                    resume_unwind(panic);
                }
                assert!(start.elapsed() < Duration::from_secs(10), "seed {seed}: hangs at {}", about());
                sent += 1;
            }
        }
    }
    (victims, sent)
}

/// All seeds, on two threads: `finish` says what must hold of the victims afterwards.
fn all(liars: Liars, frames: usize, finish: impl Fn(u64, Victims) + Sync) {
    let first = setting("KVORUM_SEED", 0) as u64;
    let groups = frames.div_ceil(FRAMES_EACH) as u64;
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let finish = &finish;
            scope.spawn(move || {
                for seed in (first..first + groups).filter(|seed| seed % 2 == thread) {
                    let outcome = catch_unwind(AssertUnwindSafe(|| {
                        let (victims, _) = torment(seed, liars, FRAMES_EACH.min(frames));
                        finish(seed, victims);
                    }));
                    if let Err(panic) = outcome {
                        eprintln!("seed {seed} failed");
                        resume_unwind(panic);
                    }
                }
            });
        }
    });
    println!("{} frames", groups * FRAMES_EACH.min(frames) as u64);
}

#[test]
fn nothing_that_peers_send_panics_or_halts_a_replica() {
    all(Liars::All, setting("KVORUM_FRAMES", 20_000), |_, mut victims| {
        (0..3).for_each(|n| victims.restart(n));
        (0..50).for_each(|_| victims.tick());
    });
}

#[test]
fn one_peer_that_lies_and_falls_silent_holds_nobody_up() {
    all(Liars::One, setting("KVORUM_FRAMES", 20_000) / 4, |seed, mut victims| {
        victims.silence(LIAR.into());
        (0..100).for_each(|_| victims.tick());
        for n in 0..2 {
            assert!(victims.executes(n), "seed {seed}: p{n} executes nothing: {:?}", victims.states());
        }
    });
}
