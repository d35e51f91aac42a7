//! Data sets: which recordings they hold, and flips. A data set is a seed, not a folder.

use serde::{Deserialize, Serialize};

use super::config::{Noise, SimulatorConfig};
use super::draw::Split;
use super::recording::{SimulatedRecording, Simulator};
use crate::Result;

impl Split {
    /// Number of recordings in the paper: 10,000, 1,000 and 600. (Any index may be simulated.)
    pub fn recordings(self) -> u32 {
        match self {
            Split::Train => 10_000,
            Split::Validation => 1_000,
            Split::Test => 600,
        }
    }
}

/// One cell of the test: a number of MUs at a signal-to-noise ratio. The cells of one number of MUs hold the same recordings
/// under different noise levels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestCell {
    /// Number of MUs.
    pub units: u32,
    /// Level of the noise: clean or a fixed ratio.
    pub noise: Noise,
}

impl TestCell {
    /// The paper's numbers of MUs.
    pub const UNITS: [u32; 6] = [1, 5, 10, 15, 20, 25];
    /// The paper's noise levels: none, 20 dB, 10 dB.
    pub const NOISES: [Noise; 3] = [Noise::Clean, Noise::Snr { db: 20.0 }, Noise::Snr { db: 10.0 }];
    /// Recordings a cell in the paper.
    pub const RECORDINGS: u32 = 100;
    /// Room for the recordings of one number of MUs.
    const STRIDE: u32 = 100_000;

    /// The paper's 18 cells.
    pub fn all() -> Vec<Self> {
        let cells = |noise| Self::UNITS.iter().map(move |&units| Self { units, noise });
        Self::NOISES.into_iter().flat_map(cells).collect()
    }

    /// The simulator of this cell: `config` with this number of MUs and this noise.
    pub fn simulator(&self, config: &SimulatorConfig) -> Result<Simulator> {
        Simulator::new(config.clone().with_units(self.units).with_noise(self.noise))
    }

    /// Index of the cell's recording `number` in the test split: no two numbers of MUs share one.
    pub fn index(&self, number: u32) -> u32 {
        self.units.wrapping_mul(Self::STRIDE).wrapping_add(number)
    }
}

/// Mirrors a recording, its masks and territories. The four flips make 40,000 training recordings of 10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// Whether the rows are reversed (top to bottom).
    pub y: bool,
    /// Whether the columns are reversed (left to right).
    pub x: bool,
}

impl Flip {
    /// All four, the one that changes nothing first.
    pub const ALL: [Flip; 4] = [
        Flip { y: false, x: false },
        Flip { y: false, x: true },
        Flip { y: true, x: false },
        Flip { y: true, x: true },
    ];

    /// Mirrors images of `height` x `width` that follow one another in `data`; an incomplete last one is left alone.
    pub fn images<T>(self, data: &mut [T], height: usize, width: usize) {
        if height == 0 || width == 0 || self == Self::default() {
            return;
        }
        for image in data.chunks_exact_mut(height * width) {
            match (self.y, self.x) {
                (true, true) => image.reverse(),
                (false, true) => image.chunks_exact_mut(width).for_each(|row| row.reverse()),
                _ => {
                    let (upper, lower) = image.split_at_mut(height / 2 * width);
                    let lower = lower.chunks_exact_mut(width).rev();
                    upper.chunks_exact_mut(width).zip(lower).for_each(|(a, b)| a.swap_with_slice(b));
                }
            }
        }
    }

    /// Mirrors a recording with its truth.
    pub fn recording(self, recording: &mut SimulatedRecording) {
        let truth = &mut recording.truth;
        let (height, width) = (truth.height, truth.width);
        self.images(&mut recording.velocity, height, width);
        for unit in &mut truth.units {
            self.images(&mut unit.mask, height, width);
            let [y, x] = &mut unit.territory.centre_mm;
            if self.y {
                *y = height as f32 * truth.mm_per_pixel - *y;
            }
            if self.x {
                *x = width as f32 * truth.mm_per_pixel - *x;
            }
            if self.y != self.x {
                unit.territory.angle_rad = std::f32::consts::PI - unit.territory.angle_rad;
            }
        }
    }
}
