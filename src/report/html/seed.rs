//! The 2022 report that weft started from: its five models on Fashion-MNIST.

use crate::model::ModelConfig;

/// A line of the 2022 report: single runs on the same 10,000 test images.
pub(super) struct SeedModel {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) n_parameters: u64,
    pub(super) loss: f64,
    pub(super) accuracy: f64,
}

/// From the lowest accuracy to the highest.
pub(super) const MODELS: [SeedModel; 5] = [
    SeedModel {
        name: "softmax",
        what: "softmax regression",
        n_parameters: 7_850,
        loss: 0.4893,
        accuracy: 0.8322,
    },
    SeedModel {
        name: "mlp-tuned",
        what: "MLP, 10 hidden layers of 416",
        n_parameters: 1_891_978,
        loss: 0.3425,
        accuracy: 0.8806,
    },
    SeedModel {
        name: "cnn-1",
        what: "CNN, 1 block",
        n_parameters: 15_770,
        loss: 0.3040,
        accuracy: 0.8920,
    },
    SeedModel {
        name: "cnn-2",
        what: "CNN, 2 blocks",
        n_parameters: 9_098,
        loss: 0.2883,
        accuracy: 0.8953,
    },
    SeedModel {
        name: "cnn-tuned",
        what: "CNN, 2 blocks, tuned",
        n_parameters: 759_306,
        loss: 0.2406,
        accuracy: 0.9125,
    },
];

/// The best of the report's models of a kind.
pub(super) fn nearest(model: &ModelConfig) -> &'static SeedModel {
    match model {
        ModelConfig::SoftmaxRegression(_) => &MODELS[0],
        ModelConfig::Mlp(_) => &MODELS[1],
        ModelConfig::Cnn(_) | ModelConfig::Resnet(_) => &MODELS[4],
    }
}
