//! One unit seen in several windows: linked by territory and signal, its signal joined by cross-fading.

use crate::metrics::pearson;

use super::patch::{FoundUnit, Patch, Place};
use super::windows::{HOP, WINDOW};

/// Least intersection over union of territories that also share frames.
pub(super) const IOU_SHARED: f64 = 0.3;
/// Least correlation of the signals on the frames that they share.
pub(super) const CORRELATION: f64 = 0.3;
/// Least intersection over union of territories that share no frame.
const IOU_APART: f64 = 0.5;

/// A unit followed through the windows.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// Window index and what was found there, in the order of the windows.
    pub seen: Vec<(usize, FoundUnit)>,
    /// Window index and signal, for windows where it was followed only.
    pub followed: Vec<(usize, Vec<f32>)>,
}

impl Track {
    /// The mean territory of the windows in which it was found, weighted by score, on a grid of these rows and columns.
    pub fn place(&self, [height, width]: [usize; 2]) -> Place {
        let total: f32 = self.seen.iter().map(|(_, u)| weight(u)).sum();
        let mut probability = vec![0f32; height * width];
        let mut bbox = [0f32; 4];
        for (_, unit) in &self.seen {
            let share = weight(unit) / total;
            unit.place.map.add_to(&mut probability, width, share);
            bbox.iter_mut().zip(&unit.place.bbox).for_each(|(to, from)| *to += share * from);
        }
        Place { map: Patch::new(&probability, width, [0, 0]), bbox }
    }

    /// The mean score of the windows in which it was found.
    pub fn score(&self) -> f32 {
        self.seen.iter().map(|(_, u)| u.score).sum::<f32>() / self.seen.len().max(1) as f32
    }

    /// Whether nothing is known of it in a window.
    pub fn missing_in(&self, window: usize) -> bool {
        self.seen.iter().all(|(w, _)| *w != window)
    }

    /// Its signal over the whole recording of `frames` frames, from windows that begin at `starts`.
    ///
    /// Each window weighs by a triangle (nothing at its ends, most in its middle), so that one fades into the next; frames
    /// that no window covers are zero.
    pub fn signal(&self, starts: &[usize], frames: usize) -> Vec<f32> {
        let mut sum = vec![0f32; frames];
        let mut weights = vec![0f32; frames];
        let seen = self.seen.iter().map(|(w, u)| (*w, &u.signal));
        for (window, signal) in seen.chain(self.followed.iter().map(|(w, s)| (*w, s))) {
            let start = starts[window];
            for (i, v) in signal.iter().enumerate().take(frames.saturating_sub(start)) {
                let weight = (i + 1).min(WINDOW - i).min(HOP) as f32;
                sum[start + i] += weight * v;
                weights[start + i] += weight;
            }
        }
        sum.iter_mut().zip(&weights).filter(|(_, w)| **w > 0.0).for_each(|(s, w)| *s /= w);
        sum
    }
}

fn weight(unit: &FoundUnit) -> f32 {
    unit.score.max(1e-3)
}

/// Joins the units of the windows (each a list, in order) into tracks.
///
/// Window after window, every new unit goes to the track it resembles most, one unit to a track at most, best pairs first.
/// Where the two share frames, territory and signal must both agree; after a gap, the territory alone decides and must agree
/// more.
pub fn link(windows: Vec<Vec<FoundUnit>>, starts: &[usize]) -> Vec<Track> {
    let mut tracks: Vec<Track> = Vec::new();
    for (window, units) in windows.into_iter().enumerate() {
        let mut pairs = Vec::new();
        for (t, track) in tracks.iter().enumerate() {
            for (u, unit) in units.iter().enumerate() {
                if let Some(likeness) = likeness(track, unit, window, starts) {
                    pairs.push((likeness, t, u));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let mut track_of = vec![None; units.len()];
        let mut taken = vec![false; tracks.len()];
        for (_, t, u) in pairs {
            if track_of[u].is_none() && !taken[t] {
                track_of[u] = Some(t);
                taken[t] = true;
            }
        }
        for (unit, track) in units.into_iter().zip(track_of) {
            match track {
                Some(t) => tracks[t].seen.push((window, unit)),
                None => tracks.push(Track { seen: vec![(window, unit)], ..Track::default() }),
            }
        }
    }
    tracks
}

fn likeness(track: &Track, unit: &FoundUnit, window: usize, starts: &[usize]) -> Option<f64> {
    let (earlier, last) = track.seen.last()?;
    let iou = last.place.map.iou(&unit.place.map, |_| true);
    let lag = starts[window] - starts[*earlier];
    if lag >= WINDOW {
        return (iou >= IOU_APART).then_some(iou / 2.0);
    }
    let shared = WINDOW - lag;
    let r = pearson(&last.signal[lag..], &unit.signal[..shared]).unwrap_or(0.0);
    (iou >= IOU_SHARED && r >= CORRELATION).then_some((iou + r) / 2.0)
}
