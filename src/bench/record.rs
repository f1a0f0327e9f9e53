//! What `weft bench --json` prints; docs/benchmark.md explains it for people.

use serde::Serialize;

/// Of [`Document::schema`]; it grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// The whole document.
#[derive(Debug, Serialize)]
pub struct Document {
    /// [`SCHEMA`]
    pub schema: u32,
    /// Version of weft.
    pub weft: String,
    /// Version of burn.
    pub burn: String,
    /// `"linux"`, `"macos"`, `"windows"` …
    pub os: String,
    /// `"x86_64"`, `"aarch64"` …
    pub arch: String,
    /// When it began, in UTC.
    pub time: String,
    /// One for each config, in their order.
    pub benchmarks: Vec<Benchmark>,
}

/// What one config costs on one device.
#[derive(Clone, Debug, Serialize)]
pub struct Benchmark {
    /// The config's name.
    pub config: String,
    /// The architecture in a line.
    pub model: String,
    /// Numbers that are learned or tracked.
    pub parameters: usize,
    /// The device in a line.
    pub device: String,
    /// `"cpu"`, `"ndarray"` or `"gpu"`.
    pub backend: String,
    /// Threads that the CPU paths use.
    pub cpu_threads: usize,
    /// Which kernels compute the layers: see `model::kernel_path`.
    pub kernels: String,
    /// Where the images are from.
    pub data: String,
    /// `[channel, height, width]`
    pub image: [usize; 3],
    /// Images of a step.
    pub batch: usize,
    /// Steps of a turn.
    pub steps: usize,
    /// Turns that were timed.
    pub repeats: usize,
    /// Wall clock of a training step, of each turn the mean over its steps.
    pub step: Timing,
    /// `batch` over `step.median_ms`.
    pub images_per_second: f64,
    /// Mean loss of each step of the first turn, from the initial weights.
    pub losses: Vec<f64>,
    /// Parts of a step.
    pub phases: Phases,
    /// The forward pass without training.
    pub inference: Inference,
    /// Kernels of a step; null on a CPU.
    pub launches: Option<Launches>,
    /// Arithmetic of a step against what the device can do.
    pub arithmetic: Arithmetic,
    /// Memory at its highest.
    pub memory: Memory,
    /// From the start of a process to its first step; null where it was not measured.
    pub start: Option<Start>,
}

/// Milliseconds, several times.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// Of `all_ms`; the mean of the middle two where their number is even.
    pub median_ms: f64,
    /// The shortest.
    pub min_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// In the order of time.
    pub all_ms: Vec<f64>,
}

/// Parts of a step, from steps that wait for the device after each: their sum is longer than a step.
#[derive(Clone, Debug, Serialize)]
pub struct Phases {
    /// Steps that were taken so.
    pub steps: usize,
    /// All parts together.
    pub sum_ms: f64,
    /// Gathering, augmenting and normalising the batch.
    pub data: Phase,
    /// The model and the loss.
    pub forward: Phase,
    /// The gradients, and clipping them.
    pub backward: Phase,
    /// The update.
    pub optimizer: Phase,
    /// The sums of loss and correct predictions.
    pub metrics: Phase,
}

/// A part of a step.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Phase {
    /// Median over the steps.
    pub ms: f64,
    /// Of `sum_ms`.
    pub share: f64,
}

/// The forward pass and its metrics, as in validation.
#[derive(Clone, Debug, Serialize)]
pub struct Inference {
    /// Images of a forward pass.
    pub batch: usize,
    /// Wall clock of a forward pass.
    pub pass: Timing,
    /// `batch` over `pass.median_ms`.
    pub images_per_second: f64,
}

/// Kernels of a training step.
#[derive(Clone, Debug, Serialize)]
pub struct Launches {
    /// How many.
    pub per_step: f64,
    /// Time that the device computes; null where it has no clock for that.
    pub device_ms_per_step: Option<f64>,
    /// Each kind, the longest first.
    pub kernels: Vec<Kernel>,
}

