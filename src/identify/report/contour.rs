//! Outlines of territories: marching squares.

use std::collections::BTreeMap;

/// The closed outlines of a map `[height, width]` at the level one half, in pixels `(y, x)` where pixel 0 covers 0 to 1.
///
/// Values stand at pixel centres, the outline runs where a straight line between neighbours crosses the level; beyond the map
/// it is zero. Outer outlines run clockwise on the screen, holes the other way.
pub fn outlines(map: &[f32], width: usize) -> Vec<Vec<(f32, f32)>> {
    const LEVEL: f32 = 0.5;
    let height = map.len().checked_div(width).unwrap_or(0);
    // One pixel of zeros all round, so that every outline closes.
    let value = |y: usize, x: usize| {
        let inside = (1..=height).contains(&y) && (1..=width).contains(&x);
        if inside { map[(y - 1) * width + x - 1] } else { 0.0 }
    };
    // Where the level is crossed between (y, x) and its right (axis 0) or lower (axis 1) neighbour.
    let crossing = |(y, x, axis): (usize, usize, usize)| {
        let (a, b) = (value(y, x), if axis == 0 { value(y, x + 1) } else { value(y + 1, x) });
        let f = if a == b { 0.5 } else { ((LEVEL - a) / (b - a)).clamp(0.0, 1.0) };
        let (y, x) = (y as f32 - 0.5, x as f32 - 0.5);
        if axis == 0 { (y, x + f) } else { (y + f, x) }
    };
    let mut next = BTreeMap::new();
    for y in 0..=height {
        for x in 0..=width {
            let corner = [value(y, x), value(y, x + 1), value(y + 1, x + 1), value(y + 1, x)].map(|v| v >= LEVEL);
            let (top, right, bottom, left) = ((y, x, 0), (y, x + 1, 1), (y + 1, x, 0), (y, x, 1));
            let edges = [top, right, bottom, left];
            // Side `i` lies between corners `i` and `i + 1`. An outline enters where the way round the cell leaves the inside, and
            // ends at the next side where the way comes back in.
            for i in 0..4 {
                let leaves = corner[i] && !corner[(i + 1) % 4];
                if leaves {
                    let enters = (1..4).map(|k| (i + k) % 4).find(|j| !corner[*j] && corner[(j + 1) % 4]);
                    if let Some(j) = enters {
                        next.insert(edges[i], edges[j]);
                    }
                }
            }
        }
    }
    let mut loops = Vec::new();
    while let Some((start, _)) = next.first_key_value() {
        let start = *start;
        let mut points = Vec::new();
        let mut at = start;
        while let Some(following) = next.remove(&at) {
            points.push(crossing(at));
            at = following;
        }
        loops.push(points);
    }
    loops
}

/// The outlines of a mask for the eye: its stairs are smoothed by weights 1, 2, 1 along both axes, which moves straight edges
/// nowhere.
pub fn smooth_outlines(map: &[f32], width: usize) -> Vec<Vec<(f32, f32)>> {
    let rows = map.chunks_exact(width.max(1)).len();
    let at = |y: usize, dy: isize, x: usize, dx: isize| {
        let (y, x) = (y.checked_add_signed(dy), x.checked_add_signed(dx));
        match (y, x) {
            (Some(y), Some(x)) if y < rows && x < width => map[y * width + x],
            _ => 0.0,
        }
    };
    let weights = [(-1, 0.25), (0, 0.5), (1, 0.25)];
    let smooth = |i: usize| {
        let (y, x) = (i / width, i % width);
        weights.iter().flat_map(|(dy, wy)| weights.map(|(dx, wx)| wy * wx * at(y, *dy, x, dx))).sum()
    };
    let smooth: Vec<f32> = (0..map.len()).map(smooth).collect();
    let lines = outlines(&smooth, width);
    // A mask of a pixel or two would vanish.
    if lines.is_empty() { outlines(map, width) } else { lines }
}

#[cfg(test)]
mod tests {
    use super::{outlines, smooth_outlines};

    fn area(points: &[(f32, f32)]) -> f32 {
        let pairs = points.iter().zip(points.iter().cycle().skip(1));
        pairs.map(|((y1, x1), (y2, x2))| x1 * y2 - x2 * y1).sum::<f32>() / 2.0
    }

    #[test]
    fn a_ring_has_an_outline_and_a_hole() {
        let ring = |i: usize| {
            let (y, x) = ((i / 20) as f32 - 9.5, (i % 20) as f32 - 9.5);
            let r = (y * y + x * x).sqrt();
            (3.0..=8.0).contains(&r) as u8 as f32
        };
        let map: Vec<f32> = (0..400).map(ring).collect();
        let loops = outlines(&map, 20);
        assert_eq!(loops.len(), 2);
        let (outer, hole) = (area(&loops[0]), area(&loops[1]));
        assert!(outer * hole < 0.0, "they run opposite ways: {outer} {hole}");
        let pixels: f32 = map.iter().sum();
        assert!(((outer + hole).abs() / pixels - 1.0).abs() < 0.05, "{outer} {hole} {pixels}");
    }

    #[test]
    fn smoothing_keeps_the_area_and_loses_no_mask() {
        let disc = |i: usize| ((i / 20) as f32 - 9.5).hypot((i % 20) as f32 - 9.5) <= 6.0;
        let map: Vec<f32> = (0..400).map(|i| disc(i) as u8 as f32).collect();
        let [line] = &smooth_outlines(&map, 20)[..] else { panic!("one outline") };
        let pixels: f32 = map.iter().sum();
        assert!((area(line).abs() / pixels - 1.0).abs() < 0.03, "{} {pixels}", area(line));
        let radii = line.iter().map(|(y, x)| (y - 10.0).hypot(x - 10.0));
        assert!(radii.clone().fold(f32::MAX, f32::min) > 5.6 && radii.fold(0.0, f32::max) < 6.6);
        let dot: Vec<f32> = (0..400).map(|i| (i == 210) as u8 as f32).collect();
        assert_eq!(smooth_outlines(&dot, 20).len(), 1);
    }

    #[test]
    fn outlines_close_at_the_border_and_diagonals_stay_apart() {
        assert_eq!(outlines(&[1.0; 12], 4).len(), 1);
        assert!((area(&outlines(&[1.0; 12], 4)[0]).abs() - 12.0).abs() < 1.0);
        let two = outlines(&[1.0, 0.0, 0.0, 1.0], 2);
        assert!(two.iter().all(|l| l.len() >= 4));
        assert!(outlines(&[0.0; 9], 3).is_empty());
        assert!(outlines(&[], 0).is_empty());
    }
}
