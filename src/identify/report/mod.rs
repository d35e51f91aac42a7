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

/// What is to be said beside a recording and its units.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Where the recording came from: a file, or how it was made.
    pub source: String,
    /// Unit of the velocities, where known.
    pub velocity_unit: Option<String>,
    /// Which networks and weights found the units.
    pub networks: String,
}

/// A recording, what was found in it, and what is true, where that is known.
pub struct Report<'a> {
    recording: &'a Recording,
    found: &'a Identification,
    truth: Option<&'a [KnownUnit]>,
    comparison: Option<Comparison>,
    about: About,
}

impl<'a> Report<'a> {
    /// A report; what was found is compared with the truth.
    ///
    /// # Errors
    /// If the truth's masks do not have the recording's size.
    pub fn new(
        recording: &'a Recording,
        found: &'a Identification,
        truth: Option<&'a [KnownUnit]>,
        about: About,
    ) -> Result<Self> {
        let comparison = truth.map(|truth| Comparison::new(&found.units, truth, recording)).transpose()?;
        Ok(Self { recording, found, truth, comparison, about })
    }

    /// The recording.
    pub fn recording(&self) -> &'a Recording {
        self.recording
    }

    /// What was found.
    pub fn found(&self) -> &'a Identification {
        self.found
    }

    /// The true units, where they are known.
    pub fn truth(&self) -> Option<&'a [KnownUnit]> {
        self.truth
    }

    /// How what was found agrees with the truth, where that is known.
    pub fn comparison(&self) -> Option<&Comparison> {
        self.comparison.as_ref()
    }

    /// What is said beside.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The velocities' unit, or words in its place.
    fn velocity_unit(&self) -> &str {
        self.about.velocity_unit.as_deref().unwrap_or("recording's unit")
    }

    /// `report.html`, `figure.png`, `units.json`, `firings.csv` and `units.npz`, by name.
    ///
    /// # Errors
    /// If the recording's frames cannot be read any more, or a file cannot be encoded.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut json = serde_json::to_vec_pretty(&units_json(self)).unwrap_or_default();
        json.push(b'\n');
        let light = figure::figure(self, &colors::LIGHT)?;
        let dark = figure::figure(self, &colors::DARK)?;
        let page = page::page(self, &light, &dark)?;
        Ok(vec![
            ("report.html", page.into_bytes()),
            ("figure.png", light),
            ("units.json", json),
            ("firings.csv", firings_csv(self).into_bytes()),
            ("units.npz", units_npz(self)?),
        ])
    }
}
