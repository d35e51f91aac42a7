//! Time signals of motor units, computed from a recording and the units' masks: least-squares unmixing, means over
//! regions, singular vectors. What a network that estimates twitch trains reads beside the recording.
//!
//! Recordings and masks are data here: none of these ops has a gradient (their rules return none for every input, so
//! that a loss behind them leaves what lies in front untouched).
//!
//! A pixel belongs to a mask if its value is above 0.5. Recordings must be finite.

mod cpu;
mod cuda;
mod least_squares;
mod peak;
pub mod problem;
mod profiles;
mod refine;
mod refine_cuda;
pub mod refine_problem;
mod regions;
mod scene;
mod svd;
mod whitening;

pub use least_squares::LeastSquaresUnmix;
pub use peak::ScaleToPeak;
pub use profiles::ProfileUnmix;
pub use refine::Refinement;
pub use regions::RegionMeans;
pub use svd::MaskedSvd;
pub(crate) use whitening::MAX_RADIUS;
pub use whitening::NoiseWhitening;

use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::{ensure, expect_counts};
use crate::tensor::{DType, TensorType};

/// How signals are made, see [`Graph::unmixed_signals`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unmixing {
    /// Side of the crop, in pixels, whose part outside the mask makes a signal ([`RegionMeans`]).
    pub surround: usize,
    /// Ridge of the first signals ([`LeastSquaresUnmix`]).
    pub ridge: f32,
    /// Singular vectors among the signals ([`MaskedSvd`]).
    pub components: usize,
    /// What makes the first signals better.
    pub refinement: Option<Refinement>,
}

impl Unmixing {
    /// The best ridge lies between 1e-5 (30 dB) and 1e-3 (10 dB) for a mask of 100 pixels, where noise per pixel is to be
    /// weighed against the signal.
    pub const RIDGE: f32 = 1e-4;
    /// Motion of one unit has a low rank: singular vectors beyond the third are mostly others' and noise.
    pub const COMPONENTS: usize = 3;
    /// Most singular vectors.
    pub const MAX_COMPONENTS: usize = cpu::MAX_COMPONENTS;

    /// With the defaults of ridge and components.
    pub fn new(surround: usize, refinement: Option<Refinement>) -> Self {
        Self { surround, ridge: Self::RIDGE, components: Self::COMPONENTS, refinement }
    }
}

/// Builders of the signals of motor units. `recordings [N,T,H,W,1]`, `masks [N,U,H,W]`, `counts i32 [N]`: how many of
/// the `U` masks of each recording are valid; the others are not read.
impl Graph {
    /// Signals of each unit, `[N*U,T,S]` (with three components `S` is eight, or nine, see below), divided by the peak (largest absolute value) of the first; and the peaks,
    /// `[N*U]`. Meant for standardised recordings, and then without unit.
    ///
    /// | channel | signal |
    /// |---|---|
    /// | 0 | least-squares unmixing: each frame regressed on all masks at once |
    /// | 1 | mean over the mask |
    /// | 2 | mean over the part of the mask that no other mask covers (over the mask if there is none) |
    /// | 3 | mean over what is not mask of the `surround` x `surround` crop centred on the mask's bounding box |
    /// | 4 | mean over the part of the mask that others cover (0 if there is none) |
    /// | from 5 | first `components` left singular vectors of the mask's pixels, see [`Graph::masked_svd`] |
    ///
    /// With a refinement, the least-squares signals refined ([`Graph::refined_signals`]) come first, as channel 0, and the
    /// others move up by one.
    ///
    /// Where the first signal vanishes (empty mask, row beyond `counts`) all signals are 0 and the peak is 1.
    pub fn unmixed_signals(
        &mut self,
        recordings: Value,
        masks: Value,
        counts: Value,
        unmixing: &Unmixing,
    ) -> Result<(Value, Value)> {
        let means = self.region_means(recordings, masks, Some(counts), unmixing.surround)?;
        let unmixed = self.least_squares_unmix(means, masks, Some(counts), unmixing.ridge)?;
        let components = self.masked_svd(recordings, masks, unmixed, Some(counts), unmixing.components)?;
        let mut signals = vec![unmixed, means, components];
        if let Some(refinement) = &unmixing.refinement {
            signals.insert(0, self.refined_signals(recordings, masks, unmixed, Some(counts), refinement)?);
        }
        let signals = self.concat(&signals, 2)?;
        self.scale_to_peak(signals)
    }

