//! Means over regions: for each unit the weights of three regions over one box, applied to every frame.

use super::covered;
use crate::device::Cpu;
use crate::device::cpu::Isa;
use crate::device::cpu::simd::{LANES, Portable, Simd};
use crate::ops::disjoint::Disjoint;
use crate::ops::is_valid_row;
use crate::ops::unmix::Extents;
use crate::ops::unmix::regions::REGIONS;

/// Planes of weights: exclusive part, surround, shared part. The mask is the first and the last together.
pub(in crate::ops::unmix) const REGION_WEIGHTS: usize = 3;

pub(in crate::ops::unmix) struct RegionJob<'a> {
    pub extents: Extents,
    pub surround: usize,
    pub recordings: &'a [f32],
    pub masks: &'a [f32],
    pub counts: Option<&'a [i32]>,
}

/// Rows and columns `[start, end)` of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub rows: [usize; 2],
    pub columns: [usize; 2],
}

impl Window {
    fn height(&self) -> usize {
        self.rows[1] - self.rows[0]
    }

    fn width(&self) -> usize {
        self.columns[1] - self.columns[0]
    }

    fn contains(&self, y: usize, x: usize) -> bool {
        (self.rows[0]..self.rows[1]).contains(&y) && (self.columns[0]..self.columns[1]).contains(&x)
    }

    /// The smallest one that holds the mask.
    pub fn of_mask(mask: &[f32], width: usize) -> Option<Self> {
        let mut found: Option<Self> = None;
        for (y, line) in mask.chunks_exact(width).enumerate() {
            // Most rows of an image hold nothing of a mask.
            if !line.iter().fold(false, |any, value| any | covered(*value)) {
                continue;
            }
            for (x, _) in line.iter().enumerate().filter(|(_, value)| covered(**value)) {
                let window = found.get_or_insert(Self { rows: [y, y + 1], columns: [x, x + 1] });
                window.rows[1] = y + 1;
                window.columns = [window.columns[0].min(x), window.columns[1].max(x + 1)];
            }
        }
        found
    }

    /// The square of side `side` with the same centre, as far as it lies in the image.
    fn centred(&self, side: usize, height: usize, width: usize) -> Self {
        let axis = |[start, end]: [usize; 2], extent: usize| {
            // May start before the image.
            let low = ((start + end) / 2) as isize - (side / 2) as isize;
            [low.max(0) as usize, ((low + side as isize).max(0) as usize).min(extent)]
        };
        Self { rows: axis(self.rows, height), columns: axis(self.columns, width) }
    }

    /// Grown by `margin` on every side, as far as the image reaches.
    pub fn grown(&self, margin: usize, height: usize, width: usize) -> Self {
        let axis = |[start, end]: [usize; 2], extent: usize| [start.saturating_sub(margin), (end + margin).min(extent)];
        Self { rows: axis(self.rows, height), columns: axis(self.columns, width) }
    }

    fn union(&self, other: &Self) -> Self {
        let axis = |a: [usize; 2], b: [usize; 2]| [a[0].min(b[0]), a[1].max(b[1])];
        Self { rows: axis(self.rows, other.rows), columns: axis(self.columns, other.columns) }
    }

    /// Widened to whole vectors, where the image is wide enough.
    fn widened(mut self, image_width: usize) -> Self {
        let width = self.width().next_multiple_of(LANES).min(image_width);
        self.columns[0] = self.columns[0].min(image_width - width);
        self.columns[1] = self.columns[0] + width;
        self
    }
}

/// Means over the regions of every unit, `[N*U,T,4]`. `covers [N,H,W]` and `weights [threads,3,H,W]` are scratch.
pub(in crate::ops::unmix) fn region_means(
    cpu: &Cpu,
    job: &RegionJob<'_>,
    output: &mut [f32],
    covers: &mut [u8],
    weights: &mut [f32],
) {
    let Extents { units, frames, width, .. } = job.extents;
    let (pixels, rows) = (job.extents.pixels(), job.extents.rows());
    cpu.parallel_chunks(covers, pixels, |n, covers| {
        covers.fill(0);
        for row in (n * units..(n + 1) * units).filter(|row| is_valid_row(*row, rows, job.counts)) {
            let mask = &job.masks[row * pixels..][..pixels];
            covers.iter_mut().zip(mask).for_each(|(count, value)| *count = count.saturating_add(covered(*value) as u8));
        }
    });
    let covers = &*covers;
    let weights = Disjoint::new(weights, REGION_WEIGHTS * pixels);
    let output = Disjoint::new(output, frames * REGIONS);
    cpu.parallel(rows, |row, worker| {
        // SAFETY: each task has its own row of the output, each worker its own weights.
        let (output, weights) = unsafe { (output.run(row), weights.run(worker)) };
        let n = row / units;
        let mask = &job.masks[row * pixels..][..pixels];
        let valid = is_valid_row(row, rows, job.counts);
        let Some(bounds) = Window::of_mask(mask, width).filter(|_| valid) else {
            output.fill(0.0);
            return;
        };
        let crop = bounds.centred(job.surround, job.extents.height, width);
        let window = bounds.union(&crop).widened(width);
        let sizes = fill_weights(mask, &covers[n * pixels..][..pixels], width, window, crop, weights);
        let recording = &job.recordings[n * frames * pixels..][..frames * pixels];
        region_sums(cpu.isa(), &Sums { recording, pixels, image_width: width, window, weights }, output);
        to_means(output, sizes);
    });
}

