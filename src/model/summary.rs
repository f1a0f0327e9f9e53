//! The layers of a model for people, in the order of the forward pass: what each does, the shape that it
//! gives, its parameters. Arithmetic on the config.

use super::cnn::{BlockConfig, CnnConfig, Head};
use super::layers::{Activation, Padding};
use super::mlp::MlpConfig;
use super::resnet::{BlockShape, KERNEL, ResnetConfig};
use super::{InputShape, ModelConfig};

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSummary {
    /// Such as "convolution 3 x 3, 16 filters, padding same".
    pub name: String,
    /// Of one image: `[channel, height, width]` or `[unit]`.
    pub output: Vec<usize>,
    /// Those that are learned, and the running statistics of a batch norm.
    pub parameters: u64,
}

impl ModelConfig {
    /// The layers of a model for images of this shape. The config is valid.
    pub fn layer_summaries(&self, input: InputShape) -> Vec<LayerSummary> {
        let mut layers = Layers::new(input);
        match self {
            Self::SoftmaxRegression(_) => layers.flatten(),
            Self::Mlp(config) => layers.mlp(config),
            Self::Cnn(config) => layers.cnn(config),
            Self::Resnet(config) => layers.resnet(config, input),
        }
        layers.linear(input.n_classes);
        layers.all
    }
}

struct Layers {
    all: Vec<LayerSummary>,
    /// What the last layer gives.
    shape: Vec<usize>,
}

impl Layers {
    fn new(input: InputShape) -> Self {
        let shape = vec![input.channels, input.height, input.width];
        let mut layers = Self {
            all: Vec::new(),
            shape,
        };
        layers.add("input", 0);
        layers
    }

    fn add(&mut self, name: impl Into<String>, parameters: u64) {
        self.all.push(LayerSummary {
            name: name.into(),
            output: self.shape.clone(),
            parameters,
        });
    }

    fn mlp(&mut self, config: &MlpConfig) {
        self.flatten();
        for &units in &config.hidden {
            self.linear(units);
            if config.batch_norm {
                self.batch_norm(units);
            }
            self.add(activation(config.activation), 0);
            self.dropout(config.dropout);
        }
    }

    fn cnn(&mut self, config: &CnnConfig) {
        for block in &config.blocks {
            self.block(block);
        }
        match config.head {
            Head::Flatten => self.flatten(),
            Head::AveragePool => self.average_pool(),
        }
        for &units in &config.dense {
            self.linear(units);
            self.add(activation(config.dense_activation), 0);
            self.dropout(config.dense_dropout);
        }
    }

    fn block(&mut self, block: &BlockConfig) {
        let n_channels = self.shape[0];
        let (filters, kernel) = (block.filters, block.kernel);
        let padding = match block.padding {
            Padding::Same => "same",
            Padding::Valid => "valid",
        };
        // `validate` has shown that something is left of the image.
        let side = |side| block.padding.output_side(side, kernel).unwrap_or(1);
        self.shape = vec![filters, side(self.shape[1]), side(self.shape[2])];
        // What batch norm adds makes a bias of the convolution's own redundant.
        let bias = if block.batch_norm { 0 } else { filters };
        let weights = product(&[n_channels, filters, kernel, kernel]);
        self.add(
            format!("convolution {kernel} x {kernel}, {filters} filters, padding {padding}"),
            weights.saturating_add(bias as u64),
        );
        if block.pool_first {
            self.max_pool(block.pool);
        }
        if block.batch_norm {
            self.batch_norm(filters);
        }
        self.add(activation(block.activation), 0);
        if !block.pool_first {
            self.max_pool(block.pool);
        }
        self.dropout(block.dropout);
    }

    fn max_pool(&mut self, side: usize) {
        if side > 1 {
            self.shape[1] /= side;
            self.shape[2] /= side;
            self.add(format!("max pool {side} x {side}"), 0);
        }
    }

    fn resnet(&mut self, config: &ResnetConfig, input: InputShape) {
        self.convolution(config.stem_kernel, config.stem_filters, 1);
        for block in config.blocks(input) {
            self.residual_block(config, &block);
        }
        self.batch_norm(self.shape[0]);
        self.add(activation(config.activation), 0);
        self.average_pool();
        self.dropout(config.dropout);
    }

    fn residual_block(&mut self, config: &ResnetConfig, block: &BlockShape) {
        let before = self.shape.clone();
        self.batch_norm(block.in_channels);
        self.add(activation(config.activation), 0);
        self.convolution(KERNEL, block.filters, block.stride);
        self.batch_norm(block.filters);
        self.add(activation(config.activation), 0);
        self.dropout(config.block_dropout);
        self.convolution(KERNEL, block.filters, 1);
        if block.projects() {
            self.shape = before;
            self.convolution(1, block.filters, block.stride);
            if let Some(projection) = self.all.last_mut() {
                projection.name = format!("past the block: {}", projection.name);
            }
            self.add("sum with what went past the block", 0);
        } else {
            self.add("sum with the block's input", 0);
        }
    }

