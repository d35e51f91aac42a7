//! Finds the motor units of a muscle in ultrafast-ultrasound recordings, on compute kernels written by hand.
//!
//! The engine ([`tensor`], [`device`], [`ops`], [`graph`], [`nn`]) knows nothing of muscles; the modules above it do.
#![warn(missing_docs)]

pub mod detector;
pub mod device;
mod error;
pub mod evaluate;
pub mod graph;
pub mod identify;
pub mod metrics;
pub mod muscle;
pub mod nn;
pub mod ops;
pub mod profile;
pub mod selftest;
pub mod tensor;
pub mod train;
pub mod twitch;

pub use device::Device;
pub use error::{DeviceFault, Error, Result};
pub use identify::{Identifier, MotorUnit, Recording};
