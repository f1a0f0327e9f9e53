//! Muon (Jordan et al., 2024, <https://kellerjordan.github.io/posts/muon/>): the momentum of a hidden weight
//! is replaced by the nearest orthogonal matrix, or nearly so, before it is taken as the step. All else is
//! AdamW's, with a learning rate of its own: biases, the scales and shifts of norms, and the output layer,
//! as its authors advise. They leave the first layer out too, where it looks up words; one that sees pixels
//! is a matrix like others, and is Muon's here.
//!
//! burn's own Muon takes matrices only, and scales them as if their rows were outputs, which burn's linear
//! layers have as columns.

use burn::module::ParamGroup;
use burn::optim::momentum::{Momentum, MomentumConfig, MomentumState};
use burn::optim::{
    AdamState, LearningRate, ModuleOptimizer, Optimizer, RecordState, StateSink, StateSource,
    join_path,
};
use burn::tensor::{Device, Tensor};

use super::adam::{Decay, FusedAdam};
use super::optimizer::{AdamConfig, MuonConfig};
use crate::kernels::orthogonal::orthogonal;

/// The output layer of every architecture is the field `output`.
const OUTPUT: &str = ".output.";

/// The optimizer of one tensor.
#[derive(Clone)]
pub(super) struct Muon {
    momentum: Momentum,
    weight_decay: f64,
    adam: FusedAdam,
    /// AdamW's learning rate as a part of Muon's: the schedule moves both.
    adam_fraction: f64,
    /// Whether the tensor is not of the output layer.
    is_hidden: bool,
}

/// Muon for the hidden weights of a module, AdamW for the rest.
pub(super) fn muon(config: &MuonConfig) -> ModuleOptimizer {
    let hidden = Muon::new(config);
    let output = Muon {
        is_hidden: false,
        ..hidden.clone()
    };
    ModuleOptimizer::from(hidden).with_group(ParamGroup::from_predicate(OUTPUT), output, None)
}

impl Muon {
    fn new(config: &MuonConfig) -> Self {
        let momentum = MomentumConfig::new()
            .with_momentum(config.momentum)
            .with_dampening(0.0)
            .with_nesterov(config.nesterov);
        Self {
            momentum: Momentum::new(&momentum),
            weight_decay: config.weight_decay,
            adam: FusedAdam {
                config: AdamConfig {
                    learning_rate: config.adam_learning_rate,
                    beta_1: config.beta_1,
                    beta_2: config.beta_2,
                    epsilon: config.epsilon,
                    weight_decay: config.weight_decay,
                    decay_biases: false,
                },
                decay: Decay::Decoupled,
            },
            adam_fraction: config.adam_learning_rate / config.learning_rate,
            is_hidden: true,
        }
    }

    fn step_hidden<const D: usize>(
        &self,
        learning_rate: f64,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<MomentumState<D>>,
    ) -> (Tensor<D>, MomentumState<D>) {
        let shape = tensor.dims();
        let [rows, columns] = as_matrix(&shape);
        // Filters have their outputs as rows, linear layers as columns.
        let (outputs, inputs) = if D > 2 {
            (rows, columns)
        } else {
            (columns, rows)
        };
        // So that outputs change alike, whatever the matrix's proportions.
        let scale = (outputs as f64 / inputs as f64).max(1.0).sqrt();
        let (update, state) = self.momentum.transform(grad, state);
        let update = orthogonal(update.reshape([rows, columns])).reshape(shape);
        let tensor = match self.weight_decay > 0.0 {
            true => tensor.mul_scalar(1.0 - learning_rate * self.weight_decay),
            false => tensor,
        };
        (tensor - update.mul_scalar(learning_rate * scale), state)
    }
}

/// Rows and columns: a filter is a row of all its numbers.
fn as_matrix(shape: &[usize]) -> [usize; 2] {
    match shape {
        [rows, rest @ ..] => [*rows, rest.iter().product()],
        [] => [1, 1],
    }
}

/// What is kept of a tensor's gradients.
#[derive(Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each tensor of a model, which is larger by far"
)]
pub(super) enum MuonState<const D: usize> {
    /// Of a hidden weight.
    Hidden(MomentumState<D>),
    /// Of all else.
    Other(AdamState<D>),
}

const HIDDEN: &str = "muon";
const OTHER: &str = "adam";

