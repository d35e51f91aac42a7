//! The two networks together: units of a window with their territories and twitch trains.

use std::path::Path;

use super::resample::GRID;
use super::windows::{Territory, WINDOW, WindowIdentifier, WindowUnit};
use super::{Identification, Options, Recording, identify};
use crate::Result;
use crate::detector::{self, Detector, DetectorConfig};
use crate::device::Device;
use crate::muscle::standardise;
use crate::nn::Weights;
use crate::twitch::{self, TwitchConfig, TwitchEstimator};

/// Weights of the detector that ship with the crate.
const DETECTOR: &[u8] = include_bytes!("../../weights/detector-lite.safetensors");
/// Weights of the twitch estimator that ship with the crate.
const TWITCH: &[u8] = include_bytes!("../../weights/twitch-lite.safetensors");

/// The detector's weights that ship with the crate.
pub fn built_in_detector() -> Result<Weights> {
    Weights::from_bytes(DETECTOR, "built-in detector weights", detector::KIND)
}

/// The twitch estimator's weights that ship with the crate.
pub fn built_in_twitch() -> Result<Weights> {
    Weights::from_bytes(TWITCH, "built-in twitch weights", twitch::KIND)
}

/// What the networks are given: windows of recordings, frames and pixels.
const SEARCHED: [usize; 3] = [WINDOW, GRID, GRID];

/// A detector with the weights of a file, once it is clear that it reads windows.
///
/// # Errors
/// [`Error::File`](crate::Error::File) naming file and field if it reads recordings of another size.
pub fn detector_for_windows(device: &Device, weights: &Weights) -> Result<Detector> {
    let config: DetectorConfig = weights.config()?;
    config.expect_recordings(SEARCHED).map_err(|error| weights.named(error))?;
    Detector::from_weights(device, weights)
}

/// Finds motor units in recordings with the two networks.
///
/// ```no_run
/// use sarcomere::{Device, Identifier, Recording};
/// let recording = Recording::read("recording.npy", &Default::default())?;
/// let found = Identifier::new(&Device::cpu())?.identify(&recording)?;
/// for unit in &found.units {
///     println!("unit {}: score {:.2}, {} firings", unit.id, unit.score, unit.firings_s.len());
/// }
/// # Ok::<(), sarcomere::Error>(())
/// ```
#[derive(Debug)]
pub struct Identifier {
    detector: Detector,
    twitch: TwitchEstimator,
}

impl Identifier {
    /// With the weights that ship with the crate.
    pub fn new(device: &Device) -> Result<Self> {
        Self::with_weights(device, None, None)
    }

    /// With the weights of files; `None` for those that ship with the crate. Fails if a file is not what it should be.
    pub fn with_weights(device: &Device, detector: Option<&Path>, twitch: Option<&Path>) -> Result<Self> {
        let detector = detector.map_or_else(built_in_detector, |file| Weights::read(file, detector::KIND))?;
        let twitch = twitch.map_or_else(built_in_twitch, |file| Weights::read(file, twitch::KIND))?;
        let config: TwitchConfig = twitch.config()?;
        config.expect_recordings(SEARCHED).map_err(|error| twitch.named(error))?;
        Ok(Self {
            detector: detector_for_windows(device, &detector)?,
            twitch: TwitchEstimator::from_weights(device, &twitch)?,
        })
    }

    /// Networks that are loaded already. Fails if they read recordings of another size than windows have.
    pub fn from_networks(detector: Detector, twitch: TwitchEstimator) -> Result<Self> {
        detector.config().expect_recordings(SEARCHED)?;
        twitch.config().expect_recordings(SEARCHED)?;
        Ok(Self { detector, twitch })
    }

    /// Finds the motor units of a recording of any size, rate and length (from 0.25 s on).
    pub fn identify(&mut self, recording: &Recording) -> Result<Identification> {
        identify(recording, self, &Options::default(), &mut |_, _| ())
    }

    /// The detector and the twitch estimator.
    pub fn networks_mut(&mut self) -> (&mut Detector, &mut TwitchEstimator) {
        (&mut self.detector, &mut self.twitch)
    }

    fn signals(&mut self, standardised: &[f32], deviation: f32, masks: &[&[u8]]) -> Result<Vec<Vec<f32>>> {
        let mut signals = Vec::with_capacity(masks.len());
        for masks in masks.chunks(twitch::MAX_UNITS) {
            signals.extend(self.twitch.estimate(standardised, [GRID; 2], masks)?);
        }
        signals.iter_mut().flatten().for_each(|v| *v *= deviation);
        Ok(signals)
    }
}

impl WindowIdentifier for Identifier {
    fn identify_window(&mut self, window: &[f32]) -> Result<Vec<WindowUnit>> {
        let mut standardised = window.to_vec();
        let deviation = standardise(&mut standardised);
        let found = self.detector.detect(&standardised)?;
        let masks: Vec<&[u8]> = found.iter().map(|unit| &unit.mask[..]).collect();
        let signals = self.signals(&standardised, deviation, &masks)?;
        let unit = |(unit, signal): (crate::detector::DetectedUnit, Vec<f32>)| WindowUnit {
            territory: Territory { probability: unit.mask.iter().map(|m| f32::from(*m)).collect(), bbox: unit.box_px },
            score: unit.score,
            signal,
        };
        Ok(found.into_iter().zip(signals).map(unit).collect())
    }

    fn follow(&mut self, window: &[f32], territories: &[Territory]) -> Result<Option<Vec<Vec<f32>>>> {
        let mut standardised = window.to_vec();
        let deviation = standardise(&mut standardised);
        let binary = |territory: &Territory| territory.probability.iter().map(|p| u8::from(*p >= 0.5)).collect();
        let masks: Vec<Vec<u8>> = territories.iter().map(binary).collect();
        let masks: Vec<&[u8]> = masks.iter().map(Vec::as_slice).collect();
        self.signals(&standardised, deviation, &masks).map(Some)
    }
}
