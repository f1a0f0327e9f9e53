//! Turns of training steps, each ended with the device's work done.

use std::time::Instant;

use anyhow::Result;

use crate::experiment::{Experiment, SplitName};
use crate::train::steps::{StepData, Steps};

/// The steps of an experiment, from its initial weights on.
pub struct Turns<'a> {
    pub(super) steps: Steps<'a>,
    n_steps: usize,
}

/// One turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Of the wall clock, until the device has done its work; the loss is read back after that.
    pub ms_per_step: f64,
    /// Mean over its images.
    pub loss: f64,
}

/// The first turn, in which kernels are compiled and tuned and caches are filled.
#[derive(Clone, Debug)]
pub struct WarmUp {
    /// Mean loss of each step.
    pub losses: Vec<f64>,
    /// Of the wall clock, until the losses are read back.
    pub seconds: f64,
}

/// Copies an experiment's training split to its device.
pub fn upload(experiment: &Experiment) -> StepData {
    let device = experiment.device.device.clone().autodiff();
    let split = experiment.upload(SplitName::Train, &device);
    StepData::new(&experiment.config, split)
}

impl<'a> Turns<'a> {
    /// * `n_steps`: of a turn
    pub fn new(experiment: &Experiment, data: &'a StepData, n_steps: usize) -> Self {
        let device = &experiment.device.device;
        let model = experiment.untrained(&device.clone().autodiff());
        Self {
            steps: Steps::new(&experiment.config, data, model, device),
            n_steps,
        }
    }

    /// The turn before the first one that counts.
    pub fn warm_up(&mut self) -> Result<WarmUp> {
        let started = Instant::now();
        self.steps.run(self.n_steps)?;
        let losses = self.steps.losses()?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(WarmUp { losses, seconds })
    }

    /// The next turn.
    pub fn turn(&mut self) -> Result<Turn> {
        let started = Instant::now();
        self.steps.run(self.n_steps)?;
        let ms = started.elapsed().as_secs_f64() * 1e3;
        Ok(Turn {
            ms_per_step: ms / self.n_steps as f64,
            loss: self.steps.mean_loss()?,
        })
    }
}
