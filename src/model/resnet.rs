//! Residual network of pre-activation basic blocks (He et al., 2016, "Identity Mappings in Deep Residual
//! Networks"): a stem convolution, stages of blocks, batch norm, global average pool, a linear output.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::features::{Features, convolution, normalized};
use super::init::{Initialization, Initializer};
use super::layers::{Activation, Padding, check_dropout, check_positive, dense, dropout};
use super::memory::Layer;
use super::size::{LayerSize, MOST_LAYERS, check_depth, check_weights};
use super::{InputShape, InvalidModel, Mode};

/// Hyper-parameters of a residual network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResnetConfig {
    /// Filters of the stem, a convolution that keeps the size.
    pub stem_filters: usize,
    /// Side of the stem's square kernel; odd.
    pub stem_kernel: usize,
    /// Nonlinearity after each batch norm.
    pub activation: Activation,
    /// Probability of dropping an element between the two convolutions of a block (Zagoruyko and
    /// Komodakis, 2016).
    pub block_dropout: f64,
    /// Probability of dropping a channel's mean before the output layer.
    pub dropout: f64,
    /// How the convolutions' weights are drawn; the output layer's are `glorot_uniform`.
    pub initializer: Initializer,
    /// Stages of blocks, from the image on.
    pub stages: Vec<StageConfig>,
}

/// Blocks of one width.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StageConfig {
    /// Channels.
    pub filters: usize,
    /// Blocks of two 3 x 3 convolutions.
    pub blocks: usize,
    /// Stride of the first block: 2 halves rows and columns, 1 keeps them.
    pub stride: usize,
}

impl Default for ResnetConfig {
    fn default() -> Self {
        let stage = |filters, stride| StageConfig {
            filters,
            blocks: 2,
            stride,
        };
        Self {
            stem_filters: 16,
            stem_kernel: 3,
            activation: Activation::Relu,
            block_dropout: 0.0,
            dropout: 0.0,
            initializer: Initializer::HeNormal,
            stages: vec![stage(16, 1), stage(32, 2), stage(64, 2)],
        }
    }
}

impl Default for StageConfig {
    fn default() -> Self {
        Self {
            filters: 64,
            blocks: 1,
            stride: 2,
        }
    }
}

/// Side of a block's kernels.
pub(crate) const KERNEL: usize = 3;

/// One block as the config makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockShape {
    /// The stage, and the block in it, from 0.
    pub(crate) stage: usize,
    pub(crate) block: usize,
    pub(crate) in_channels: usize,
    pub(crate) filters: usize,
    pub(crate) stride: usize,
    /// Rows and columns of its output.
    pub(crate) sides: [usize; 2],
}

impl BlockShape {
    /// Whether what goes around the block has to change its shape: by a 1 x 1 convolution.
    pub(crate) fn projects(&self) -> bool {
        self.stride > 1 || self.in_channels != self.filters
    }
}

impl ResnetConfig {
    pub(super) fn validate(&self, input: InputShape) -> Result<(), InvalidModel> {
        check_positive("stem_filters", self.stem_filters)?;
        check_positive("stem_kernel", self.stem_kernel)?;
        if self.stem_kernel.is_multiple_of(2) {
            return Err(InvalidModel::new(
                "stem_kernel",
                self.stem_kernel,
                "the stem keeps the size of the image, which needs an odd kernel",
                "use 3 or 5",
            ));
        }
        check_depth("stages", self.stages.len())?;
        let mut n_blocks = 0usize;
        for (index, stage) in self.stages.iter().enumerate() {
            let key = |name: &str| format!("stages[{index}].{name}");
            check_positive(&key("filters"), stage.filters)?;
            check_positive(&key("blocks"), stage.blocks)?;
            check_positive(&key("stride"), stage.stride)?;
            // Of a larger one the 3 x 3 kernels would leave out pixels.
            if stage.stride > KERNEL {
                return Err(InvalidModel::new(
                    key("stride"),
                    stage.stride,
                    "a 3 x 3 convolution would skip pixels",
                    "use 1, 2 or 3",
                ));
            }
            n_blocks = n_blocks.saturating_add(stage.blocks);
            if n_blocks > MOST_LAYERS {
                return Err(InvalidModel::new(
                    key("blocks"),
                    stage.blocks,
                    format!("a model may have at most {MOST_LAYERS} blocks, all stages together"),
                    "use fewer",
                ));
            }
        }
        check_dropout("block_dropout", self.block_dropout)?;
        check_dropout("dropout", self.dropout)?;
        check_weights(&self.sizes(input))
    }

