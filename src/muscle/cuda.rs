//! Launches of the simulator; the kernels are in `kernels/simulate_*.cu`.

use super::config::{Noise, Profile, Range, SimulatorConfig, SnrReference};
use super::layer::mean_fibres;
use super::op::Simulate;
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::ops::random::philox::key_of;
use crate::ops::random::wide;
use crate::{Error, Result};

const SCENE: &str = "simulate_scene";
const FRAMES: &str = "simulate_frames";
const NOISE: &str = "simulate_noise";

/// Constants of the kernels of the same names.
const UNITS_BLOCK: usize = 128;
const TILE: usize = 256;
const FRAMES_A_THREAD: usize = 8;
const LANES: usize = 16;
const MAX_PROFILES: usize = 32;
const GROUP: usize = 4;
const DRIFT_MODES: usize = 3;
const MAX_RADIUS: usize = 48;
const SEGMENT: usize = 64;
const ROWS: usize = 4;
/// Bytes of a `Unit`.
const UNIT_BYTES: usize = 80;
/// Blocks that a grid may have in y and z.
const MAX_GRID: usize = 65_535;

/// The numbers that the kernels are told, and sizes that follow from them.
struct Options {
    words: Vec<u32>,
    /// Room for the firings of a unit, and for the samples of its train.
    firings: usize,
    samples: usize,
}

impl Options {
    fn new(op: &Simulate) -> Self {
        let SimulatorConfig { grid, units, territories, firing, twitch, background } = op.simulator.config();
        // Intervals are never shorter than the floor; the train begins an interval before the warm-up and ends one after the end.
        let seconds = f64::from(firing.warm_up_s) + grid.frames as f64 / f64::from(grid.fs_hz);
        let intervals = (seconds * f64::from(firing.rate_hz.max) + 2.0) / f64::from(firing.interval_floor);
        let firings = (1.01 * intervals) as usize + 4;
        let lag = f64::from(territories.rim_lag_ms.max) * 1e-3 * f64::from(grid.fs_hz);
        // Two before the lag, one after, and one more for its rounding.
        let samples = grid.frames + lag as usize + 4;
        let (noise, noise_db, clean_share) = match background.noise {
            Noise::Clean => (0, Range::fixed(0.0), 0.0),
            Noise::Snr { db } => (1, Range::fixed(db), 0.0),
            Noise::Mixed { min_db, max_db, clean_share } => (2, Range::new(min_db, max_db), clean_share),
        };
        let [key0, key1] = key_of(op.seed);
        let integers = [
            grid.frames as u32,
            grid.height as u32,
            grid.width as u32,
            units.min,
            units.max,
            op.max_units as u32,
            firings as u32,
            samples as u32,
            territories.profiles.len() as u32,
            u32::from(territories.may_cross_edge),
            noise,
            u32::from(background.snr_reference == SnrReference::Territories),
            key0,
            key1,
            op.split.tail(),
        ];
        let range = |range: Range| [range.min, range.max];
        let floats = [
            &[grid.fs_hz, grid.mm_per_pixel][..],
            &range(territories.diameter_mm),
            &range(territories.axis_ratio),
            &range(territories.rim_lag_ms),
            &[territories.halo_share, territories.halo_decay_mm],
            &range(firing.rate_hz),
            &range(firing.synchrony),
            &[firing.interval_variation, firing.interval_floor, firing.warm_up_s],
            &range(twitch.contraction_ms),
            &range(twitch.half_relaxation_ratio),
            &range(twitch.lead_ms),
            &range(twitch.amplitude_um),
            &[twitch.amplitude_variation, twitch.duration_variation],
            &range(noise_db),
            &[clean_share, background.drift_level, background.pulse_level],
            &range(background.drift_hz),
            &range(background.pulse_hz),
            &range(background.pulse_radius_mm),
        ]
        .concat();
        let words = integers.into_iter().chain(floats.into_iter().map(f32::to_bits)).collect();
        Self { words, firings, samples }
    }

