//! Anchors: the boxes that the region proposal network's outputs refer to.

use serde::{Deserialize, Serialize};

use crate::ops::boxes::{Box4, BoxNorm};
use crate::{Error, Result};

/// Anchor boxes of each pyramid level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AnchorSizes {
    /// One size a level, in several shapes.
    ScalesAndRatios {
        /// Side of a square anchor of each level, pixels.
        scales: Vec<f32>,
        /// Width over height.
        ratios: Vec<f32>,
    },
    /// Square anchors of several sizes, pixels, for each level.
    SizesPerLevel(Vec<Vec<f32>>),
}

impl AnchorSizes {
    /// Levels there are sizes for.
    pub fn levels(&self) -> usize {
        match self {
            AnchorSizes::ScalesAndRatios { scales, .. } => scales.len(),
            AnchorSizes::SizesPerLevel(sizes) => sizes.len(),
        }
    }

    /// Anchors in each cell.
    pub fn per_cell(&self) -> usize {
        match self {
            AnchorSizes::ScalesAndRatios { ratios, .. } => ratios.len(),
            AnchorSizes::SizesPerLevel(sizes) => sizes.first().map_or(0, Vec::len),
        }
    }

    /// Height and width in pixels of a level's anchors.
    fn sizes(&self, level: usize) -> Vec<[f64; 2]> {
        match self {
            AnchorSizes::ScalesAndRatios { scales, ratios } => {
                let scale = f64::from(scales[level]);
                ratios.iter().map(|r| f64::from(*r).sqrt()).map(|root| [scale / root, scale * root]).collect()
            }
            AnchorSizes::SizesPerLevel(sizes) => sizes[level].iter().map(|size| [f64::from(*size); 2]).collect(),
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::value("anchors", message));
        let values: Vec<f32> = match self {
            AnchorSizes::ScalesAndRatios { scales, ratios } => scales.iter().chain(ratios).copied().collect(),
            AnchorSizes::SizesPerLevel(sizes) => {
                // All levels share the convolutions that answer for a cell's anchors.
                if let Some(level) = sizes.iter().position(|sizes| sizes.len() != self.per_cell()) {
                    let (found, expected) = (sizes[level].len(), self.per_cell());
                    return wrong(format!(
                        "level {level} has {found} sizes, the first has {expected}; give all as many"
                    ));
                }
                sizes.concat()
            }
        };
        if self.per_cell() == 0 {
            return wrong("there is no anchor in a cell; give at least one size or ratio".into());
        }
        match values.iter().find(|v| !(v.is_finite() && **v > 0.0)) {
            Some(value) => wrong(format!("sizes and ratios must be positive numbers, got {value}")),
            None => Ok(()),
        }
    }
}

/// All anchors in pixels, not clipped: level by level, row by row, cell by cell, shape by shape. `strides`: pixels from cell
/// to cell, `cells`: rows and columns, of each level. Centres lie on multiples of the stride, without an offset of half a
/// cell; an anchor of scale a and ratio r is `a / sqrt(r)` high and `a * sqrt(r)` wide. Fails if the lists do not have one
/// entry per level, or a size is not positive.
pub fn anchors_px(sizes: &AnchorSizes, strides: &[usize], cells: &[[usize; 2]]) -> Result<Vec<Box4>> {
    sizes.check()?;
    if sizes.levels() != cells.len() || strides.len() != cells.len() {
        let (sizes, strides, levels) = (sizes.levels(), strides.len(), cells.len());
        let message = format!("sizes for {sizes} levels and {strides} strides were given; the pyramid has {levels}");
        return Err(Error::value("anchors", message));
    }
    let mut anchors = Vec::new();
    for (level, (stride, [rows, columns])) in strides.iter().zip(cells).enumerate() {
        let sizes = sizes.sizes(level);
        for cell in 0..rows * columns {
            let (y, x) = ((cell / columns * stride) as f64, (cell % columns * stride) as f64);
            let corners = |[h, w]: &[f64; 2]| [y - 0.5 * h, x - 0.5 * w, y + 0.5 * h, x + 0.5 * w].map(|v| v as f32);
            anchors.extend(sizes.iter().map(corners));
        }
    }
    Ok(anchors)
}

/// Pixel anchors of an image `[height, width]` in the reference's normalised coordinates ([`BoxNorm::Inclusive`]).
pub fn anchors_normalised(px: &[Box4], image: [usize; 2]) -> Vec<Box4> {
    px.iter().map(|anchor| BoxNorm::Inclusive.normalise(*anchor, image)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_per_level_are_square_and_lists_must_agree() {
        let sizes = AnchorSizes::SizesPerLevel(vec![vec![4.0, 6.0], vec![8.0, 10.0]]);
        let anchors = anchors_px(&sizes, &[2, 4], &[[2, 2], [1, 1]]).unwrap();
        assert_eq!(anchors.len(), 10);
        assert_eq!(anchors[3], [-3.0, -1.0, 3.0, 5.0]);
        assert_eq!(anchors[9], [-5.0, -5.0, 5.0, 5.0]);
        let fails = |sizes: &AnchorSizes, strides: &[usize]| anchors_px(sizes, strides, &[[2, 2], [1, 1]]).is_err();
        assert!(fails(&sizes, &[2]));
        assert!(fails(&AnchorSizes::SizesPerLevel(vec![vec![4.0], vec![8.0, 10.0]]), &[2, 4]));
        assert!(fails(&AnchorSizes::SizesPerLevel(vec![vec![4.0], vec![f32::NAN]]), &[2, 4]));
        assert!(fails(&AnchorSizes::ScalesAndRatios { scales: vec![4.0, 8.0], ratios: vec![] }, &[2, 4]));
    }
}
