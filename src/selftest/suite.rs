//! Random problems of every op, by family.

use super::primitives::PrimitiveProblem;
use crate::Result;
use crate::muscle::problem::SimulateProblem;
use crate::ops::boxes::problem::{BoxIouProblem, BoxMapProblem};
use crate::ops::conv::problem::{ConvProblem, Pass};
use crate::ops::correlation::problem::NeighbourCorrelationProblem;
use crate::ops::detections::problem::{DetectionsProblem, MaskPasteProblem};
use crate::ops::elementwise::chain::problem::ChainProblem;
use crate::ops::elementwise::problem::{BinaryProblem, SumOfProblem, UnaryProblem};
use crate::ops::loss::problem::{PointwiseLossProblem, SoftmaxLossProblem};
use crate::ops::matmul::problem::MatMulProblem;
use crate::ops::norm::problem::{BatchNormProblem, FoldProblem};
use crate::ops::optim::problem::OptimizerProblem;
use crate::ops::pool::problem::MaxPoolProblem;
use crate::ops::problem::{self, Numbers, Setting, Targeted, check_on};
use crate::ops::proposals::problem::ProposalsProblem;
use crate::ops::random::problem::RandomProblem;
use crate::ops::recurrent::problem::GruProblem;
use crate::ops::reduce::problem::{ReduceProblem, SoftmaxProblem, StandardiseProblem};
use crate::ops::roi::problem::RoiAlignProblem;
use crate::ops::select::problem::{NmsProblem, TopKProblem};
use crate::ops::shape::problem::MoveProblem;
use crate::ops::targets::problem::{DetectionTargetsProblem, MasksProblem, RpnTargetsProblem};
use crate::ops::unmix::problem::{PeakProblem, RegionProblem, SignalsProblem, SvdProblem, UnmixProblem};
use crate::ops::unmix::refine_problem::{ProfileProblem, WhiteningProblem};

/// One family of ops: makes a problem from a seed and checks it in given settings.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    check: fn(seed: u64, settings: &[Setting<'_>]) -> Result<()>,
    graph: fn(seed: u64, narrow: bool) -> Result<Targeted>,
}

impl Family {
    /// The graph of a seed's problem, with the gradients that are checked, and what is read of it; if `narrow`, as in
    /// [`Setting::narrow`].
    pub fn graph(&self, seed: u64, narrow: bool) -> Result<Targeted> {
        (self.graph)(seed, narrow)
    }

    /// Checks the problem of a seed.
    pub fn check(&self, seed: u64, settings: &[Setting<'_>]) -> Result<()> {
        (self.check)(seed, settings)
    }
}

/// A family whose problems are made by `random`.
macro_rules! family {
    ($name:literal, $problem:ty) => {
        family!($name, |numbers| <$problem>::random(numbers))
    };
    ($name:literal, |$numbers:ident| $make:expr) => {
        Family {
            name: $name,
            check: |seed, settings| {
                let $numbers = &mut Numbers::new(seed);
                check_on(&$make, seed, settings)
            },
            graph: |seed, narrow| {
                let $numbers = &mut Numbers::new(seed);
                problem::graph(&$make, seed, narrow)
            },
        }
    };
}

/// Every family.
pub fn families() -> Vec<Family> {
    vec![
        family!("primitives", PrimitiveProblem),
        family!("elementwise_unary", UnaryProblem),
        family!("elementwise_binary", BinaryProblem),
        family!("elementwise_sum", SumOfProblem),
        family!("elementwise_chain", ChainProblem),
        family!("shape", MoveProblem),
        family!("reduce", ReduceProblem),
        family!("softmax", SoftmaxProblem),
        family!("standardise", StandardiseProblem),
        family!("batch_norm", BatchNormProblem),
        family!("batch_norm_fold", FoldProblem),
        family!("max_pool", MaxPoolProblem),
        family!("matmul", MatMulProblem),
        family!("conv_fprop", |numbers| ConvProblem::random(numbers).with_pass(Pass::Forward)),
        family!("conv_dgrad", |numbers| ConvProblem::random(numbers).with_pass(Pass::Data)),
        family!("conv_wgrad", |numbers| ConvProblem::random(numbers).with_pass(Pass::Weights)),
        family!("gru", GruProblem),
        family!("losses", PointwiseLossProblem),
        family!("softmax_loss", SoftmaxLossProblem),
        family!("boxes", BoxMapProblem),
        family!("box_overlaps", BoxIouProblem),
        family!("roi_align", RoiAlignProblem),
        family!("top_k", TopKProblem),
        family!("nms", NmsProblem),
        family!("proposals", ProposalsProblem),
        family!("detections", DetectionsProblem),
        family!("mask_paste", MaskPasteProblem),
        family!("rpn_targets", RpnTargetsProblem),
        family!("detection_targets", DetectionTargetsProblem),
        family!("masks", MasksProblem),
        family!("neighbour_correlation", NeighbourCorrelationProblem),
        family!("region_means", RegionProblem),
        family!("unmix", UnmixProblem),
        family!("masked_svd", SvdProblem),
        family!("scale_to_peak", PeakProblem),
        family!("unmixed_signals", SignalsProblem),
        family!("noise_whitening", WhiteningProblem),
        family!("profile_unmix", ProfileProblem),
        family!("simulate", SimulateProblem),
        family!("random", RandomProblem),
        family!("optimizer", OptimizerProblem),
    ]
}