    fn sizes(&self, input: InputShape) -> Vec<LayerSize> {
        let side = self.stem_kernel;
        let (key, value) = match side > self.stem_filters {
            true => ("stem_kernel", side),
            false => ("stem_filters", self.stem_filters),
        };
        let stem = [input.channels, self.stem_filters, side, side];
        let mut sizes = vec![LayerSize::new(key, value, &stem)];
        let mut before = ("stem_filters".to_owned(), self.stem_filters);
        for (index, stage) in self.stages.iter().enumerate() {
            let filters = (format!("stages[{index}].filters"), stage.filters);
            let taps = KERNEL * KERNEL;
            // The first convolution and the projection see the channels of the stage before.
            let wider = if before.1 > filters.1 {
                &before
            } else {
                &filters
            };
            let sides = [before.1, filters.1, taps + 1];
            sizes.push(LayerSize::new(&wider.0, wider.1, &sides));
            let others = 2usize.saturating_mul(stage.blocks) - 1;
            let sides = [others, filters.1, filters.1, taps];
            sizes.push(LayerSize::new(&filters.0, filters.1, &sides));
            before = filters;
        }
        sizes.push(LayerSize::new(
            before.0,
            before.1,
            &[before.1, input.n_classes],
        ));
        sizes
    }

    /// The blocks in the order of the forward pass. What a stride does not fill is rounded up, as the
    /// padding of 1 has it.
    pub(crate) fn blocks(&self, input: InputShape) -> Vec<BlockShape> {
        let mut blocks = Vec::new();
        let mut in_channels = self.stem_filters;
        let mut sides = [input.height, input.width];
        for (stage, config) in self.stages.iter().enumerate() {
            for block in 0..config.blocks {
                let stride = if block == 0 { config.stride } else { 1 };
                sides = sides.map(|side| side.div_ceil(stride));
                blocks.push(BlockShape {
                    stage,
                    block,
                    in_channels,
                    filters: config.filters,
                    stride,
                    sides,
                });
                in_channels = config.filters;
            }
        }
        blocks
    }

    /// Channels before the output layer.
    pub(crate) fn last_channels(&self) -> usize {
        let last = self.stages.last();
        last.map_or(self.stem_filters, |stage| stage.filters)
    }

    pub(super) fn init(&self, input: InputShape, init: &mut Initialization) -> Resnet {
        let channels = [input.channels, self.stem_filters];
        let scheme = self.initializer;
        let stem = init.conv(channels, self.stem_kernel, Padding::Same, false, scheme);
        let blocks = self.blocks(input);
        let blocks = blocks.iter().map(|block| block.init(scheme, init));
        let blocks = blocks.collect();
        let n_channels = self.last_channels();
        Resnet {
            stem,
            blocks,
            norm: init.batch_norm(n_channels),
            output: init.linear(n_channels, input.n_classes, Initializer::GlorotUniform),
            activation: self.activation,
            block_dropout: self.block_dropout,
            dropout: self.dropout,
        }
    }

