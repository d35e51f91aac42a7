//! The simulator: labelled tissue-velocity recordings of a muscle cross-section in which several motor units (MUs) twitch.
//!
//! A reconstruction: the paper fixes the raster, number, size, rates, synchrony and noise (its sections IV.A and IV.B); the
//! waveform, the amplitudes and how territories are placed are not public, and are choices made here. Every choice is a field
//! of [`SimulatorConfig`]. The preset `paper` is the literal reading; `hard` adds what real muscle adds.
//!
//! A recording is a pure function of config, split, index and seed: see below.
//!
//! ```
//! use sarcomere::muscle::{Noise, Simulator, SimulatorConfig, Split};
//! let config = SimulatorConfig::paper().with_units(5).with_noise(Noise::Snr { db: 20.0 });
//! let recording = Simulator::new(config)?.simulate(Split::Test, 0, 1);
//! assert_eq!(recording.velocity.len(), 400 * 64 * 64);
//! assert_eq!(recording.truth.units.len(), 5);
//! # Ok::<(), sarcomere::Error>(())
//! ```
//!
//! [`Graph::simulate`](crate::graph::Graph::simulate) makes recordings where they are used: on a GPU without files or the host, the
//! same bits as on the processor.
//!
//! # Random numbers
#![doc = include_str!("random_numbers.md")]

mod background;
mod config;
mod cuda;
mod dataset;
mod draw;
mod firing;
mod layer;
mod limits;
mod noise;
mod op;
mod prepare;
pub mod problem;
mod recording;
mod render;
mod territory;
mod twitch;

pub use config::{
    Background, CountRange, Firing, Grid, Noise, Profile, Range, SimulatorConfig, SnrReference, Territories, Twitch,
};
pub use dataset::{Flip, TestCell};
pub use draw::Split;
pub use op::{Simulate, SimulatedValues};
pub use prepare::{mask_box, standardise};
pub use recording::{SimulatedRecording, SimulatedUnit, Simulator, Truth, simulate};
pub use territory::Territory;
pub use twitch::Waveform;
