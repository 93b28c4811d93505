//! A figure with its texts.

use anyhow::{Context, Result};
use serde::{Serialize, Serializer};
use taper_report::chart::{self, Key};

/// A figure with all texts of the page about it.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// The `id` of its element.
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// Description for readers who cannot see it.
    pub(crate) alt: String,
    pub(crate) caption: String,
    #[serde(serialize_with = "keys")]
    pub(crate) legend: Vec<Key>,
    /// SVG for wide screens.
    pub(crate) wide: String,
    /// SVG for narrow screens.
    pub(crate) narrow: String,
}

fn keys<S: Serializer>(legend: &[Key], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Entry<'a> {
        label: &'a str,
        colour: &'a str,
        symbol: &'a str,
    }
    let entries = legend.iter().map(|key| Entry {
        label: &key.label,
        colour: &key.colour,
        symbol: key.symbol(),
    });
    serializer.collect_seq(entries)
}

impl Figure {
    /// The figure as a separate file.
    ///
    /// # Errors
    /// If its drawing is not an SVG for a page.
    pub(crate) fn file(&self) -> Result<String> {
        let file = chart::file_of_page(&self.wide, &self.legend, &self.alt);
        file.with_context(|| format!("the figure '{}' is not a drawing", self.id))
    }
}
