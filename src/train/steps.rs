//! A training's steps, one by one. The epoch loop is made of the same functions and adds what lies
//! between the steps: checkpoints, validation, what a person sees. `weft bench` takes them bare.

use anyhow::{Context, Error, Result, anyhow};
use burn::data::dataloader::{DataLoader, DataLoaderIterator};
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::tensor::Device;
use burn::train::Learner;

use super::metrics::{ReadError, Sums};
use super::schedule::{RateFactor, Schedule};
use super::step::Trainee;
use crate::config::ExperimentConfig;
use crate::data::loader::{Batch, Cursor, Order, ResidentLoader, ResidentSplit};
use crate::failure;
use crate::run::records::EpochTotals;

/// The batches of a training; `cursor` says which epoch comes next.
pub(super) fn loader(
    config: &ExperimentConfig,
    split: ResidentSplit,
    cursor: &Cursor,
) -> ResidentLoader {
    let order = Order::Shuffled {
        seed: config.seed,
        augmentation: config.augmentation.for_kernel(),
        cursor: cursor.clone(),
    };
    ResidentLoader::new(split, config.train.batch_size, order)
}

/// The model with the optimizer and the schedule of its config.
pub(super) fn learner(
    config: &ExperimentConfig,
    model: Trainee,
    n_batches: usize,
    factor: RateFactor,
) -> Learner<Trainee> {
    let schedule = Schedule::new(
        &config.schedule,
        config.optimizer.learning_rate(),
        n_batches as u64,
        config.train.epochs,
        factor,
    );
    let optimizer = config.optimizer.init();
    Learner::new(model, optimizer, ModuleLrScheduler::new(schedule))
}

/// One step: forward, loss, backward, update, sums. Nothing is read back.
pub(super) fn advance(learner: &mut Learner<Trainee>, batch: Batch, sums: &mut Sums) {
    let step = learner.train_step(batch);
    learner.lr_step();
    learner.optimizer_step(step.grads);
    step.item.add_to(sums);
}

/// The batches of a training from its first epoch on, on the device.
pub struct StepData {
    loader: ResidentLoader,
    cursor: Cursor,
    n_batches: usize,
    batch_size: usize,
}

impl StepData {
    /// * `split`: the training split
    pub fn new(config: &ExperimentConfig, split: ResidentSplit) -> Self {
        let cursor = Cursor::default();
        let loader = loader(config, split, &cursor);
        Self {
            n_batches: loader.n_batches(),
            loader,
            cursor,
            batch_size: config.train.batch_size,
        }
    }

    fn epoch(&self, epoch: u64) -> Box<dyn DataLoaderIterator<Batch> + '_> {
        self.cursor.set(epoch, 0);
        self.loader.iter()
    }
}

/// A training that takes a step when it is told to, epoch after epoch. Batches that an epoch's end cuts
/// short are left out, so that all steps are alike.
pub struct Steps<'a> {
    data: &'a StepData,
    learner: Learner<Trainee>,
    batches: Box<dyn DataLoaderIterator<Batch> + 'a>,
    epoch: u64,
    /// Steps taken.
    n_done: u64,
    /// Over the steps since somebody began to sum up.
    sums: Sums,
    device: Device,
}

impl<'a> Steps<'a> {
    /// * `data`: at least one whole batch
    /// * `model`: the untrained model, on the device with autodiff
    /// * `device`: without autodiff
    pub fn new(
        config: &ExperimentConfig,
        data: &'a StepData,
        model: Trainee,
        device: &Device,
    ) -> Self {
        let mut learner = learner(config, model, data.n_batches, RateFactor::default());
        learner.fork(&device.clone().autodiff());
        Self {
            data,
            learner,
            batches: data.epoch(1),
            epoch: 1,
            n_done: 0,
            sums: Sums::of(&EpochTotals::default(), device),
            device: device.clone(),
        }
    }

    /// Takes the next step.
    fn advance(&mut self) -> Result<()> {
        let batch = self.next_batch()?;
        advance(&mut self.learner, batch, &mut self.sums);
        self.n_done += 1;
        Ok(())
    }

    /// Takes so many steps and reads the sums over them back. The device then has nothing left to do.
    pub fn run(&mut self, n_steps: usize) -> Result<EpochTotals> {
        self.begin();
        for _ in 0..n_steps {
            self.advance()?;
        }
        let totals = self.read()?;
        self.finish()?;
        Ok(totals)
    }

    /// The same, and gives the mean loss of each of the steps, read back at the end.
    pub fn run_for_losses(&mut self, n_steps: usize) -> Result<Vec<f64>> {
        self.begin();
        for _ in 0..n_steps {
            self.advance()?;
        }
        let sums = self.sums.losses();
        self.read()?;
        self.finish()?;
        let n_images = self.data.batch_size as f64;
        let losses = sums?.into_iter().map(|sum| f64::from(sum) / n_images);
        Ok(losses.collect())
    }

    fn begin(&mut self) {
        self.sums = Sums::of(&EpochTotals::default(), &self.device);
    }

    fn read(&mut self) -> Result<EpochTotals> {
        let totals = self.sums.read();
        failure::check()?;
        totals.map_err(|error| match error {
            ReadError::NotFinite { value, steps_since } => anyhow!(
                "the loss is {value} at step {}: such a training is not measured\n\
                 hint: use a smaller optimizer.learning_rate, or train.clip_norm = 1.0",
                self.n_done - steps_since
            ),
            error => Error::from(error).context("reading the loss"),
        })
    }

    /// Waits until the device has done all it was given.
    fn finish(&self) -> Result<()> {
        self.device.sync().context("waiting for the device")?;
        failure::check()
    }

    fn next_batch(&mut self) -> Result<Batch> {
        loop {
            match self.batches.next() {
                Some(batch) => {
                    let batch = batch.context("the next batch")?;
                    if batch.n_images == self.data.batch_size {
                        return Ok(batch);
                    }
                }
                None => {
                    self.epoch += 1;
                    self.batches = self.data.epoch(self.epoch);
                }
            }
        }
    }
}
