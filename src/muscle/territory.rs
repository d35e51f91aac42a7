//! Territories: ellipses on the raster, and how strongly and how late each pixel moves.

use serde::{Deserialize, Serialize};

use super::config::{Grid, SimulatorConfig};
use super::draw::{Draw, Quantity};
use crate::ops::random::wide::{hypot, sin_cos};

/// An ellipse (a circle, if both axes are equal) in the cross-section.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Territory {
    /// Centre (y, x) from the outer corner of the first pixel, whose own centre lies at half a pixel.
    pub centre_mm: [f32; 2],
    /// Diameter of the circle of the same area.
    pub diameter_mm: f32,
    /// Long over short axis.
    pub axis_ratio: f32,
    /// From the x axis to the long axis, towards y.
    pub angle_rad: f32,
}

impl Territory {
    pub(super) fn draw(config: &SimulatorConfig, draw: &Draw, unit: usize) -> Self {
        let (grid, options) = (&config.grid, &config.territories);
        let diameter_mm = options.diameter_mm.at(draw.unit(Quantity::Diameter, unit).uniform());
        let mut ellipse = draw.unit(Quantity::Ellipse, unit);
        let axis_ratio = options.axis_ratio.at(ellipse.uniform());
        let angle_rad = std::f32::consts::PI * ellipse.uniform();
        let mut territory = Self { centre_mm: [0.0; 2], diameter_mm, axis_ratio, angle_rad };
        let mut place = draw.unit(Quantity::Centre, unit);
        let extents = if options.may_cross_edge { [0.0; 2] } else { territory.half_extents_mm() };
        for (axis, pixels) in [grid.height, grid.width].into_iter().enumerate() {
            let room = (pixels as f32 * grid.mm_per_pixel - 2.0 * extents[axis]).max(0.0);
            territory.centre_mm[axis] = extents[axis] + room * place.uniform();
        }
        territory
    }

    /// Half of the long and of the short axis.
    pub fn semi_axes_mm(&self) -> [f32; 2] {
        let root = self.axis_ratio.sqrt();
        [0.5 * self.diameter_mm * root, 0.5 * self.diameter_mm / root]
    }

    /// Half of the enclosing upright rectangle (y, x).
    pub fn half_extents_mm(&self) -> [f32; 2] {
        let [a, b] = self.semi_axes_mm();
        let (sin, cos) = sin_cos(self.angle_rad);
        [hypot(a * sin, b * cos), hypot(a * cos, b * sin)]
    }

    /// Distance of a point (y, x) from the centre as a share of the rim's in its direction: at most 1 inside.
    pub fn relative_radius(&self, point_mm: [f32; 2]) -> f32 {
        let [a, b] = self.semi_axes_mm();
        let (dy, dx) = (point_mm[0] - self.centre_mm[0], point_mm[1] - self.centre_mm[1]);
        if self.axis_ratio == 1.0 {
            return hypot(dy, dx) / a;
        }
        let (sin, cos) = sin_cos(self.angle_rad);
        hypot((dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b)
    }

    /// Whether a pixel's centre lies inside, for the pixels of a grid `[height, width]`: 1 or 0.
    pub fn mask(&self, grid: &Grid) -> Vec<u8> {
        let mut mask = vec![0; grid.height * grid.width];
        for (pixel, _, _) in self.pixels_within(grid, 0.0).filter(|(_, rho, _)| *rho <= 1.0) {
            mask[pixel] = 1;
        }
        mask
    }

    /// Pixels at most `margin_mm` outside the rim (and a few more): index, relative radius, distance from the centre in mm.
    pub(super) fn pixels_within(&self, grid: &Grid, margin_mm: f32) -> impl Iterator<Item = (usize, f32, f32)> + '_ {
        let (pitch, width) = (grid.mm_per_pixel, grid.width);
        let extents = self.half_extents_mm();
        let span = |axis: usize, pixels: usize| {
            let reach = extents[axis] + margin_mm;
            let first = ((self.centre_mm[axis] - reach) / pitch - 1.0).max(0.0) as usize;
            let end = ((self.centre_mm[axis] + reach) / pitch + 2.0).max(0.0) as usize;
            first.min(pixels)..end.min(pixels)
        };
        let columns = span(1, width);
        span(0, grid.height).flat_map(move |y| {
            columns.clone().map(move |x| {
                let point = [(y as f32 + 0.5) * pitch, (x as f32 + 0.5) * pitch];
                let distance = hypot(point[0] - self.centre_mm[0], point[1] - self.centre_mm[1]);
                (y * width + x, self.relative_radius(point), distance)
            })
        })
    }
}
