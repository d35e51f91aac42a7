//! Territories of many windows, held without what is zero round them.

use super::windows::{Territory, WindowUnit};

/// A map on a grid, cut to the rectangle outside which it is zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Row and column of the first pixel.
    corner: [usize; 2],
    columns: usize,
    values: Vec<f32>,
}

impl Patch {
    /// A map of `width` columns whose first pixel lies at `corner` of the grid.
    pub fn new(map: &[f32], width: usize, corner: [usize; 2]) -> Self {
        let [top, left, bottom, right] = super::bounds(map.iter().map(|v| *v != 0.0), width);
        let rows = map.chunks_exact(width).take(bottom).skip(top.min(bottom));
        let values = rows.flat_map(|row| &row[left..right]).copied().collect();
        if bottom == 0 {
            return Self { corner, columns: 1, values };
        }
        Self { corner: [corner[0] + top, corner[1] + left], columns: right - left, values }
    }

    /// Row, column and value of every pixel held.
    pub fn pixels(&self) -> impl Iterator<Item = ([usize; 2], f32)> {
        let [top, left] = self.corner;
        let place = move |i: usize| [top + i / self.columns, left + i % self.columns];
        self.values.iter().enumerate().map(move |(i, v)| (place(i), *v))
    }

    /// Rows and columns of the pixels above one half.
    pub fn inside(&self) -> impl Iterator<Item = [usize; 2]> {
        self.pixels().filter(|(_, v)| *v >= 0.5).map(|(place, _)| place)
    }

    /// Adds `share` of it to a map of `width` columns.
    pub fn add_to(&self, map: &mut [f32], width: usize, share: f32) {
        self.pixels().for_each(|([y, x], v)| map[y * width + x] += share * v);
    }

    /// The whole map, on a grid of these rows and columns.
    pub fn to_map(&self, [height, width]: [usize; 2]) -> Vec<f32> {
        let mut map = vec![0f32; height * width];
        self.pixels().for_each(|([y, x], v)| map[y * width + x] = v);
        map
    }

    /// Intersection over union of what of both is above one half and `within`.
    pub fn iou(&self, other: &Self, within: impl Fn(&[usize; 2]) -> bool) -> f64 {
        let (mut own, mut both) = (0, 0);
        for place in self.inside().filter(&within) {
            own += 1;
            both += usize::from(other.at(place) >= 0.5);
        }
        let any = own + other.inside().filter(&within).count() - both;
        if any == 0 { 0.0 } else { both as f64 / any as f64 }
    }

    fn at(&self, [y, x]: [usize; 2]) -> f32 {
        let (Some(y), Some(x)) = (y.checked_sub(self.corner[0]), x.checked_sub(self.corner[1])) else { return 0.0 };
        if x < self.columns { self.values.get(y * self.columns + x).copied().unwrap_or(0.0) } else { 0.0 }
    }

    /// Of both maps the larger value, pixel by pixel, on a grid of these rows and columns.
    pub fn max(&self, other: &Self, [height, width]: [usize; 2]) -> Self {
        let mut map = self.to_map([height, width]);
        for ([y, x], v) in other.pixels() {
            map[y * width + x] = map[y * width + x].max(v);
        }
        Self::new(&map, width, [0, 0])
    }
}

/// Where a unit lies on the whole grid.
#[derive(Clone, Debug)]
pub struct Place {
    /// Probability of every pixel to belong to it.
    pub map: Patch,
    /// `(y1, x1, y2, x2)` in pixels of the grid.
    pub bbox: [f32; 4],
}

/// A unit found in one window, on the whole grid.
#[derive(Clone, Debug)]
pub struct FoundUnit {
    /// Where it lies.
    pub place: Place,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Its twitch train `[400]`, in the velocity unit of the window.
    pub signal: Vec<f32>,
}

impl FoundUnit {
    /// A unit found where a map of `width` columns has its first pixel at `corner` of the grid.
    pub fn new(unit: WindowUnit, width: usize, corner: [usize; 2]) -> Self {
        let WindowUnit { territory: Territory { probability, mut bbox }, score, signal } = unit;
        let [y, x] = corner.map(|v| v as f32);
        bbox.iter_mut().zip([y, x, y, x]).for_each(|(v, corner)| *v += corner);
        Self { place: Place { map: Patch::new(&probability, width, corner), bbox }, score, signal }
    }
}

#[cfg(test)]
mod tests {
    use super::Patch;

    #[test]
    fn a_patch_is_its_map() {
        let mut map = vec![0f32; 6 * 7];
        assert_eq!(Patch::new(&map, 7, [0, 0]).pixels().count(), 0);
        (map[2 * 7 + 3], map[4 * 7 + 5]) = (0.25, 1.0);
        let patch = Patch::new(&map, 7, [10, 20]);
        assert_eq!(patch.pixels().count(), 9);
        assert_eq!(patch.inside().collect::<Vec<_>>(), [[14, 25]]);
        let mut whole = vec![1f32; 30 * 40];
        patch.add_to(&mut whole, 40, 2.0);
        let set = |y: usize, x: usize| whole[y * 40 + x];
        assert_eq!((set(12, 23), set(14, 25), whole.iter().sum::<f32>()), (1.5, 3.0, 1202.5));
    }

    #[test]
    fn overlaps_are_those_of_the_maps() {
        let disc = |y: usize, x: usize| {
            let inside = |i: usize| ((i / 20).abs_diff(y).pow(2) + (i % 20).abs_diff(x).pow(2) <= 9) as u8 as f32;
            (0..400).map(inside).collect::<Vec<f32>>()
        };
        let (a, b) = (disc(8, 8), disc(8, 10));
        let count = |f: &dyn Fn(usize) -> bool| (0..400).filter(|i| f(*i)).count() as f64;
        let both = count(&|i| a[i] > 0.0 && b[i] > 0.0);
        let any = count(&|i| a[i] > 0.0 || b[i] > 0.0);
        let (pa, pb) = (Patch::new(&a, 20, [0, 0]), Patch::new(&b, 20, [0, 0]));
        assert_eq!(pa.iou(&pb, |_| true), both / any);
        assert_eq!(pb.iou(&pa, |_| true), both / any);
        let right = |[_, x]: &[usize; 2]| *x >= 9;
        let (both, any) = (
            count(&|i| a[i] > 0.0 && b[i] > 0.0 && i % 20 >= 9),
            count(&|i| (a[i] > 0.0 || b[i] > 0.0) && i % 20 >= 9),
        );
        assert_eq!(pa.iou(&pb, right), both / any);
        assert_eq!(pa.max(&pb, [20, 20]).inside().count() as f64, count(&|i| a[i] > 0.0 || b[i] > 0.0));
        assert_eq!(pa.iou(&Patch::new(&[0.0; 400], 20, [0, 0]), |_| true), 0.0);
    }
}