    /// The next argument: `Options` of the kernels.
    fn of(&self, launch: Launch) -> Launch {
        launch.arg(Arg::Struct(bytemuck::cast_slice(&self.words).to_vec()))
    }
}

/// `Profiles` of the kernels: for each the probability that a pixel has no fibre, their mean number, the kind.
fn profiles(config: &SimulatorConfig) -> Arg {
    let (mut none, mut mean, mut kinds) = ([0f64; MAX_PROFILES], [0f32; MAX_PROFILES], [0i32; MAX_PROFILES]);
    for (index, profile) in config.territories.profiles.iter().enumerate() {
        kinds[index] = match profile {
            Profile::Flat => 0,
            Profile::Gaussian => 1,
            Profile::Fibres { per_mm2 } => {
                mean[index] = mean_fibres(&config.grid, *per_mm2);
                none[index] = wide::exp(-f64::from(mean[index]));
                2
            }
        };
    }
    let parts: [&[u8]; 3] = [bytemuck::bytes_of(&none), bytemuck::bytes_of(&mean), bytemuck::bytes_of(&kinds)];
    Arg::Struct(parts.concat())
}

/// Refuses what the kernels have no room for.
fn check(op: &Simulate, options: &Options, recordings: usize) -> Result<()> {
    let config = op.simulator.config();
    let within = |what: &str, found: usize, most: usize| {
        if found <= most {
            return Ok(());
        }
        Err(Error::op(
            "simulate",
            format!("{what}: {found}, but a GPU takes {most} at most; use fewer, or the processor"),
        ))
    };
    within("recordings at once", recordings, MAX_GRID)?;
    within("max_units", op.max_units, MAX_GRID)?;
    within("territories.profiles", config.territories.profiles.len(), MAX_PROFILES)?;
    within("firings of a unit (rates, interval floor, warm-up, frames)", options.firings, 1 << 24)
}

