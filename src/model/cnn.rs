//! Convolutional network: blocks of convolution, nonlinearity, max pool and dropout, then fully
//! connected layers.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::features::{Features, conv_spec, convolution, normalized};
use super::init::{Initialization, Initializer};
use super::layers::{Activation, Padding, check_dropout, check_positive, dense, dropout_spec};
use super::memory::Layer;
use super::size::{LayerSize, check_depth, check_weights};
use super::units::units;
use super::{InputShape, InvalidModel, Mode};
use crate::kernels::conv_block;

/// Hyper-parameters of a CNN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CnnConfig {
    /// Units of each fully connected layer after the blocks: a list, or `{ layers = 1, units = 128 }`.
    #[serde(deserialize_with = "units")]
    pub dense: Vec<usize>,
    /// Nonlinearity after each fully connected layer.
    pub dense_activation: Activation,
    /// Probability of dropping a unit after each fully connected layer.
    pub dense_dropout: f64,
    /// How the fully connected weights are drawn.
    pub dense_initializer: Initializer,
    /// What is made of the last block's rows and columns.
    pub head: Head,
    /// Convolution blocks, from the image on.
    pub blocks: Vec<BlockConfig>,
}

/// From the last convolution to a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// All numbers: `channel * height * width`.
    #[default]
    Flatten,
    /// The mean of each channel over rows and columns: `channel` (Lin et al., 2014).
    AveragePool,
}

/// One block: convolution, batch norm, nonlinearity, max pool, dropout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockConfig {
    /// Output channels.
    pub filters: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// What happens at the border.
    pub padding: Padding,
    /// Nonlinearity.
    pub activation: Activation,
    /// Batch normalisation between convolution and nonlinearity.
    pub batch_norm: bool,
    /// Side and stride of the max pool; 1 is none.
    pub pool: usize,
    /// Pool before batch norm and nonlinearity, which then have less to do, and not after them.
    pub pool_first: bool,
    /// Probability of dropping an element after the pool.
    pub dropout: f64,
    /// How the weights are drawn.
    pub initializer: Initializer,
}

impl Default for CnnConfig {
    fn default() -> Self {
        Self {
            dense: vec![128],
            dense_activation: Activation::Relu,
            dense_dropout: 0.0,
            dense_initializer: Initializer::HeUniform,
            head: Head::Flatten,
            blocks: vec![BlockConfig::default(), BlockConfig::default()],
        }
    }
}

impl Default for BlockConfig {
    fn default() -> Self {
        Self {
            filters: 32,
            kernel: 3,
            padding: Padding::Same,
            activation: Activation::Relu,
            batch_norm: false,
            pool: 2,
            pool_first: false,
            dropout: 0.0,
            initializer: Initializer::HeUniform,
        }
    }
}

/// Convolution blocks, fully connected layers, a linear output.
#[derive(Module, Debug)]
pub struct Cnn {
    blocks: Vec<Block>,
    dense: Vec<Linear>,
    output: Linear,
    #[module(skip)]
    dense_activation: Activation,
    dense_dropout: f64,
    #[module(skip)]
    head: Head,
}

/// One block of a [`Cnn`].
#[derive(Module, Debug)]
pub struct Block {
    conv: Conv2d,
    norm: Option<BatchNorm>,
    #[module(skip)]
    activation: Activation,
    pool: usize,
    pool_first: bool,
    dropout: f64,
}

impl CnnConfig {
    pub(super) fn validate(&self, input: InputShape) -> Result<(), InvalidModel> {
        check_depth("blocks", self.blocks.len())?;
        check_depth("dense", self.dense.len())?;
        for (index, block) in self.blocks.iter().enumerate() {
            let key = |name: &str| format!("blocks[{index}].{name}");
            check_positive(&key("filters"), block.filters)?;
            check_positive(&key("kernel"), block.kernel)?;
            check_positive(&key("pool"), block.pool)?;
            check_dropout(&key("dropout"), block.dropout)?;
            if block.padding == Padding::Same && block.kernel % 2 == 0 {
                return Err(InvalidModel::new(
                    key("kernel"),
                    block.kernel,
                    "padding \"same\" needs an odd kernel",
                    "use an odd number, or padding = \"valid\"",
                ));
            }
        }
        for (layer, &units) in self.dense.iter().enumerate() {
            check_positive(&format!("dense[{layer}]"), units)?;
        }
        check_dropout("dense_dropout", self.dense_dropout)?;
        check_weights(&self.sizes(input)?)
    }

