//! A training's steps, one by one. The epoch loop is made of the same functions and adds what lies
//! between the steps: checkpoints, validation, what a person sees. `weft bench` takes them bare, or in
//! parts.

use std::time::Instant;

use anyhow::{Context, Error, Result, bail};
use burn::data::dataloader::{DataLoader, DataLoaderIterator};
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::module::Module;
use burn::tensor::Device;
use burn::train::Learner;

use super::average::Average;
use super::metrics::{ReadError, Sums, mean_loss};
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

/// One step: forward, loss, backward, update, average, sums. Nothing is read back.
pub(super) fn advance(
    learner: &mut Learner<Trainee>,
    average: Option<&mut Average>,
    batch: Batch,
    sums: &mut Sums,
) {
    let step = learner.train_step(batch);
    learner.lr_step();
    learner.optimizer_step(step.grads);
    take_in(learner, average);
    step.item.add_to(sums);
}

/// Brings the average up to date after an optimizer step.
fn take_in(learner: &Learner<Trainee>, average: Option<&mut Average>) {
    if let Some(average) = average {
        // `valid()` also brings the running statistics of batch norms up to date.
        average.update(&learner.model().valid());
    }
}

/// The same in parts, each of which is timed until the device is done with it: seconds of forward,
/// backward, optimizer, metrics. The sum is longer than a step: the host waits where it would go on,
/// and a GPU fuses nothing across the parts.
fn advance_in_phases(
    learner: &mut Learner<Trainee>,
    average: Option<&mut Average>,
    batch: Batch,
    sums: &mut Sums,
    clock: &mut Clock,
) -> Result<[f64; 4]> {
    let model = learner.model();
    let pass = model.forward(batch);
    let forward = clock.lap()?;
    let grads = model.backward(&pass);
    // Nobody else has the weights when the optimizer changes them, as in a whole step.
    drop(model);
    let backward = clock.lap()?;
    let of_step = pass.sums();
    let summing = clock.lap()?;
    learner.lr_step();
    learner.optimizer_step(grads);
    take_in(learner, average);
    let optimizer = clock.lap()?;
    of_step.add_to(sums);
    Ok([forward, backward, optimizer, summing + clock.lap()?])
}

/// Tells how long the device took since it was last asked.
struct Clock {
    device: Device,
    since: Instant,
}

impl Clock {
    fn start(device: &Device) -> Result<Self> {
        device.sync().context("waiting for the device")?;
        Ok(Self {
            device: device.clone(),
            since: Instant::now(),
        })
    }

    fn lap(&mut self) -> Result<f64> {
        self.device.sync().context("waiting for the device")?;
        let now = Instant::now();
        let seconds = now.duration_since(self.since).as_secs_f64();
        self.since = now;
        Ok(seconds)
    }
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
    average: Option<Average>,
    batches: Box<dyn DataLoaderIterator<Batch> + 'a>,
    epoch: u64,
    /// Steps taken.
    n_done: u64,
    /// Over the last run.
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
        let decay = config.train.ema_decay;
        let average = (decay > 0.0).then(|| Average::new(decay, 0, &model.valid()));
        let mut learner = learner(config, model, data.n_batches, RateFactor::default());
        learner.fork(&device.clone().autodiff());
        Self {
            data,
            learner,
            average,
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
        let average = self.average.as_mut();
        advance(&mut self.learner, average, batch, &mut self.sums);
        self.n_done += 1;
        Ok(())
    }

    /// Takes so many steps. Nothing is read back; the device then has nothing left to do.
    pub fn run(&mut self, n_steps: usize) -> Result<()> {
        self.sums = Sums::of(&EpochTotals::default(), &self.device);
        for _ in 0..n_steps {
            self.advance()?;
        }
        self.finish()
    }

    /// The mean loss over the last [`run`](Self::run).
    ///
    /// # Errors
    /// When it is NaN or infinite, or the device failed.
    pub fn mean_loss(&mut self) -> Result<f64> {
        let totals = self.sums.read();
        failure::check()?;
        match totals {
            Ok(totals) => Ok(mean_loss(&totals)),
            Err(ReadError::NotFinite { value, steps_since }) => bail!(
                "the loss is {value} at step {}: such a training is not measured\n\
                 hint: use a smaller optimizer.learning_rate, or train.clip_norm = 1.0",
                self.n_done - steps_since
            ),
            Err(error) => Err(Error::from(error).context("reading the loss")),
        }
    }

    /// The mean loss of each step of the last [`run`](Self::run), before anything else is read of it.
    ///
    /// # Errors
    /// As [`mean_loss`](Self::mean_loss).
    pub fn losses(&mut self) -> Result<Vec<f64>> {
        let sums = self.sums.losses();
        self.mean_loss()?;
        let n_images = self.data.batch_size as f64;
        let losses = sums?.into_iter().map(|sum| f64::from(sum) / n_images);
        Ok(losses.collect())
    }

    /// Takes the next step in parts: milliseconds of data, forward, backward, optimizer, metrics, each
    /// until the device is done with it.
    pub fn advance_in_phases(&mut self) -> Result<[f64; 5]> {
        let mut clock = Clock::start(&self.device)?;
        let batch = self.next_batch()?;
        let data = clock.lap()?;
        let (learner, average) = (&mut self.learner, self.average.as_mut());
        let rest = advance_in_phases(learner, average, batch, &mut self.sums, &mut clock)?;
        self.n_done += 1;
        failure::check()?;
        let [forward, backward, optimizer, metrics] = rest;
        let seconds = [data, forward, backward, optimizer, metrics];
        Ok(seconds.map(|seconds| seconds * 1e3))
    }

    /// The model as it is now, for the forward pass alone.
    pub fn inference_model(&self) -> Trainee {
        self.learner.model().valid()
    }

    /// The same with the average of the weights, if one is kept.
    pub fn averaged_model(&self) -> Option<Trainee> {
        let average = self.average.as_ref()?;
        Some(average.model(self.inference_model()))
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
