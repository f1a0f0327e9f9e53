//! The progress of a download, on stderr.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::warn;
use crate::data::download::Progress;
use crate::text::thousands;

/// A bar in a terminal, a line per file elsewhere.
#[derive(Default)]
pub(super) struct DownloadBar {
    bar: Option<ProgressBar>,
    images: Option<Images>,
}

/// Work on images that no bar shows, where stderr is no terminal.
struct Images {
    what: String,
    n_done: u64,
    n_images: u64,
    told: Instant,
}

/// Nobody waits longer for a sign of life.
const SILENCE: Duration = Duration::from_secs(10);

impl DownloadBar {
    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.images = None;
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
        if let Some(images) = &mut self.images {
            images.n_done += bytes;
            if images.told.elapsed() > SILENCE {
                images.told = Instant::now();
                let (done, all) = (thousands(images.n_done), thousands(images.n_images));
                warn(&format!("{} images: {done} of {all}", images.what));
            }
        }
    }

    fn finish(&mut self) {
        self.clear();
    }

    fn stage(&mut self, what: &str, n_images: u64) {
        self.clear();
        let bar = ProgressBar::new(n_images);
        let template = "{msg}  [{bar:28}]  {human_pos}/{human_len}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(format!("{what} images"));
        if bar.is_hidden() {
            self.images = Some(Images {
                what: what.to_owned(),
                n_done: 0,
                n_images,
                told: Instant::now(),
            });
        }
        self.bar = Some(bar);
    }

    fn retry(&mut self, reason: &str) {
        self.clear();
        warn(&format!("{reason}; trying again"));
    }
}
