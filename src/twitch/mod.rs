//! Network 2, the twitch estimator: a recording and a territory -> that motor unit's twitch train.

mod config;
mod network;
mod runner;

pub use config::{Front, TwitchConfig};
pub use network::{TwitchInput, TwitchNetwork};
pub use runner::{KIND, MAX_UNITS, TwitchEstimator, box_centre, crop};
