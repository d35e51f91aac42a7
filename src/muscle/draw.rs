//! Which random number is which: the addresses in `random_numbers.md`.

use serde::{Deserialize, Serialize};

use crate::ops::random::philox::{Stream, key_of};
use crate::{Error, Result};

/// The parts of a data set; they share no random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// For fitting weights.
    Train = 0,
    /// For choosing among them.
    Validation = 1,
    /// For the published figures.
    Test = 2,
}

impl Split {
    /// From its name: `train`, `validation` or `test`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "train" => Ok(Split::Train),
            "validation" => Ok(Split::Validation),
            "test" => Ok(Split::Test),
            other => Err(Error::value("split", format!("'{other}' is not a split; use train, validation or test"))),
        }
    }
}

impl Split {
    /// Counter word 3 of its first quantity.
    pub(super) fn tail(self) -> u32 {
        0x4d00_0000 + ((self as u32) << 16)
    }
}

/// The random quantities; the number is part of the address, so never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Quantity {
    /// Recording: number of MUs (0).
    Count = 0,
    /// MU: y (0) and x (1) of the centre.
    Centre = 1,
    /// MU: diameter (0).
    Diameter = 2,
    /// MU: axis ratio (0), angle (1).
    Ellipse = 3,
    /// MU: profile (0).
    Profile = 4,
    /// MU and pixel: fibres (0).
    Fibres = 5,
    /// MU: lag at the rim (0).
    Lag = 6,
    /// MU: firing rate (0), phase of the first firing (1).
    Rate = 7,
    /// MU: normal `k` stretches interval `k`.
    Intervals = 8,
    /// Recording: synchrony (0).
    Synchrony = 9,
    /// MU: whether firing `k` is moved (2 k), onto which other MU (2 k + 1).
    Moves = 10,
    /// MU: contraction time (0), half-relaxation ratio (1), lead (2).
    Times = 11,
    /// MU: amplitude (0).
    Amplitude = 12,
    /// MU: normals of firing `k`: amplitude (2 k), duration (2 k + 1).
    Variation = 13,
    /// Recording: whether it is clean (0), its ratio (1).
    Snr = 14,
    /// Recording, pixel and frame: noise.
    Noise = 15,
    /// Recording: drift.
    Drift = 16,
    /// Recording: pulse.
    Pulse = 17,
}

/// Names one recording: what its random numbers are addressed by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub key: [u32; 2],
    split: Split,
    index: u32,
}

impl Draw {
    pub fn new(split: Split, index: u32, seed: u64) -> Self {
        Self { key: key_of(seed), split, index }
    }

    /// Counter words 2 and 3.
    pub fn tail(&self, quantity: Quantity) -> [u32; 2] {
        [self.index, self.split.tail() + quantity as u32]
    }

    /// The stream of a recording's quantity.
    pub fn recording(&self, quantity: Quantity) -> Stream {
        self.unit(quantity, 0)
    }

    /// The stream of an MU's quantity.
    pub fn unit(&self, quantity: Quantity, unit: usize) -> Stream {
        let [c2, c3] = self.tail(quantity);
        Stream::new(self.key, [unit as u32, c2, c3])
    }
}
