//! The progress of a download, on stderr.

use indicatif::{ProgressBar, ProgressStyle};

use super::warn;
use crate::data::download::Progress;

/// A bar in a terminal, a line per file elsewhere.
#[derive(Default)]
pub(super) struct DownloadBar {
    bar: Option<ProgressBar>,
}

impl DownloadBar {
    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for DownloadBar {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Progress for DownloadBar {
    fn start(&mut self, file: &str, total: Option<u64>, resumed_from: u64) {
        self.clear();
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let template = "{msg}  [{bar:28}]  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(file.to_owned());
        bar.set_position(resumed_from);
        bar.reset_eta();
        if bar.is_hidden() {
            let from = match resumed_from {
                0 => String::new(),
                bytes => format!(" from byte {bytes}"),
            };
            warn(&format!("downloading {file}{from}"));
        }
        self.bar = Some(bar);
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn finish(&mut self) {
        self.clear();
    }

    fn retry(&mut self, reason: &str) {
        self.clear();
        warn(&format!("{reason}; trying again"));
    }
}