/// By hand: burn's macro knows no enums, and no crates but burn's own.
impl<const D: usize> RecordState for MuonState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        match self {
            Self::Hidden(state) => state.state_flatten(&join_path(prefix, HIDDEN), out),
            Self::Other(state) => state.state_flatten(&join_path(prefix, OTHER), out),
        }
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        let (hidden, other) = (join_path(prefix, HIDDEN), join_path(prefix, OTHER));
        match source.has_under(&hidden) {
            true => MomentumState::state_unflatten(&hidden, source, device).map(Self::Hidden),
            false => AdamState::state_unflatten(&other, source, device).map(Self::Other),
        }
    }
}

impl Optimizer for Muon {
    type State<const D: usize> = MuonState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        if self.is_hidden && D > 1 {
            let state = match state {
                Some(MuonState::Hidden(state)) => Some(state),
                _ => None,
            };
            let (tensor, state) = self.step_hidden(learning_rate, tensor, grad, state);
            return (tensor, Some(MuonState::Hidden(state)));
        }
        let state = match state {
            Some(MuonState::Other(state)) => Some(state),
            _ => None,
        };
        let learning_rate = learning_rate * self.adam_fraction;
        let (tensor, state) = self.adam.step(learning_rate, tensor, grad, state);
        (tensor, state.map(MuonState::Other))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        match state {
            MuonState::Hidden(state) => MuonState::Hidden(state.to_device(device)),
            MuonState::Other(state) => MuonState::Other(FusedAdam::to_device(state, device)),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    /// Eigenvalues of a symmetric matrix, by Jacobi's rotations.
    fn eigenvalues(mut a: Vec<Vec<f64>>) -> Vec<f64> {
        let n = a.len();
        for _ in 0..30 {
            for (p, q) in (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))) {
                if a[p][q].abs() < 1e-15 {
                    continue;
                }
                let angle = 0.5 * (2.0 * a[p][q]).atan2(a[q][q] - a[p][p]);
                let (sin, cos) = angle.sin_cos();
                for row in &mut a {
                    (row[p], row[q]) = (cos * row[p] - sin * row[q], sin * row[p] + cos * row[q]);
                }
                let (above, below) = a.split_at_mut(q);
                for (up, down) in above[p].iter_mut().zip(&mut below[0]) {
                    (*up, *down) = (cos * *up - sin * *down, sin * *up + cos * *down);
                }
            }
        }
        (0..n).map(|i| a[i][i]).collect()
    }

    fn singular_values(matrix: &Tensor<2>) -> Vec<f64> {
        let [rows, columns] = matrix.dims();
        let values: Vec<f64> = matrix.to_data().iter::<f64>().collect();
        let at = |row: usize, column: usize| values[row * columns + column];
        let gram = (0..rows)
            .map(|i| {
                (0..rows)
                    .map(|j| (0..columns).map(|k| at(i, k) * at(j, k)).sum())
                    .collect()
            })
            .collect();
        let mut values: Vec<f64> = eigenvalues(gram)
            .into_iter()
            .map(|value| value.max(0.0).sqrt())
            .collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values.truncate(rows.min(columns));
        values
    }

    fn random(rows: usize, columns: usize, scale: f32) -> Tensor<2> {
        let mut stream = crate::random::Stream::new(&[3, rows as u64]);
        let values: Vec<f32> = (0..rows * columns)
            .map(|_| stream.normal() as f32 * scale)
            .collect();
        Tensor::from_data(
            TensorData::new(values, [rows, columns]),
            &crate::device::host(),
        )
    }

    #[test]
    fn all_singular_values_come_to_about_one() {
        for (rows, columns) in [(8, 20), (20, 8), (12, 12), (1, 30), (30, 1)] {
            for scale in [1e-4, 1.0, 1e6] {
                let matrix = random(rows, columns, scale);
                let before = singular_values(&matrix);
                let (largest, smallest) = (before[0], before[before.len() - 1]);
                let after = singular_values(&orthogonal(matrix));
                // What is far below the rest takes more than five iterations.
                let floor = if smallest < 0.02 * largest { 0.1 } else { 0.65 };
                let all = after.iter().all(|value| (floor..1.25).contains(value));
                assert!(all, "{rows} x {columns}: {before:?} {after:?}");
            }
        }
    }

    #[test]
    fn nothing_stays_nothing_and_what_is_not_finite_shows() {
        let zeros = orthogonal(random(4, 6, 0.0)).into_data();
        assert!(zeros.iter::<f32>().all(|value| value == 0.0));
        let nan = orthogonal(random(4, 6, f32::NAN)).into_data();
        assert!(nan.iter::<f32>().all(f32::is_nan));
    }
}
