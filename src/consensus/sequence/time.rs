//! What happens as time passes: what was lost is asked for again, what takes too long is given up.

use super::{Role, SequencePaxos};
use crate::consensus::acceptor::Gate;
use crate::consensus::leader::prepare;
use crate::consensus::messages::Paxos;
use crate::kernel::{Ballot, Mutant, ProcessSet, Ticks, Turn};

impl SequencePaxos {
    /// Time passes; `trusted` is the ballot of the leader that the detector trusts, `alive` are the
    /// processes that it hears.
    pub fn tick(&mut self, now: Ticks, trusted: Option<Ballot>, alive: ProcessSet, turn: &mut Turn) {
        self.now = now;
        self.acceptor.tick(now);
        let timing = self.config.timing;
        match &mut self.role {
            Role::Follower => {
                if let Some(ballot) = trusted
                    && ballot.process != self.config.me
                    && self.votes()
                    && (self.acceptor.acc() != ballot
                        || self.acceptor.is_adrift()
                        || self.acceptor.gate() == Gate::Unknown)
                {
                    self.ask_prepare(ballot.process, turn);
                }
            }
            Role::Candidate(candidate) => {
                if now - candidate.since > timing.election {
                    tracing::info!(process = %self.config.me, ballot = %candidate.n, "gives up its candidacy");
                    self.role = Role::Follower;
                } else if now - candidate.since > timing.election / 2 && candidate.set_aside(now) {
                    self.ask_for_suffix(turn);
                    self.try_adopt(turn);
                } else if now - candidate.asked >= timing.resend {
                    candidate.asked = now;
                    let (n, promised) = (candidate.n, candidate.promised());
                    let missing = self.config.peers().filter(|p| !promised.contains(*p));
                    turn.send_all(missing, &prepare((n, 0, None), 0, &self.acceptor));
                    self.ask_for_suffix(turn);
                }
            }
            Role::Leader(leader) => {
                leader.tick(&self.acceptor, &self.boots, now, turn);
                let connected = alive.len() + 1 >= self.config.majority();
                if leader.is_stuck(&self.acceptor, connected, now)
                    && !self.config.mutants.on(Mutant::LeaderNeverGivesUp)
                {
                    tracing::warn!(process = %self.config.me, ballot = %leader.n, "cannot go on: gives up its leadership");
                    self.gave_up = Some(self.acceptor.decided());
                    self.role = Role::Follower;
                } else if let Some((since, offered)) = leader.leaving {
                    if alive.is_empty() || now - since > timing.election {
                        leader.leaving = None;
                    } else if !offered && let Some(heir) = leader.heir(&self.acceptor, alive) {
                        leader.leaving = Some((since, true));
                        turn.send(heir, &Paxos::HandOver { n: leader.n });
                    }
                }
            }
        }
    }
}
