//! The networks that find units, with the weights built in or the user's own.

use std::path::PathBuf;

use clap::Args;
use sarcomere::device::Device;
use sarcomere::identify::WindowIdentifier;
use sarcomere::{Identifier, Result};

use super::Common;

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

impl Weights {
    /// Both networks with these weights.
    pub fn identifier(&self, device: &Device) -> Result<Identifier> {
        Identifier::with_weights(device, self.detector.as_deref(), self.twitch.as_deref())
    }
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
        let device = common.open_device()?;
        let identifier = weights.identifier(&device)?;
        let origin = |file: &Option<PathBuf>| match file {
            Some(file) => file.display().to_string(),
            None => "built in".to_owned(),
        };
        let (detector, twitch) = (origin(&weights.detector), origin(&weights.twitch));
        let description = format!("detector {detector}, twitch estimator {twitch}, on {}", device.describe());
        Ok(Self { identifier: Box::new(identifier), description })
    }
}
