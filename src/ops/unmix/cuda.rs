//! Launches of the ops on signals of motor units.

use super::{Extents, LeastSquaresUnmix, MaskedSvd, RegionMeans};
use crate::Result;
use crate::device::cuda::{Launch, Types, Work};

const SOURCE: &str = "unmix";
const SVD: &str = "masked_svd";
/// `MEAN_WARPS` and `FACTOR_THREADS` of `kernels/unmix.cu`.
const MEAN_WARPS: usize = 8;
const FACTOR_THREADS: usize = 64;
/// `THREADS`, `STEPS` and `MAX_COMPONENTS` of `kernels/masked_svd.cu`.
const SVD_THREADS: usize = 512;
const STEPS: usize = 40;
const MAX_COMPONENTS: usize = 8;

impl Extents {
    /// The next argument: `Scene` of `kernels/unmix.cu`.
    fn scene(&self, launch: Launch) -> Launch {
        launch.fields(&[self.recordings, self.units, self.frames, self.height, self.width], &[])
    }
}

pub(super) fn scale_to_peak(types: &Types<'_>) -> Result<Work> {
    let shape = &types.inputs[0].shape;
    if shape[0] == 0 {
        return Ok(Work::new());
    }
    let launch = Launch::new(SOURCE, "scale_to_peak_f32").grid(shape[0], 1, 1).input(0).output(0).output(1);
    Ok(Work::of(launch.long(shape[1] * shape[2]).int(shape[2])))
}

pub(super) fn region_means(op: &RegionMeans, extents: &Extents, types: &Types<'_>) -> Result<Work> {
    let mut work = Work::new();
    let rows = extents.rows();
    // A `Window` of eight integers for each row.
    let (labels, windows) = (work.take_scratch(rows * extents.pixels()), work.take_scratch(4 * 8 * rows));
    let launch = Launch::new(SOURCE, "region_labels_f32").grid(rows, 1, 1).input(1).optional_input(types, 2);
    work.launch(extents.scene(launch.scratch(labels).scratch(windows)).int(op.surround));
    let launch = Launch::new(SOURCE, "region_means_f32").grid(rows, extents.frames.div_ceil(MEAN_WARPS), 1);
    let launch = launch.block(32 * MEAN_WARPS).input(0).scratch(labels).scratch(windows).output(0);
    work.launch(extents.scene(launch));
    Ok(work)
}

pub(super) fn least_squares_unmix(op: &LeastSquaresUnmix, types: &Types<'_>) -> Result<Work> {
    let mut work = Work::new();
    if types.outputs[0].is_empty() {
        return Ok(work);
    }
    let (means, masks) = (&types.inputs[0].shape, &types.inputs[1].shape);
    let (recordings, units, frames) = (masks[0], masks[1], means[1]);
    let extents = Extents { recordings, units, frames, height: masks[2], width: masks[3] };
    let squares = recordings * units * units;
    let (common, factors) = (work.take_scratch(4 * squares), work.take_scratch(8 * squares));
    let solutions = work.take_scratch(8 * extents.rows() * frames);
    let launch = Launch::new(SOURCE, "unmix_common_f32").grid(units, units, recordings).input(1);
    work.launch(extents.scene(launch.optional_input(types, 2).scratch(common)));
    let launch = Launch::new(SOURCE, "unmix_factor_f64").grid(recordings, 1, 1).block(FACTOR_THREADS).scratch(common);
    let launch = extents.scene(launch.optional_input(types, 2).scratch(factors));
    work.launch(launch.structure(&f64::from(op.ridge)));
    let launch = Launch::new(SOURCE, "unmix_solve_f64").grid(frames.div_ceil(256), recordings, 1).input(0);
    let launch = launch.scratch(common).scratch(factors).optional_input(types, 2).scratch(solutions).output(0);
    work.launch(extents.scene(launch).int(means[2]));
    Ok(work)
}

pub(super) fn masked_svd(op: &MaskedSvd, extents: &Extents, types: &Types<'_>) -> Result<Work> {
    let mut work = Work::new();
    let (rows, frames, pixels) = (extents.rows(), extents.frames, extents.pixels());
    let (side, longest) = (frames.min(pixels), frames.max(pixels));
    let (lists, sizes) = (work.take_scratch(4 * rows * pixels), work.take_scratch(4 * rows));
    let (bases, products) = (work.take_scratch(4 * rows * STEPS * side), work.take_scratch(4 * rows * 2 * longest));
    let [diagonal, beside] = [(); 2].map(|()| work.take_scratch(8 * rows * STEPS));
    let eigenvalues = work.take_scratch(8 * rows * MAX_COMPONENTS);
    let eigenvectors = work.take_scratch(4 * rows * MAX_COMPONENTS * STEPS);
    // `Svd` of the kernels.
    let svd = [extents.recordings, extents.units, frames, pixels, op.components, side, longest];

    let launch = Launch::new(SVD, "svd_basis_f32").grid(rows, 1, 1).block(SVD_THREADS).input(0).input(1);
    let launch = launch.optional_input(types, 3).scratch(lists).scratch(sizes).scratch(bases).scratch(products);
    work.launch(launch.scratch(diagonal).scratch(beside).fields(&svd, &[]));
    let launch = Launch::new(SVD, "svd_eigen_f64").grid(rows, 1, 1).block(32).scratch(sizes).scratch(diagonal);
    work.launch(launch.scratch(beside).scratch(eigenvalues).scratch(eigenvectors).fields(&svd, &[]));
    let launch = Launch::new(SVD, "svd_signals_f32").grid(rows, 1, 1).block(SVD_THREADS).input(0).input(2);
    let launch = launch.scratch(lists).scratch(sizes).scratch(bases).scratch(eigenvalues).scratch(eigenvectors);
    work.launch(launch.scratch(products).output(0).fields(&svd, &[]));
    Ok(work)
}