pub(super) fn simulate(op: &Simulate, types: &Types<'_>) -> Result<Work> {
    let config = op.simulator.config();
    let (grid, background, units) = (&config.grid, &config.background, config.units.max as usize);
    let recordings = types.inputs[0].len();
    let mut work = Work::new();
    if recordings == 0 {
        return Ok(work);
    }
    let options = Options::new(op);
    check(op, &options, recordings)?;
    let (frames, pixels) = (grid.frames, grid.height * grid.width);
    let (rows, unit_rows, tiles) = (recordings * units, units.max(op.max_units), pixels.div_ceil(TILE));
    let flips = |launch: Launch| launch.optional_input(types, 1);

    // Units, firings, trains.
    let [drawn, counts] = [UNIT_BYTES * rows, 4 * recordings].map(|bytes| work.take_scratch(bytes));
    let launch = Launch::new(SCENE, "simulate_units_f32").grid(recordings, 1, 1).block(UNITS_BLOCK).input(0);
    work.launch(options.of(launch.scratch(drawn).scratch(counts).output(3)));
    let [own, firings] = [(); 2].map(|()| work.take_scratch(4 * rows * options.firings));
    let [own_counts, firing_counts] = [(); 2].map(|()| work.take_scratch(4 * rows));
    let launch = Launch::new(SCENE, "simulate_firings_f32").grid(recordings, 1, 1).block(UNITS_BLOCK).input(0);
    let launch = launch.scratch(counts).scratch(drawn).scratch(own).scratch(own_counts).scratch(firings);
    work.launch(options.of(launch.scratch(firing_counts)));
    let trains = work.take_scratch(4 * rows * options.samples);
    let halo = config.territories.halo_share > 0.0;
    let rims = if halo { Arg::Scratch(work.take_scratch(4 * rows * frames)) } else { Arg::Null };
    let launch = Launch::new(SCENE, "simulate_trains_f32").grid(unit_rows, recordings, 1).input(0).scratch(counts);
    let launch = launch.scratch(drawn).scratch(firings).scratch(firing_counts).scratch(trains).arg(rims.clone());
    work.launch(options.of(launch.output(2)));

    // Layers, masks, boxes, frames.
    let layers =
        vec![Arg::Scratch(work.take_scratch(8 * rows * pixels)), Arg::Scratch(work.take_scratch(4 * rows * tiles))];
    let launch = flips(Launch::new(FRAMES, "simulate_layers_f32").grid(tiles, unit_rows, recordings).input(0));
    let launch = launch.scratch(counts).scratch(drawn).pointers(layers.clone(), 2).output(1);
    work.launch(options.of(launch).arg(profiles(config)));
    if types.needed[4] {
        let launch = flips(Launch::new(FRAMES, "simulate_boxes_f32").grid(op.max_units, recordings, 1));
        work.launch(options.of(launch.scratch(counts).pointers(layers.clone(), 2).output(4)));
    }
    let modes = [(background.drift_level, DRIFT_MODES), (background.pulse_level, 1)];
    let modes: usize = modes.iter().filter(|(level, _)| *level > 0.0).map(|(_, modes)| modes).sum();
    let noisy = background.noise != Noise::Clean;
    let measured = noisy || modes > 0;
    let inside = if measured { Arg::Scratch(work.take_scratch(4 * recordings * pixels)) } else { Arg::Null };
    let chunks = frames.div_ceil(FRAMES_A_THREAD);
    let launch = flips(Launch::new(FRAMES, "simulate_frames_f32").grid(tiles * chunks, recordings, 1)).scratch(counts);
    let launch = launch.scratch(drawn).pointers(layers, 2).scratch(trains).arg(rims).output(0).arg(inside.clone());
    work.launch(options.of(launch));
    if !measured {
        return Ok(work);
    }

    // Power, background, noise.
    let [power, levels] = [16 * recordings * frames, 8 * recordings].map(|bytes| work.take_scratch(bytes));
    let launch = flips(Launch::new(FRAMES, "simulate_power_f32").grid(frames.div_ceil(TILE / LANES), recordings, 1));
    work.launch(options.of(launch.output(0).arg(inside.clone()).scratch(power)));
    let launch = Launch::new(NOISE, "simulate_levels_f64").grid(recordings, 1, 1).input(0).arg(inside).scratch(power);
    work.launch(options.of(launch.scratch(levels)));
    let courses = work.take_scratch(4 * recordings * modes * frames);
    let pictures = work.take_scratch(4 * recordings * modes * pixels);
    if modes > 0 {
        let launch = Launch::new(NOISE, "simulate_modes_f32").grid(modes, recordings, 1).input(0).scratch(levels);
        work.launch(options.of(launch.scratch(courses).scratch(pictures)));
    }
    let smoothing = op.simulator.smoothing.as_ref().filter(|_| noisy);
    let white = noisy && smoothing.is_none();
    let groups = frames.div_ceil(GROUP);
    let cells = recordings * groups * pixels;
    if white || modes > 0 {
        let launch = flips(Launch::new(NOISE, "simulate_background_f32").over(cells).input(0)).scratch(levels);
        let launch = launch.scratch(courses).scratch(pictures).output(0).long(cells).int(modes);
        work.launch(options.of(launch.int(i32::from(white))));
    }
    let Some(smoothing) = smoothing else { return Ok(work) };
    // `Smoothing` of the kernels.
    let mut taps = smoothing.taps.clone();
    let radius = taps.len() / 2;
    taps.resize(2 * MAX_RADIUS + 1, 0.0);
    let noise = work.take_scratch(4 * recordings * frames * pixels);
    let tiles = grid.width.div_ceil(SEGMENT) * grid.height.div_ceil(ROWS) * groups;
    let launch = Launch::new(NOISE, "simulate_noise_rows_f32").grid(tiles, recordings, 1).input(0).scratch(levels);
    work.launch(options.of(launch.scratch(noise)).fields(&[radius], &taps));
    let launch = flips(Launch::new(NOISE, "simulate_noise_columns_f32").over(cells)).scratch(levels).scratch(noise);
    work.launch(options.of(launch.output(0).long(cells)).fields(&[radius], &taps));
    Ok(work)
}
