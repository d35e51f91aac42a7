//! Detection and segmentation: masks against masks.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Masks that follow one another in memory, `[masks, height, width]`; anything but 0 is inside.
#[derive(Clone, Copy, Debug)]
pub struct Masks<'a> {
    data: &'a [u8],
    height: usize,
    width: usize,
}

impl<'a> Masks<'a> {
    /// Fails if `data` does not hold a whole number of masks.
    pub fn new(data: &'a [u8], height: usize, width: usize) -> Result<Self> {
        if height * width == 0 || !data.len().is_multiple_of(height * width) {
            let message = format!("{} values are not a whole number of masks of {height} x {width}", data.len());
            return Err(Error::value("masks", message));
        }
        Ok(Self { data, height, width })
    }

    /// Number of masks.
    pub fn len(&self) -> usize {
        self.data.len() / self.pixels()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Pixels of one mask.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Mask `index`, `[height * width]`.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn mask(&self, index: usize) -> &'a [u8] {
        &self.data[index * self.pixels()..(index + 1) * self.pixels()]
    }

    /// All masks in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.data.chunks_exact(self.pixels())
    }

    /// Centre of gravity (y, x) of a mask in pixels from the outer corner of the first one; none if the mask is empty.
    pub fn centre(&self, index: usize) -> Option<[f64; 2]> {
        let (mut y, mut x, mut n) = (0.0, 0.0, 0.0);
        for pixel in (0..self.pixels()).filter(|pixel| self.mask(index)[*pixel] != 0) {
            y += (pixel / self.width) as f64 + 0.5;
            x += (pixel % self.width) as f64 + 0.5;
            n += 1.0;
        }
        (n > 0.0).then(|| [y / n, x / n])
    }

    /// Diameter of the circle that has a mask's area, in pixels.
    pub fn diameter(&self, index: usize) -> f64 {
        let area = self.mask(index).iter().filter(|value| **value != 0).count();
        2.0 * (area as f64 / std::f64::consts::PI).sqrt()
    }
}

/// Numbers of pixels that two masks have alone and together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// Pixels in both.
    pub both: usize,
    /// Pixels in the predicted mask.
    pub predicted: usize,
    /// Pixels in the true mask.
    pub truth: usize,
}

impl Overlap {
    /// Counts two masks of the same number of pixels.
    pub fn of(predicted: &[u8], truth: &[u8]) -> Self {
        let mut overlap = Self::default();
        for (p, t) in predicted.iter().zip(truth) {
            overlap.both += usize::from(*p != 0 && *t != 0);
            overlap.predicted += usize::from(*p != 0);
            overlap.truth += usize::from(*t != 0);
        }
        overlap
    }

    /// Pixels in either.
    pub fn either(&self) -> usize {
        self.predicted + self.truth - self.both
    }

    /// Intersection over union, |P and T| / |P or T|; 0 for two empty masks.
    pub fn iou(&self) -> f64 {
        ratio(self.both, self.either())
    }

    /// Dice coefficient, 2 |P and T| / (|P| + |T|); 0 for two empty masks.
    pub fn dice(&self) -> f64 {
        ratio(2 * self.both, self.predicted + self.truth)
    }

    /// Segmentation precision, |P and T| / |P|; 0 for an empty prediction.
    pub fn precision(&self) -> f64 {
        ratio(self.both, self.predicted)
    }

    /// Segmentation recall, |P and T| / |T|; 0 for an empty truth.
    pub fn recall(&self) -> f64 {
        ratio(self.both, self.truth)
    }

    /// Whether the IoU is above one half.
    pub fn is_match(&self) -> bool {
        2 * self.both > self.either()
    }
}

fn ratio(a: usize, b: usize) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// A prediction and the true mask that it got.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Which prediction.
    pub prediction: usize,
    /// Which true mask.
    pub truth: usize,
    /// Intersection over union.
    pub iou: f64,
    /// Dice coefficient.
    pub dice: f64,
    /// Share of the predicted pixels that are true.
    pub segmentation_precision: f64,
    /// Share of the true pixels that are predicted.
    pub segmentation_recall: f64,
    /// Distance of the centres of gravity.
    pub centre_error_mm: f64,
    /// Diameter (of the circle of the same area) of the prediction less that of the truth.
    pub diameter_difference_mm: f64,
}

/// Which predictions found which true masks in one recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// True positives, in falling order of confidence.
    pub pairs: Vec<Pair>,
    /// Number of predictions.
    pub predictions: usize,
    /// Number of true masks.
    pub truths: usize,
}

impl Detection {
    /// True positives over predictions; none without predictions.
    pub fn precision(&self) -> Option<f64> {
        (self.predictions > 0).then(|| self.pairs.len() as f64 / self.predictions as f64)
    }

    /// True positives over true masks; none without any.
    pub fn recall(&self) -> Option<f64> {
        (self.truths > 0).then(|| self.pairs.len() as f64 / self.truths as f64)
    }

    /// The prediction that found true mask `truth`.
    pub fn found_by(&self, truth: usize) -> Option<usize> {
        self.pairs.iter().find(|pair| pair.truth == truth).map(|pair| pair.prediction)
    }
}

/// Matches predictions to true masks (section III.B.2 of the paper): in falling order of confidence, each takes the still free
/// true mask with the highest IoU, if that is above 0.5. Ties: the lower index first. Fails if sizes or numbers differ.
pub fn detect(predicted: Masks<'_>, scores: &[f32], truth: Masks<'_>, mm_per_pixel: f64) -> Result<Detection> {
    if (predicted.height, predicted.width) != (truth.height, truth.width) {
        let sizes =
            format!("{} x {}, the true ones {} x {}", predicted.height, predicted.width, truth.height, truth.width);
        return Err(Error::value("predicted masks", format!("are {sizes}; resample one of them")));
    }
    if scores.len() != predicted.len() {
        let message = format!("has {} values for {} predicted masks", scores.len(), predicted.len());
        return Err(Error::value("scores", message));
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut free = vec![true; truth.len()];
    let mut pairs = Vec::new();
    for prediction in order {
        let mut best: Option<(usize, Overlap)> = None;
        for candidate in (0..truth.len()).filter(|candidate| free[*candidate]) {
            let overlap = Overlap::of(predicted.mask(prediction), truth.mask(candidate));
            if best.is_none_or(|(_, best)| overlap.iou() > best.iou()) {
                best = Some((candidate, overlap));
            }
        }
        if let Some((found, overlap)) = best.filter(|(_, overlap)| overlap.is_match()) {
            free[found] = false;
            pairs.push(pair(predicted, prediction, truth, found, overlap, mm_per_pixel));
        }
    }
    Ok(Detection { pairs, predictions: predicted.len(), truths: truth.len() })
}

fn pair(p: Masks<'_>, prediction: usize, t: Masks<'_>, truth: usize, overlap: Overlap, mm_per_pixel: f64) -> Pair {
    // Masks that overlap by half are not empty.
    let ([py, px], [ty, tx]) = (p.centre(prediction).unwrap_or_default(), t.centre(truth).unwrap_or_default());
    Pair {
        prediction,
        truth,
        iou: overlap.iou(),
        dice: overlap.dice(),
        segmentation_precision: overlap.precision(),
        segmentation_recall: overlap.recall(),
        centre_error_mm: (py - ty).hypot(px - tx) * mm_per_pixel,
        diameter_difference_mm: (p.diameter(prediction) - t.diameter(truth)) * mm_per_pixel,
    }
}
