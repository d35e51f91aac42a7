//! Recording in, motor units out: readers, the networks' grid and rate, windows, linking, results.
//!
//! What finds units within one second is behind [`WindowIdentifier`]; this module brings any recording into that shape and back.

mod frames;
mod identifier;
mod link;
pub mod npy;
#[cfg(feature = "cli")]
pub mod npz;
mod on_grid;
mod patch;
mod read;
mod recording;
#[cfg(feature = "cli")]
pub mod report;
pub mod resample;
mod spool;
mod survey;
mod tensors;
mod tiles;
mod unit;
mod windows;

pub use identifier::{Identifier, built_in_detector, built_in_twitch, detector_for_windows};
pub use link::{Track, link};
pub use on_grid::{OnGrid, grid_frames};
pub use patch::{FoundUnit, Patch, Place};
pub use read::{ARRAY_NAMES, DEFAULT_FS_HZ, MEMORY_BYTES, ReadOptions};
pub use recording::{FS_RANGE_HZ, MAX_SIDE, MAX_VALUES, MIN_SIDE, PIXEL_RANGE_MM, Recording};
pub use tiles::{OVERLAP, Tiles};
pub use unit::MotorUnit;
pub use windows::{HOP, MIN_FRAMES, Territory, WINDOW, WindowIdentifier, WindowUnit, check_length, window_starts};

use crate::Result;
use resample::{GRID, GRID_FS_HZ, Placement};

/// How a recording is searched.
#[derive(Clone, Debug)]
pub struct Options {
    /// In how many windows a unit must be found, where there are at least three; a lone find is more often chance.
    pub min_windows: usize,
    /// Least time between two firings of a unit in s.
    pub refractory_s: f64,
}

/// Least time between two firings of a unit unless told otherwise: 10 ms. In voluntary contractions motor neurons fire at some 5 to
/// 50 Hz; only the first two discharges after a pause can come nearer to each other (doublets), and not much nearer than this.
pub const REFRACTORY_S: f64 = 0.010;

impl Default for Options {
    fn default() -> Self {
        Self { min_windows: 2, refractory_s: REFRACTORY_S }
    }
}

/// What was found in a recording.
#[derive(Clone, Debug)]
pub struct Identification {
    /// The units, most confident first.
    pub units: Vec<MotorUnit>,
    /// How many windows of 1 s were searched.
    pub windows: usize,
    /// How many tiles of 64 x 64 pixels each window was cut into: one, unless the field is large.
    pub tiles: usize,
    /// Where the recording lies on the networks' grid.
    pub placement: Placement,
    /// What a reader of the results should know: resampling, padding, doubtful scale.
    pub notes: Vec<String>,
}

