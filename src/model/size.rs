//! How large a model may be. A slip of the keyboard in a config should be an error that names the
//! key, not a machine that runs out of memory.

use super::InvalidModel;

/// A GiB of weights; an optimizer takes two or three times that beside them.
const MOST_WEIGHTS: u64 = 1 << 28;
/// As many as the deepest networks have that were ever of use.
pub(super) const MOST_LAYERS: usize = 1000;

/// A layer of a model and the key that makes it as large as it is.
pub(super) struct LayerSize {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) n_weights: u64,
}

impl LayerSize {
    /// `factors` are the sides of the weights, whose product may be beyond any integer.
    pub(super) fn new(key: impl Into<String>, value: impl ToString, factors: &[usize]) -> Self {
        let multiply = |product: u64, &factor: &usize| product.saturating_mul(factor as u64);
        Self {
            key: key.into(),
            value: value.to_string(),
            n_weights: factors.iter().fold(1, multiply),
        }
    }
}

/// Whether the hidden layers, given as `list`, are few enough to be looked at one by one.
pub(super) fn check_depth(list: &str, n_layers: usize) -> Result<(), InvalidModel> {
    if n_layers <= MOST_LAYERS {
        return Ok(());
    }
    Err(InvalidModel::new(
        list,
        format!("a list of {n_layers} layers"),
        format!("a model may have at most {MOST_LAYERS}"),
        "use fewer",
    ))
}

/// Whether all layers together can be held. The largest one is named.
pub(super) fn check_weights(layers: &[LayerSize]) -> Result<(), InvalidModel> {
    let add = |sum: u64, layer: &LayerSize| sum.saturating_add(layer.n_weights);
    let n_weights = layers.iter().fold(0, add);
    let largest =
        layers
            .iter()
            .reduce(|largest, layer| match layer.n_weights > largest.n_weights {
                true => layer,
                false => largest,
            });
    match largest {
        Some(largest) if n_weights > MOST_WEIGHTS => Err(InvalidModel::new(
            largest.key.clone(),
            largest.value.clone(),
            format!("a model may have at most {MOST_WEIGHTS} weights, and this one has more"),
            "use a smaller number there",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::cnn::{BlockConfig, CnnConfig};
    use crate::model::mlp::MlpConfig;
    use crate::model::{InputShape, ModelConfig};

    const INPUT: InputShape = InputShape {
        channels: 1,
        height: 28,
        width: 28,
        n_classes: 10,
    };

    fn mlp(hidden: Vec<usize>) -> ModelConfig {
        ModelConfig::Mlp(MlpConfig {
            hidden,
            ..MlpConfig::default()
        })
    }

    #[test]
    fn a_model_beyond_memory_names_its_largest_layer() {
        let key = |model: ModelConfig| model.validate(INPUT).unwrap_err().key;
        assert_eq!(key(mlp(vec![512, usize::MAX])), "hidden[1]");
        assert_eq!(key(mlp(vec![usize::MAX, 512])), "hidden[0]");
        assert_eq!(key(mlp(vec![1; 1001])), "hidden");
        let cnn = |filters, kernel| {
            let block = BlockConfig {
                filters,
                kernel,
                ..BlockConfig::default()
            };
            ModelConfig::Cnn(CnnConfig {
                blocks: vec![block],
                ..CnnConfig::default()
            })
        };
        assert_eq!(key(cnn(usize::MAX, 3)), "blocks[0].filters");
        assert_eq!(key(cnn(8, usize::MAX)), "blocks[0].kernel");
        let image = InputShape {
            height: 1 << 15,
            width: 1 << 15,
            ..INPUT
        };
        let softmax = ModelConfig::SoftmaxRegression(Default::default());
        let error = softmax.validate(image).unwrap_err();
        assert!(error.why.contains("this one has more"), "{error}");
    }

    #[test]
    fn large_networks_of_today_are_allowed() {
        mlp(vec![8192, 8192, 8192]).validate(INPUT).unwrap();
        mlp(vec![16; 1000]).validate(INPUT).unwrap();
    }
}
