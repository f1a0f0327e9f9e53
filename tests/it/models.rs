//! Architectures: parameter counts of the seed, shapes, initial weights that do not depend on the
//! device, numbers against hand computation.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use weft::config::Loaded;
use weft::kernels::cross_entropy::cross_entropy;
use weft::model::{InputShape, Mode, ModelConfig};

use crate::devices;

const FASHION: InputShape = InputShape {
    channels: 1,
    height: 28,
    width: 28,
    n_classes: 10,
};

/// As FASHION, in colour.
const COLOUR: InputShape = InputShape {
    channels: 3,
    ..FASHION
};

fn model(toml: &str) -> ModelConfig {
    toml::from_str(toml).unwrap()
}

fn seed_config(name: &str) -> ModelConfig {
    let path = format!("{}/configs/seed/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    Loaded::new(Some(Path::new(&path)), &[])
        .unwrap()
        .config
        .model
}

#[test]
fn the_seeds_models_have_the_seeds_parameters() {
    let flex = &devices::cpus()[0];
    // The last two are computed from the layers: the seed prints no summary of them.
    let mlp = 784 * 416 + 416 + 9 * (416 * 416 + 416) + 416 * 10 + 10;
    let cnn = 64 * 9 + 64 + 64 * 64 * 9 + 64 + 64 * 25 * 448 + 448 + 448 * 10 + 10;
    for (name, expected) in [
        ("softmax", 7_850),
        ("cnn-1", 15_770),
        ("cnn-2", 9_098),
        ("mlp-tuned", mlp),
        ("cnn-tuned", cnn),
    ] {
        let model = seed_config(name).init(FASHION, 1, flex);
        assert_eq!(model.num_params(), expected, "{name}");
    }
}

#[test]
fn colour_adds_weights_to_the_first_layer_alone() {
    let flex = &devices::cpus()[0];
    for (name, more) in [
        ("softmax", 2 * 784 * 10),
        ("cnn-1", 2 * 9 * 8),
        ("cnn-2", 2 * 9 * 8),
        ("mlp-tuned", 2 * 784 * 416),
        ("cnn-tuned", 2 * 9 * 64),
    ] {
        let config = seed_config(name);
        config.validate(COLOUR).unwrap();
        let counts = [FASHION, COLOUR].map(|input| config.init(input, 1, flex).num_params());
        assert_eq!(counts[1] - counts[0], more, "{name}");
        let layers = config.layers(COLOUR);
        let computed: u64 = layers.iter().map(|layer| layer.parameters).sum();
        assert_eq!(computed, counts[1] as u64, "{name}");
        assert_eq!(layers[0].output, 3 * 784, "{name}");
    }
}

#[test]
fn any_height_width_and_channels_work() {
    for channels in [1, 3] {
        any_shape_works(InputShape {
            channels,
            height: 17,
            width: 31,
            n_classes: 4,
        });
    }
}

fn any_shape_works(input: InputShape) {
    let models = [
        model("kind = \"softmax_regression\""),
        model("kind = \"mlp\"\nhidden = [8]\nbatch_norm = true\nactivation = \"gelu\""),
        model(
            "kind = \"cnn\"\ndense = []\n[[blocks]]\nfilters = 3\nbatch_norm = true\nactivation = \"tanh\"\n[[blocks]]\nfilters = 2\npadding = \"valid\"\nkernel = 2\npool = 3",
        ),
        model(
            "kind = \"resnet\"\nstem_filters = 3\nstages = [{ filters = 4 }, { filters = 5, stride = 3 }]",
        ),
    ];
    for device in devices::all("any_height_width_and_channels_work") {
        for config in &models {
            config.validate(input).unwrap();
            let images = Tensor::<4>::ones([5, input.channels, 17, 31], &device);
            let logits = config
                .init(input, 1, &device)
                .forward(images, Mode::Inference);
            assert_eq!(logits.dims(), [5, 4], "{config:?}");
        }
    }
}

#[test]
fn a_model_that_eats_the_image_is_refused_with_its_key() {
    let config = model("kind = \"cnn\"\n[[blocks]]\npool = 14\n[[blocks]]\npool = 3");
    let error = config.validate(FASHION).unwrap_err();
    assert_eq!(error.key, "blocks[1]");
    let config = model("kind = \"cnn\"\n[[blocks]]\nkernel = 4");
    assert_eq!(
        config.validate(FASHION).unwrap_err().key,
        "blocks[0].kernel"
    );
    let config = model("kind = \"mlp\"\ndropout = 1.0");
    assert_eq!(config.validate(FASHION).unwrap_err().key, "dropout");
}

#[test]
fn weights_and_ids_are_a_function_of_the_seed_alone() {
    let devices = devices::all("weights_and_ids_are_a_function_of_the_seed_alone");
    for config in [seed_config("cnn-2"), model(RESNET)] {
        let bytes = |seed, device: &Device| {
            let record = config.init(FASHION, seed, device).into_record();
            record.into_bytes().unwrap().to_vec()
        };
        let first = bytes(7, &devices[0]);
        for device in &devices {
            assert_eq!(bytes(7, device), first, "{device:?}");
            assert_eq!(bytes(7, &device.clone().autodiff()), first, "{device:?}");
        }
        assert_ne!(bytes(8, &devices[0]), first);
    }
}

/// A block that keeps the shape, one that changes the width, one that changes both.
const RESNET: &str = "kind = 'resnet'\nstem_filters = 4\nblock_dropout = 0.3\ndropout = 0.2\n\
                      stages = [{ filters = 4, stride = 1 }, { filters = 5, stride = 1 }, { filters = 6 }]";

/// The values of a model's parameters and running statistics, or their gradients.
struct Numbers<'a> {
    gradients: Option<&'a Gradients>,
    found: Vec<Vec<f32>>,
}