    pub(super) fn layers(&self, input: InputShape) -> Vec<Layer> {
        let area = input.height.saturating_mul(input.width);
        let mut layers = vec![
            Layer::images(input.n_values()),
            convolution_layer(
                "the convolution of model.stem_filters".to_owned(),
                [input.channels, self.stem_filters, self.stem_kernel],
                area,
            ),
        ];
        let mut before = area;
        for block in self.blocks(input) {
            layers.extend(block.layers(before, self.block_dropout));
            before = block.sides[0].saturating_mul(block.sides[1]);
        }
        let n_channels = self.last_channels();
        let mut output = Layer::linear("the model", n_channels, input.n_classes, 1);
        // The last batch norm's output, and its numbers.
        output.kept = output.kept.saturating_add((n_channels * before) as u64);
        output.parameters = output.parameters.saturating_add(4 * n_channels as u64);
        layers.push(output);
        layers
    }
}

impl BlockShape {
    fn init(&self, scheme: Initializer, init: &mut Initialization) -> ResidualBlock {
        let (inputs, filters) = (self.in_channels, self.filters);
        let mut conv = |channels, kernel, stride| {
            let conv = init.conv(channels, kernel, Padding::Same, false, scheme);
            strided(conv, kernel, stride)
        };
        let first = conv([inputs, filters], KERNEL, self.stride);
        let second = conv([filters, filters], KERNEL, 1);
        let projection = self
            .projects()
            .then(|| conv([inputs, filters], 1, self.stride));
        ResidualBlock {
            norm_1: init.batch_norm(inputs),
            conv_1: first,
            norm_2: init.batch_norm(filters),
            conv_2: second,
            projection,
        }
    }

    /// `before`: places of its input.
    fn layers(&self, before: usize, dropout: f64) -> Vec<Layer> {
        let key = |what: &str| {
            format!(
                "{what} of block {} of model.stages[{}]",
                self.block, self.stage
            )
        };
        let (inputs, filters) = (self.in_channels, self.filters);
        let area = self.sides[0].saturating_mul(self.sides[1]);
        let normed = |layer: Layer, channels: usize, places: usize| Layer {
            kept: layer
                .kept
                .saturating_add((channels as u64).saturating_mul(places as u64)),
            parameters: layer.parameters.saturating_add(4 * channels as u64),
            ..layer
        };
        let first = convolution_layer(key("a convolution"), [inputs, filters, KERNEL], area);
        let mut second = convolution_layer(key("a convolution"), [filters, filters, KERNEL], area);
        if dropout > 0.0 {
            second.kept = second.kept.saturating_add(2 * second.output);
        }
        let mut layers = vec![normed(first, inputs, before), normed(second, filters, area)];
        if self.projects() {
            layers.push(convolution_layer(
                key("the projection"),
                [inputs, filters, 1],
                area,
            ));
        }
        layers
    }
}

/// A convolution without a bias, `[inputs, filters, kernel]`, that is used at `area` places.
fn convolution_layer(name: String, [inputs, filters, kernel]: [usize; 3], area: usize) -> Layer {
    let output = (filters as u64).saturating_mul(area as u64);
    let taps = (kernel as u64).saturating_pow(2);
    let weight = taps
        .saturating_mul(inputs as u64)
        .saturating_mul(filters as u64);
    Layer {
        name,
        output,
        // With its route.
        kept: output.saturating_mul(2),
        weight,
        parameters: weight,
        // Sums over places are taken in slices by weft's kernels, in one go by burn's.
        summed: if kernel <= 7 { 1 } else { area as u64 },
        places: area as u64,
    }
}

/// The same layer with a stride, and the same zeros around the image.
fn strided(mut conv: Conv2d, kernel: usize, stride: usize) -> Conv2d {
    let zeros = Padding::Same.zeros(kernel);
    conv.stride = [stride, stride];
    conv.padding = burn::nn::PaddingConfig2d::Explicit(zeros, zeros, zeros, zeros);
    conv
}

/// A residual network.
#[derive(Module, Debug)]
pub struct Resnet {
    stem: Conv2d,
    blocks: Vec<ResidualBlock>,
    norm: BatchNorm,
    output: Linear,
    #[module(skip)]
    activation: Activation,
    block_dropout: f64,
    dropout: f64,
}

