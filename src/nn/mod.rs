//! Blocks both networks share, and their weights as files.

mod blocks;
mod init;
mod weights;

pub use blocks::*;
pub use init::{initial_value, initialise, trainable};
pub use weights::Weights;
