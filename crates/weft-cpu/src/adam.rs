//! One step of Adam (Kingma and Ba, 2015) or AdamW (Loshchilov and Hutter, 2019) in one pass over the
//! memory. The CPU twin of `shaders/adam.wgsl`.

use crate::simd::{Instructions, Simd, for_each_instruction_set};
use crate::threads::{Parts, for_each, part_of};

/// The numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the square root of the second moment, once that is corrected for its bias.
    pub epsilon: f32,
    /// Learning rate over 1 - beta_1^t.
    pub step_size: f32,
    /// 1 / sqrt(1 - beta_2^t)
    pub root_correction: f32,
    /// What is added to the gradient, times the parameter (Adam's L2 penalty).
    pub penalty: f32,
    /// What the parameter is multiplied by first: 1 less learning rate times decay (AdamW).
    pub keep: f32,
}

/// Numbers that one task takes.
const CHUNK: usize = 32 * 1024;

/// Parameter and moments after the step; `moments` are changed in place, `updated` is written.
pub fn step(
    instructions: Instructions,
    spec: &Spec,
    parameter: &[f32],
    grad: &[f32],
    moments: [&mut [f32]; 2],
    updated: &mut [f32],
) {
    let [first, second] = moments;
    let updated = Parts::new(updated, CHUNK);
    let (first, second) = (Parts::new(first, CHUNK), Parts::new(second, CHUNK));
    for_each(updated.count(), &|index| {
        let (parameter, grad) = (
            part_of(parameter, CHUNK, index),
            part_of(grad, CHUNK, index),
        );
        // SAFETY: each task has an index of its own.
        let (first, second, updated) =
            unsafe { (first.of(index), second.of(index), updated.of(index)) };
        some(instructions, spec, parameter, grad, first, second, updated);
    });
}

for_each_instruction_set! {
    fn some = numbers(
        spec: &Spec,
        parameter: &[f32],
        grad: &[f32],
        first: &mut [f32],
        second: &mut [f32],
        updated: &mut [f32],
    )
}

#[inline(always)]
unsafe fn numbers<S: Simd>(
    spec: &Spec,
    parameter: &[f32],
    grad: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    updated: &mut [f32],
) {
    let parameters = parameter.iter().zip(grad).zip(updated);
    for (((&parameter, &grad), updated), (first, second)) in
        parameters.zip(first.iter_mut().zip(second))
    {
        let grad = grad + spec.penalty * parameter;
        *first = spec.beta_1 * *first + (1.0 - spec.beta_1) * grad;
        *second = spec.beta_2 * *second + (1.0 - spec.beta_2) * grad * grad;
        let root = second.sqrt() * spec.root_correction + spec.epsilon;
        *updated = spec.keep * parameter - spec.step_size * *first / root;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten steps against the papers' formulas in f64, all instruction sets, a length that is no whole vector.
    #[test]
    fn steps_are_those_of_the_papers() {
        let n = 1003;
        let value = |key, i| f64::from(crate::random::draw(key, i, 0)) / f64::from(u32::MAX) - 0.5;
        for (penalty, decay) in [(0.0, 0.0), (0.01, 0.0), (0.0, 0.05)] {
            let (rate, beta_1, beta_2, epsilon) = (1e-2, 0.9, 0.999, 1e-8);
            let mut want: Vec<f64> = (0..n).map(|i| value(1, i)).collect();
            let (mut m, mut v) = (vec![0f64; n as usize], vec![0f64; n as usize]);
            let start: Vec<f32> = want.iter().map(|&x| x as f32).collect();
            let mut got: Vec<_> = Instructions::available()
                .into_iter()
                .map(|set| {
                    (
                        set,
                        start.clone(),
                        vec![0f32; n as usize],
                        vec![0f32; n as usize],
                    )
                })
                .collect();
            for t in 1..=10 {
                let grads: Vec<f32> = (0..n).map(|i| value(10 + t, i) as f32).collect();
                let (c1, c2) = (
                    1.0 - f64::powi(beta_1, t as i32),
                    1.0 - f64::powi(beta_2, t as i32),
                );
                for (i, w) in want.iter_mut().enumerate() {
                    let g = f64::from(grads[i]) + penalty * *w;
                    m[i] = beta_1 * m[i] + (1.0 - beta_1) * g;
                    v[i] = beta_2 * v[i] + (1.0 - beta_2) * g * g;
                    *w -= rate * decay * *w;
                    *w -= rate * (m[i] / c1) / ((v[i] / c2).sqrt() + epsilon);
                }
                let spec = Spec {
                    beta_1: beta_1 as f32,
                    beta_2: beta_2 as f32,
                    epsilon: epsilon as f32,
                    step_size: (rate / c1) as f32,
                    root_correction: (1.0 / c2.sqrt()) as f32,
                    penalty: penalty as f32,
                    keep: (1.0 - rate * decay) as f32,
                };
                for (set, parameter, first, second) in &mut got {
                    let mut updated = vec![f32::NAN; n as usize];
                    step(
                        *set,
                        &spec,
                        parameter,
                        &grads,
                        [first, second],
                        &mut updated,
                    );
                    *parameter = updated;
                }
            }
            for (set, parameter, ..) in &got {
                for (got, want) in parameter.iter().zip(&want) {
                    assert!(
                        (f64::from(*got) - want).abs() < 2e-6,
                        "{set:?} {got} {want}"
                    );
                }
            }
        }
    }
}