/// A kind of kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Kernel {
    /// Its type.
    pub name: String,
    /// How many.
    pub per_step: f64,
    /// Time that the device computes it; null where it has no clock for that.
    pub device_ms_per_step: Option<f64>,
}

/// Arithmetic of a step against what the device can do.
#[derive(Clone, Debug, Serialize)]
pub struct Arithmetic {
    /// Counted from the architecture: see `model::flops`.
    pub flops_per_step: u64,
    /// `flops_per_step` over `step.median_ms`.
    pub flops_per_second: f64,
    /// The most that the device was seen to do in this process; null where it cannot be measured.
    pub peak_flops_per_second: Option<f64>,
    /// What the peak is of.
    pub peak_of: Option<String>,
    /// `flops_per_second` over the peak.
    pub share_of_peak: Option<f64>,
}

/// Memory at its highest, the warm-up included.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Main memory of the process; null where the system does not tell (it does on Linux).
    pub process_peak_bytes: Option<u64>,
    /// GPU memory that tensors had after the last turn; null on a CPU.
    pub device_in_use_bytes: Option<u64>,
    /// GPU memory that the process has taken; null on a CPU.
    pub device_reserved_bytes: Option<u64>,
}

/// Two processes that take one step: the first finds no compiled or tuned kernels, the second those of
/// the first.
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    /// The first.
    pub cold: FirstStep,
    /// The second.
    pub warm: FirstStep,
}

/// A process that takes one step.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FirstStep {
    /// From its start until the step is done.
    pub seconds: f64,
    /// Of it the step.
    pub first_step_seconds: f64,
    /// Of the step what is more than `step.median_ms`. On a GPU that is compiling and tuning kernels, or
    /// loading them; on a CPU it is threads and memory.
    pub warm_up_seconds: f64,
}

impl Timing {
    /// * `all_ms`: one at least
    pub fn of(all_ms: Vec<f64>) -> Self {
        let fold = |start, pick: fn(f64, f64) -> f64| all_ms.iter().copied().fold(start, pick);
        Self {
            median_ms: median(&all_ms),
            min_ms: fold(f64::INFINITY, f64::min),
            max_ms: fold(0.0, f64::max),
            all_ms,
        }
    }

    /// How many of something there are in a second.
    pub(super) fn per_second(&self, n: usize) -> f64 {
        n as f64 / (self.median_ms * 1e-3)
    }
}

/// NaN of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => f64::NAN,
        (Some(value), 1) => *value,
        (Some(value), _) => (sorted[middle - 1] + value) / 2.0,
    }
}

impl Phases {
    /// * `steps`: milliseconds of data, forward, backward, optimizer, metrics
    pub(super) fn of(steps: &[[f64; 5]]) -> Self {
        let ms = [0, 1, 2, 3, 4].map(|part| {
            let of_part: Vec<f64> = steps.iter().map(|step| step[part]).collect();
            median(&of_part)
        });
        let sum_ms: f64 = ms.iter().sum();
        let [data, forward, backward, optimizer, metrics] = ms.map(|ms| Phase {
            ms,
            share: ms / sum_ms,
        });
        Self {
            steps: steps.len(),
            sum_ms,
            data,
            forward,
            backward,
            optimizer,
            metrics,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        let timing = Timing::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((timing.min_ms, timing.max_ms), (1.0, 3.0));
        assert_eq!(timing.per_second(10), 5000.0);
    }

    #[test]
    fn shares_are_of_the_medians() {
        let slow = [1.0, 2.0, 3.0, 1.0, 100.0];
        let usual = [1.0, 2.0, 3.0, 1.0, 1.0];
        let phases = Phases::of(&[usual, slow, usual]);
        assert_eq!((phases.steps, phases.sum_ms), (3, 8.0));
        assert_eq!((phases.data.share, phases.backward.share), (0.125, 0.375));
        assert_eq!(phases.metrics.ms, 1.0);
    }
}
