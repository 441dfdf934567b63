//! What may happen next.

use crate::bounds::Bounds;
use crate::state::{Disk, Log, Message, PROCESSES, Process, Role, Stamp, State, VICTIM, agree};

/// A step, in words, and what comes of it.
pub type Next = (String, State);

/// Every step from a state; or what a step violates by itself.
pub fn steps(s: &State, bounds: &Bounds) -> Result<Vec<Next>, String> {
    let mut next = Vec::new();
    for p in 0..PROCESSES {
        alone(s, p, bounds, &mut next);
    }
    for message in &s.said {
        heard(s, message, bounds, &mut next)?;
    }
    Ok(next)
}

/// What a process does by itself, and what befalls it.
fn alone(s: &State, p: usize, bounds: &Bounds, next: &mut Vec<Next>) {
    let process = &s.processes[p];
    for q in (0..PROCESSES).filter(|q| *q != p && !process.acks.contains(q)) {
        next.push((format!("{q} answers the hello of {p}"), hello(s, p, q, bounds)));
    }
    if s.crashes < bounds.crashes {
        let mut t = s.clone();
        t.crashes += 1;
        t.lives += 1;
        t.processes[p].boot(t.lives);
        next.push((format!("{p} crashes and boots"), t));
    }
    if process.decided > process.disk.decided || process.shown != process.disk.marks {
        let mut t = s.clone();
        t.processes[p].hint();
        next.push((format!("{p} is idle and stores what it knows"), t));
    }
    if p == VICTIM && s.copy.is_none() && s.known.is_none() {
        let mut t = s.clone();
        t.copy = Some(process.disk.clone());
        next.push((format!("the disk of {p} is copied"), t));
    }
    if p == VICTIM
        && let Some(disk) = s.copy.as_ref().filter(|disk| **disk != process.disk)
    {
        next.push((format!("{p} crashes, and the copy is put back"), put_back(s, disk)));
    }
    if !process.votes() {
        return;
    }
    for n in process.disk.prom + 1..=bounds.ballots {
        // A ballot names the life that stands in it: no later life stands in the same.
        let stood = s.said.iter().any(|m| matches!(**m, Message::Prepare { n: m, .. } if m == n));
        if bounds.owner(n) == p && (bounds.anylife || !stood) {
            let mut t = s.clone();
            let process = &mut t.processes[p];
            process.disk.prom = n;
            process.role = Role::Candidate;
            process.commit();
            let prefix = process.prefix();
            t.say(Message::Prepare { n, prefix });
            next.push((format!("{p} stands in {n}"), t));
        }
    }
    let n = process.disk.acc;
    if process.role == Role::Leader && process.disk.log.len() < usize::from(bounds.entries) {
        let mut t = s.clone();
        let process = &mut t.processes[p];
        process.disk.log.push(n);
        process.commit();
        let log = process.disk.log.clone();
        t.say(Message::Accept { n, log });
        next.push((format!("{p} proposes in {n}"), t));
    }
}

/// `q` records the life of `p`, or says that it has lost its memory.
pub fn hello(s: &State, p: usize, q: usize, bounds: &Bounds) -> State {
    let mut t = s.clone();
    let (began, life) = (s.processes[p].began, s.processes[p].life);
    let answers = &mut t.processes[q];
    if answers.disk.lives[p] != life {
        if bounds.marks && began < answers.shown[p] {
            t.processes[p].disk.learner = true;
            t.processes[p].role = Role::Follower;
            t.processes[p].commit();
            return t;
        }
        answers.disk.lives[p] = life;
        answers.commit();
    }
    t.processes[p].acks.insert(q);
    t
}

fn put_back(s: &State, disk: &Disk) -> State {
    let mut t = s.clone();
    let knows = |q: &Process| q.disk.marks[VICTIM] > disk.commits;
    t.known = Some(s.processes[..VICTIM].iter().all(knows));
    t.copy = None;
    t.lives += 1;
    t.processes[VICTIM].disk = disk.clone();
    t.processes[VICTIM].boot(t.lives);
    t
}

