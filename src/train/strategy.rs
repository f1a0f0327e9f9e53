//! The epoch loop, as a strategy of burn-train's `SupervisedTraining`. burn's own loop cannot stop in
//! the middle of an epoch with a checkpoint, nor go on from there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use burn::tensor::Device;
use burn::train::metric::store::EventStoreClient;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent,
    LearningCheckpointer, SupervisedLearningStrategy, SupervisedTrainingEventProcessor,
    TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};

use super::average::Average;
use super::checkpoint::{AVERAGE_FILE, CONFIG_FILE, PartError, STATE_FILE, Slot, model_file};
use super::early_stopping::{EarlyStoppingConfig, observe_plateau};
use super::metrics::{ReadError, StepOutput, Sums, accuracy, images, mean_loss};
use super::progress::Progress;
use super::schedule::{RateFactor, ReduceOnPlateauConfig};
use super::step::Trainee;
use super::{Diverged, Ended, StopFlag, rate_factor, steps};
use crate::data::loader::Cursor;
use crate::failure;
use crate::run::RunFolder;
use crate::run::checkpoints::{Meta, Pointer, Store};
use crate::run::records::{self, EpochRow, EpochTotals, TrainState};

/// What the loop needs beside burn-train's own components.
pub(super) struct EpochLoop {
    pub(super) epochs: u64,
    pub(super) batch_size: u64,
    /// Longest time between two checkpoints within an epoch.
    pub(super) save_every: Option<Duration>,
    /// Whether there is a checkpoint of the state it starts with.
    pub(super) saved: bool,
    pub(super) early_stopping: EarlyStoppingConfig,
    pub(super) plateau: Option<(ReduceOnPlateauConfig, f64)>,
    pub(super) factor: RateFactor,
    pub(super) cursor: Cursor,
    pub(super) slot: Slot,
    pub(super) run: RunFolder,
    pub(super) config_sha256: String,
    pub(super) config_toml: String,
    pub(super) data_sha256: String,
    pub(super) progress: Progress,
    pub(super) stop: StopFlag,
    pub(super) device: Device,
    /// In: the average of the weights to go on with, if one is kept.
    pub(super) average: Mutex<Option<Average>>,
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
        let state = self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let average = self
            .average
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut pass = Pass {
            settings: self,
            learner,
            average,
            train,
            valid,
            processor: components.event_processor,
            checkpointer: components.checkpointer,
            event_store: components.event_store,
            interrupter: components.interrupter,
            saved: self.saved.then_some((state.step, state.epoch)),
            last_save: Instant::now(),
            clock: Instant::now(),
            epoch: (state.epoch, state.epoch_start()),
            state,
        };
        // A divergence goes through the code as an error, and is none for burn-train's caller.
        let ended = pass.run().or_else(|error| match error.downcast() {
            Ok(diverged) => Ok(Ended::Diverged(diverged)),
            Err(error) => Err(error),
        });
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = pass.state;
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        (pass.learner.model(), pass.processor)
    }
}

/// One call of `fit`.
struct Pass<'a> {
    settings: &'a EpochLoop,
    learner: Learner<Trainee>,
    average: Option<Average>,
    train: TrainLoader<Trainee>,
    valid: ValidLoader<Trainee>,
    processor: SupervisedTrainingEventProcessor<Trainee>,
    checkpointer: Option<LearningCheckpointer<Trainee>>,
    event_store: Arc<EventStoreClient>,
    interrupter: Interrupter,
    state: TrainState,
    /// Step and epoch of the newest checkpoint.
    saved: Option<(u64, u64)>,
    last_save: Instant,
    /// The epoch that is trained or validated, and the step at which it began: the state is a line
    /// ahead when that epoch is saved.
    epoch: (u64, u64),
    /// What has run since the state's `epoch_seconds` were brought up to date.
    clock: Instant,
}