    fn sizes(&self, input: InputShape) -> Result<Vec<LayerSize>, InvalidModel> {
        let (mut sizes, mut n_channels) = (Vec::new(), input.channels);
        for (index, block) in self.blocks.iter().enumerate() {
            let (filters, kernel) = (block.filters, block.kernel);
            let (name, value) = match kernel > filters {
                true => ("kernel", kernel),
                false => ("filters", filters),
            };
            let sides = [n_channels, filters, kernel, kernel];
            sizes.push(LayerSize::new(
                format!("blocks[{index}].{name}"),
                value,
                &sides,
            ));
            n_channels = filters;
        }
        let [height, width] = self.places(self.sides(input)?);
        let mut inputs = vec![n_channels, height, width];
        let mut last = ("dense".to_owned(), "[]".to_owned());
        for (layer, &units) in self.dense.iter().enumerate() {
            last = (format!("dense[{layer}]"), units.to_string());
            inputs.push(units);
            sizes.push(LayerSize::new(&last.0, units, &inputs));
            inputs = vec![units];
        }
        inputs.push(input.n_classes);
        sizes.push(LayerSize::new(last.0, last.1, &inputs));
        Ok(sizes)
    }

    /// Height and width after the blocks.
    fn sides(&self, input: InputShape) -> Result<[usize; 2], InvalidModel> {
        let mut sides = [input.height, input.width];
        for (index, block) in self.blocks.iter().enumerate() {
            for side in &mut sides {
                let after = block.padding.output_side(*side, block.kernel);
                *side = after
                    .map(|side| side / block.pool)
                    .filter(|&side| side > 0)
                    .ok_or_else(|| {
                        InvalidModel::new(
                            format!("blocks[{index}]"),
                            format!(
                                "a {0}x{0} convolution and a {1}x{1} pool",
                                block.kernel, block.pool
                            ),
                            format!("only {side} pixels are left on a side there"),
                            "use fewer blocks, a smaller kernel or pool, or padding = \"same\"",
                        )
                    })?;
            }
        }
        Ok(sides)
    }

    /// Rows and columns that the fully connected layers see.
    fn places(&self, sides: [usize; 2]) -> [usize; 2] {
        match self.head {
            Head::Flatten => sides,
            Head::AveragePool => [1, 1],
        }
    }

    pub(super) fn init(&self, input: InputShape, init: &mut Initialization) -> Cnn {
        let mut n_channels = input.channels;
        let mut blocks = Vec::new();
        for block in &self.blocks {
            let bias = !block.batch_norm;
            let channels = [n_channels, block.filters];
            let conv = init.conv(
                channels,
                block.kernel,
                block.padding,
                bias,
                block.initializer,
            );
            blocks.push(Block {
                conv,
                norm: block.batch_norm.then(|| init.batch_norm(block.filters)),
                activation: block.activation,
                pool: block.pool,
                pool_first: block.pool_first,
                dropout: block.dropout,
            });
            n_channels = block.filters;
        }
        // `validate` has shown that something is left of the image.
        let [height, width] = self.places(self.sides(input).unwrap_or([1, 1]));
        let mut n_inputs = n_channels * height * width;
        let mut dense = Vec::new();
        for &units in &self.dense {
            dense.push(init.linear(n_inputs, units, self.dense_initializer));
            n_inputs = units;
        }
        Cnn {
            blocks,
            dense,
            output: init.linear(n_inputs, input.n_classes, self.dense_initializer),
            dense_activation: self.dense_activation,
            dense_dropout: self.dense_dropout,
            head: self.head,
        }
    }
}

