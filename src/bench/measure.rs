//! The figures of one experiment, in the order in which they disturb each other least.

use std::ffi::OsString;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::data::dataloader::DataLoader;
use burn::train::InferenceStep;

use super::record::{Arithmetic, Benchmark, Inference, Kernel, Launches, Memory, Phases, Timing};
use super::turns::{self, Turns};
use super::{memory, start};
use crate::data::loader::{Order, ResidentLoader};
use crate::device::{self, measure as of_device};
use crate::experiment::{Experiment, SplitName};
use crate::failure;
use crate::model::kernel_path::kernel_path;
use crate::run::records::EpochTotals;
use crate::train::metrics::Sums;
use crate::train::step::Trainee;

/// How much is measured.
pub struct Options {
    /// Of a turn.
    pub n_steps: usize,
    /// Turns that are timed.
    pub n_turns: usize,
    /// What makes this program take one step and tell; None does not measure the start.
    pub start: Option<Vec<OsString>>,
}

/// What is measured next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first turn.
    WarmUp,
    /// A turn that counts, from 1 on, of so many.
    Turn(usize, usize),
    /// The parts of a step, and its launches.
    Parts,
    /// The forward pass alone.
    Inference,
    /// The most that the device can do.
    Peak,
    /// Cold and warm start.
    Start,
}

impl Stage {
    /// Whether a GPU may take minutes for it, to compile and tune kernels.
    pub fn compiles(self) -> bool {
        matches!(self, Self::WarmUp | Self::Start)
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WarmUp => f.write_str("warming up"),
            Self::Turn(turn, of) => write!(f, "turn {turn} of {of}"),
            Self::Parts => f.write_str("parts of a step"),
            Self::Inference => f.write_str("inference"),
            Self::Peak => f.write_str("the device's peak"),
            Self::Start => f.write_str("cold and warm start"),
        }
    }
}

/// Steps before the first that is timed, at least: a GPU goes on to choose and fuse kernels after the
/// first.
const WARM_UP_STEPS: usize = 10;
/// Steps of which the parts are timed, and those before that make their kernels.
const PHASE_STEPS: usize = 10;
const PHASE_WARM_UP: usize = 3;
/// Steps in which launches are counted.
const LAUNCH_STEPS: usize = 5;
/// Most forward passes of a turn of inference.
const MOST_PASSES: usize = 20;

/// Measures an experiment. `on_stage` hears what comes next.
pub fn measure(
    experiment: &Experiment,
    options: &Options,
    on_stage: &dyn Fn(Stage),
) -> Result<Benchmark> {
    let device = &experiment.device.device;
    of_device::release_memory(device);
    memory::restart();

    on_stage(Stage::WarmUp);
    let data = turns::upload(experiment);
    let mut turns = Turns::new(experiment, &data, options.n_steps);
    let warm_up = turns.warm_up()?;
    turns
        .steps
        .run(WARM_UP_STEPS.saturating_sub(options.n_steps))?;
    let mut all_ms = Vec::new();
    for turn in 1..=options.n_turns {
        on_stage(Stage::Turn(turn, options.n_turns));
        all_ms.push(turns.turn()?.ms_per_step);
    }
    let step = Timing::of(all_ms);
    let highest = highest_memory(experiment);
    on_stage(Stage::Parts);
    let phases = phases(&mut turns, options.n_steps)?;
    let launches = match experiment.device.adapter {
        Some(_) => Some(launches(&mut turns)?),
        None => None,
    };
    on_stage(Stage::Inference);
    let inference = inference(experiment, &turns.steps.inference_model(), options.n_turns)?;
    drop(turns);
    on_stage(Stage::Peak);
    let arithmetic = arithmetic(experiment, &step);
    let start = match &options.start {
        Some(arguments) => {
            on_stage(Stage::Start);
            Some(start::measure(arguments, step.median_ms)?)
        }
        None => None,
    };
    failure::check()?;

    let config = &experiment.config;
    let input = experiment.input;
    Ok(Benchmark {
        config: config.name.clone(),
        model: config.model.summary(),
        parameters: experiment.n_parameters(),
        device: experiment.device.name.clone(),
        backend: experiment.device.backend.to_owned(),
        cpu_threads: device::threads(),
        kernels: kernel_path(
            &config.model,
            experiment.input,
            config.train.batch_size,
            experiment.device.adapter.is_none(),
        ),
        data: experiment.splits.source().title(),
        image: [input.channels, input.height, input.width],
        batch: config.train.batch_size,
        steps: options.n_steps,
        repeats: options.n_turns,
        images_per_second: step.per_second(config.train.batch_size),
        step,
        losses: warm_up.losses,
        phases,
        inference,
        launches,
        arithmetic,
        memory: highest,
        start,
    })
}

