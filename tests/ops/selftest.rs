//! What the selftest tries, tried everywhere, and that it leaves nothing out.

use std::collections::{BTreeMap, BTreeSet};

use sarcomere::Result;
use sarcomere::detector::{Detector, DetectorConfig};
use sarcomere::device::cuda::{Architecture, Precision, Target};
use sarcomere::graph::Graph;
use sarcomere::ops::optim::problem::OptimizerProblem;
use sarcomere::ops::problem::Numbers;
use sarcomere::ops::random::problem::RandomProblem;
use sarcomere::selftest::{Primitive, PrimitiveProblem, families, network_kernels, problem_kernels};
use sarcomere::train::{Clip, Optimizer, detector_step, twitch_step};
use sarcomere::twitch::{TwitchConfig, TwitchEstimator};

use crate::everywhere::check_everywhere;

#[test]
fn primitives_do_what_the_manual_says() -> Result<()> {
    let mut all = Primitive::ALL.into_iter().enumerate();
    all.try_for_each(|(seed, primitive)| check_everywhere(&PrimitiveProblem { primitive }, seed as u64))
}

#[test]
fn random_numbers() -> Result<()> {
    (0..8).try_for_each(|seed| check_everywhere(&RandomProblem::random(&mut Numbers::new(seed)), seed))
}

#[test]
fn optimizer_steps() -> Result<()> {
    (0..12).try_for_each(|seed| check_everywhere(&OptimizerProblem::random(&mut Numbers::new(seed)), seed))
}

/// Every op of both networks, in training and inference, occurs in some family's problems.
#[test]
fn no_op_of_the_networks_is_left_out() -> Result<()> {
    let names = |graph: Graph| graph.nodes().iter().map(|node| node.op.name()).collect::<Vec<_>>();
    let mut tried: BTreeSet<&str> = BTreeSet::new();
    for family in families() {
        for seed in 0..64 {
            tried.extend(names(family.graph(seed, false)?.0));
        }
    }
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for (detector, twitch) in
        [(DetectorConfig::lite(), TwitchConfig::lite()), (DetectorConfig::paper(), TwitchConfig::paper())]
    {
        let sgd = Optimizer::Sgd { momentum: 0.9, decay: 1e-4 };
        let adam = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 1e-4 };
        used.extend(names(Detector::graph(&detector)?.0));
        used.extend(names(TwitchEstimator::graph(&twitch)?.0));
        for clip in [Clip::Global(1.0), Clip::PerTensor(1.0)] {
            used.extend(names(detector_step(&detector, 2, &sgd, clip)?.0));
            used.extend(names(twitch_step(&twitch, 2, 8, &adam, clip)?.0));
        }
    }
    let untried: Vec<_> = used.difference(&tried).collect();
    assert!(untried.is_empty(), "no problem of the selftest has {untried:?}");
    Ok(())
}

/// Every kernel that the networks launch, in every precision, is launched by some problem that the selftest tries by default.
#[test]
fn no_kernel_of_the_networks_is_left_out() -> Result<()> {
    let mut untried = BTreeSet::new();
    for precision in Precision::ALL {
        let target = Target::typical(Architecture { number: 90 }, precision);
        let tried: BTreeSet<String> = problem_kernels(&target)?.into_values().flat_map(BTreeMap::into_keys).collect();
        let used = network_kernels(&target)?.into_values().flat_map(BTreeMap::into_keys);
        untried.extend(used.filter(|kernel| !tried.contains(kernel)));
    }
    assert!(untried.is_empty(), "no problem of the selftest launches {untried:#?}");
    Ok(())
}