impl CnnConfig {
    pub(super) fn layers(&self, input: InputShape) -> Vec<Layer> {
        let mut sides = [input.height, input.width];
        let mut layers = vec![Layer::images(input.n_values())];
        let mut n_channels = input.channels;
        for (index, block) in self.blocks.iter().enumerate() {
            // `validate` has shown that something is left of the image.
            sides = sides.map(|side| block.padding.output_side(side, block.kernel).unwrap_or(1));
            layers.push(block.layer(index, n_channels, sides));
            sides = sides.map(|side| side / block.pool);
            n_channels = block.filters;
        }
        let mut n_inputs = self
            .places(sides)
            .iter()
            .fold(n_channels, |n, &side| n.saturating_mul(side));
        let n_kept = 1 + u64::from(self.dense_dropout > 0.0);
        for (index, &units) in self.dense.iter().enumerate() {
            let key = format!("model.dense[{index}]");
            layers.push(Layer::linear(&key, n_inputs, units, n_kept));
            n_inputs = units;
        }
        layers.push(Layer::linear("the model", n_inputs, input.n_classes, 1));
        layers
    }
}

impl BlockConfig {
    /// Whether one kernel does all of it on every device; larger ones are not done on a GPU.
    fn is_fused(&self) -> bool {
        let small = self.kernel <= 7 && self.pool <= 4;
        small && !self.batch_norm && self.activation.in_block().is_some()
    }

    /// `sides`: after the convolution. Nothing in a block is larger than its first output.
    fn layer(&self, index: usize, n_channels: usize, sides: [usize; 2]) -> Layer {
        let area = sides.iter().product::<usize>() as u64;
        let output = (self.filters as u64).saturating_mul(area);
        let pooled = output / (self.pool * self.pool) as u64;
        let kernel = (self.kernel as u64).saturating_pow(2);
        let weight = kernel
            .saturating_mul(n_channels as u64)
            .saturating_mul(self.filters as u64);
        // In one kernel, the output behind the pool and its route. Else the convolution's output, batch
        // norm's, and behind the pool: values, indices, dropout's mask.
        let (largest, kept, summed) = if self.is_fused() {
            (pooled, pooled.saturating_mul(2), 1)
        } else {
            let behind = if self.pool > 1 { 2 } else { 0 } + u64::from(self.dropout > 0.0);
            let normed = match (self.batch_norm, self.pool_first) {
                (false, _) => 0,
                (true, true) => pooled,
                (true, false) => output,
            };
            let kept = output.saturating_add(normed);
            // Sums over places are taken in slices by weft's kernels, in one go by burn's.
            let summed = match self.batch_norm && self.kernel <= 7 {
                true => 1,
                false => area,
            };
            (output, kept.saturating_add(behind * pooled), summed)
        };
        // A bias, or what batch norm learns and tracks: four numbers a channel.
        let per_filter = if self.batch_norm { 4 } else { 1 };
        Layer {
            name: format!("the convolution of model.blocks[{index}]"),
            output: largest,
            kept,
            weight,
            parameters: weight.saturating_add(per_filter * self.filters as u64),
            summed,
            places: area,
        }
    }
}

impl Cnn {
    /// `[batch, channel, height, width]` -> logits `[batch, class]`
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        let mut x = Features::ChannelsFirst(images);
        for (index, block) in self.blocks.iter().enumerate() {
            let next = self.blocks.get(index + 1);
            x = block.forward(x, index, mode, next);
        }
        let mut x: Tensor<2> = match self.head {
            Head::Flatten => x.channels_first().flatten(1, 3),
            Head::AveragePool => x.mean_of_places(),
        };
        for (index, layer) in self.dense.iter().enumerate() {
            let index = self.blocks.len() + index;
            let dropout = || dropout_spec(self.dense_dropout, index, mode);
            x = dense(layer, x, Some(self.dense_activation), dropout);
        }
        dense(&self.output, x, None, || None)
    }
}