fn highest_memory(experiment: &Experiment) -> Memory {
    let on_device = of_device::memory(&experiment.device.device);
    Memory {
        process_peak_bytes: memory::peak(),
        device_in_use_bytes: on_device.map(|memory| memory.in_use),
        device_reserved_bytes: on_device.map(|memory| memory.reserved),
    }
}

fn phases(turns: &mut Turns, n_steps: usize) -> Result<Phases> {
    let steps = &mut turns.steps;
    for _ in 0..PHASE_WARM_UP {
        steps.advance_in_phases()?;
    }
    let timed = (0..n_steps.min(PHASE_STEPS)).map(|_| steps.advance_in_phases());
    let timed: Vec<[f64; 5]> = timed.collect::<Result<_>>()?;
    Ok(Phases::of(&timed))
}

/// Of whole steps, and of one before them so that nothing is left of what was before.
fn launches(turns: &mut Turns) -> Result<Launches> {
    let steps = &mut turns.steps;
    steps.run(1)?;
    let mut taken = Ok(());
    let ((), seen) = of_device::launches(|| {
        taken = steps.run(LAUNCH_STEPS);
    });
    taken?;
    let per_step = |n: u64| n as f64 / LAUNCH_STEPS as f64;
    let ms_per_step = |seconds: f64| seconds * 1e3 / LAUNCH_STEPS as f64;
    let seconds = seen.iter().map(|kernel| kernel.seconds);
    Ok(Launches {
        per_step: per_step(seen.iter().map(|kernel| kernel.n).sum()),
        device_ms_per_step: seconds.sum::<Option<f64>>().map(ms_per_step),
        kernels: seen
            .iter()
            .map(|kernel| Kernel {
                name: kernel.kernel.clone(),
                per_step: per_step(kernel.n),
                device_ms_per_step: kernel.seconds.map(ms_per_step),
            })
            .collect(),
    })
}

/// The training split serves: there is always one.
fn inference(experiment: &Experiment, model: &Trainee, n_turns: usize) -> Result<Inference> {
    let device = &experiment.device.device;
    let n_images = experiment.n_images(SplitName::Train);
    let batch = experiment.config.train.evaluation_batch_size.min(n_images);
    let split = experiment.upload(SplitName::Train, device);
    let loader = ResidentLoader::new(split, batch, Order::Stored);
    let n_passes = (n_images / batch).min(MOST_PASSES);
    let mut all_ms = Vec::new();
    for turn in 0..=n_turns {
        device.sync().context("waiting for the device")?;
        let started = Instant::now();
        let mut sums = Sums::of(&EpochTotals::default(), device);
        for batch in loader.iter().take(n_passes) {
            InferenceStep::step(model, batch.context("the next batch")?).add_to(&mut sums);
        }
        sums.read()?;
        device.sync().context("waiting for the device")?;
        // The first turn makes the kernels.
        if turn > 0 {
            all_ms.push(started.elapsed().as_secs_f64() * 1e3 / n_passes as f64);
        }
    }
    let pass = Timing::of(all_ms);
    Ok(Inference {
        batch,
        images_per_second: pass.per_second(batch),
        pass,
    })
}

fn arithmetic(experiment: &Experiment, step: &Timing) -> Arithmetic {
    let config = &experiment.config;
    let per_image = config.model.training_flops(experiment.input);
    let flops = per_image.saturating_mul(config.train.batch_size as u64);
    let per_second = flops as f64 / (step.median_ms * 1e-3);
    let peak = of_device::peak(&experiment.device.device);
    let peak_flops = peak.as_ref().map(|peak| peak.flops_per_second);
    Arithmetic {
        flops_per_step: flops,
        flops_per_second: per_second,
        peak_flops_per_second: peak_flops,
        peak_of: peak.map(|peak| peak.how.to_owned()),
        share_of_peak: peak_flops.map(|peak| per_second / peak),
    }
}
