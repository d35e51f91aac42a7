//! The networks that find units, with the weights built in or the user's own.

use std::path::PathBuf;

use clap::Args;
use sarcomere::device::Device;
use sarcomere::identify::WindowIdentifier;
use sarcomere::{Error, Result};

use super::Common;
use super::console::note;

/// Weights other than those built in.
#[derive(Args)]
pub struct Weights {
    /// Weights of the detector [default: those built in]
    #[arg(long, value_name = "FILE")]
    detector: Option<PathBuf>,
    /// Weights of the twitch estimator [default: those built in]
    #[arg(long, value_name = "FILE")]
    twitch: Option<PathBuf>,
}

/// What finds the units, and its description for the results.
pub struct Networks {
    /// Finds the units of one window.
    pub identifier: Box<dyn WindowIdentifier>,
    /// Which networks and weights, on which device.
    pub description: String,
}

impl Networks {
    /// Loads the networks onto the device asked for; `auto` says on standard error which one it took.
    ///
    /// # Errors
    /// If there is no such device, or a file of weights is not what it should be.
    pub fn load(common: &Common, weights: &Weights) -> Result<Self> {
        let device = Device::from_name(&common.device)?;
        if common.device == "auto" && !common.json {
            note(&format!("device: {}", device.describe()));
        }
        let missing = weights.detector.as_ref().or(weights.twitch.as_ref()).cloned().unwrap_or("weights".into());
        Err(Error::file(missing, "weights: expected trained networks, this version has none yet: train them first"))
    }
}