/// `x + conv_2(act(norm_2(conv_1(act(norm_1(x))))))`; where the shape changes, the first activation goes
/// through `projection` in place of `x`.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    norm_1: BatchNorm,
    conv_1: Conv2d,
    norm_2: BatchNorm,
    conv_2: Conv2d,
    projection: Option<Conv2d>,
}

impl Resnet {
    /// `[batch, channel, height, width]` -> logits `[batch, class]`
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        let mut x = convolution(&self.stem, Features::ChannelsFirst(images), 1);
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, self.activation, |x| {
                x.dropout(self.block_dropout, index, mode)
            });
        }
        let x = normalized(&self.norm, x, self.activation).mean_of_places();
        let x = dropout(x, self.dropout, self.blocks.len(), mode);
        dense(&self.output, x, None, || None)
    }
}

impl ResidualBlock {
    fn forward(
        &self,
        x: Features,
        activation: Activation,
        dropout: impl FnOnce(Features) -> Features,
    ) -> Features {
        let first = normalized(&self.norm_1, x.clone(), activation);
        let around = match &self.projection {
            Some(projection) => convolution(projection, first.clone(), 1),
            None => x,
        };
        let x = convolution(&self.conv_1, first, 1);
        let x = dropout(normalized(&self.norm_2, x, activation));
        convolution(&self.conv_2, x, 1).add(around)
    }
}

#[cfg(test)]
mod tests {
    use super::super::comparison;
    use super::super::layers::dropout;
    use super::*;

    const INPUT: InputShape = InputShape {
        channels: 3,
        height: 13,
        width: 11,
        n_classes: 3,
    };

    /// Strides of 1, 2 and 3, a projection for the width alone, blocks without one, no stages at all.
    const CONFIGS: [&str; 4] = [
        "stem_filters = 4\nblock_dropout = 0.3\ndropout = 0.2\nstages = [{ filters = 4, blocks = 2, \
         stride = 1 }, { filters = 6, blocks = 2 }]",
        "stem_filters = 5\nstem_kernel = 5\nactivation = 'gelu'\nstages = [{ filters = 7, stride = 1 }, \
         { filters = 7, stride = 3 }]",
        "stem_filters = 3\nactivation = 'tanh'\nblock_dropout = 0.5\nstages = [{ filters = 2 }]",
        "stem_filters = 6\nstem_kernel = 1\nactivation = 'selu'\nstages = []",
    ];

    fn config(toml: &str) -> ResnetConfig {
        let config: ResnetConfig = toml::from_str(toml).unwrap();
        config.validate(INPUT).unwrap();
        config
    }

    #[test]
    fn layers_are_as_large_as_the_tensors_of_a_forward_pass() {
        let device = crate::device::host();
        let n_images = 2;
        for toml in CONFIGS {
            let config = config(toml);
            let model = config.init(INPUT, &mut Initialization::new(1, &device));
            let all = config.layers(INPUT);
            let parameters: u64 = all.iter().map(|layer| layer.parameters).sum();
            assert_eq!(parameters, model.num_params() as u64, "{toml}");

            assert_eq!(all[0].output as usize, INPUT.n_values());
            let mut layers = all[1..].iter();
            let mut next = |conv: &Conv2d, x: Tensor<4>| {
                let layer = layers.next().unwrap();
                let x = conv.forward(x);
                let [_, _, height, width] = x.dims();
                let n_elements = n_images * layer.output as usize;
                assert_eq!(n_elements, x.shape().num_elements(), "{layer:?}");
                let weight = conv.weight.shape().num_elements();
                assert_eq!(layer.weight as usize, weight, "{layer:?}");
                let places = (height * width) as u64;
                assert_eq!([layer.places, layer.summed], [places, 1], "{layer:?}");
                assert!(layer.kept >= layer.output, "{layer:?}");
                x
            };
            let images = Tensor::<4>::zeros([n_images, 3, 13, 11], &device);
            let mut x = next(&model.stem, images);
            for block in &model.blocks {
                let first = next(&block.conv_1, x.clone());
                let second = next(&block.conv_2, first);
                if let Some(projection) = &block.projection {
                    let around = next(projection, x);
                    assert_eq!(around.dims(), second.dims());
                }
                x = second;
            }
            let output = layers.next().unwrap();
            assert_eq!((output.output, output.places), (3, 1));
            let weight = model.output.weight.shape().num_elements();
            assert_eq!(output.weight as usize, weight);
            assert!(layers.next().is_none());
        }
    }

