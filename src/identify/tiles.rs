//! Large fields: tiles of 64 x 64 pixels, and one unit seen in several of them.

use std::borrow::Cow;

use crate::metrics::pearson;

use super::link::{CORRELATION, IOU_SHARED};
use super::patch::{FoundUnit, Place};
use super::resample::{GRID, Placement};
use super::windows::{Territory, WindowUnit};

/// Least overlap of neighbouring tiles, in pixels: 15 mm, so that a territory of up to 10 mm (16 pixels) lies wholly, with
/// tissue round it, in at least one.
pub const OVERLAP: usize = 24;
/// A territory that comes so near to the edge of its tile, in pixels, goes on beyond it.
const CUT: isize = 1;

/// How a grid is covered by tiles, in rows from the top left.
#[derive(Clone, Debug)]
pub struct Tiles {
    grid: [usize; 2],
    /// First row and column of each.
    corners: Vec<[usize; 2]>,
}

/// A unit found in a tile, its territory laid on the whole grid.
struct Found {
    tile: usize,
    unit: FoundUnit,
    /// Pixels between the territory and the nearest edge of its tile beyond which the grid goes on.
    margin: isize,
}

impl Tiles {
    /// Tiles that cover the grid of a placement: one where it is 64 x 64, else spread evenly, [`OVERLAP`] pixels or more in
    /// common.
    pub fn new(placement: &Placement) -> Self {
        let grid = placement.grid();
        let [ys, xs] = grid.map(starts);
        Self { grid, corners: ys.iter().flat_map(|y| xs.iter().map(|x| [*y, *x])).collect() }
    }

    /// Number of tiles.
    pub fn len(&self) -> usize {
        self.corners.len()
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.corners.is_empty()
    }

    /// Rows and columns of the whole grid.
    pub fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// Whether the grid is one tile.
    fn is_one(&self) -> bool {
        self.grid == [GRID; 2]
    }

