//! What a run goes on from: its newest whole checkpoint, or the start of the epoch in which it diverged.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Experiment;
use crate::config::ExperimentConfig;
use crate::run::RunFolder;
use crate::run::checkpoints::{Checkpoint, CheckpointError, Damaged, Fault, Pointer, Store};
use crate::run::records::{self, Change, RecordError, Rollback, TrainState};
use crate::train::Diverged;
use crate::train::checkpoint::{CONFIG_FILE, STATE_FILE};

impl Experiment {
    /// Refuses a checkpoint of another model, other data or another seed.
    pub fn check_made(&self, checkpoint: &Checkpoint) -> Result<()> {
        let manifest = &checkpoint.manifest;
        if manifest.config_sha256 != self.config.identity()? {
            let (fixed, _) = config_of(checkpoint)?.changes(&self.config)?;
            Self::refuse(&fixed, checkpoint)?;
        }
        if manifest.data_sha256 != self.data_sha256() {
            bail!(
                "{} was trained on other images than {} holds\nhint: give the first ones with --data DIR",
                checkpoint.folder.display(),
                self.splits.source().location
            );
        }
        Ok(())
    }

    /// Refuses changes in what fixes the weights. There are none when the hash of the config is another
    /// one only because another weft knows other keys.
    pub fn refuse(fixed: &[Change], checkpoint: &Checkpoint) -> Result<()> {
        if fixed.is_empty() {
            return Ok(());
        }
        let diff: String = fixed.iter().map(|change| format!("\n  {change}")).collect();
        bail!(
            "the config was changed since {} was written, in what fixes the weights:{diff}\n\
             hint: undo that, or start a new run with `weft train` and the changed file",
            checkpoint.folder.display()
        )
    }

    /// What differs from the config that a checkpoint was written with, and may.
    pub fn changes_since(&self, checkpoint: &Checkpoint) -> Result<Vec<Change>> {
        Ok(config_of(checkpoint)?.changes(&self.config)?.1)
    }
}

/// The state that a checkpoint holds.
pub fn state_of(checkpoint: &Checkpoint) -> Result<TrainState> {
    let path = checkpoint.folder.join(STATE_FILE);
    Ok(records::train_state(checkpoint.file(STATE_FILE)?, &path)?)
}

/// The state, if this weft reads it and it belongs to its checkpoint.
fn readable_state(checkpoint: &Checkpoint) -> Result<TrainState, Fault> {
    let fault = |reason| (STATE_FILE.to_owned(), reason);
    let Some(bytes) = checkpoint.files.get(STATE_FILE) else {
        return Err(fault("is not part of it".to_owned()));
    };
    let state =
        records::train_state(bytes, Path::new(STATE_FILE)).map_err(|error| match error {
            RecordError::Invalid { reason, .. } => fault(format!("cannot be used: {reason}")),
            other => fault(format!("cannot be used: {other}")),
        })?;
    let manifest = &checkpoint.manifest;
    if (state.step, state.epoch, state.batch) != (manifest.step, manifest.epoch, manifest.batch) {
        return Err(fault(format!("is that of step {}", state.step)));
    }
    Ok(state)
}

/// The config that a checkpoint was written with.
pub fn config_of(checkpoint: &Checkpoint) -> Result<ExperimentConfig> {
    let path = checkpoint.folder.join(CONFIG_FILE);
    let bytes = checkpoint.file(CONFIG_FILE)?;
    let text = std::str::from_utf8(bytes).with_context(|| format!("{}", path.display()))?;
    ExperimentConfig::from_checkpoint(text).with_context(|| {
        format!(
            "{} is of another weft\nhint: use the weft that wrote it",
            path.display()
        )
    })
}

/// Takes a run back to the start of the epoch in which it diverged.
pub(super) fn roll_back(
    run: &RunFolder,
    diverged: &Diverged,
    after: TrainState,
) -> Result<(Checkpoint, TrainState)> {
    let store = Store::new(&run.root);
    // Nothing that is not finite was saved, so any whole checkpoint will do where that one is damaged.
    let checkpoint = match store.load(diverged.epoch_start) {
        Ok(checkpoint) => checkpoint,
        Err(_) => store.latest_whole()?.0,
    };
    let mut state = state_of(&checkpoint)?;
    // It may be the end of a run that was asked to go on.
    state.finished = false;
    state.starts = after.starts;
    state.rollbacks = after.rollbacks;
    state.rollbacks.push(Rollback {
        step: diverged.step,
        what: diverged.what.clone(),
        to_step: state.step,
    });
    // A kill amid these finds the checkpoints of the way that diverged, goes it again and turns back
    // at the same place.
    store.point(Pointer::Last, state.step)?;
    state.best = state.best.filter(|best| store.load(best.step).is_ok());
    if let Some(best) = &state.best {
        store.point(Pointer::Best, best.step)?;
    }
    store.remove_after(state.step)?;
    records::restore(&run.results(), &state.history)?;
    Ok((checkpoint, state))
}

/// What a resume starts from.
pub struct ResumePoint {
    /// The newest whole checkpoint.
    pub checkpoint: Checkpoint,
    /// Its state.
    pub state: TrainState,
    /// Newer ones that did not verify.
    pub damaged: Vec<Damaged>,
}

impl ResumePoint {
    /// Finds the newest whole checkpoint of a run.
    pub fn find(run: &RunFolder) -> Result<Self> {
        let (checkpoint, state, damaged) = Store::new(&run.root).latest_read(readable_state)?;
        Ok(Self {
            checkpoint,
            state,
            damaged,
        })
    }

    /// Forgets a best checkpoint that is damaged or gone, so that a later epoch can become the best.
    /// Returns what is wrong with it.
    pub fn forget_lost_best(&mut self, run: &RunFolder) -> Option<CheckpointError> {
        let best = self.state.best.as_ref()?;
        let error = Store::new(&run.root).load(best.step).err()?;
        self.state.best = None;
        Some(error)
    }

    /// Brings back what may have been lost after the checkpoint was written, and takes away what came
    /// after it: rows of results.csv, the pointers.
    pub fn mend(&self, run: &RunFolder) -> Result<()> {
        let store = Store::new(&run.root);
        store.point(Pointer::Last, self.state.step)?;
        if let Some(best) = &self.state.best {
            store.point(Pointer::Best, best.step)?;
        }
        Ok(records::restore(&run.results(), &self.state.history)?)
    }

    /// The same, or None for a run that ended before it had saved anything.
    pub fn find_any(run: &RunFolder) -> Result<Option<Self>> {
        let store = Store::new(&run.root);
        store.recover()?;
        if store.steps()?.is_empty() && !run.results().exists() {
            return Ok(None);
        }
        Self::find(run).map(Some)
    }
}
