//! Which links are there.

use crate::kernel::ProcessId;
use fastrand::Rng;

/// The links of a world, in both directions of each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sim) struct Links {
    processes: usize,
    /// Links that there are never.
    absent: Vec<bool>,
    /// Links that are cut for now.
    cut: Vec<bool>,
}

impl Links {
    /// All of them.
    pub(super) fn whole(processes: usize) -> Self {
        let none = vec![false; processes * processes];
        Self { processes, absent: none.clone(), cut: none }
    }

    /// A connected graph that lacks some links for ever: a chain, a star or a ring.
    pub(super) fn incomplete(processes: usize, rng: &mut Rng) -> Self {
        let mut order: Vec<usize> = (0..processes).collect();
        rng.shuffle(&mut order);
        let shape = rng.u8(..3);
        let near = |a: usize, b: usize| match shape {
            0 => a.abs_diff(b) == 1,
            1 => a == 0 || b == 0,
            _ => a.abs_diff(b) == 1 || a.abs_diff(b) == processes - 1,
        };
        let mut links = Self::whole(processes);
        for a in 0..processes {
            for b in 0..processes {
                links.absent[order[a] * processes + order[b]] = a != b && !near(a, b);
            }
        }
        links
    }

    /// Whether no link is missing for ever.
    pub(in crate::sim) fn is_whole(&self) -> bool {
        !self.absent.contains(&true)
    }

    /// Cuts links for now: in a random shape, in one direction or both.
    pub(super) fn cut(&mut self, rng: &mut Rng) {
        let (shape, side, hub) = (rng.u8(..5), rng.usize(..1 << self.processes), rng.usize(..self.processes));
        for a in 0..self.processes {
            for b in 0..self.processes {
                let across = (side >> a & 1) != (side >> b & 1);
                self.cut[a * self.processes + b] = a != b
                    && match shape {
                        // Halves, and one half that is heard and does not hear.
                        0 => across,
                        1 => across && side >> a & 1 == 0,
                        // One process alone, a star, and any links at all.
                        2 => a == hub || b == hub,
                        3 => a != hub && b != hub,
                        _ => rng.u8(..3) == 0,
                    };
            }
        }
    }

    /// Everything that may be there is.
    pub(super) fn heal(&mut self) {
        self.cut.fill(false);
    }

    /// Whether a frame from one process to another arrives.
    pub(super) fn open(&self, from: ProcessId, to: ProcessId) -> bool {
        let link = from.index() * self.processes + to.index();
        !self.absent[link] && !self.cut[link]
    }

    /// Whether two processes hear each other.
    pub(in crate::sim) fn linked(&self, p: ProcessId, q: ProcessId) -> bool {
        p == q || (self.open(p, q) && self.open(q, p))
    }

    /// Whether a process hears a majority, itself included.
    pub(in crate::sim) fn hears_majority(&self, p: ProcessId) -> bool {
        let heard = (0..self.processes as u8).filter(|q| self.linked(p, ProcessId(*q))).count();
        heard > self.processes / 2
    }
}