    /// A tile `[T, 64, 64]` of frames (or maps) on the whole grid.
    pub fn cut<'a>(&self, tile: usize, frames: &'a [f32]) -> Cow<'a, [f32]> {
        if self.is_one() {
            return frames.into();
        }
        let [[y, x], [height, width]] = [self.corners[tile], self.grid];
        let rows = |frame: &'a [f32]| frame.chunks_exact(width).skip(y).take(GRID).map(move |row| &row[x..x + GRID]);
        frames.chunks_exact(height * width).flat_map(rows).flatten().copied().collect::<Vec<f32>>().into()
    }

    /// A place on the whole grid as the tile sees it; `None` if it has no pixel there.
    pub fn territory(&self, tile: usize, place: &Place) -> Option<Territory> {
        let [top, left] = self.corners[tile];
        let mut probability = vec![0f32; GRID * GRID];
        for ([y, x], p) in place.map.pixels() {
            let (y, x) = (y.wrapping_sub(top), x.wrapping_sub(left));
            if y < GRID && x < GRID {
                probability[y * GRID + x] = p;
            }
        }
        let within = |v: f32, corner: usize| (v - corner as f32).clamp(0.0, GRID as f32);
        let [y1, x1, y2, x2] = place.bbox;
        let bbox = [within(y1, top), within(x1, left), within(y2, top), within(x2, left)];
        probability.iter().any(|p| *p >= 0.5).then_some(Territory { probability, bbox })
    }

    /// The tile that sees most round a place on the whole grid.
    pub fn best_for(&self, place: &Place) -> usize {
        let margins = (0..self.len()).map(|tile| (self.margin(tile, place), tile));
        // Of equal ones the first.
        margins.max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1))).map_or(0, |(_, tile)| tile)
    }

    /// The units of a window, from those of its tiles in order: territories on the whole grid, each unit once.
    ///
    /// Units of two tiles are one if their territories agree in what the tiles have in common, and their signals agree, as
    /// between windows. The tile that sees most round it tells its territory, signal and score; of a territory that all
    /// tiles cut, the parts are put together. What is cut by the edge of its tile and is like no unit of another tile, though
    /// another tile sees more round it, is a part that was taken for a unit: it is left out.
    pub fn merge(&self, units: Vec<Vec<WindowUnit>>) -> Vec<FoundUnit> {
        let mut found = Vec::new();
        for (tile, units) in units.into_iter().enumerate() {
            for unit in units {
                let unit = FoundUnit::new(unit, GRID, self.corners[tile]);
                found.push(Found { tile, margin: self.margin(tile, &unit.place), unit });
            }
        }
        if self.is_one() {
            return found.into_iter().map(|found| found.unit).collect();
        }
        self.groups(&found).iter().filter_map(|group| self.unit_of(&found, group)).collect()
    }

    /// The unit that a group is; `None` if it is a part of one that no other tile has found.
    fn unit_of(&self, found: &[Found], group: &[usize]) -> Option<FoundUnit> {
        let best = group.iter().map(|i| &found[*i]).max_by(|a, b| {
            a.margin.cmp(&b.margin).then(a.unit.score.total_cmp(&b.unit.score)).then(b.tile.cmp(&a.tile))
        })?;
        let mut unit = best.unit.clone();
        if best.margin > CUT {
            return Some(unit);
        }
        if group.len() == 1 && self.best_for(&unit.place) != best.tile {
            return None;
        }
        // No tile sees all of it: put together what they see.
        for other in group.iter().map(|i| &found[*i].unit.place) {
            unit.place.map = unit.place.map.max(&other.map, self.grid);
            let ([y1, x1, y2, x2], other) = (unit.place.bbox, other.bbox);
            unit.place.bbox = [y1.min(other[0]), x1.min(other[1]), y2.max(other[2]), x2.max(other[3])];
        }
        Some(unit)
    }

    /// Indices of what is the same unit: best likeness first, no two of one tile.
    fn groups(&self, found: &[Found]) -> Vec<Vec<usize>> {
        let mut pairs = Vec::new();
        for a in 0..found.len() {
            for b in 0..a {
                if let Some(likeness) = self.likeness(&found[a], &found[b]) {
                    pairs.push((likeness, a, b));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let mut groups: Vec<Vec<usize>> = (0..found.len()).map(|i| vec![i]).collect();
        let mut group_of: Vec<usize> = (0..found.len()).collect();
        for (_, a, b) in pairs {
            let (into, from) = (group_of[a].min(group_of[b]), group_of[a].max(group_of[b]));
            let tile_taken = groups[from].iter().any(|i| groups[into].iter().any(|j| found[*i].tile == found[*j].tile));
            if into != from && !tile_taken {
                let moved = std::mem::take(&mut groups[from]);
                moved.iter().for_each(|i| group_of[*i] = into);
                groups[into].extend(moved);
            }
        }
        groups
    }

    /// How much two units of different tiles look like one, if they might be.
    fn likeness(&self, a: &Found, b: &Found) -> Option<f64> {
        let [[ay, ax], [by, bx]] = [self.corners[a.tile], self.corners[b.tile]];
        if a.tile == b.tile || ay.abs_diff(by) >= GRID || ax.abs_diff(bx) >= GRID {
            return None;
        }
        // Each is zero outside its own tile: only what the tiles have in common tells.
        let (rows, columns) = (ay.max(by)..ay.min(by) + GRID, ax.max(bx)..ax.min(bx) + GRID);
        let iou = a.unit.place.map.iou(&b.unit.place.map, |[y, x]| rows.contains(y) && columns.contains(x));
        if iou < IOU_SHARED {
            return None;
        }
        let r = pearson(&a.unit.signal, &b.unit.signal).unwrap_or(0.0);
        (r >= CORRELATION).then_some((iou + r) / 2.0)
    }

    /// Pixels between a territory on the whole grid and the nearest edge of a tile beyond which the grid goes on; negative where
    /// it goes on beyond it too.
    fn margin(&self, tile: usize, place: &Place) -> isize {
        let [height, width] = self.grid;
        let mut margin = isize::MAX;
        for [y, x] in place.map.inside() {
            for (at, corner, size) in [(y, self.corners[tile][0], height), (x, self.corners[tile][1], width)] {
                if corner > 0 {
                    margin = margin.min(at as isize - corner as isize);
                }
                if corner + GRID < size {
                    margin = margin.min((corner + GRID) as isize - 1 - at as isize);
                }
            }
        }
        margin
    }
}

/// First pixels of the tiles along an axis of `size` pixels.
fn starts(size: usize) -> Vec<usize> {
    let last = size.saturating_sub(GRID);
    let steps = last.div_ceil(GRID - OVERLAP).max(1);
    if last == 0 { vec![0] } else { (0..=steps).map(|i| (last * i + steps / 2) / steps).collect() }
}
