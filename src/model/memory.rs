//! What a model needs on its device: arithmetic on its config, before anything is allocated. A tensor is
//! one buffer there, and adapters limit the size of a buffer.

/// A layer's tensors, counted in elements of four bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What it is, for people: `the output of model.blocks[0]`.
    pub name: String,
    /// Its largest output for one image.
    pub output: u64,
    /// What the backward pass needs of it for one image, at least.
    pub kept: u64,
    /// Its largest weight tensor.
    pub weight: u64,
    /// All its parameters.
    pub parameters: u64,
    /// Numbers of an image that one sum of its backward pass adds up in one go: a bias's gradient, where
    /// burn's operations take it. weft's kernels sum in slices.
    pub summed: u64,
    /// Places of an image's output at which each weight is used.
    pub places: u64,
}

impl Layer {
    /// The batch itself.
    pub(super) fn images(n_values: usize) -> Self {
        Self {
            name: "a batch of images".to_owned(),
            output: n_values as u64,
            kept: n_values as u64,
            weight: 0,
            parameters: 0,
            summed: 0,
            places: 0,
        }
    }

    /// A fully connected layer with a bias. `n_kept` of its outputs are kept.
    pub(super) fn linear(key: &str, n_inputs: usize, n_outputs: usize, n_kept: u64) -> Self {
        let (inputs, outputs) = (n_inputs as u64, n_outputs as u64);
        Self {
            name: format!("the output of {key}"),
            output: outputs,
            kept: n_kept.saturating_mul(outputs),
            weight: inputs.saturating_mul(outputs),
            parameters: inputs.saturating_mul(outputs).saturating_add(outputs),
            summed: 1,
            places: 1,
        }
    }
}

/// A model's needs, summed over its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Parameters.
    pub parameters: u64,
    /// What the backward pass needs for one image, and the largest gradient with it.
    pub training_per_image: u64,
    /// The largest input and output of a layer that are there at once, for one image.
    pub inference_per_image: u64,
}

impl Totals {
    /// Sums up layers in the order of the forward pass.
    pub fn of(layers: &[Layer]) -> Self {
        let sum = |part: fn(&Layer) -> u64| layers.iter().map(part).fold(0, u64::saturating_add);
        let largest = layers.iter().map(|layer| layer.output).max().unwrap_or(0);
        let pairs = layers.windows(2);
        let pair = pairs
            .map(|pair| pair[0].output.saturating_add(pair[1].output))
            .max();
        Self {
            parameters: sum(|layer| layer.parameters),
            training_per_image: sum(|layer| layer.kept).saturating_add(largest),
            inference_per_image: pair.unwrap_or(largest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_lower_bounds_that_add_up() {
        let layers = [
            Layer::images(10),
            Layer::linear("a", 10, 100, 2),
            Layer::linear("b", 100, 5, 1),
        ];
        let totals = Totals::of(&layers);
        assert_eq!(totals.parameters, 10 * 100 + 100 + 100 * 5 + 5);
        assert_eq!(totals.training_per_image, 10 + 200 + 5 + 100);
        assert_eq!(totals.inference_per_image, 110);
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        let layers = [Layer::linear("a", usize::MAX, usize::MAX, 3)];
        assert_eq!(Totals::of(&layers).parameters, u64::MAX);
    }
}
