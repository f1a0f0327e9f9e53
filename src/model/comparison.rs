//! A training step by weft's kernels beside the same step by burn's operations: what the tests of several
//! architectures share.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

use super::{InputShape, Mode};
use crate::random;

/// A step in training, with dropout.
pub(super) const TRAINING: Mode = Mode::Training { key: 9 };

/// In ±1, a function of its arguments.
fn noise(index: usize, stream: u64) -> f32 {
    let mixed = random::mix(&[index as u64, stream]);
    ((mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0) as f32
}

pub(super) fn noisy<const D: usize>(shape: [usize; D], stream: u64, device: &Device) -> Tensor<D> {
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|index| noise(index, stream)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Moves what all start alike (scales, shifts, biases, running statistics) apart.
struct Vary;

impl ModuleMapper for Vary {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let (shape, device) = (tensor.dims(), tensor.device());
        let varied = values(tensor.clone()).into_iter().enumerate();
        let varied = varied.map(|(index, value)| value + 0.3 * noise(index, id.val()));
        let data = TensorData::new(varied.collect::<Vec<f32>>(), shape);
        let varied = Tensor::from_data(data, &device).set_require_grad(tensor.is_require_grad());
        Param::from_mapped_value(id, varied, mapper)
    }
}

pub(super) fn varied<M: Module>(model: M) -> M {
    model.map(&mut Vary)
}

/// Numbers by what they are of.
pub(super) type Numbers = BTreeMap<String, Vec<f32>>;

struct Visit<'a> {
    gradients: Option<&'a Gradients>,
    found: Numbers,
}

impl ModuleVisitor for Visit<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (name, found) = match self.gradients {
            Some(gradients) => ("gradient", param.val().grad(gradients)),
            None => ("value", Some(param.val())),
        };
        if let Some(found) = found {
            self.found
                .insert(format!("{name} {}", param.id.val()), values(found));
        }
    }
}

/// Logits, the gradient of each parameter, and all values after the step: running statistics among them.
pub(super) fn step<M: Module>(
    model: &M,
    input: InputShape,
    device: &Device,
    forward: impl Fn(&M, Tensor<4>, Mode) -> Tensor<2>,
) -> Numbers {
    let n_images = 6;
    let sides = [n_images, input.channels, input.height, input.width];
    let logits = forward(model, noisy(sides, 1, device), TRAINING);
    let weights = noisy([n_images, input.n_classes], 2, device);
    let gradients = (logits.clone() * weights).sum().backward();
    let mut visit = Visit {
        gradients: Some(&gradients),
        found: Numbers::from([("logits".to_owned(), values(logits))]),
    };
    model.visit(&mut visit);
    visit.gradients = None;
    let after = model.valid();
    after.visit(&mut visit);
    let inferred = forward(
        &after,
        noisy(sides, 3, &crate::device::host()),
        Mode::Inference,
    );
    visit.found.insert("inference".to_owned(), values(inferred));
    visit.found
}

/// Both ways give the same. `init` makes the same model each time, with so many batch norms.
pub(super) fn agree<M: Module>(
    n_norms: usize,
    input: InputShape,
    init: impl Fn(&Device) -> M,
    forward: impl Fn(&M, Tensor<4>, Mode) -> Tensor<2>,
    composed: impl Fn(&M, Tensor<4>, Mode) -> Tensor<2>,
) {
    let device = crate::device::host().autodiff();
    let kernels = step(&varied(init(&device)), input, &device, forward);
    let expected = step(&varied(init(&device)), input, &device, composed);
    assert!(kernels.keys().eq(expected.keys()));
    for (key, expected) in &expected {
        let largest = expected.iter().fold(0.0f32, |most, it| most.max(it.abs()));
        for (found, expected) in kernels[key].iter().zip(expected) {
            let difference = (found - expected).abs();
            assert!(
                difference < 1e-4 * largest.max(0.1),
                "{key}: {found}, not {expected}; the largest is {largest}"
            );
        }
    }
    // What has no gradient are running statistics, and they followed.
    let mut before = Visit {
        gradients: None,
        found: Numbers::new(),
    };
    varied(init(&device)).visit(&mut before);
    let is_running = |key: &str| !expected.contains_key(&key.replace("value", "gradient"));
    let running = before.found.iter().filter(|(key, _)| is_running(key));
    let followed = running.filter(|(key, before)| expected[*key] != **before);
    assert_eq!(followed.count(), 2 * n_norms);
}