/// What a message brings about, wherever it arrives.
fn heard(s: &State, message: &Message, bounds: &Bounds, next: &mut Vec<Next>) -> Result<(), String> {
    match message {
        Message::Prepare { n, prefix } => {
            let leader = bounds.owner(*n);
            for q in (0..PROCESSES).filter(|q| *q != leader) {
                prepare(s, q, (*n, leader), prefix, bounds, next);
            }
        }
        Message::Promise { n, stamp, acc, log, decided } => {
            let leader = bounds.owner(*n);
            let process = &s.processes[leader];
            if process.disk.prom == *n && counts(s, leader, stamp.by) {
                let mut t = s.clone();
                note(&mut t, leader, *stamp);
                match process.role {
                    Role::Candidate => adopt(t, leader, *stamp, (*acc, log, *decided), bounds, next)?,
                    Role::Leader => sync(t, leader, *stamp, (log, *decided), bounds, next),
                    Role::Follower => {}
                }
            }
        }
        Message::AcceptSync { n, to, life, from, suffix, prefix } => {
            let process = &s.processes[*to];
            let current = process.life == *life && process.disk.prom == *n && process.disk.acc < *n;
            if current && process.votes() && process.role == Role::Follower {
                let mut t = s.clone();
                let mut log = process.disk.log[..usize::from(*from)].to_vec();
                log.extend(suffix);
                let falls_short = log.len() < usize::from(process.decided);
                let differs = !(agree(prefix, &process.prefix()) && agree(&log, &process.prefix()));
                if bounds.hash && differs || bounds.short && falls_short {
                    t.processes[*to].halted = true;
                    next.push((format!("{to} halts: its prefix is not that of the leader of {n}"), t));
                    return Ok(());
                }
                // What is decided stays, as in the acceptor.
                if falls_short {
                    log = process.prefix();
                }
                overwrites(process, &log)?;
                let process = &mut t.processes[*to];
                process.disk.log = log;
                process.disk.acc = *n;
                process.decided = process.decided.max(prefix.len() as u8);
                process.commit();
                accepted(&mut t, *to, *n);
                next.push((format!("{to} takes the log of {n}"), t));
            }
        }
        Message::Accept { n, log } => {
            for q in 0..PROCESSES {
                let process = &s.processes[q];
                let follows =
                    process.disk.prom == *n && process.disk.acc == *n && process.role == Role::Follower;
                if follows && process.votes() && process.disk.log.len() < log.len() {
                    let mut t = s.clone();
                    t.processes[q].disk.log.clone_from(log);
                    t.processes[q].commit();
                    accepted(&mut t, q, *n);
                    next.push((format!("{q} accepts in {n}"), t));
                }
            }
        }
        Message::Accepted { n, stamp, len } => {
            let leader = bounds.owner(*n);
            let process = &s.processes[leader];
            let leads = process.role == Role::Leader && process.disk.acc == *n;
            let new = *len > process.decided && usize::from(*len) <= process.disk.log.len();
            if leads && counts(s, leader, stamp.by) && new {
                let mut t = s.clone();
                note(&mut t, leader, *stamp);
                t.processes[leader].decided = *len;
                t.say(Message::Decide { n: *n, decided: *len });
                next.push((format!("{leader} decides {len} in {n}"), t));
            }
        }
        Message::Decide { n, decided } => {
            for q in 0..PROCESSES {
                let process = &s.processes[q];
                let decided = (*decided).min(process.disk.log.len() as u8);
                if process.disk.acc == *n && process.votes() && decided > process.decided {
                    let mut t = s.clone();
                    t.processes[q].decided = decided;
                    next.push((format!("{q} hears that {decided} are decided in {n}"), t));
                }
            }
        }
    }
    Ok(())
}

/// Whether `p` counts what `q` says: it takes part, and `q` has recorded its life.
fn counts(s: &State, p: usize, q: usize) -> bool {
    s.processes[p].votes() && s.processes[p].acks.contains(&q)
}

/// The stamp of what is counted: only the life that was recorded last is believed.
fn note(t: &mut State, p: usize, stamp: Stamp) {
    let process = &mut t.processes[p];
    if process.disk.lives[stamp.by] == stamp.life {
        let shown = &mut process.shown[stamp.by];
        *shown = (*shown).max(stamp.mark);
    }
}

fn stamp(process: &Process, by: usize) -> Stamp {
    Stamp { by, life: process.life, mark: process.mark }
}

fn accepted(t: &mut State, q: usize, n: u8) {
    let process = &t.processes[q];
    let message = Message::Accepted { n, stamp: stamp(process, q), len: process.disk.log.len() as u8 };
    t.say(message);
}