    fn composed(model: &Resnet, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        let activation = model.activation;
        let mut x = model.stem.forward(images);
        for (index, block) in model.blocks.iter().enumerate() {
            let first = activation.forward(block.norm_1.forward(x.clone()));
            let around = match &block.projection {
                Some(projection) => projection.forward(first.clone()),
                None => x,
            };
            let second = block.norm_2.forward(block.conv_1.forward(first));
            let second = activation.forward(second);
            let second = dropout(second, model.block_dropout, index, mode);
            x = around + block.conv_2.forward(second);
        }
        let x = activation.forward(model.norm.forward(x));
        let [batch, channels, ..] = x.dims();
        let x = x.mean_dim(3).mean_dim(2).reshape([batch, channels]);
        let x = dropout(x, model.dropout, model.blocks.len(), mode);
        model.output.forward(x)
    }

    #[test]
    fn a_training_step_is_that_of_burns_operations() {
        for toml in CONFIGS {
            let config = config(toml);
            comparison::agree(
                1 + 2 * config.blocks(INPUT).len(),
                INPUT,
                |device| config.init(INPUT, &mut Initialization::new(1, device)),
                Resnet::forward,
                composed,
            );
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_key_value_and_fix() {
        for (toml, key, value, fix) in [
            ("stem_filters = 0", "stem_filters", "0", "positive"),
            ("stem_kernel = 0", "stem_kernel", "0", "positive"),
            ("stem_kernel = 4", "stem_kernel", "4", "3 or 5"),
            ("block_dropout = 1.0", "block_dropout", "1", "0.2"),
            ("dropout = -0.5", "dropout", "-0.5", "0.2"),
            (
                "stages = [{ filters = 0 }]",
                "stages[0].filters",
                "0",
                "positive",
            ),
            (
                "stages = [{}, { blocks = 0 }]",
                "stages[1].blocks",
                "0",
                "positive",
            ),
            (
                "stages = [{ stride = 0 }]",
                "stages[0].stride",
                "0",
                "positive",
            ),
            (
                "stages = [{ stride = 4 }]",
                "stages[0].stride",
                "4",
                "1, 2 or 3",
            ),
            (
                "stages = [{ blocks = 600 }, { blocks = 401 }]",
                "stages[1].blocks",
                "401",
                "fewer",
            ),
            // Too many weights: of the stem, of a block's convolutions, of the first that sees what the
            // stage before it gives, of the output.
            (
                "stem_filters = 99999999",
                "stem_filters",
                "99999999",
                "smaller",
            ),
            ("stem_kernel = 99999", "stem_kernel", "99999", "smaller"),
            (
                "stages = [{ filters = 9999 }]",
                "stages[0].filters",
                "9999",
                "smaller",
            ),
            (
                "stem_filters = 9000000\nstages = [{ filters = 20 }]",
                "stem_filters",
                "9000000",
                "smaller",
            ),
            (
                "stages = [{ filters = 2000 }, { filters = 9000000 }]",
                "stages[1].filters",
                "9000000",
                "smaller",
            ),
        ] {
            let config: ResnetConfig = toml::from_str(toml).unwrap();
            let error = config.validate(INPUT).unwrap_err();
            assert_eq!((&*error.key, &*error.value), (key, value), "{toml}");
            assert!(error.fix.contains(fix), "{toml}: {}", error.fix);
        }
        assert!(toml::from_str::<ResnetConfig>("filters = 3").is_err());
    }
}