impl Pass<'_> {
    fn run(&mut self) -> Result<Ended> {
        // A checkpoint of the untrained model shows before any work that the disk takes one, and is
        // what a divergence in the first epoch goes back to.
        self.save()?;
        while !self.state.finished {
            self.clock = Instant::now();
            let whole = self.train_epoch()?;
            // An epoch whose steps are all done is also validated: that is short, and then the
            // checkpoint stands between two epochs.
            if whole {
                let valid = self.validate()?;
                self.end_epoch(valid)?;
            } else {
                self.save()?;
            }
            if self.must_stop() && !self.state.finished {
                return Ok(Ended::Stopped);
            }
        }
        let is_early = self.state.epoch <= self.settings.epochs;
        if is_early && self.settings.early_stopping.stops(&self.state) {
            Ok(Ended::EarlyStopped)
        } else {
            Ok(Ended::Finished)
        }
    }

    /// The rest of the epoch's steps. False when it was told to stop before the last one.
    fn train_epoch(&mut self) -> Result<bool> {
        let epoch = self.state.epoch;
        let total = self.train.num_items();
        self.epoch = (epoch, self.state.epoch_start());
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
        let mut sums = Sums::of(&self.state.totals, &self.settings.device);
        let mut reported = Instant::now();
        let train = self.train.clone();
        let mut batches = train.iter();
        let mut whole = true;
        loop {
            if self.must_stop() {
                whole = self.is_epoch_done();
                if self.settings.stop.signal().is_some() {
                    let note = "stopping: a checkpoint is being saved (once more leaves at once)";
                    self.settings.progress.note(note);
                }
                break;
            }
            if self.is_time_to_save() {
                self.read_training(&mut sums)?;
                self.save()?;
            }
            let Some(batch) = batches.next() else { break };
            let batch = batch.context("the next batch")?;
            steps::advance(&mut self.learner, self.average.as_mut(), batch, &mut sums);
            self.state.batch += 1;
            self.state.step += 1;
            if reported.elapsed() >= REPORT_EVERY {
                self.read_training(&mut sums)?;
                let done = batches.progress().items_processed;
                self.report_training(self.state.totals, done, total)?;
                reported = Instant::now();
            }
        }
        self.read_training(&mut sums)?;
        self.report_training(self.state.totals, self.state.totals.images as usize, total)?;
        self.train_event(LearnerEvent::EndSplit(epoch as usize))?;
        Ok(whole)
    }

    fn is_epoch_done(&self) -> bool {
        self.state.batch * self.settings.batch_size >= self.train.num_items() as u64
    }

    /// Not after an epoch's last step: that one is saved when it has been validated, and a step has
    /// one checkpoint.
    fn is_time_to_save(&self) -> bool {
        let every = self.settings.save_every;
        every.is_some_and(|every| self.last_save.elapsed() >= every) && !self.is_epoch_done()
    }

    /// Brings the state's sums up to date.
    fn read_training(&mut self, sums: &mut Sums) -> Result<()> {
        let read = sums.read();
        failure::check()?; // what a device gives after it was lost means nothing
        match read {
            Ok(totals) => {
                self.state.totals = totals;
                Ok(())
            }
            Err(ReadError::NotFinite { value, steps_since }) => {
                let what = format!("the training loss is {value}");
                Err(self.diverged(what, self.state.step - steps_since))
            }
            Err(error) => Err(Error::from(error).context("reading the epoch's loss")),
        }
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

    /// What validates and is the result: the average of the weights where one is kept.
    fn model(&self) -> Trainee {
        // burn's running states (batch norm) hold the last update back until somebody asks for the
        // validation model.
        let model = burn::module::Module::valid(&self.learner.model());
        match &self.average {
            Some(average) => average.model(model),
            None => model,
        }
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
        let model = self.model();
        let valid = self.valid.clone();
        let mut batches = valid.iter();
        for batch in &mut *batches {
            let batch = batch.context("the next validation batch")?;
            InferenceStep::step(&model, batch).add_to(&mut sums);
        }
        let read = sums.read();
        failure::check()?;
        let totals = match read {
            Ok(totals) => totals,
            Err(ReadError::NotFinite { value, .. }) => {
                let what = format!("the validation loss is {value}");
                return Err(self.diverged(what, self.state.step));
            }
            Err(error) => return Err(Error::from(error).context("reading the validation loss")),
        };
        let item = TrainingItem::new(StepOutput::Read(totals), images(total, total), None, None);
        self.valid_event(LearnerEvent::ProcessedItem(item))?;
        self.valid_event(LearnerEvent::EndSplit(epoch))?;
        self.train_event(LearnerEvent::EndEpoch(epoch))?;
        Ok(totals)
    }

    /// The row, the verdicts on best and early stopping, the checkpoint.
    fn end_epoch(&mut self, valid: EpochTotals) -> Result<()> {
        self.count_seconds();
        let validates = valid.images > 0;
        let (valid_loss, valid_accuracy) = (mean_loss(&valid), accuracy(&valid));
        let mut best = false;
        if validates {
            let early_stopping = &self.settings.early_stopping;
            best = early_stopping.observe(&mut self.state, valid_loss, valid_accuracy);
            if let Some((config, peak)) = &self.settings.plateau {
                observe_plateau(config, *peak, &mut self.state.plateau, valid_loss);
                self.settings.factor.set(rate_factor(&self.state));
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
        let state = &mut self.state;
        state.history.push(row);
        state.epoch += 1;
        state.batch = 0;
        state.totals = EpochTotals::default();
        state.epoch_seconds = 0.0;
        state.finished =
            state.epoch > self.settings.epochs || self.settings.early_stopping.stops(state);
        // The checkpoint first: a row whose epoch cannot be saved is not to be believed. A kill in
        // between leaves out a row that the checkpoint has, and a resume puts it back.
        self.save()?;
        records::append(&self.settings.run.results(), &row)?;
        self.settings.progress.row(&row);
        Ok(())
    }

    /// Writes a whole checkpoint, then moves the pointers, then deletes what is no longer needed.
    fn save(&mut self) -> Result<()> {
        let step = self.state.step;
        if self.saved == Some((step, self.state.epoch)) {
            return Ok(()); // nothing was done since
        }
        self.count_seconds();
        let started = Instant::now();
        let parts = self.parts();
        failure::check()?;
        let parts = parts.map_err(|error| match error.downcast_ref() {
            Some(PartError::NotFinite(tensor)) => {
                self.diverged(format!("{tensor} is not finite"), step)
            }
            _ => error,
        })?;
        // The time of this save itself is in the next one.
        let state = records::to_json(&self.state)?;
        let mut files: Vec<(&str, &[u8])> = parts
            .iter()
            .map(|(name, bytes)| (*name, &bytes[..]))
            .collect();
        files.push((STATE_FILE, &state));
        files.push((CONFIG_FILE, self.settings.config_toml.as_bytes()));

        let store = Store::new(&self.settings.run.root);
        let best = self.state.best.as_ref().map(|best| best.step);
        let meta = Meta {
            step,
            epoch: self.state.epoch,
            batch: self.state.batch,
            best,
            config_sha256: self.settings.config_sha256.clone(),
            data_sha256: self.settings.data_sha256.clone(),
        };
        store.write(&meta, &files)?;
        store.point(Pointer::Last, step)?;
        if let Some(best) = best {
            store.point(Pointer::Best, best)?;
        }
        let keep = [step, self.state.epoch_start()].into_iter().chain(best);
        store.prune(&keep.collect::<Vec<_>>())?;
        self.saved = Some((step, self.state.epoch));
        self.last_save = Instant::now();
        self.clock = Instant::now();
        self.state.checkpoint_seconds += started.elapsed().as_secs_f64();
        Ok(())
    }

    /// The tensors of a checkpoint, as files.
    fn parts(&mut self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        // Before the record of the weights: see `model`.
        let model = self.model();
        let Some(checkpointer) = &mut self.checkpointer else {
            bail!("this training has no checkpointer");
        };
        checkpointer.checkpoint(&self.learner, self.state.step as usize, &self.event_store);
        let mut parts = self.settings.slot.take()?;
        if self.average.is_some() {
            let bytes = model_file(model).map_err(|error| Error::from(error).context(AVERAGE_FILE));
            parts.push((AVERAGE_FILE, bytes?));
        }
        Ok(parts)
    }

    /// Brings the state's clock up to date.
    fn count_seconds(&mut self) {
        self.state.epoch_seconds += self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
    }

    fn diverged(&self, what: String, step: u64) -> Error {
        let (epoch, epoch_start) = self.epoch;
        Error::new(Diverged {
            what,
            step,
            epoch,
            epoch_start,
        })
    }

    fn must_stop(&self) -> bool {
        self.settings.stop.is_up(&self.state) || self.interrupter.should_stop()
    }

    fn train_event(&mut self, event: LearnerEvent<StepOutput>) -> Result<()> {
        Ok(self.processor.process_train(event)?)
    }

    fn valid_event(&mut self, event: LearnerEvent<StepOutput>) -> Result<()> {
        Ok(self.processor.process_valid(event)?)
    }
}
