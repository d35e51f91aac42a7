//! CPU bodies: one task a unit (a recording, a block of frames), so that nothing depends on the number of threads.

mod cholesky;
mod eigen;
mod gram;
mod profiles;
mod regions;
mod solve;
mod svd;
mod whitening;

pub(super) use eigen::LANCZOS_STEPS;
pub(super) use profiles::{ProfileJob, SOLUTIONS, profile_scratch, profile_unmix};
pub(super) use regions::{REGION_WEIGHTS, RegionJob, region_means};
pub(super) use solve::{UnmixJob, UnmixScratch, least_squares_unmix, unmix_scratch};
pub(super) use svd::{MAX_COMPONENTS, SvdJob, masked_svd, run_scratch, svd_scratch};
pub(super) use whitening::{WhiteningJob, lags, noise_whitening, whitening_scratch};

use crate::device::Cpu;
use crate::ops::disjoint::Disjoint;

/// Whether a pixel of a mask belongs to it.
#[inline(always)]
fn covered(mask: f32) -> bool {
    mask > 0.5
}

/// Below this, a peak counts as none.
const NO_PEAK: f32 = 1e-6;

/// Rows of `row` elements, `channels` of them a frame, over the peak of their channel 0.
pub(super) fn scale_to_peak(
    cpu: &Cpu,
    signals: &[f32],
    row: usize,
    channels: usize,
    scaled: &mut [f32],
    peaks: &mut [f32],
) {
    let scaled = Disjoint::new(scaled, row);
    cpu.parallel_chunks(peaks, 1, |index, peak| {
        let signals = &signals[index * row..][..row];
        // SAFETY: each task has its own row.
        let scaled = unsafe { scaled.run(index) };
        let largest = signals.iter().step_by(channels).fold(0.0f32, |a, b| a.max(b.abs()));
        if largest < NO_PEAK {
            scaled.fill(0.0);
            peak[0] = 1.0;
        } else {
            let factor = 1.0 / largest;
            scaled.iter_mut().zip(signals).for_each(|(y, x)| *y = x * factor);
            peak[0] = largest;
        }
    });
}