impl Block {
    /// `next` is the block that takes the output.
    fn forward(&self, x: Features, index: usize, mode: Mode, next: Option<&Self>) -> Features {
        if let Some(norm) = &self.norm {
            return self.normalized(norm, x, index, mode);
        }
        if let (Some(activation), Some(bias)) = (self.activation.in_block(), &self.conv.bias) {
            let spec = conv_block::Spec {
                activation,
                dropout: dropout_spec(self.dropout, index, mode).map(conv_block::dropout_of),
                channels_first: !next.is_some_and(Self::is_channels_last),
                ..conv_spec(&self.conv, &x, self.pool)
            };
            if conv_block::runs_on(&spec, &x.device()) {
                let weight = self.conv.weight.val();
                let x = x.channels_last();
                let output = conv_block::conv_block(x, weight, bias.val(), spec);
                return match spec.channels_first {
                    true => Features::ChannelsFirst(output),
                    false => Features::ChannelsLast(output),
                };
            }
        }
        Features::ChannelsFirst(self.composed(x.channels_first(), index, mode))
    }

    /// With a batch norm.
    fn normalized(&self, norm: &BatchNorm, x: Features, index: usize, mode: Mode) -> Features {
        let (before, after) = self.pools();
        let x = convolution(&self.conv, x, before);
        let x = normalized(norm, x, self.activation).max_pool(after);
        x.dropout(self.dropout, index, mode)
    }

    /// Sides of the pools before and after batch norm and activation; one of them is none.
    fn pools(&self) -> (usize, usize) {
        match self.pool_first {
            true => (self.pool, 1),
            false => (1, self.pool),
        }
    }

    /// One operation after the other: `[batch, channel, height, width]` -> `[batch, filter, height', width']`
    fn composed(&self, x: Tensor<4>, index: usize, mode: Mode) -> Tensor<4> {
        let x = Features::ChannelsFirst(self.conv.forward(x));
        let (before, after) = self.pools();
        let x = x.max_pool(before).channels_first();
        let x = match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let x = Features::ChannelsFirst(self.activation.forward(x)).max_pool(after);
        x.dropout(self.dropout, index, mode).channels_first()
    }

