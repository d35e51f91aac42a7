//! What the networks need of recordings and masks: standardised values, boxes.

/// Brings values to mean 0 and standard deviation 1 and returns the deviation they had; constant values become zeros (deviation
/// 1).
pub fn standardise(values: &mut [f32]) -> f32 {
    let n = values.len().max(1) as f64;
    let sum = |f: &dyn Fn(f32) -> f32| -> f64 {
        values.chunks(4096).map(|chunk| f64::from(chunk.iter().map(|v| f(*v)).sum::<f32>())).sum()
    };
    let mean = (sum(&|v| v) / n) as f32;
    let deviation = (sum(&|v| (v - mean) * (v - mean)) / n).sqrt() as f32;
    let deviation = if deviation > 0.0 { deviation } else { 1.0 };
    values.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
    deviation
}

/// Pixel box (y1, x1, y2, x2) of a mask `[height, width]`, ends excluded; none if it is empty.
pub fn mask_box(mask: &[u8], width: usize) -> Option<[f32; 4]> {
    let inside = || mask.iter().enumerate().filter(|(_, m)| **m != 0).map(|(i, _)| (i / width, i % width));
    let (mut y, mut x) = ((usize::MAX, 0), (usize::MAX, 0));
    for (row, column) in inside() {
        y = (y.0.min(row), y.1.max(row + 1));
        x = (x.0.min(column), x.1.max(column + 1));
    }
    (y.1 > 0).then_some([y.0 as f32, x.0 as f32, y.1 as f32, x.1 as f32])
}