impl ModuleVisitor for Numbers<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let found = match self.gradients {
            Some(gradients) => param.val().grad(gradients),
            None => Some(param.val()),
        };
        self.found.extend(found.map(values));
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn noise<const D: usize>(shape: [usize; D], stream: u64, device: &Device) -> Tensor<D> {
    let number = |at: usize| (weft::random::mix(&[at as u64, stream]) % 2001) as f32 / 1000.0 - 1.0;
    let numbers: Vec<f32> = (0..shape.iter().product()).map(number).collect();
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// Logits in training, gradients, values after the step, logits of the model that it leaves.
fn a_step(config: &ModelConfig, input: InputShape, device: &Device) -> Vec<Vec<f32>> {
    let device = device.clone().autodiff();
    let model = config.init(input, 3, &device);
    let images = |device: &Device| noise([5, input.channels, input.height, input.width], 1, device);
    let logits = model.forward(images(&device), Mode::Training { key: 4 });
    let weights = noise([5, input.n_classes], 2, &device);
    let gradients = (logits.clone() * weights).sum().backward();
    let mut numbers = Numbers {
        gradients: Some(&gradients),
        found: vec![values(logits)],
    };
    model.visit(&mut numbers);
    numbers.gradients = None;
    let after = model.valid();
    after.visit(&mut numbers);
    let images = images(&device.inner());
    let inferred = after.forward(images, Mode::Inference);
    numbers.found.push(values(inferred));
    numbers.found
}

#[test]
fn a_training_step_is_the_same_on_every_device() {
    let input = InputShape {
        channels: 3,
        height: 13,
        width: 11,
        n_classes: 4,
    };
    let devices = devices::all("a_training_step_is_the_same_on_every_device");
    for (toml, tolerance) in [
        (RESNET, 2e-4),
        // burn's gradient of GELU is that of an approximation by tanh on ndarray and wgpu.
        (
            "kind = 'resnet'\nstem_filters = 3\nactivation = 'gelu'\nstages = [{ filters = 4, stride = 3 }]",
            1e-2,
        ),
        (
            "kind = 'mlp'\nhidden = [9, 8]\nbatch_norm = true\ndropout = 0.3",
            2e-4,
        ),
        (
            "kind = 'cnn'\ndense = [7]\nhead = 'average_pool'\nblocks = [{ filters = 4, batch_norm = true, \
             pool_first = true, dropout = 0.3 }, { filters = 5 }, { filters = 6, pool = 1, batch_norm = true, \
             dropout = 0.2 }]",
            2e-4,
        ),
    ] {
        let config = model(toml);
        config.validate(input).unwrap();
        let expected = a_step(&config, input, &devices[0]);
        for device in &devices {
            let found = a_step(&config, input, device);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                let largest = expected.iter().fold(0.1f32, |most, it| most.max(it.abs()));
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    let difference = (found - expected).abs();
                    let close = difference < tolerance * largest;
                    assert!(close, "{toml} on {device:?}: {found}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn cross_entropy_is_right() {
    // log(sum(exp)) - logit, by hand; with smoothing e: (1 - e) * that + e * mean over classes.
    let logits = [[1.0f64, 2.0, 3.0], [0.0, 0.0, 5.0]];
    let labels = [2usize, 0];
    for device in devices::all("cross_entropy_is_right") {
        for smoothing in [0.0, 0.1] {
            let flat: Vec<f32> = logits.iter().flatten().map(|&v| v as f32).collect();
            let tensor = Tensor::<2>::from_data(TensorData::new(flat, [2, 3]), &device);
            let loss = cross_entropy(tensor, Tensor::from_ints([2, 0], &device), smoothing);
            let mut sum = 0.0;
            for (row, label) in logits.iter().zip(labels) {
                let log_sum = row.iter().map(|v| v.exp()).sum::<f64>().ln();
                let of = |class: usize| log_sum - row[class];
                let mean = (0..3).map(of).sum::<f64>() / 3.0;
                sum += (1.0 - smoothing) * of(label) + smoothing * mean;
            }
            let number = |tensor: Tensor<1>| f64::from(tensor.into_scalar::<f32>());
            assert!((number(loss.sum) - sum).abs() < 1e-5, "{device:?}");
            assert!((number(loss.mean) - sum / 2.0).abs() < 1e-5, "{device:?}");
            assert_eq!(loss.correct.into_scalar::<i64>(), 1, "{device:?}");
        }
    }
}
