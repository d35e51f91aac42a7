//! Arithmetic on single boxes, all in `f32` with separate roundings, so that every executor gets the same bits.

/// A box `(y1, x1, y2, x2)`.
pub type Box4 = [f32; 4];

/// The standard deviations that the reference divides box deltas by.
pub const STD_DEV: [f32; 4] = [0.1, 0.1, 0.2, 0.2];

/// The window of a whole image in normalised coordinates.
pub const WHOLE: Box4 = [0.0, 0.0, 1.0, 1.0];

/// How normalised coordinates relate to pixels. Pixel boxes exclude their last row and column (`y2`, `x2`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BoxNorm {
    /// As in the Keras Mask R-CNN: normalised boxes include their end, `(px - (0,0,1,1)) / (H-1, W-1, H-1, W-1)`.
    #[default]
    Inclusive,
    /// `px / (H, W, H, W)`.
    Exact,
}

impl BoxNorm {
    /// Scale and shift of each coordinate: `px = norm * scale + shift`.
    pub(super) fn scale_shift(self, image: [usize; 2]) -> ([f64; 4], [f64; 4]) {
        let [h, w] = image.map(|n| n as f64);
        match self {
            BoxNorm::Inclusive => ([h - 1.0, w - 1.0, h - 1.0, w - 1.0], [0.0, 0.0, 1.0, 1.0]),
            BoxNorm::Exact => ([h, w, h, w], [0.0; 4]),
        }
    }

    /// A pixel box of an image `[height, width]` in normalised coordinates.
    pub fn normalise(self, px: Box4, image: [usize; 2]) -> Box4 {
        let (scale, shift) = self.scale_shift(image);
        std::array::from_fn(|i| ((f64::from(px[i]) - shift[i]) / scale[i]) as f32)
    }

    /// A normalised box in pixels, not rounded.
    pub fn to_pixels(self, norm: Box4, image: [usize; 2]) -> [f64; 4] {
        let (scale, shift) = self.scale_shift(image);
        std::array::from_fn(|i| f64::from(norm[i]) * scale[i] + shift[i])
    }

    /// A normalised box in whole pixels: rounded, halves to even.
    pub fn to_whole_pixels(self, norm: Box4, image: [usize; 2]) -> [i32; 4] {
        self.to_pixels(norm, image).map(|v| v.round_ties_even() as i32)
    }
}

/// Area; negative or zero for a degenerate box.
pub fn area(b: Box4) -> f32 {
    (b[2] - b[0]) * (b[3] - b[1])
}

/// Intersection over union; 0 if the union is not positive.
pub fn iou(a: Box4, b: Box4) -> f32 {
    let height = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let width = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let intersection = height * width;
    let union = area(a) + area(b) - intersection;
    if union > 0.0 { intersection / union } else { 0.0 }
}

/// The deltas `(dy, dx, dh, dw)` that move box `b` onto `target`: shift of the centre in sizes of `b`, logarithm of the
/// ratio of sizes; divided by `std_dev`.
pub fn encode(b: Box4, target: Box4, std_dev: [f32; 4]) -> [f32; 4] {
    let (h, w) = (b[2] - b[0], b[3] - b[1]);
    let (th, tw) = (target[2] - target[0], target[3] - target[1]);
    let (cy, cx) = (b[0] + 0.5 * h, b[1] + 0.5 * w);
    let (tcy, tcx) = (target[0] + 0.5 * th, target[1] + 0.5 * tw);
    let deltas = [(tcy - cy) / h, (tcx - cx) / w, (th / h).ln(), (tw / w).ln()];
    std::array::from_fn(|i| deltas[i] / std_dev[i])
}

/// The inverse of [`encode`]: `b` moved by deltas times `std_dev`. Sizes are not limited.
pub fn decode(b: Box4, deltas: [f32; 4], std_dev: [f32; 4]) -> Box4 {
    let d: [f32; 4] = std::array::from_fn(|i| deltas[i] * std_dev[i]);
    let (h, w) = (b[2] - b[0], b[3] - b[1]);
    let cy = b[0] + 0.5 * h + d[0] * h;
    let cx = b[1] + 0.5 * w + d[1] * w;
    let (h, w) = (h * d[2].exp(), w * d[3].exp());
    let (y1, x1) = (cy - 0.5 * h, cx - 0.5 * w);
    [y1, x1, y1 + h, x1 + w]
}

/// The part of `b` inside `window`. A coordinate that is not a number becomes the window's lower edge.
pub fn clip(b: Box4, window: Box4) -> Box4 {
    let limit = |v: f32, low: f32, high: f32| {
        let v = if v > low { v } else { low };
        if v < high { v } else { high }
    };
    std::array::from_fn(|i| limit(b[i], window[i % 2], window[2 + i % 2]))
}

/// Row `index` of boxes stored one after the other.
pub(crate) fn box_at(boxes: &[f32], index: usize) -> Box4 {
    [boxes[4 * index], boxes[4 * index + 1], boxes[4 * index + 2], boxes[4 * index + 3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_inverts_encode_and_clip_always_gives_a_box_of_the_window() {
        let (b, target) = ([0.1, 0.2, 0.5, 0.4], [0.3, 0.1, 0.6, 0.9]);
        let back = decode(b, encode(b, target, STD_DEV), STD_DEV);
        assert!(back.iter().zip(target).all(|(a, b)| (a - b).abs() < 1e-6), "{back:?}");
        let wild = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 0.5];
        assert_eq!(clip(wild, [0.0, 0.1, 1.0, 0.9]), [0.0, 0.1, 1.0, 0.5]);
    }

    #[test]
    fn whole_images_map_to_the_unit_box_and_back() {
        for norm in [BoxNorm::Inclusive, BoxNorm::Exact] {
            let unit = norm.normalise([0.0, 0.0, 64.0, 32.0], [64, 32]);
            assert_eq!(unit, WHOLE);
            assert_eq!(norm.to_whole_pixels(unit, [64, 32]), [0, 0, 64, 32]);
        }
        // Halves go to the even side: 0.5 pixels and 1.5 pixels.
        assert_eq!(BoxNorm::Exact.to_whole_pixels([0.25, 0.75, 1.0, 1.0], [2, 2]), [0, 2, 2, 2]);
    }
}