fn prepare(
    s: &State,
    q: usize,
    (n, leader): (u8, usize),
    prefix: &Log,
    bounds: &Bounds,
    next: &mut Vec<Next>,
) {
    let process = &s.processes[q];
    if !counts(s, q, leader)
        || n < process.disk.prom
        || process.role != Role::Follower && n == process.disk.prom
    {
        return;
    }
    let mut t = s.clone();
    if bounds.hash && prefix.len() <= usize::from(process.decided) && !agree(prefix, &process.prefix()) {
        t.processes[q].halted = true;
        next.push((format!("{q} halts: its prefix is not that of who stands in {n}"), t));
        return;
    }
    let promised = |m: &Message| matches!(m, Message::Promise { n: m, stamp, .. } if *m == n && stamp.life == process.life);
    if s.said.iter().any(|m| promised(m)) {
        return;
    }
    let process = &mut t.processes[q];
    process.role = Role::Follower;
    process.disk.prom = n;
    process.commit();
    let Disk { acc, log, .. } = process.disk.clone();
    let promise = Message::Promise { n, stamp: stamp(process, q), acc, log, decided: process.decided };
    t.say(promise);
    next.push((format!("{q} promises {n}"), t));
}

/// Whether the log that a leader has, or would adopt, contradicts what a promiser has decided; then that
/// one is told, and halts.
fn left_out(t: &mut State, by: Stamp, log: &Log, theirs: (&Log, u8), bounds: &Bounds) -> bool {
    let prefix = &theirs.0[..usize::from(theirs.1)];
    let differs = bounds.hash && (prefix.len() > log.len() || !agree(log, prefix));
    if differs && t.processes[by.by].life == by.life {
        t.processes[by.by].halted = true;
    }
    differs
}

/// A candidate has the promise that it lacked: with its own log that is one of a majority.
fn adopt(
    mut t: State,
    p: usize,
    by: Stamp,
    (acc, theirs, decided): (u8, &Log, u8),
    bounds: &Bounds,
    next: &mut Vec<Next>,
) -> Result<(), String> {
    let (n, own) = (t.processes[p].disk.prom, t.processes[p].disk.clone());
    let log: Log = match (acc, theirs.len()) > (own.acc, own.log.len()) {
        true => theirs.clone(),
        false => own.log.clone(),
    };
    let own_prefix = t.processes[p].prefix();
    // What is decided stays, as in the acceptor.
    let log = if log.len() < own_prefix.len() { own_prefix.clone() } else { log };
    let own_differs = bounds.hash && !agree(&log, &own_prefix);
    if own_differs || left_out(&mut t, by, &log, (theirs, decided), bounds) {
        if t.processes[by.by].life == by.life {
            t.processes[by.by].halted = true;
        }
        next.push((format!("{p} leaves out {}, which has decided something else", by.by), t));
        return Ok(());
    }
    overwrites(&t.processes[p], &log)?;
    let process = &mut t.processes[p];
    process.disk.log = log;
    process.disk.acc = n;
    process.role = Role::Leader;
    process.decided = process.decided.max(decided).min(process.disk.log.len() as u8);
    process.commit();
    next.push((format!("{p} leads in {n}"), t));
    Ok(())
}

/// A leader answers a promise with what the promiser lacks.
fn sync(
    mut t: State,
    p: usize,
    by: Stamp,
    (theirs, decided): (&Log, u8),
    bounds: &Bounds,
    next: &mut Vec<Next>,
) {
    let log = t.processes[p].disk.log.clone();
    if left_out(&mut t, by, &log, (theirs, decided), bounds) {
        next.push((format!("{p} tells {} that it has decided something else", by.by), t));
        return;
    }
    let (n, from) = (t.processes[p].disk.acc, decided);
    if usize::from(from) > log.len() {
        return;
    }
    let (suffix, prefix) = (log[usize::from(from)..].to_vec(), t.processes[p].prefix());
    let message = Message::AcceptSync { n, to: by.by, life: by.life, from, suffix, prefix };
    t.say(message);
    next.push((format!("{p} syncs {} in {n}", by.by), t));
}

/// No process overwrites an entry that it knows durably to be decided.
fn overwrites(process: &Process, log: &Log) -> Result<(), String> {
    let decided = &process.disk.log[..usize::from(process.disk.decided)];
    match decided.len() <= log.len() && agree(decided, log) {
        true => Ok(()),
        false => Err(format!("silent: {decided:?} is decided durably, and overwritten by {log:?}")),
    }
}
