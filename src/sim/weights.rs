//! How often things happen: the character of a seed, and the weights of its phases.
//!
//! Each seed draws its own character (swarm testing): which faults there are at all, how often, and
//! how fast the parts of a process get on. A run goes through phases, some of them calm, since much
//! goes wrong only where something had gone well before.

use fastrand::Rng;

/// How often things happen, relative to one another; and how often faults do, in thousandths of
/// what they befall.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    pub(super) deliver: u32,
    pub(super) handle: u32,
    pub(super) disk: u32,
    pub(super) expose: u32,
    pub(super) tick: u32,
    pub(super) client: u32,
    pub(super) crash: u32,
    pub(super) recover: u32,
    pub(super) links: u32,
    pub(super) heal: u32,
    pub(super) hand_over: u32,
    pub(super) refuse: u32,
    /// Frames that were held back arrive.
    pub(super) late: u32,
    /// A process omits to send, or to receive.
    pub(super) omit: u32,
    /// A disk stands still.
    pub(super) stall: u32,
    /// A process crashes in the middle of a write.
    pub(super) tear: u32,
    pub(super) crash_loop: u32,

    pub(super) reorder: u32,
    pub(super) lose: u32,
    pub(super) again: u32,
    pub(super) hold: u32,
    pub(super) damage: u32,
    pub(super) disk_fault: u32,
    pub(super) lie: u32,
    pub(super) aim: u32,
    pub(super) blackout: u32,
    /// A leader that has just answered somebody falls, and what it said meanwhile is lost.
    pub(super) ambush: u32,
    pub(super) core_haste: u32,
    pub(super) disk_haste: u32,
    /// Relative speed of each process's clock.
    pub(super) clocks: Vec<u32>,
    /// Relative speed of each process's disk.
    pub(super) disks: Vec<u32>,
    /// Whether links are cut and heal again and again.
    pub(super) flaps: bool,
}

/// What kinds of faults a seed has at all.
#[derive(Clone, Debug)]
pub(super) struct Character {
    pub(super) crashes: bool,
    pub(super) network: bool,
    pub(super) partitions: bool,
    /// Cuts last until a phase ends: long enough for those on one side to elect.
    pub(super) lasting: bool,
    pub(super) ambushes: bool,
    pub(super) disks: bool,
    pub(super) skew: bool,
    pub(super) lies: bool,
}

impl Weights {
    /// No faults: every process is scheduled fairly.
    pub(super) fn calm(processes: usize) -> Self {
        Self {
            deliver: 600,
            handle: 150,
            disk: 250,
            expose: 150,
            tick: 40,
            client: 30,
            recover: 1000,
            reorder: 100,
            core_haste: 700,
            disk_haste: 600,
            clocks: vec![1; processes],
            disks: vec![1; processes],
            ..Self::default()
        }
    }

    /// A phase of a run.
    pub(super) fn phase(rng: &mut Rng, c: &Character, processes: usize) -> Self {
        let stormy = rng.u8(..3) != 0;
        // From one to `most`, each power of two as likely as the others.
        let mut log = |most: u32| (1u32 << rng.u32(..=most.ilog2())).min(most);
        let mut w = Self {
            deliver: 600,
            handle: 100 + log(128),
            disk: 100 + log(256),
            expose: 100 + log(128),
            tick: 16 + log(32),
            client: 15 + log(32),
            recover: log(64),
            heal: 2 + log(8),
            late: log(64),
            reorder: 50,
            ..Self::default()
        };
        if stormy {
            if c.crashes {
                w.crash = log(4);
                w.aim = 100 * log(8);
                w.blackout = log(128);
                w.hand_over = u32::from(log(4) == 1);
                w.crash_loop = u32::from(log(8) == 1);
            }
            if c.ambushes {
                w.ambush = log(64);
            }
            if c.network {
                w.lose = log(256);
                w.again = log(256);
                w.hold = log(128);
                w.damage = log(64);
                w.reorder = log(1024);
                w.refuse = u32::from(log(8) == 1);
                w.omit = log(8) / 2;
            }
            if c.partitions {
                w.links = log(8);
                w.heal = log(8);
                w.flaps = log(16) == 1;
                if c.lasting {
                    (w.links, w.heal, w.tick) = (1, 0, 64 + log(128));
                }
            }
            if c.disks {
                w.disk_fault = log(128);
                w.stall = log(4) / 2;
                w.tear = log(4) / 2;
            }
        }
        if c.lies {
            w.lie = 100;
        }
        w.core_haste = 150 + rng.u32(..800);
        w.disk_haste = 50 + rng.u32(..700);
        let skew = c.skew && stormy;
        let speeds =
            |rng: &mut Rng| (0..processes).map(|_| if skew { 1 << rng.u32(..4) } else { 1 }).collect();
        w.clocks = speeds(rng);
        w.disks = speeds(rng);
        w
    }
}
