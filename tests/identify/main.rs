//! Recordings in, units out: readers, resampling, windows, linking. The networks are stood in for by plain rules, so that what is
//! expected can be worked out by hand.
mod linking;
mod readers;
mod resampling;
mod tiles;
mod weights;
