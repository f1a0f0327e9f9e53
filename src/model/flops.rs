//! How much arithmetic a training step is, counted from the architecture: what a device would have to
//! do if it wasted nothing. A multiply-add is two operations. Counted are the products of
//! convolutions and fully connected layers; what goes over each element a few times (activations,
//! pools, batch norm, the loss, the optimizer) is not, and is a few per cent of it in usual networks.

use super::{InputShape, ModelConfig};

impl ModelConfig {
    /// Floating-point operations of a forward pass, for one image: two for each weight and each place
    /// that it is used at.
    pub fn forward_flops(&self, input: InputShape) -> u64 {
        self.products(input)
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Floating-point operations of a training step, for one image: three times the forward pass, since
    /// the gradients by the weights and by the inputs are as much again each, without the gradient by
    /// the image, which nobody needs.
    pub fn training_flops(&self, input: InputShape) -> u64 {
        let products = self.products(input);
        let forward = products.iter().copied().fold(0, u64::saturating_add);
        let first = products.iter().copied().find(|&flops| flops > 0);
        let all = forward.saturating_mul(3);
        all.saturating_sub(first.unwrap_or(0))
    }

    /// Of each layer's forward pass.
    fn products(&self, input: InputShape) -> Vec<u64> {
        let layers = self.layers(input).into_iter();
        let flops = layers.map(|layer| layer.weight.saturating_mul(layer.places).saturating_mul(2));
        flops.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: InputShape = InputShape {
        channels: 3,
        height: 10,
        width: 8,
        n_classes: 4,
    };

    #[test]
    fn products_are_counted_by_hand() {
        let count = |config: &str| {
            let model: ModelConfig = toml::from_str(config).unwrap();
            (model.forward_flops(INPUT), model.training_flops(INPUT))
        };
        let line = 2 * 240 * 4;
        assert_eq!(count("kind = \"softmax_regression\""), (line, 2 * line));
        let (first, second, third) = (2 * 240 * 7, 2 * 7 * 5, 2 * 5 * 4);
        let all = first + second + third;
        assert_eq!(
            count("kind = \"mlp\"\nhidden = [7, 5]\nbatch_norm = true\ndropout = 0.5"),
            (all, 3 * all - first)
        );
        // 10 x 8 -> same 10 x 8, pooled 5 x 4 -> valid 4 x 3.
        let first = 2 * (3 * 3 * 3 * 6) * (10 * 8);
        let second = 2 * (6 * 2 * 2 * 5) * (4 * 3);
        let (dense, output) = (2 * (5 * 4 * 3) * 9, 2 * 9 * 4);
        let all = first + second + dense + output;
        let cnn = "kind = \"cnn\"\ndense = [9]\n[[blocks]]\nfilters = 6\nbatch_norm = true\n\
                   [[blocks]]\nfilters = 5\nkernel = 2\npadding = \"valid\"\npool = 1";
        assert_eq!(count(cnn), (all, 3 * all - first));
        // 10 x 8 through a stem of 5 filters; a block without a stride; one to 5 x 4 with a projection.
        let stem = 2 * (3 * 3 * 3 * 5) * 80;
        let kept = 2 * 2 * (3 * 3 * 5 * 5) * 80;
        let halved = 2 * (3 * 3 * 5 * 6 + 3 * 3 * 6 * 6 + 5 * 6) * 20;
        let all = stem + kept + halved + 2 * 6 * 4;
        let resnet = "kind = \"resnet\"\nstem_filters = 5\n[[stages]]\nfilters = 5\nstride = 1\n\
                      [[stages]]\nfilters = 6";
        assert_eq!(count(resnet), (all, 3 * all - stem));
    }
}
