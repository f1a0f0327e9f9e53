//! Learning-rate schedules: the rate is a pure function of the step, times a factor that the plateau
//! schedule and rollbacks lower.

use std::f64::consts::PI;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::optim::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use serde::{Deserialize, Serialize};

/// The `[schedule]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduleConfig {
    /// `optimizer.learning_rate` throughout.
    Constant(ConstantConfig),
    /// Linear warm-up, then half a cosine down (Loshchilov and Hutter, 2017).
    Cosine(CosineConfig),
    /// Up, then down to almost nothing (Smith and Topin, 2018), both along half a cosine.
    OneCycle(OneCycleConfig),
    /// Multiplied by a factor when the validation loss stops falling.
    ReduceOnPlateau(ReduceOnPlateauConfig),
}

/// Hyper-parameters of a constant rate: none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConstantConfig {}

/// Hyper-parameters of a cosine schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosineConfig {
    /// Epochs of linear warm-up from zero; may be a part of one.
    pub warmup_epochs: f64,
    /// Rate at the end, as a part of `optimizer.learning_rate`.
    pub final_fraction: f64,
}

/// Hyper-parameters of a one-cycle schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneCycleConfig {
    /// Part of the steps in which the rate rises.
    pub warmup_fraction: f64,
    /// Rate at the start, as a part of `optimizer.learning_rate`, which is the peak.
    pub initial_fraction: f64,
    /// Rate at the end, as a part of the peak.
    pub final_fraction: f64,
}

/// Hyper-parameters of a plateau schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReduceOnPlateauConfig {
    /// What the rate is multiplied by.
    pub factor: f64,
    /// Epochs without a lower validation loss before that happens.
    pub patience: u64,
    /// The rate is not lowered below this.
    pub minimum_learning_rate: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self::Constant(ConstantConfig {})
    }
}

impl Default for CosineConfig {
    fn default() -> Self {
        Self {
            warmup_epochs: 0.0,
            final_fraction: 0.0,
        }
    }
}

impl Default for OneCycleConfig {
    fn default() -> Self {
        Self {
            warmup_fraction: 0.3,
            initial_fraction: 0.04,
            final_fraction: 4e-6,
        }
    }
}

impl Default for ReduceOnPlateauConfig {
    fn default() -> Self {
        Self {
            factor: 0.1,
            patience: 5,
            minimum_learning_rate: 0.0,
        }
    }
}

/// A schedule over a known number of steps.
#[derive(Clone, Debug)]
pub struct Schedule {
    config: ScheduleConfig,
    peak: f64,
    steps_per_epoch: u64,
    total_steps: u64,
    /// Steps taken.
    step: u64,
    factor: RateFactor,
}

/// What the plateau schedule and rollbacks have multiplied the rate by so far; the epoch loop sets it.
#[derive(Clone, Debug)]
pub struct RateFactor(Arc<AtomicU64>);

impl Default for RateFactor {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1f64.to_bits())))
    }
}

impl RateFactor {
    /// Sets the factor from the next step on.
    pub fn set(&self, factor: f64) {
        self.0.store(factor.to_bits(), Ordering::Release);
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Acquire))
    }
}

impl Schedule {
    /// `peak` is `optimizer.learning_rate`.
    pub fn new(
        config: &ScheduleConfig,
        peak: f64,
        steps_per_epoch: u64,
        epochs: u64,
        factor: RateFactor,
    ) -> Self {
        Self {
            config: config.clone(),
            peak,
            steps_per_epoch,
            total_steps: steps_per_epoch.saturating_mul(epochs),
            step: 0,
            factor,
        }
    }

