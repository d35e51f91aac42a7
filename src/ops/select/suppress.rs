//! Greedy non-maximum suppression: each candidate is compared with the boxes kept so far, 16 at a time.

use crate::device::cpu::Isa;
use crate::ops::boxes::Box4;
use crate::ops::per_isa::per_isa;

const LANES: usize = 16;

/// 16 kept boxes, coordinate by coordinate: y1, x1, y2, x2, area.
type Chunk = [[f32; LANES]; 5];

/// `f32` values of scratch that keeping up to `max` boxes takes.
pub fn scratch_len(max: usize) -> usize {
    max.div_ceil(LANES) * LANES * 5
}

/// Visits `candidates` in order and keeps each one whose intersection over union with no kept box exceeds
/// `iou_threshold`, until `max` are kept. `keep(kept so far, position, box)` is told of each. Corners may be swapped; a box
/// without area overlaps nothing. `scratch`: [`scratch_len`] values.
pub fn suppress(
    isa: Isa,
    candidates: impl Iterator<Item = Box4>,
    iou_threshold: f32,
    max: usize,
    scratch: &mut [f32],
    mut keep: impl FnMut(usize, usize, Box4),
) -> usize {
    // A lane that holds no box: an empty intersection with everything.
    const EMPTY: [f32; 5] = [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0];
    let chunks: &mut [Chunk] = bytemuck::cast_slice_mut(&mut scratch[..scratch_len(max)]);
    let (mut kept, mut compared) = (0, 0usize);
    for (position, candidate) in candidates.enumerate() {
        if kept == max {
            break;
        }
        let [a, b, c, d] = candidate;
        let b4 = [a.min(c), b.min(d), a.max(c), b.max(d)];
        let area = (b4[2] - b4[0]) * (b4[3] - b4[1]);
        if area > 0.0 {
            if overlaps(isa, &chunks[..compared.div_ceil(LANES)], b4, area, iou_threshold) {
                continue;
            }
            let chunk = &mut chunks[compared / LANES];
            if compared % LANES == 0 {
                EMPTY.iter().zip(chunk.iter_mut()).for_each(|(value, lanes)| lanes.fill(*value));
            }
            let values = [b4[0], b4[1], b4[2], b4[3], area];
            values.iter().zip(chunk.iter_mut()).for_each(|(value, lanes)| lanes[compared % LANES] = *value);
            compared += 1;
        }
        keep(kept, position, candidate);
        kept += 1;
    }
    kept
}

per_isa! {
/// Whether a box of a positive area overlaps a kept one too much.
fn overlaps [] (chunks: &[Chunk], b: Box4, area: f32, threshold: f32) -> bool {
    // Plain comparisons instead of f32::min: one instruction each.
    let min = |a: f32, b: f32| if a < b { a } else { b };
    let max = |a: f32, b: f32| if a > b { a } else { b };
    chunks.iter().any(|[y1, x1, y2, x2, areas]| {
        let mut hit = [0u32; LANES];
        for lane in 0..LANES {
            let height = max(min(y2[lane], b[2]) - max(y1[lane], b[0]), 0.0);
            let width = max(min(x2[lane], b[3]) - max(x1[lane], b[1]), 0.0);
            let intersection = height * width;
            hit[lane] = u32::from(intersection / (areas[lane] + area - intersection) > threshold);
        }
        hit.iter().fold(0, |any, hit| any | hit) != 0
    })
}
}