    /// Without a bias, with zeros around the image.
    fn convolution(&mut self, kernel: usize, filters: usize, stride: usize) {
        let weights = product(&[self.shape[0], filters, kernel, kernel]);
        let side = |side: usize| side.div_ceil(stride);
        self.shape = vec![filters, side(self.shape[1]), side(self.shape[2])];
        let stride = match stride {
            1 => String::new(),
            stride => format!(", stride {stride}"),
        };
        let name =
            format!("convolution {kernel} x {kernel}, {filters} filters, padding same{stride}");
        self.add(name, weights);
    }

    fn average_pool(&mut self) {
        self.shape.truncate(1);
        self.add("global average pool", 0);
    }

    fn flatten(&mut self) {
        self.shape = vec![product(&self.shape) as usize];
        self.add("flatten", 0);
    }

    fn linear(&mut self, units: usize) {
        let weights = product(&[self.shape[0], units]);
        self.shape = vec![units];
        self.add("fully connected", weights.saturating_add(units as u64));
    }

    /// Scale and shift are learned, mean and variance are tracked.
    fn batch_norm(&mut self, n_channels: usize) {
        self.add("batch norm", 4 * n_channels as u64);
    }

    fn dropout(&mut self, probability: f64) {
        if probability > 0.0 {
            self.add(format!("dropout {probability}"), 0);
        }
    }
}

fn activation(activation: Activation) -> &'static str {
    match activation {
        Activation::Relu => "ReLU",
        Activation::Tanh => "tanh",
        Activation::Selu => "SELU",
        Activation::Gelu => "GELU",
    }
}

fn product(sides: &[usize]) -> u64 {
    sides
        .iter()
        .fold(1, |product: u64, &side| product.saturating_mul(side as u64))
}

#[cfg(test)]
mod tests {
    use burn::module::Module;

    use super::*;

    const INPUT: InputShape = InputShape {
        channels: 3,
        height: 13,
        width: 11,
        n_classes: 3,
    };

    /// The parameters of the model that is made of the config, and the elements that it passes on.
    fn agrees(config: &str) -> Vec<LayerSummary> {
        let config: ModelConfig = toml::from_str(config).unwrap();
        let layers = config.layer_summaries(INPUT);
        let model = config.init(INPUT, 1, &crate::device::host());
        let sum: u64 = layers.iter().map(|layer| layer.parameters).sum();
        assert_eq!(sum, model.num_params() as u64, "{config:?}");
        assert_eq!(layers.first().unwrap().output, [3, 13, 11]);
        assert_eq!(layers.last().unwrap().output, [3]);
        layers
    }

    #[test]
    fn parameters_are_those_of_the_model() {
        agrees("kind = \"softmax_regression\"");
        agrees("kind = \"mlp\"\nhidden = [7, 6]\nbatch_norm = true\ndropout = 0.5");
        agrees("kind = \"mlp\"\nhidden = []");
        let layers = agrees(
            "kind = \"cnn\"\ndense = [5]\ndense_dropout = 0.25\n\
             [[blocks]]\nfilters = 4\nbatch_norm = true\npool = 2\ndropout = 0.1\n\
             [[blocks]]\nfilters = 6\nkernel = 2\npadding = \"valid\"\npool = 1",
        );
        let named = |name: &str| layers.iter().find(|layer| layer.name == name).unwrap();
        assert_eq!(named("max pool 2 x 2").output, [4, 6, 5]);
        let conv = named("convolution 2 x 2, 6 filters, padding valid");
        assert_eq!(conv.output, [6, 5, 4]);
        assert_eq!(named("flatten").output, [120]);
        assert_eq!(named("dropout 0.25").output, [5]);
        agrees("kind = \"cnn\"");
        agrees(
            "kind = \"cnn\"\nhead = \"average_pool\"\n[[blocks]]\nbatch_norm = true\npool_first = true",
        );
        let layers = agrees(
            "kind = \"resnet\"\nstem_filters = 4\n[[stages]]\nfilters = 4\nstride = 1\nblocks = 2\n\
             [[stages]]\nfilters = 6",
        );
        let named = |name: &str| layers.iter().find(|layer| layer.name == name).unwrap();
        let strided = named("convolution 3 x 3, 6 filters, padding same, stride 2");
        assert_eq!(strided.output, [6, 7, 6]);
        let projection =
            named("past the block: convolution 1 x 1, 6 filters, padding same, stride 2");
        assert_eq!(projection.output, strided.output);
        assert_eq!(projection.parameters, 24);
        let sums = layers
            .iter()
            .filter(|layer| layer.name.starts_with("sum with"));
        let sums: Vec<&[usize]> = sums.map(|layer| &layer.output[..]).collect();
        assert_eq!(sums, [[4, 13, 11], [4, 13, 11], [6, 7, 6]]);
        agrees("kind = \"resnet\"");
        agrees("kind = \"resnet\"\nstages = []");
    }
}
