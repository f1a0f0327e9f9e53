//! When to stop, what is best, and when the plateau schedule lowers the rate. Pure: state in, state
//! out, so that all of it survives a resume.

use serde::{Deserialize, Serialize};

use super::schedule::ReduceOnPlateauConfig;
use crate::run::records::{Best, Plateau, TrainState};

/// The `[early_stopping]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStoppingConfig {
    /// Epochs without improvement before training stops; 0 trains all epochs.
    pub patience: u64,
    /// What is watched, and what makes an epoch the best.
    pub monitor: Monitor,
    /// Smallest change that counts as an improvement.
    pub min_delta: f64,
    /// Whether the best epoch's weights are the result; else the last epoch's.
    pub restore_best: bool,
}

/// A number of the validation split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// Mean loss: lower is better.
    #[default]
    ValidationLoss,
    /// Accuracy: higher is better.
    ValidationAccuracy,
}

impl Default for EarlyStoppingConfig {
    fn default() -> Self {
        Self {
            patience: 10,
            monitor: Monitor::ValidationLoss,
            min_delta: 0.0,
            restore_best: true,
        }
    }
}

impl EarlyStoppingConfig {
    /// Notes the validation of the epoch that just ended. Returns whether it is the best so far.
    pub fn observe(&self, state: &mut TrainState, valid_loss: f64, valid_accuracy: f64) -> bool {
        let value = match self.monitor {
            Monitor::ValidationLoss => valid_loss,
            Monitor::ValidationAccuracy => valid_accuracy,
        };
        let better = state.best.as_ref().is_none_or(|best| match self.monitor {
            Monitor::ValidationLoss => value < best.value - self.min_delta,
            Monitor::ValidationAccuracy => value > best.value + self.min_delta,
        });
        if better {
            state.best = Some(Best {
                epoch: state.epoch,
                step: state.step,
                value,
            });
            state.epochs_without_improvement = 0;
        } else {
            state.epochs_without_improvement += 1;
        }
        better
    }

    /// Which checkpoint is the result, given the state of the newest one: the best epoch's, where that
    /// was asked for.
    pub fn result_step(&self, newest: &TrainState) -> u64 {
        let best = newest.best.as_ref().filter(|_| self.restore_best);
        best.map_or(newest.step, |best| best.step)
    }

    /// Whether patience is at its end.
    pub fn stops(&self, state: &TrainState) -> bool {
        self.patience > 0 && state.epochs_without_improvement >= self.patience
    }
}

/// Notes a validation loss for the plateau schedule, and lowers its factor when patience ends.
pub(super) fn observe_plateau(
    config: &ReduceOnPlateauConfig,
    peak: f64,
    plateau: &mut Plateau,
    valid_loss: f64,
) {
    if plateau.best.is_none_or(|best| valid_loss < best) {
        plateau.best = Some(valid_loss);
        plateau.epochs_without_improvement = 0;
        return;
    }
    plateau.epochs_without_improvement += 1;
    if plateau.epochs_without_improvement > config.patience {
        plateau.epochs_without_improvement = 0;
        // Where the floor lies above the first rate, the rate stays: it is never raised.
        let floor = (config.minimum_learning_rate / peak).min(plateau.factor);
        plateau.factor = (plateau.factor * config.factor).max(floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: &EarlyStoppingConfig, losses: &[f64]) -> (Vec<bool>, TrainState, Option<usize>) {
        let mut state = TrainState::new();
        let mut marks = Vec::new();
        for (epoch, &loss) in losses.iter().enumerate() {
            marks.push(config.observe(&mut state, loss, 1.0 - loss));
            if config.stops(&state) {
                return (marks, state, Some(epoch + 1));
            }
            state.epoch += 1;
        }
        (marks, state, None)
    }

    #[test]
    fn stops_after_patience_and_keeps_the_best() {
        let config = EarlyStoppingConfig {
            patience: 2,
            ..Default::default()
        };
        let (marks, state, stopped) = run(&config, &[0.5, 0.4, 0.45, 0.41, 0.3]);
        assert_eq!(marks, [true, true, false, false]);
        assert_eq!(stopped, Some(4));
        assert_eq!(state.best.map(|best| best.epoch), Some(2));
    }

    #[test]
    fn zero_patience_never_stops() {
        let config = EarlyStoppingConfig {
            patience: 0,
            ..Default::default()
        };
        assert_eq!(run(&config, &[0.1, 0.2, 0.3, 0.4]).2, None);
    }

    #[test]
    fn accuracy_is_better_when_higher_and_min_delta_counts() {
        let config = EarlyStoppingConfig {
            monitor: Monitor::ValidationAccuracy,
            min_delta: 0.05,
            ..Default::default()
        };
        let (marks, ..) = run(&config, &[0.5, 0.48, 0.4]);
        assert_eq!(marks, [true, false, true]);
    }

    #[test]
    fn a_plateau_lowers_the_rate_to_its_floor() {
        let config = ReduceOnPlateauConfig {
            factor: 0.5,
            patience: 1,
            minimum_learning_rate: 0.03,
        };
        let mut plateau = TrainState::new().plateau;
        let factors: Vec<f64> = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
            .iter()
            .map(|&loss| {
                observe_plateau(&config, 0.1, &mut plateau, loss);
                plateau.factor
            })
            .collect();
        assert_eq!(factors, [1.0, 1.0, 0.5, 0.5, 0.3, 0.3, 0.3]);
        // A floor above the rate does not raise it.
        for loss in [1.0, 1.0, 1.0] {
            observe_plateau(&config, 0.01, &mut plateau, loss);
        }
        assert_eq!(plateau.factor, 0.3);
    }
}
