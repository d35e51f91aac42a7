//! Training targets: what anchors and regions of interest should have been.
//!
//! Random choices are made by keys, an input: of a surplus the largest keys go (ties: higher index, NaN last). Equal keys
//! therefore keep the first ones.

pub mod detection;
mod detection_cpu;
mod detection_cuda;
pub mod mini_mask;
pub mod problem;
pub mod rpn;
mod rpn_cpu;
mod rpn_cuda;

pub use detection::{DetectionTargetValues, DetectionTargets, MaskTargets};
pub use mini_mask::MiniMasks;
pub use rpn::RpnTargets;