/// Finds the motor units of a recording. `progress` is told the searches done and their number.
///
/// The recording is brought onto pixels of the networks' size ([`Placement::new`]) at 400 Hz and cut into windows of 1 s that overlap
/// by half, and where its field is larger than 64 x 64 pixels into tiles of that size that overlap ([`Tiles`]); each is
/// searched by `identifier`. Units are linked across tiles and windows by territory and signal, their signals cross-faded, and
/// firings taken from the whole signal. Masks and signals come back on the recording's own grid and rate.
///
/// # Errors
/// If the recording is shorter than 0.25 s, or whatever `identifier` reports.
pub fn identify(
    recording: &Recording,
    identifier: &mut dyn WindowIdentifier,
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Identification> {
    check_length(recording)?;
    let placement = Placement::new(recording.height(), recording.width(), recording.mm_per_pixel());
    let (grid, tiles) = (OnGrid::new(recording, placement), Tiles::new(&placement));
    let frames = grid.frames();
    let starts = window_starts(frames);
    let searches = starts.len() * tiles.len();
    let mut found = Vec::with_capacity(starts.len());
    for (w, start) in starts.iter().enumerate() {
        let window = windows::window(&grid, *start)?;
        let mut in_tiles = Vec::with_capacity(tiles.len());
        for tile in 0..tiles.len() {
            progress(w * tiles.len() + tile, searches);
            let units = identifier.identify_window(&tiles.cut(tile, &window))?;
            units.iter().try_for_each(windows::check_unit)?;
            in_tiles.push(units);
        }
        found.push(tiles.merge(in_tiles));
    }
    let mut tracks = link(found, &starts);
    if starts.len() >= 3 {
        tracks.retain(|track| track.seen.len() >= options.min_windows);
    }
    follow(&mut tracks, &grid, &tiles, &starts, identifier)?;
    progress(searches, searches);
    tracks.sort_by(|a, b| b.score().total_cmp(&a.score()));
    let units = report(tracks, recording, &placement, &starts, options);
    let notes = notes(recording, &placement, tiles.len(), frames);
    Ok(Identification { units, windows: starts.len(), tiles: tiles.len(), placement, notes })
}

/// Asks for the signals of known units in the windows where they were not found, each in the tile that sees most round it.
fn follow(
    tracks: &mut [Track],
    grid: &OnGrid<'_>,
    tiles: &Tiles,
    starts: &[usize],
    identifier: &mut dyn WindowIdentifier,
) -> Result<()> {
    let places: Vec<Place> = tracks.iter().map(|track| track.place(tiles.grid())).collect();
    let home: Vec<usize> = places.iter().map(|place| tiles.best_for(place)).collect();
    for (window, start) in starts.iter().enumerate() {
        let missing: Vec<bool> = tracks.iter().map(|track| track.missing_in(window)).collect();
        if !missing.contains(&true) {
            continue;
        }
        let frames = windows::window(grid, *start)?;
        for tile in 0..tiles.len() {
            let is_asked = |t: &usize| missing[*t] && home[*t] == tile;
            let asked: Vec<usize> = (0..tracks.len()).filter(is_asked).collect();
            if asked.is_empty() {
                continue;
            }
            // The others too: what moves with them is not theirs.
            let all = asked.iter().copied().chain((0..tracks.len()).filter(|t| !is_asked(t)));
            let seen: Vec<(usize, Territory)> =
                all.filter_map(|t| Some((t, tiles.territory(tile, &places[t])?))).collect();
            let (order, seen): (Vec<usize>, Vec<Territory>) = seen.into_iter().unzip();
            let Some(signals) = identifier.follow(&tiles.cut(tile, &frames), &seen)? else { continue };
            for (t, signal) in order.into_iter().zip(signals).filter(|(t, _)| asked.contains(t)) {
                tracks[t].followed.push((window, signal));
            }
        }
    }
    Ok(())
}

/// The units of tracks on the recording's own grid and rate, without those whose territory lies outside the field.
fn report(
    tracks: Vec<Track>,
    recording: &Recording,
    placement: &Placement,
    starts: &[usize],
    options: &Options,
) -> Vec<MotorUnit> {
    let frames = grid_frames(recording);
    let (mut units, mut signals) = (Vec::new(), Vec::new());
    for track in tracks {
        let probability = track.place(placement.grid()).map.to_map(placement.grid());
        let Some(mask) = own_mask(&probability, placement) else { continue };
        let signal = track.signal(starts, frames);
        units.push(MotorUnit {
            id: units.len() + 1,
            score: track.score(),
            windows: track.seen.len(),
            bbox: bounds(mask.iter().map(|m| *m != 0), recording.width()),
            mask,
            signal: Vec::new(),
            firings_s: firing_instants_s(&signal, options.refractory_s),
            probability,
        });
        signals.push(signal);
    }
    let signals = resample::signals_at(&signals, GRID_FS_HZ, recording.fs_hz(), recording.frames());
    units.iter_mut().zip(signals).for_each(|(unit, signal)| unit.signal = signal);
    units
}

/// A territory of the grid on the recording's own pixels; `None` if it lies outside the field.
fn own_mask(probability: &[f32], placement: &Placement) -> Option<Vec<u8>> {
    let own = placement.to_recording(probability);
    let mut mask: Vec<u8> = own.iter().map(|p| u8::from(*p >= 0.5)).collect();
    if mask.iter().all(|m| *m == 0) {
        // Coarse pixels: none is covered by half, the best one stands for the territory.
        let best = (0..own.len()).max_by(|a, b| own[*a].total_cmp(&own[*b]))?;
        if own[best] <= 0.0 {
            return None;
        }
        mask[best] = 1;
    }
    Some(mask)
}

/// The firings of a twitch train at 400 Hz, in s, none less than `refractory_s` after another.
pub(crate) fn firing_instants_s(signal: &[f32], refractory_s: f64) -> Vec<f64> {
    // What is not a whole number of samples apart by more than rounding.
    let least = (refractory_s * GRID_FS_HZ - 1e-6).ceil().max(0.0) as usize;
    crate::metrics::firings_apart(signal, least).into_iter().map(|sample| sample as f64 / GRID_FS_HZ).collect()
}

/// `(y1, x1, y2, x2)` round the pixels that are set; the far edges lie beyond the last pixel.
fn bounds(set: impl Iterator<Item = bool>, width: usize) -> [usize; 4] {
    let mut b = [usize::MAX, usize::MAX, 0, 0];
    for i in set.enumerate().filter(|(_, set)| *set).map(|(i, _)| i) {
        let (y, x) = (i / width, i % width);
        b = [b[0].min(y), b[1].min(x), b[2].max(y + 1), b[3].max(x + 1)];
    }
    b
}

fn notes(recording: &Recording, placement: &Placement, tiles: usize, frames: usize) -> Vec<String> {
    let mut notes = Vec::new();
    let [_, height, width] = recording.shape();
    let [rows, columns] = placement.grid();
    if !placement.is_identity() {
        notes.push(format!(
            "resampled from {height} x {width} pixels onto a grid of {rows} x {columns}, the aspect kept"
        ));
    }
    if tiles > 1 {
        notes.push(format!(
            "the grid of {rows} x {columns} pixels is searched in {tiles} overlapping tiles of {GRID} x {GRID}, as the networks have \
             learned; what two of them saw of one unit is one"
        ));
    }
    if recording.fs_hz() != GRID_FS_HZ {
        notes.push(format!("resampled from {} Hz to {GRID_FS_HZ} Hz", recording.fs_hz()));
    }
    if frames < WINDOW {
        let length = frames as f64 / GRID_FS_HZ;
        notes.push(format!(
            "only {length:.3} s long: mirrored at its end to fill 1 s, expect less than from a whole second"
        ));
    }
    if let Some(mm) = recording.mm_per_pixel() {
        let scale = placement.x.step * mm / resample::GRID_MM;
        if !(0.8..=1.25).contains(&scale) {
            let field = height.max(width) as f64 * mm;
            notes.push(format!(
                "the field of {field:.1} mm puts territories at {:.0} % of the size that the networks have learned",
                100.0 / scale
            ));
        }
    } else {
        notes.push(format!("pixel size unknown: the longer side is taken as {} mm", resample::FIELD_MM));
    }
    notes
}
