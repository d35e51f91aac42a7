//! The blind baseline of the field: independent component analysis of a recording, here with independent maps ("spatial
//! only", the variant that did best where variants were compared). It finds territories and signals at once, without training.
//!
//! 1. The recording as a matrix pixels x frames, means over time and over space removed; its leading principal components,
//!    whitened.
//! 2. A rotation that makes the maps as independent as possible: the symmetric fixed point of FastICA with the contrast
//!    log cosh.
//! 3. Each map, with the sign that skews it to the positive, is smoothed (1 pixel) and cut at half of its range; the largest
//!    connected part is the territory, the component's course the twitch train.
//! 4. Components that look like no territory are dropped: see [`Stica`].

use super::linear::{leading_eigenvectors, nearest_orthonormal, product, transpose};
use super::masks::Overlap;
use crate::ops::random::philox::Stream;
use crate::{Error, Result};

/// How components are made and chosen. The defaults were chosen on simulated recordings of the training split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stica {
    /// Principal components that are kept; the most MUs that can be found.
    pub components: usize,
    /// Fixed-point iterations at most.
    pub iterations: usize,
    /// Smallest area of a territory, in pixels.
    pub min_pixels: usize,
    /// Largest area of a territory, in pixels.
    pub max_pixels: usize,
    /// Smallest share of the smoothed map's energy that lies inside its territory; the score of a component.
    pub min_score: f32,
}

impl Default for Stica {
    fn default() -> Self {
        Self { components: 50, iterations: 150, min_pixels: 6, max_pixels: 300, min_score: 0.45 }
    }
}

/// A motor unit found blindly.
#[derive(Clone, Debug, PartialEq)]
pub struct BlindUnit {
    /// Territory `[height * width]`, 1 inside.
    pub mask: Vec<u8>,
    /// Twitch train `[frames]`, scaled to the recording's unit at the territory.
    pub signal: Vec<f32>,
    /// Share of the map's energy inside the territory, 0..=1.
    pub score: f32,
}

impl Stica {
    /// Territories and signals of a recording `[frames, height, width]`, in falling order of score. Fails if the sizes do not
    /// fit or a value is not finite.
    pub fn separate(&self, velocity: &[f32], height: usize, width: usize) -> Result<Vec<BlindUnit>> {
        let pixels = height * width;
        if pixels == 0 || velocity.is_empty() || !velocity.len().is_multiple_of(pixels) {
            let message = format!("{} values are not whole frames of {height} x {width}", velocity.len());
            return Err(Error::value("velocity", message));
        }
        if velocity.iter().any(|value| !value.is_finite()) {
            return Err(Error::value("velocity", "holds values that are not finite; replace them"));
        }
        let frames = velocity.len() / pixels;
        let centred = centre(velocity, pixels);
        let components = self.components.min(frames).min(pixels);
        let maps = whitened_maps(&centred, pixels, components);
        let count = maps.len() / pixels;
        if count == 0 {
            // Nothing moves.
            return Ok(Vec::new());
        }
        let rotation = self.rotation(&maps, pixels, count);
        let maps = product(&rotation, &maps, count, pixels);
        let courses = product(&maps, &transpose(&centred, pixels), pixels, frames);
        let mut units: Vec<BlindUnit> = maps
            .chunks_exact(pixels)
            .zip(courses.chunks_exact(frames))
            .filter_map(|(map, course)| self.unit(map, course, width))
            .collect();
        units.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut kept: Vec<BlindUnit> = Vec::new();
        for unit in units {
            if kept.iter().all(|other| !Overlap::of(&unit.mask, &other.mask).is_match()) {
                kept.push(unit);
            }
        }
        Ok(kept)
    }

    /// Rotation `[count, count]` to independent maps. `maps` are white: `[count, pixels]`, rows of unit mean square.
    fn rotation(&self, maps: &[f32], pixels: usize, count: usize) -> Vec<f32> {
        let mut stream = Stream::new([1, 0], [0; 3]);
        let start: Vec<f32> = (0..count * count).map(|_| stream.normal()).collect();
        let mut rotation = nearest_orthonormal(&start, count);
        let transposed = transpose(maps, pixels);
        for _ in 0..self.iterations {
            let mut sources = product(&rotation, maps, count, pixels);
            let mut slopes = Vec::with_capacity(count);
            for source in sources.chunks_exact_mut(pixels) {
                let mut slope = 0f64;
                for value in source {
                    *value = value.tanh();
                    slope += f64::from(1.0 - *value * *value);
                }
                slopes.push((slope / pixels as f64) as f32);
            }
            let mut next = product(&sources, &transposed, pixels, count);
            for (k, (value, old)) in next.iter_mut().zip(&rotation).enumerate() {
                *value = *value / pixels as f32 - slopes[k / count] * old;
            }
            let next = nearest_orthonormal(&next, count);
            let along = |k: usize| (0..count).map(|j| next[k * count + j] * rotation[k * count + j]).sum::<f32>().abs();
            let slowest = (0..count).map(along).fold(1.0, f32::min);
            rotation = next;
            if slowest > 0.9999 {
                break;
            }
        }
        rotation
    }

