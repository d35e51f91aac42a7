//! Results as files: a picture, a page, tables. What they show is the same.

mod canvas;
mod colors;
mod compare;
mod contour;
mod figure;
mod folder;
mod page;
mod results;

pub use compare::{Comparison, KnownUnit, Match};
pub use folder::Folder;
pub use results::{firings_csv, units_json, units_npz};

use super::{Identification, Recording};
use crate::Result;

/// A recording, what was found in it, and what is to be said beside.
pub struct Report<'a> {
    /// The recording.
    pub recording: &'a Recording,
    /// What was found.
    pub found: &'a Identification,
    /// The true units, where they are known.
    pub truth: Option<&'a [KnownUnit]>,
    /// Where the recording came from: a file, or how it was made.
    pub source: String,
    /// Unit of the velocities, where known.
    pub velocity_unit: Option<String>,
    /// Which networks and weights found the units.
    pub networks: String,
}

impl Report<'_> {
    /// How what was found agrees with the truth, where that is known.
    pub fn comparison(&self) -> Option<Comparison> {
        self.truth.map(|truth| Comparison::new(&self.found.units, truth))
    }

    /// `units.json`, `firings.csv`, `units.npz`, `figure.png` and `report.html`, by name.
    ///
    /// # Errors
    /// If a file cannot be encoded; no user's input leads there.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut json = serde_json::to_vec_pretty(&units_json(self)).unwrap_or_default();
        json.push(b'\n');
        let light = figure::figure(self, &colors::LIGHT)?;
        let dark = figure::figure(self, &colors::DARK)?;
        let page = page::page(self, &light, &dark);
        Ok(vec![
            ("units.json", json),
            ("firings.csv", firings_csv(self).into_bytes()),
            ("units.npz", units_npz(self)?),
            ("figure.png", light),
            ("report.html", page.into_bytes()),
        ])
    }
}