    /// Whether it takes channels last, given a device that has the kernels.
    fn is_channels_last(&self) -> bool {
        self.norm.is_some() || self.activation.in_block().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_as_large_as_the_tensors_of_a_forward_pass() {
        let device = crate::device::host();
        let input = InputShape {
            channels: 3,
            height: 13,
            width: 11,
            n_classes: 3,
        };
        let block = |filters, kernel, padding, batch_norm, pool| BlockConfig {
            filters,
            kernel,
            padding,
            batch_norm,
            pool,
            ..Default::default()
        };
        let config = CnnConfig {
            blocks: vec![
                block(4, 3, Padding::Same, true, 2),
                block(5, 2, Padding::Valid, false, 1),
            ],
            dense: vec![7],
            ..Default::default()
        };
        let layers = config.layers(input);
        let model = config.init(input, &mut Initialization::new(1, &device));
        let parameters: u64 = layers.iter().map(|layer| layer.parameters).sum();
        assert_eq!(parameters, model.num_params() as u64);

        let n_images = 2;
        let mut x = Tensor::<4>::zeros([n_images, 3, 13, 11], &device);
        let n_elements = |layer: &Layer| n_images * layer.output as usize;
        assert_eq!(n_elements(&layers[0]), x.shape().num_elements());
        for (index, block) in model.blocks.iter().enumerate() {
            let layer = &layers[1 + index];
            let output = block.conv.forward(x.clone());
            assert_eq!(n_elements(layer), output.shape().num_elements());
            assert_eq!(
                layer.weight as usize,
                block.conv.weight.shape().num_elements()
            );
            x = block.composed(x, index, Mode::Inference);
            assert!(x.shape().num_elements() <= n_elements(layer));
        }
        let mut x: Tensor<2> = x.flatten(1, 3);
        for (layer, linear) in layers[3..].iter().zip([&model.dense[0], &model.output]) {
            x = linear.forward(x);
            assert_eq!(n_elements(layer), x.shape().num_elements());
            assert_eq!(layer.weight as usize, linear.weight.shape().num_elements());
        }
        assert_eq!(layers.len(), 5);
    }

    fn composed(model: &Cnn, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        let blocks = model.blocks.iter().enumerate();
        let x = blocks.fold(images, |x, (index, block)| block.composed(x, index, mode));
        let mut x: Tensor<2> = match model.head {
            Head::Flatten => x.flatten(1, 3),
            Head::AveragePool => {
                let [batch, channels, ..] = x.dims();
                x.mean_dim(3).mean_dim(2).reshape([batch, channels])
            }
        };
        for (index, layer) in model.dense.iter().enumerate() {
            x = model.dense_activation.forward(layer.forward(x));
            let index = model.blocks.len() + index;
            x = super::super::layers::dropout(x, model.dense_dropout, index, mode);
        }
        model.output.forward(x)
    }

    #[test]
    fn a_training_step_is_that_of_burns_operations() {
        let input = InputShape {
            channels: 3,
            height: 13,
            width: 11,
            n_classes: 3,
        };
        for (n_norms, toml) in [
            (
                2,
                "dense = [7]\ndense_dropout = 0.2\nblocks = [{ filters = 4, batch_norm = true, dropout = 0.3 }, \
                 { filters = 5, batch_norm = true, pool_first = true, dropout = 0.4 }]",
            ),
            // With a convolution block before and behind, in every layout between them.
            (
                1,
                "dense = []\nhead = 'average_pool'\nblocks = [{ filters = 4, pool = 1, activation = 'selu' }, \
                 { filters = 5, kernel = 2, padding = 'valid', pool = 3, batch_norm = true, pool_first = true, \
                 activation = 'tanh' }, { filters = 6, pool = 1, dropout = 0.3 }]",
            ),
            (
                2,
                "dense = [6]\nhead = 'average_pool'\ndense_activation = 'gelu'\nblocks = [{ filters = 4, \
                 batch_norm = true, activation = 'gelu' }, { filters = 3, pool = 1, batch_norm = true, \
                 activation = 'selu', dropout = 0.2 }, { filters = 4, activation = 'gelu' }]",
            ),
            (
                0,
                "dense = [6]\nhead = 'average_pool'\nblocks = [{ filters = 4, pool_first = true }]",
            ),
        ] {
            let config: CnnConfig = toml::from_str(toml).unwrap();
            config.validate(input).unwrap();
            super::super::comparison::agree(
                n_norms,
                input,
                |device| config.init(input, &mut Initialization::new(1, device)),
                Cnn::forward,
                composed,
            );
        }
    }

    #[test]
    fn an_average_pool_makes_the_dense_layers_small() {
        let input = InputShape {
            channels: 1,
            height: 28,
            width: 28,
            n_classes: 10,
        };
        let config = |head| CnnConfig {
            head,
            dense: vec![20],
            ..Default::default()
        };
        for (head, n_inputs) in [(Head::Flatten, 32 * 7 * 7), (Head::AveragePool, 32)] {
            let config = config(head);
            let device = crate::device::host();
            let model = config.init(input, &mut Initialization::new(1, &device));
            assert_eq!(model.dense[0].weight.dims(), [n_inputs, 20]);
            let layers = config.layers(input);
            assert_eq!(layers[3].weight as usize, n_inputs * 20);
            let parameters: u64 = layers.iter().map(|layer| layer.parameters).sum();
            assert_eq!(parameters, model.num_params() as u64);
        }
        // The same number of units is too many for one of them alone.
        let wide = |head| {
            let dense = vec![1_000_000];
            let config = CnnConfig {
                dense,
                ..config(head)
            };
            config.validate(input)
        };
        assert_eq!(wide(Head::Flatten).unwrap_err().key, "dense[0]");
        assert_eq!(wide(Head::AveragePool), Ok(()));
    }
}
