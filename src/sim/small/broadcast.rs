//! Uniform reliable broadcast in the small world, and FIFO and causal order on it.

use super::links::Links;
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::broadcast::{Context, Guarantee, Topic, TopicIndication, TopicRequest, Topics};
use crate::kernel::{Mutant, ProcessId};
use crate::sim::broadcasts::{Broadcasts, payload};
use crate::sim::property::{Property, Verdict, ensure};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::marker::PhantomData;

/// More ticks than any run has.
const PATIENCE: u64 = 1 << 32;
const TWO: Size =
    Size { processes: 2, askers: 2, requests: 2, crashes: 1, ticks: 0, again: true, overtaken: false };
const THREE: Size =
    Size { processes: 3, askers: 3, requests: 2, crashes: 1, ticks: 0, again: true, overtaken: false };

/// An order, and what is judged of it.
pub(super) trait Kind: Clone + Debug + 'static {
    const NAME: &'static str;
    const GUARANTEE: Guarantee;
    const PROPERTIES: &'static [Property];
    const TRIALS: &'static [Trial];
}

/// None.
#[derive(Clone, Debug)]
pub(super) struct Unordered;

impl Kind for Unordered {
    const NAME: &'static str = "uniform-reliable-broadcast";
    const GUARANTEE: Guarantee = Guarantee::Reliable;
    const PROPERTIES: &'static [Property] = &[
        Property::Validity,
        Property::NoDuplication,
        Property::NoCreation,
        Property::UniformAgreement,
        Property::DurableHint,
        Property::CompleteHint,
        Property::StablePositions,
    ];
    const TRIALS: &'static [Trial] = &[
        Trial {
            mutant: Mutant::OwnCopyCountedTwice,
            by: Property::UniformAgreement,
            seeds: 20,
            within: Some(TWO),
        },
        Trial {
            mutant: Mutant::DeliveredWithoutMajority,
            by: Property::UniformAgreement,
            seeds: 20,
            within: Some(TWO),
        },
        Trial {
            mutant: Mutant::RelayedForgotten,
            by: Property::UniformAgreement,
            seeds: 50,
            within: Some(TWO),
        },
        Trial {
            mutant: Mutant::HintRestartsAtTheEnd,
            by: Property::CompleteHint,
            seeds: 20,
            within: Some(TWO),
        },
        Trial { mutant: Mutant::ExposeBeforeSync, by: Property::DurableHint, seeds: 20, within: Some(TWO) },
    ];
}

/// FIFO.
#[derive(Clone, Debug)]
pub(super) struct InFifoOrder;

impl Kind for InFifoOrder {
    const NAME: &'static str = "fifo-broadcast";
    const GUARANTEE: Guarantee = Guarantee::Fifo;
    const PROPERTIES: &'static [Property] = &[Property::FifoDelivery, Property::UniformAgreement];
    const TRIALS: &'static [Trial] =
        &[Trial { mutant: Mutant::FifoGaps, by: Property::FifoDelivery, seeds: 50, within: Some(TWO) }];
}

/// Causal.
#[derive(Clone, Debug)]
pub(super) struct InCausalOrder;

impl Kind for InCausalOrder {
    const NAME: &'static str = "causal-broadcast";
    const GUARANTEE: Guarantee = Guarantee::Causal;
    const PROPERTIES: &'static [Property] = &[Property::CausalDelivery, Property::UniformAgreement];
    const TRIALS: &'static [Trial] = &[Trial {
        mutant: Mutant::CausalContextIgnored,
        by: Property::CausalDelivery,
        seeds: 50,
        within: Some(THREE),
    }];
}

/// Processes that publish to one topic.
#[derive(Clone, Debug)]
pub(super) struct Broadcast<K>(PhantomData<K>);

impl<K: Kind> Scenario for Broadcast<K> {
    const NAME: &'static str = K::NAME;
    const PROPERTIES: &'static [Property] = K::PROPERTIES;
    const TRIALS: &'static [Trial] = K::TRIALS;
    const CLOSED: Option<Size> = Some(TWO);
    const WIDE: Option<Size> = Some(Size { ticks: 1, ..THREE });
    type Process = Topics;
    type Monitor = Publishers<K>;
}

/// Those who publish, and read the delivery logs.
#[derive(Clone, Debug)]
pub(super) struct Publishers<K> {
    judge: Broadcasts,
    /// Messages of each process that are not confirmed, since its last boot.
    waiting: Vec<BTreeSet<usize>>,
    kind: PhantomData<K>,
}

impl<K: Kind> Monitor<Topics> for Publishers<K> {
    fn new(processes: usize) -> Self {
        Self {
            judge: Broadcasts::new(processes),
            waiting: vec![BTreeSet::new(); processes],
            kind: PhantomData,
        }
    }

    fn asks(&self, _at: At<'_>, allowed: usize) -> Vec<TopicRequest> {
        let number = self.judge.len();
        if number >= allowed {
            return Vec::new();
        }
        vec![TopicRequest::Publish {
            request: number as u64,
            topic: Topic { guarantee: K::GUARANTEE, name: "t".to_owned() },
            context: Context::default(),
            payload: payload(number, 0),
            patience: PATIENCE,
        }]
    }

    fn asked(&mut self, at: At<'_>, _request: &TopicRequest) {
        let number = self.judge.asks(at.process, K::GUARANTEE, None);
        self.waiting[at.process.index()].insert(number);
    }

    fn stored(&mut self, at: At<'_>) -> Verdict {
        self.judge.stored(at.process, at.disk)
    }

    fn booted(&mut self, at: At<'_>) -> Verdict {
        self.judge.booted(at.process, at.disk);
        Ok(())
    }

    fn crashed(&mut self, process: ProcessId) {
        self.waiting[process.index()].clear();
    }

    fn indicated(&mut self, at: At<'_>, indication: &TopicIndication) -> Verdict {
        self.judge.told(at.process, indication, at.disk)?;
        let TopicIndication::Published { request, outcome } = indication else { return Ok(()) };
        let number = *request as usize;
        ensure(outcome.is_ok(), Property::Validity, || format!("{} refuses m{number}", at.process))?;
        self.waiting[at.process.index()].remove(&number);
        self.judge.confirmed(at.process, number)
    }

    fn finally(&self, _links: &Links, up: &[At<'_>]) -> Verdict {
        // Whatever links there are for ever, they connect everybody.
        let all: Vec<ProcessId> = up.iter().map(|at| at.process).collect();
        for p in &all {
            let waiting = &self.waiting[p.index()];
            ensure(waiting.is_empty(), Property::Validity, || {
                format!("{p} stayed up, and has not delivered its own {waiting:?}")
            })?;
        }
        self.judge.finally(&all)
    }
}
