//! Architectures: parameter counts of the seed, shapes, initial weights that do not depend on the
//! device, numbers against hand computation.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
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
    let config = seed_config("cnn-2");
    let bytes = |seed, device: &burn::tensor::Device| {
        let record = config.init(FASHION, seed, device).into_record();
        record.into_bytes().unwrap().to_vec()
    };
    let devices = devices::all("weights_and_ids_are_a_function_of_the_seed_alone");
    let first = bytes(7, &devices[0]);
    for device in &devices {
        assert_eq!(bytes(7, device), first, "{device:?}");
        assert_eq!(bytes(7, &device.clone().autodiff()), first, "{device:?}");
    }
    assert_ne!(bytes(8, &devices[0]), first);
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
