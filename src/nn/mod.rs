//! Blocks both networks share.
