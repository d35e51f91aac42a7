//! Random numbers: a counter-based generator, so that every executor and every order of evaluation gives the same bits.

pub mod approx;
pub mod philox;
