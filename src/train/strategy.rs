//! The epoch loop, as a strategy of burn-train's `SupervisedTraining`. burn's own loop cannot stop in
//! the middle of an epoch with a checkpoint, nor go on from there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use burn::train::metric::store::EventStoreClient;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent,
    LearningCheckpointer, SupervisedLearningStrategy, SupervisedTrainingEventProcessor,
    TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};

use super::checkpoint::{STATE_FILE, Slot};
use super::early_stopping::{EarlyStoppingConfig, observe_plateau};
use super::metrics::{StepOutput, Sums, accuracy, images, mean_loss};
use super::progress::Progress;
use super::schedule::{PlateauFactor, ReduceOnPlateauConfig};
use super::step::Trainee;
use super::{Ended, StopFlag};
use crate::data::loader::Cursor;
use crate::run::RunFolder;
use crate::run::checkpoints::{Meta, Pointer, Store};
use crate::run::records::{self, EpochRow, EpochTotals, TrainState};

/// What the loop needs beside burn-train's own components.
pub(super) struct EpochLoop {
    pub(super) epochs: u64,
    pub(super) batch_size: u64,
    pub(super) early_stopping: EarlyStoppingConfig,
    pub(super) plateau: Option<(ReduceOnPlateauConfig, f64)>,
    pub(super) factor: PlateauFactor,
    pub(super) cursor: Cursor,
    pub(super) slot: Slot,
    pub(super) run: RunFolder,
    pub(super) config_sha256: String,
    pub(super) data_sha256: String,
    pub(super) progress: Progress,
    pub(super) stop: StopFlag,
    pub(super) device: Device,
    /// In: where to start. Out: where it ended.
    pub(super) state: Mutex<TrainState>,
    pub(super) ended: Mutex<Option<Result<Ended>>>,
}

/// How often the sums are read for the progress bar and the dashboard.
const REPORT_EVERY: Duration = Duration::from_millis(250);

impl SupervisedLearningStrategy<Trainee> for EpochLoop {
    fn fit(
        &self,
        components: TrainingComponents<Trainee>,
        mut learner: Learner<Trainee>,
        train: TrainLoader<Trainee>,
        valid: ValidLoader<Trainee>,
        _starting_epoch: usize,
    ) -> (Trainee, SupervisedTrainingEventProcessor<Trainee>) {
        learner.fork(&self.device.clone().autodiff());
        let lock = |error: PoisonError<_>| error.into_inner();
        let mut pass = Pass {
            settings: self,
            learner,
            train,
            valid,
            processor: components.event_processor,
            checkpointer: components.checkpointer,
            event_store: components.event_store,
            interrupter: components.interrupter,
            state: self.state.lock().unwrap_or_else(lock).clone(),
        };
        let ended = pass.run();
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = pass.state;
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        (pass.learner.model(), pass.processor)
    }
}

/// One call of `fit`.
struct Pass<'a> {
    settings: &'a EpochLoop,
    learner: Learner<Trainee>,
    train: TrainLoader<Trainee>,
    valid: ValidLoader<Trainee>,
    processor: SupervisedTrainingEventProcessor<Trainee>,
    checkpointer: Option<LearningCheckpointer<Trainee>>,
    event_store: Arc<EventStoreClient>,
    interrupter: Interrupter,
    state: TrainState,
}

