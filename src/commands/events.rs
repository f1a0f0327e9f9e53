//! TensorBoard's event files, as `weft train` and `weft resume` write them.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use super::{describe, warn};
use crate::experiment::Experiment;
use crate::report::tensorboard::EventLog;
use crate::run::RunFolder;
use crate::run::records::Evaluation;
use crate::train::progress::Progress;

/// The event file of a training, if its config asks for one.
pub(super) struct Events(Option<Arc<Mutex<EventLog>>>);

impl Events {
    /// Begins a file, which from there on gets each epoch.
    pub(super) fn begin(
        experiment: &Experiment,
        run: &RunFolder,
        progress: &Progress,
    ) -> Result<Self> {
        if !experiment.config.report.tensorboard {
            return Ok(Self(None));
        }
        let log = Arc::new(Mutex::new(EventLog::begin(run, &experiment.config)?));
        let followed = log.clone();
        progress.after_row(move || {
            let mut log = followed.lock().unwrap_or_else(PoisonError::into_inner);
            log.follow().map_err(|error| first_line(&error))
        });
        Ok(Self(Some(log)))
    }

    /// Adds the result. A failure is a warning.
    pub(super) fn finish(&self, evaluation: Option<&Evaluation>) {
        let Some(log) = &self.0 else { return };
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.finish(evaluation) {
            warn(&format!("warning: {}", first_line(&error)));
        }
    }
}

fn first_line(error: &anyhow::Error) -> String {
    let text = describe(error);
    text.lines().next().unwrap_or_default().to_owned()
}
