//! What a page says of a run's checkpoints: how far it is, its history, the checksums of its result.

use crate::config::ExperimentConfig;
use crate::run::RunFolder;
use crate::run::checkpoints::{Manifest, Store};
use crate::run::records::{self, TrainState};
use crate::text::first_line;
use crate::train::checkpoint::STATE_FILE;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Finished,
    /// A process is at it, in this epoch.
    Training(u64),
    /// None is.
    Stopped(u64),
}

pub(in crate::report) struct Saved {
    /// Of the newest checkpoint that is whole.
    pub(in crate::report) state: Option<TrainState>,
    /// Of the checkpoint that is the result so far.
    pub(super) result: Option<Manifest>,
    pub(super) status: Status,
    /// What is not as it should be.
    pub(super) warnings: Vec<String>,
}

impl Saved {
    /// Reads no tensors. `evaluated_step` is the checkpoint that the test result is of.
    pub(in crate::report) fn read(
        run: &RunFolder,
        config: &ExperimentConfig,
        evaluated_step: Option<u64>,
    ) -> Self {
        let store = Store::new(&run.root);
        let (state, mut warnings) = newest(&store);
        let result_step = state
            .as_ref()
            .map(|state| config.early_stopping.result_step(state));
        let step = evaluated_step.or(result_step);
        let result = step.and_then(|step| match store.load_file(step, STATE_FILE) {
            Ok((manifest, _)) => Some(manifest),
            Err(_) if evaluated_step.is_some() && evaluated_step != result_step => None,
            Err(error) => {
                warnings.push(first_line(&error));
                None
            }
        });
        if let (Some(evaluated), Some(result)) = (evaluated_step, result_step)
            && evaluated != result
        {
            warnings.push(format!(
                "The test result is that of step {evaluated}, and the run's result is by now step \
                 {result}: `weft evaluate` measures it."
            ));
        }
        let status = status(run, config, state.as_ref());
        Self {
            state,
            result,
            status,
            warnings,
        }
    }
}

fn newest(store: &Store) -> (Option<TrainState>, Vec<String>) {
    let mut warnings = Vec::new();
    for step in store.steps().unwrap_or_default().into_iter().rev() {
        let path = store.step_folder(step).join(STATE_FILE);
        let state = match store.load_file(step, STATE_FILE) {
            Ok((_, bytes)) => records::train_state(&bytes, &path).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match state {
            Ok(state) => return (Some(state), warnings),
            // A trainer that is at work has pruned it.
            Err(_) if !store.step_folder(step).exists() => {}
            Err(error) => warnings.push(first_line(&error)),
        }
    }
    (None, warnings)
}

fn status(run: &RunFolder, config: &ExperimentConfig, state: Option<&TrainState>) -> Status {
    match state {
        // `finished` is of the config that it was saved with: a resume may ask for more epochs.
        Some(state)
            if state.finished
                && (state.history.len() as u64 >= config.train.epochs
                    || config.early_stopping.stops(state)) =>
        {
            Status::Finished
        }
        state => {
            let epoch = state.map_or(1, |state| state.epoch);
            match run.writer() {
                Some(_) => Status::Training(epoch.min(config.train.epochs.max(1))),
                None => Status::Stopped(epoch.min(config.train.epochs.max(1))),
            }
        }
    }
}