    fn unit(&self, map: &[f32], course: &[f32], width: usize) -> Option<BlindUnit> {
        let skewness: f64 = map.iter().map(|value| f64::from(*value).powi(3)).sum();
        let sign = if skewness < 0.0 { -1.0 } else { 1.0 };
        let smooth = smooth(&map.iter().map(|value| sign * value).collect::<Vec<_>>(), width);
        let (low, high) = smooth.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        let mask = largest_part(&smooth.iter().map(|value| *value > 0.5 * (low + high)).collect::<Vec<_>>(), width);
        let inside = || mask.iter().zip(&smooth).filter(|(mask, _)| **mask != 0).map(|(_, value)| *value);
        let area = inside().count();
        let energy: f32 = smooth.iter().map(|value| value * value).sum();
        let score = inside().map(|value| value * value).sum::<f32>() / energy.max(f32::MIN_POSITIVE);
        if area < self.min_pixels || area > self.max_pixels || score < self.min_score {
            return None;
        }
        // Map times course is the component's share of the recording: take it at the territory's mean height, unsmoothed.
        let sum: f32 = mask.iter().zip(map).filter(|(mask, _)| **mask != 0).map(|(_, value)| *value).sum();
        let height = sum / area as f32 / map.len() as f32;
        Some(BlindUnit { mask, signal: course.iter().map(|value| height * value).collect(), score })
    }
}

/// The recording less each pixel's mean over time, then each frame's mean over space.
fn centre(velocity: &[f32], pixels: usize) -> Vec<f32> {
    let frames = velocity.len() / pixels;
    let mut mean = vec![0f32; pixels];
    for frame in velocity.chunks_exact(pixels) {
        mean.iter_mut().zip(frame).for_each(|(mean, value)| *mean += value / frames as f32);
    }
    let mut centred = velocity.to_vec();
    for frame in centred.chunks_exact_mut(pixels) {
        frame.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
        let mean = frame.iter().sum::<f32>() / pixels as f32;
        frame.iter_mut().for_each(|value| *value -= mean);
    }
    centred
}

/// Maps of the leading principal components `[count, pixels]`, white (uncorrelated, mean square 1); fewer if there are not so many.
fn whitened_maps(centred: &[f32], pixels: usize, count: usize) -> Vec<f32> {
    let frames = centred.len() / pixels;
    let covariance = product(centred, &transpose(centred, pixels), pixels, frames);
    let (vectors, values) = leading_eigenvectors(&covariance, frames, count);
    let mut maps = product(&vectors, centred, frames, pixels);
    // What rounding leaves of a recording with fewer components is no component.
    let largest = values.iter().copied().fold(0.0, f32::max);
    let real = values.iter().take_while(|value| **value > 1e-6 * largest && **value > 0.0).count();
    maps.truncate(real * pixels);
    for map in maps.chunks_exact_mut(pixels) {
        let mean_square = map.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / pixels as f64;
        let scale = 1.0 / mean_square.sqrt() as f32;
        map.iter_mut().for_each(|value| *value *= scale);
    }
    maps
}

/// A Gaussian of 1 pixel, zero outside the image.
fn smooth(image: &[f32], width: usize) -> Vec<f32> {
    const TAPS: [f32; 7] = [0.004_433, 0.054_006, 0.242_036, 0.399_05, 0.242_036, 0.054_006, 0.004_433];
    let height = image.len() / width;
    let along = |source: &[f32], at: &dyn Fn(usize, usize) -> usize, length: usize, k: usize, line: usize| -> f32 {
        let taps = TAPS.iter().enumerate().filter(|(tap, _)| (k + tap >= 3) && k + tap - 3 < length);
        taps.map(|(tap, weight)| weight * source[at(line, k + tap - 3)]).sum()
    };
    let rows: Vec<f32> =
        (0..image.len()).map(|p| along(image, &|y, x| y * width + x, width, p % width, p / width)).collect();
    (0..image.len()).map(|p| along(&rows, &|x, y| y * width + x, height, p / width, p % width)).collect()
}

/// The largest part of an image that is connected through edges of pixels; 1 inside.
fn largest_part(inside: &[bool], width: usize) -> Vec<u8> {
    let mut left = inside.to_vec();
    let mut best: Vec<usize> = Vec::new();
    for start in 0..left.len() {
        if !std::mem::take(&mut left[start]) {
            continue;
        }
        let (mut part, mut next) = (vec![start], 0);
        while let Some(&pixel) = part.get(next) {
            next += 1;
            let (x, last) = (pixel % width, left.len() - 1);
            let neighbours = [
                (pixel >= width, pixel.wrapping_sub(width)),
                (pixel + width <= last, pixel + width),
                (x > 0, pixel.wrapping_sub(1)),
                (x + 1 < width, pixel + 1),
            ];
            for (_, neighbour) in neighbours.into_iter().filter(|(there, _)| *there) {
                if std::mem::take(&mut left[neighbour]) {
                    part.push(neighbour);
                }
            }
        }
        if part.len() > best.len() {
            best = part;
        }
    }
    let mut mask = vec![0; inside.len()];
    best.into_iter().for_each(|pixel| mask[pixel] = 1);
    mask
}