impl Pass<'_> {
    fn run(&mut self) -> Result<Ended> {
        while !self.state.finished {
            let started = Instant::now();
            let whole = self.train_epoch()?;
            // An epoch whose steps are all done is also validated: that is short, and then the
            // checkpoint stands between two epochs.
            let valid = if whole { Some(self.validate()?) } else { None };
            self.state.epoch_seconds += started.elapsed().as_secs_f64();
            match valid {
                Some(valid) => self.end_epoch(valid)?,
                None => self.save()?,
            }
            if self.must_stop() && !self.state.finished {
                return Ok(Ended::Stopped);
            }
        }
        if self.settings.early_stopping.stops(&self.state) {
            Ok(Ended::EarlyStopped)
        } else {
            Ok(Ended::Finished)
        }
    }

    /// The rest of the epoch's steps. False when it was told to stop before the last one.
    fn train_epoch(&mut self) -> Result<bool> {
        let epoch = self.state.epoch;
        let total = self.train.num_items();
        self.settings.cursor.set(epoch, self.state.batch);
        self.settings.progress.start_epoch(
            epoch,
            self.state.totals.images as usize,
            total,
            self.settings.batch_size as usize,
        );
        self.train_event(LearnerEvent::StartSplit {
            epoch_number: epoch as usize,
            total_items: total,
        })?;
        let base = self.settings.device.clone();
        let mut sums = Sums::of(&self.state.totals, &base);
        let mut reported = Instant::now();
        let train = self.train.clone();
        let mut batches = train.iter();
        let mut whole = true;
        loop {
            if self.must_stop() {
                whole = self.state.batch * self.settings.batch_size >= total as u64;
                if self.settings.stop.signal().is_some() {
                    let note = "stopping: a checkpoint is being saved (once more leaves at once)";
                    self.settings.progress.note(note);
                }
                break;
            }
            let Some(batch) = batches.next() else { break };
            let step = self.learner.train_step(batch.context("the next batch")?);
            self.learner.lr_step();
            self.learner.optimizer_step(step.grads);
            step.item.add_to(&mut sums);
            self.state.batch += 1;
            self.state.step += 1;
            if reported.elapsed() >= REPORT_EVERY {
                let done = batches.progress().items_processed;
                self.report_training(sums.read()?, done, total)?;
                reported = Instant::now();
            }
        }
        self.state.totals = sums.read().context("reading the epoch's loss")?;
        self.check_finite(mean_loss(&self.state.totals), "training")?;
        self.report_training(self.state.totals, self.state.totals.images as usize, total)?;
        self.train_event(LearnerEvent::EndSplit(epoch as usize))?;
        Ok(whole)
    }

    fn report_training(&mut self, totals: EpochTotals, done: usize, total: usize) -> Result<()> {
        let item = TrainingItem::new(
            StepOutput::Read(totals),
            images(done, total),
            Some(self.state.step as usize),
            Some(self.learner.lr_current()),
        );
        self.train_event(LearnerEvent::ProcessedItem(item))
    }

    /// Sums over the validation split; zeros where there is none.
    fn validate(&mut self) -> Result<EpochTotals> {
        let total = self.valid.num_items();
        let mut sums = Sums::of(&EpochTotals::default(), &self.settings.device);
        if total == 0 {
            return Ok(EpochTotals::default());
        }
        self.settings.progress.start_validation(total);
        let epoch = self.state.epoch as usize;
        self.valid_event(LearnerEvent::StartSplit {
            epoch_number: epoch,
            total_items: total,
        })?;
        let model = burn::module::Module::valid(&self.learner.model());
        let valid = self.valid.clone();
        let mut batches = valid.iter();
        for batch in &mut *batches {
            let batch = batch.context("the next validation batch")?;
            InferenceStep::step(&model, batch).add_to(&mut sums);
        }
        let totals = sums.read().context("reading the validation loss")?;
        let item = TrainingItem::new(StepOutput::Read(totals), images(total, total), None, None);
        self.valid_event(LearnerEvent::ProcessedItem(item))?;
        self.valid_event(LearnerEvent::EndSplit(epoch))?;
        self.train_event(LearnerEvent::EndEpoch(epoch))?;
        self.check_finite(mean_loss(&totals), "validation")?;
        Ok(totals)
    }

    /// The row, the verdicts on best and early stopping, the checkpoint.
    fn end_epoch(&mut self, valid: EpochTotals) -> Result<()> {
        let validates = valid.images > 0;
        let (valid_loss, valid_accuracy) = (mean_loss(&valid), accuracy(&valid));
        let mut best = false;
        if validates {
            let early_stopping = &self.settings.early_stopping;
            best = early_stopping.observe(&mut self.state, valid_loss, valid_accuracy);
            if let Some((config, peak)) = &self.settings.plateau {
                observe_plateau(config, *peak, &mut self.state.plateau, valid_loss);
                self.settings.factor.set(self.state.plateau.factor);
            }
        }
        let row = EpochRow {
            epoch: self.state.epoch,
            step: self.state.step,
            seconds: self.state.epoch_seconds,
            learning_rate: self.learner.lr_current().base(),
            train_loss: mean_loss(&self.state.totals),
            train_accuracy: accuracy(&self.state.totals),
            valid_loss: validates.then_some(valid_loss),
            valid_accuracy: validates.then_some(valid_accuracy),
            best,
        };
        records::append(&self.settings.run.results(), &row)?;
        self.settings.progress.row(&row);

        let state = &mut self.state;
        state.history.push(row);
        state.epoch += 1;
        state.batch = 0;
        state.totals = EpochTotals::default();
        state.epoch_seconds = 0.0;
        state.finished =
            state.epoch > self.settings.epochs || self.settings.early_stopping.stops(state);
        self.save()
    }

    /// Writes a whole checkpoint, then moves the pointers, then deletes what is no longer needed.
    fn save(&mut self) -> Result<()> {
        let step = self.state.step;
        // burn's running states (batch norm) hold the last update back from a record until somebody
        // asks for the validation model.
        let _ = burn::module::Module::valid(&self.learner.model());
        let Some(checkpointer) = &mut self.checkpointer else {
            bail!("this training has no checkpointer");
        };
        checkpointer.checkpoint(&self.learner, step as usize, &self.event_store);
        let parts = self.settings.slot.take()?;
        let state = records::to_json(&self.state)?;
        let mut files: Vec<(&str, &[u8])> = parts
            .iter()
            .map(|(name, bytes)| (*name, &bytes[..]))
            .collect();
        files.push((STATE_FILE, &state));

        let store = Store::new(&self.settings.run.root);
        let meta = Meta {
            step,
            epoch: self.state.epoch,
            batch: self.state.batch,
            config_sha256: self.settings.config_sha256.clone(),
            data_sha256: self.settings.data_sha256.clone(),
        };
        store.write(&meta, &files)?;
        store.point(Pointer::Last, step)?;
        let best = self.state.best.as_ref().map(|best| best.step);
        if let Some(best) = best {
            store.point(Pointer::Best, best)?;
        }
        let keep: Vec<u64> = best.into_iter().chain([step]).collect();
        store.prune(&keep)?;
        Ok(())
    }

    fn check_finite(&self, loss: f64, of: &str) -> Result<()> {
        if loss.is_finite() {
            return Ok(());
        }
        let last = Store::new(&self.settings.run.root).pointed(Pointer::Last);
        let kept = match last {
            Some(step) => format!("The checkpoint of step {step} is kept."),
            None => "There is no checkpoint yet.".to_owned(),
        };
        bail!(
            "the {of} loss is {loss} at step {} (epoch {})\nhint: {kept} Try a smaller \
             optimizer.learning_rate, or train.clip_norm = 1.0",
            self.state.step,
            self.state.epoch
        );
    }

    fn must_stop(&self) -> bool {
        self.settings.stop.is_up(self.state.step) || self.interrupter.should_stop()
    }

    fn train_event(&mut self, event: LearnerEvent<StepOutput>) -> Result<()> {
        Ok(self.processor.process_train(event)?)
    }

    fn valid_event(&mut self, event: LearnerEvent<StepOutput>) -> Result<()> {
        Ok(self.processor.process_valid(event)?)
    }
}