    /// The learning rate of a step, counted from zero.
    pub fn rate(&self, step: u64) -> f64 {
        let total = self.total_steps.max(1) as f64;
        let at = (step as f64).min(total);
        let fraction = match &self.config {
            ScheduleConfig::Constant(_) | ScheduleConfig::ReduceOnPlateau(_) => 1.0,
            ScheduleConfig::Cosine(cosine) => {
                let warmup = cosine.warmup_epochs * self.steps_per_epoch as f64;
                if at < warmup {
                    (at + 1.0) / (warmup + 1.0)
                } else {
                    let progress = (at - warmup) / (total - warmup).max(1.0);
                    glide(1.0, cosine.final_fraction, progress)
                }
            }
            ScheduleConfig::OneCycle(cycle) => {
                let last = (total - 1.0).max(1.0);
                let top = cycle.warmup_fraction * last;
                if at < top {
                    glide(cycle.initial_fraction, 1.0, at / top)
                } else {
                    let progress = (at - top) / (last - top).max(f64::MIN_POSITIVE);
                    glide(1.0, cycle.final_fraction, progress)
                }
            }
        };
        self.peak * fraction * self.factor.get()
    }
}

/// Half a cosine from one value to another.
fn glide(from: f64, to: f64, progress: f64) -> f64 {
    let progress = progress.clamp(0.0, 1.0);
    to + (from - to) * 0.5 * (1.0 + (PI * progress).cos())
}

impl LrScheduler for Schedule {
    fn step(&mut self) -> f64 {
        let rate = self.rate(self.step);
        self.step += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("step", self.step)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(step) = record.scalar::<u64>("step") {
            self.step = step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(config: ScheduleConfig, steps_per_epoch: u64, epochs: u64) -> Vec<f64> {
        let schedule = Schedule::new(&config, 0.1, steps_per_epoch, epochs, RateFactor::default());
        (0..steps_per_epoch * epochs)
            .map(|step| schedule.rate(step))
            .collect()
    }

    #[test]
    fn cosine_warms_up_and_falls() {
        let config = CosineConfig {
            warmup_epochs: 1.0,
            final_fraction: 0.1,
        };
        let rates = rates(ScheduleConfig::Cosine(config), 10, 5);
        assert!(rates[..10].windows(2).all(|pair| pair[0] < pair[1]));
        assert!((rates[10] - 0.1).abs() < 1e-12);
        assert!(rates[10..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!((rates[30] - (0.01 + 0.09 * 0.5)).abs() < 1e-12, "half way");
    }

    #[test]
    fn one_cycle_peaks_once_and_ends_where_it_says() {
        let config = OneCycleConfig::default();
        let rates = rates(ScheduleConfig::OneCycle(config), 10, 10);
        assert!((rates[0] - 0.004).abs() < 1e-12);
        let peak = rates.iter().cloned().fold(0.0, f64::max);
        assert!((0.0999..=0.1).contains(&peak), "{peak}");
        assert!((rates[99] - 0.1 * 4e-6).abs() < 1e-12);
    }

    #[test]
    fn one_cycle_without_warm_up_begins_at_the_peak_and_a_late_top_still_falls() {
        let cycle = |warmup_fraction| {
            let config = OneCycleConfig {
                warmup_fraction,
                ..OneCycleConfig::default()
            };
            rates(ScheduleConfig::OneCycle(config), 3, 2)
        };
        let close = |rate: f64, expected: f64| assert!((rate - expected).abs() < 1e-12, "{rate}");
        let rates = cycle(0.0);
        close(rates[0], 0.1);
        close(rates[5], 0.1 * 4e-6);
        let rates = cycle(0.9);
        close(rates[0], 0.004);
        close(rates[5], 0.1 * 4e-6);
    }

    #[test]
    fn a_record_brings_the_step_back() {
        let config = ScheduleConfig::Cosine(CosineConfig::default());
        let mut first = Schedule::new(&config, 0.1, 10, 2, RateFactor::default());
        let mut second = first.clone();
        for _ in 0..7 {
            first.step();
        }
        second.load_record(first.to_record());
        assert_eq!(first.step(), second.step());
    }

    #[test]
    fn the_factor_multiplies() {
        let factor = RateFactor::default();
        let config = ScheduleConfig::ReduceOnPlateau(ReduceOnPlateauConfig::default());
        let schedule = Schedule::new(&config, 0.1, 10, 2, factor.clone());
        assert_eq!(schedule.rate(3), 0.1);
        factor.set(0.5);
        assert_eq!(schedule.rate(3), 0.05);
    }
}