    /// Means over four regions of each mask, `[N*U,T,4]`: the mask, its exclusive part, the rest of the crop, its shared
    /// part. See [`RegionMeans`].
    pub fn region_means(
        &mut self,
        recordings: Value,
        masks: Value,
        counts: Option<Value>,
        surround: usize,
    ) -> Result<Value> {
        let inputs: Vec<Value> = [recordings, masks].into_iter().chain(counts).collect();
        self.apply1(RegionMeans { surround }, &inputs)
    }

    /// The signals `[N*U,T,1]` whose sum over the masks comes nearest to the recording, from the means over the masks
    /// (channel 0 of `means [N*U,T,C]`). See [`LeastSquaresUnmix`].
    pub fn least_squares_unmix(
        &mut self,
        means: Value,
        masks: Value,
        counts: Option<Value>,
        ridge: f32,
    ) -> Result<Value> {
        let inputs: Vec<Value> = [means, masks].into_iter().chain(counts).collect();
        self.apply1(LeastSquaresUnmix { ridge }, &inputs)
    }

    /// The first `components` left singular vectors of each mask's pixels, `[N*U,T,components]`, in the recording's unit,
    /// with the signs of `reference [N*U,T,1]`. See [`MaskedSvd`].
    pub fn masked_svd(
        &mut self,
        recordings: Value,
        masks: Value,
        reference: Value,
        counts: Option<Value>,
        components: usize,
    ) -> Result<Value> {
        let inputs: Vec<Value> = [recordings, masks, reference].into_iter().chain(counts).collect();
        self.apply1(MaskedSvd { components }, &inputs)
    }

    /// `signals [R,T,C]` divided, row by row, by the largest absolute value of channel 0; and that value, `[R]`. See
    /// [`ScaleToPeak`].
    pub fn scale_to_peak(&mut self, signals: Value) -> Result<(Value, Value)> {
        let outputs = self.apply(ScaleToPeak, &[signals])?;
        Ok((outputs[0], outputs[1]))
    }
}

/// Extents of recordings and masks.
#[derive(Clone, Copy, Debug)]
struct Extents {
    recordings: usize,
    units: usize,
    frames: usize,
    height: usize,
    width: usize,
}

impl Extents {
    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Rows of signals: units of all recordings.
    fn rows(&self) -> usize {
        self.recordings * self.units
    }
}

/// Checks `recordings f32 [N,T,H,W,1]` and `masks f32 [N,U,H,W]`.
fn expect_recordings(op: &str, recordings: &TensorType, masks: &TensorType) -> Result<Extents> {
    let ok = recordings.dtype == DType::F32 && recordings.shape.rank() == 5 && recordings.shape[4] == 1;
    ensure(op, ok, || format!("recordings must be f32 [N,T,H,W,1], got {recordings}"))?;
    let shape = &recordings.shape;
    let (n, height, width) = (shape[0], shape[2], shape[3]);
    ensure(op, !recordings.is_empty(), || format!("recordings must have frames and pixels, got {recordings}"))?;
    let fits = expect_masks(op, masks)?.shape.dims();
    let fits = fits[0] == n && fits[2] == height && fits[3] == width;
    ensure(op, fits, || format!("masks must be f32 [{n},U,{height},{width}] as the recordings are, got {masks}"))?;
    Ok(Extents { recordings: n, units: masks.shape[1], frames: shape[1], height, width })
}

fn expect_masks<'a>(op: &str, masks: &'a TensorType) -> Result<&'a TensorType> {
    let ok = masks.dtype == DType::F32 && masks.shape.rank() == 4;
    ensure(op, ok && !masks.is_empty(), || format!("masks must be f32 [N,U,H,W], none of them 0, got {masks}"))?;
    Ok(masks)
}

/// Checks `counts i32 [N]`, if there are any.
fn expect_unit_counts(op: &str, counts: Option<&TensorType>, recordings: usize) -> Result<()> {
    let Some(counts) = counts else { return Ok(()) };
    expect_counts(op, counts, recordings)?;
    ensure(op, counts.len() == recordings, || format!("counts must be i32 [{recordings}], got {counts}"))
}
