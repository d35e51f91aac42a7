//! Network 2, the twitch estimator: a recording and a territory -> that motor unit's twitch train.

mod config;
mod network;

pub use config::{Front, TwitchConfig};
pub use network::{TwitchInput, TwitchNetwork};