/// Writes the regions' weights over the window, plane after plane; returns their numbers of pixels.
fn fill_weights(
    mask: &[f32],
    covers: &[u8],
    image_width: usize,
    window: Window,
    crop: Window,
    weights: &mut [f32],
) -> [usize; REGION_WEIGHTS] {
    let plane = window.height() * window.width();
    let mut sizes = [0; REGION_WEIGHTS];
    for (line, y) in (window.rows[0]..window.rows[1]).enumerate() {
        for (column, x) in (window.columns[0]..window.columns[1]).enumerate() {
            let own = covered(mask[y * image_width + x]);
            let shared = covers[y * image_width + x] > 1;
            let member = [own && !shared, !own && crop.contains(y, x), own && shared];
            for (region, member) in member.into_iter().enumerate() {
                weights[region * plane + line * window.width() + column] = member as u8 as f32;
                sizes[region] += member as usize;
            }
        }
    }
    sizes
}

/// What the sums of a unit are made from.
struct Sums<'a> {
    recording: &'a [f32],
    pixels: usize,
    image_width: usize,
    window: Window,
    weights: &'a [f32],
}

/// For every frame the weighted sums over the window: `sums[frame] = [exclusive, surround, shared, unused]`.
fn region_sums(isa: Isa, job: &Sums<'_>, sums: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::device::cpu::simd::{Avx2, Avx512};

        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512(job: &Sums<'_>, sums: &mut [f32]) {
            // SAFETY: the instruction set is there, as the caller says.
            unsafe { window_sums::<Avx512>(job, sums) }
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(job: &Sums<'_>, sums: &mut [f32]) {
            // SAFETY: as above.
            unsafe { window_sums::<Avx2>(job, sums) }
        }
        match isa {
            // SAFETY: `Cpu` hands out only instruction sets that `Isa::detect` found.
            Isa::Avx512 => return unsafe { avx512(job, sums) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2(job, sums) },
            Isa::Portable => {}
        }
    }
    let _ = isa;
    // SAFETY: arrays work everywhere.
    unsafe { window_sums::<Portable>(job, sums) }
}

/// # Safety
/// The instruction set of `S` must be present.
#[inline(always)]
unsafe fn window_sums<S: Simd>(job: &Sums<'_>, sums: &mut [f32]) {
    let (height, width) = (job.window.height(), job.window.width());
    let plane = height * width;
    let start = job.window.rows[0] * job.image_width + job.window.columns[0];
    let (whole, tail) = (width / LANES * LANES, width % LANES);
    assert!(job.weights.len() >= REGION_WEIGHTS * plane);
    assert!(job.window.rows[1] * job.image_width <= job.pixels && job.window.columns[1] <= job.image_width);
    for (frame, sums) in job.recording.chunks_exact(job.pixels).zip(sums.chunks_exact_mut(REGIONS)) {
        // SAFETY: the window lies inside the frame and has its weights, as checked.
        unsafe {
            let mut lanes = [S::splat(0.0); REGION_WEIGHTS];
            for line in 0..height {
                let x = frame.as_ptr().add(start + line * job.image_width);
                let w = job.weights.as_ptr().add(line * width);
                for column in (0..whole).step_by(LANES) {
                    let x = S::load(x.add(column));
                    for (region, lanes) in lanes.iter_mut().enumerate() {
                        *lanes = S::mul_add(x, S::load(w.add(region * plane + column)), *lanes);
                    }
                }
                if tail > 0 {
                    let x = S::load_first(x.add(whole), tail);
                    for (region, lanes) in lanes.iter_mut().enumerate() {
                        *lanes = S::mul_add(x, S::load_first(w.add(region * plane + whole), tail), *lanes);
                    }
                }
            }
            for (sum, lanes) in sums.iter_mut().zip(lanes) {
                let mut values = [0.0f32; LANES];
                S::store(values.as_mut_ptr(), lanes);
                *sum = fold(values);
            }
        }
    }
}

/// The sum, halves added to halves.
#[inline(always)]
fn fold(mut values: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            values[i] += values[i + width];
        }
    }
    values[0]
}

/// Sums `[exclusive, surround, shared, _]` to means `[mask, exclusive, surround, shared]`.
fn to_means(frames: &mut [f32], sizes: [usize; REGION_WEIGHTS]) {
    let [exclusive, surround, shared] = sizes;
    let mean = |sum: f32, size: usize| if size > 0 { sum / size as f32 } else { 0.0 };
    for frame in frames.chunks_exact_mut(REGIONS) {
        let mask = mean(frame[0] + frame[2], exclusive + shared);
        let alone = if exclusive > 0 { mean(frame[0], exclusive) } else { mask };
        frame.copy_from_slice(&[mask, alone, mean(frame[1], surround), mean(frame[2], shared)]);
    }
}
