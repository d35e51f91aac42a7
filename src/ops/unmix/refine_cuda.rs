//! Launches of what refines signals: noise whitening, unmixing with profiles.

use super::whitening::{FREQUENCIES, MAX_RADIUS};
use super::{NoiseWhitening, ProfileUnmix, cpu};
use crate::Result;
use crate::device::cuda::{Arg, Launch, Types, Work};

const WHITENING: &str = "noise_whitening";
const PROFILES: &str = "profile_unmix";
/// `GROUP`, `MAX_TAPER` and `FILTER_THREADS` of `kernels/noise_whitening.cu`.
const GROUP: usize = 4;
const MAX_TAPER: usize = MAX_RADIUS + 2;
const FILTER_THREADS: usize = FREQUENCIES * FREQUENCIES;
/// Blocks that go through the pixels: each has scratch of its own.
const PIXEL_BLOCKS: usize = 1024;

pub(super) fn noise_whitening(op: &NoiseWhitening, types: &Types<'_>) -> Result<Work> {
    let shape = &types.inputs[0].shape;
    let (recordings, frames, height, width) = (shape[0], shape[1], shape[2], shape[3]);
    let lags = cpu::lags(op.radius).count();
    let mut work = Work::new();
    let values = recordings * (frames / GROUP) * height * width;
    let (differences, covariances) = (work.take_scratch(4 * values), work.take_scratch(8 * recordings * lags));
    // `Whitening` of the kernels.
    let extents = |launch: Launch| launch.fields(&[recordings, frames, height, width, op.radius], &[op.floor]);
    // `Tables` of the kernels.
    let turn = std::f64::consts::TAU / FREQUENCIES as f64;
    let cosines = (0..FREQUENCIES).map(|k| (turn * k as f64).cos());
    let hann = |lag: usize| 0.5 * (1.0 + (std::f64::consts::PI * lag as f64 / (op.radius + 2) as f64).cos());
    let tables: Vec<f64> = cosines.chain((0..MAX_TAPER).map(hann)).collect();

    if values > 0 {
        let launch = Launch::new(WHITENING, "whitening_differences_f32").over(values).input(0).scratch(differences);
        work.launch(extents(launch));
    }
    let launch = Launch::new(WHITENING, "whitening_covariances_f32").grid(lags, recordings, 1).scratch(differences);
    work.launch(extents(launch.scratch(covariances)));
    let launch = Launch::new(WHITENING, "whitening_filter_f64").grid(recordings, 1, 1).block(FILTER_THREADS);
    let launch = extents(launch.scratch(covariances).output(0).output(1)).int(lags);
    work.launch(launch.arg(Arg::Struct(bytemuck::cast_slice(&tables).to_vec())));
    Ok(work)
}

pub(super) fn profile_unmix(op: &ProfileUnmix, types: &Types<'_>) -> Result<Work> {
    let (shape, units) = (&types.inputs[0].shape, types.inputs[1].shape[1]);
    let (recordings, pixels, coefficients) = (shape[0], shape[1] * shape[2], shape[3]);
    let rows = recordings * units;
    let mut work = Work::new();
    // `Profiles` of the kernels.
    let integers = [recordings, units, shape[1], shape[2], coefficients, types.inputs[3].shape[1]];
    let floats = [op.profile_variance, op.lag_variance, op.mismatch, op.ridge];
    let extents = |launch: Launch| launch.fields(&integers, &floats);
    let kernel = |name: &str| Launch::new(PROFILES, name);

    let blocks = PIXEL_BLOCKS.min(recordings * pixels);
    let [profiles, lags, once, twice] = [(); 4].map(|()| work.take_scratch(8 * rows * pixels));
    let (errors, courses) = (work.take_scratch(8 * recordings), work.take_scratch(8 * 2 * rows * coefficients));
    let inner = work.take_scratch(8 * 4 * rows * units);
    let systems = work.take_scratch(8 * blocks * (2 * units + 1) * 2 * units);
    let projected = work.take_scratch(8 * rows * coefficients);
    let [normal, late] = [(); 2].map(|()| work.take_scratch(8 * rows * units));

    let launch = kernel("profile_errors_f64").grid(recordings, 1, 1).block(512).input(0).input(4);
    work.launch(extents(launch.optional_input(types, 6).scratch(errors)));
    let launch = kernel("profile_widen_f64").over(rows * coefficients).input(2).scratch(courses);
    work.launch(extents(launch));
    let differentiate = kernel("profile_differentiate_f64").over(rows * coefficients).input(5).scratch(courses);
    let differentiate = extents(differentiate);
    work.launch(differentiate.clone());
    let launch = kernel("profile_inner_f64").over(4 * rows * units).scratch(courses).scratch(inner);
    work.launch(extents(launch));

    work.zero(Arg::Scratch(profiles), 8 * rows * pixels);
    work.zero(Arg::Scratch(lags), 8 * rows * pixels);
    let launch = kernel("profile_pixels_f64").grid(blocks, 1, 1).block(32).shared(4 * units).input(0).input(1);
    let launch = launch.optional_input(types, 6).scratch(errors).scratch(courses).scratch(inner).scratch(systems);
    work.launch(extents(launch.scratch(profiles).scratch(lags)));
    let launch = kernel("profile_scale_f64").grid(rows, 1, 1).input(1).optional_input(types, 6).scratch(errors);
    work.launch(extents(launch.scratch(profiles).scratch(lags).scratch(courses)));

    for (from, to) in [(profiles, once), (once, twice)] {
        let launch = kernel("profile_filter_f64").over(rows * pixels).input(3).scratch(from).scratch(to);
        work.launch(extents(launch));
    }
    let launch = kernel("profile_project_f64").grid(rows, 1, 1).input(0).scratch(twice).scratch(projected);
    work.launch(extents(launch));
    let launch = kernel("profile_normal_f64").grid(units, units, recordings).scratch(twice).scratch(profiles);
    work.launch(extents(launch.scratch(lags).scratch(normal).scratch(late)));
    let launch = kernel("profile_factor_f64").grid(recordings, 1, 1).block(64).optional_input(types, 6);
    work.launch(extents(launch.scratch(errors).scratch(normal)));

    for _ in 0..cpu::SOLUTIONS {
        work.launch(differentiate.clone());
        let launch = kernel("profile_solve_f64").grid(coefficients.div_ceil(128), recordings, 1).block(128);
        let launch = launch.scratch(normal).scratch(late).scratch(projected).optional_input(types, 6);
        work.launch(extents(launch.scratch(errors).scratch(courses)));
    }
    let launch = kernel("profile_narrow_f32")
        .grid((units * coefficients).div_ceil(256), recordings, 1)
        .scratch(courses)
        .optional_input(types, 6);
    work.launch(extents(launch.scratch(errors).output(0)));
    Ok(work)
}
