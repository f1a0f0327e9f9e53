//! A trained model as a plain sequence of operations, with the names and layouts of weights that
//! PyTorch has. What a file format needs to know of architectures is here; each format walks through
//! the sequence. A stage of residual blocks is one operation of it, made of others.

mod record;

use burn_pack::DType;

use crate::model::cnn::{CnnConfig, Head};
use crate::model::layers::Activation;
use crate::model::mlp::MlpConfig;
use crate::model::resnet::ResnetConfig;
use crate::model::{InputShape, ModelConfig};
use record::Record;

/// Numbers with a shape, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weights {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// What comes after the normalisation, in the order of the forward pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    /// Unique among the layers, the path of a Python attribute: "conv1", "stage2.0.norm1", "output".
    pub(crate) name: String,
    pub(crate) operation: Operation,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    /// A square convolution.
    Convolution {
        /// `[filter, channel, kernel, kernel]`
        weight: Weights,
        /// `[filter]`
        bias: Option<Weights>,
        /// Zeros on each side.
        padding: usize,
        stride: usize,
    },
    /// Each of them `[channel]`.
    BatchNorm {
        weight: Weights,
        bias: Weights,
        running_mean: Weights,
        running_var: Weights,
        epsilon: f64,
        /// Whether channels have rows and columns.
        of_images: bool,
    },
    Activation(Activation),
    /// Side and stride of the pool; what does not fill a window is left out.
    MaxPool(usize),
    /// `[batch, channel, height, width]` -> `[batch, channel * height * width]`
    Flatten,
    /// The mean over rows and columns: `[batch, channel, height, width]` -> `[batch, channel]`
    AveragePool,
    /// Residual blocks, one after the other; at least one.
    Stage(Vec<ResidualBlock>),
    Linear {
        /// `[output, input]`, the transpose of burn's.
        weight: Weights,
        /// `[output]`
        bias: Weights,
    },
}

/// `around + path(first(x))`, where `around` is `x`, or a projection of `first(x)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResidualBlock {
    /// As a layer's: "stage2.0".
    pub(crate) name: String,
    /// Channels of `x`.
    pub(crate) inputs: usize,
    /// Channels of the output.
    pub(crate) filters: usize,
    pub(crate) stride: usize,
    pub(crate) first: Vec<Layer>,
    pub(crate) projection: Option<Layer>,
    pub(crate) path: Vec<Layer>,
}

/// Why a checkpoint's model file does not give a sequence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayersError {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] burn_pack::Error),
    #[error("it has no tensor {0}")]
    Missing(String),
    #[error("{name} has the shape {shape:?} and is of {dtype:?}, but {expected} is needed")]
    Unfit {
        name: String,
        shape: Vec<usize>,
        dtype: DType,
        expected: String,
    },
    #[error("its tensor {0} has no place in the model")]
    Left(String),
}

type Result<T> = std::result::Result<T, LayersError>;

/// The sequence of a model, with the weights of a checkpoint's model file.
pub(crate) fn layers(
    model: &ModelConfig,
    input: InputShape,
    model_file: &[u8],
) -> Result<Vec<Layer>> {
    let mut record = Record::read(model_file)?;
    let mut layers = Sequence::default();
    match model {
        ModelConfig::SoftmaxRegression(_) => {
            record.prefix = "classifier.SoftmaxRegression";
            layers.push("flatten", Operation::Flatten);
        }
        ModelConfig::Mlp(config) => {
            record.prefix = "classifier.Mlp";
            layers.mlp(config, &mut record)?;
        }
        ModelConfig::Cnn(config) => {
            record.prefix = "classifier.Cnn";
            layers.cnn(config, input.channels, &mut record)?;
        }
        ModelConfig::Resnet(config) => {
            record.prefix = "classifier.Resnet";
            layers.resnet(config, input, &mut record)?;
        }
    }
    layers.push("output", record.linear("output")?);
    match record.tensors.pop_first() {
        Some((left, _)) => Err(LayersError::Left(left)),
        None => Ok(layers.0),
    }
}

#[derive(Default)]
struct Sequence(Vec<Layer>);

impl Sequence {
    fn push(&mut self, name: impl Into<String>, operation: Operation) {
        let name = name.into();
        self.0.push(Layer { name, operation });
    }

    fn mlp(&mut self, config: &MlpConfig, record: &mut Record) -> Result<()> {
        self.push("flatten", Operation::Flatten);
        for (index, &units) in config.hidden.iter().enumerate() {
            let number = index + 1;
            let linear = record.linear(&format!("hidden.{index}"))?;
            self.push(format!("hidden{number}"), linear);
            if config.batch_norm {
                let norm = record.batch_norm(&format!("norms.{index}"), units, false)?;
                self.push(format!("norm{number}"), norm);
            }
            self.activation(config.activation, number);
        }
        Ok(())
    }

    fn cnn(&mut self, config: &CnnConfig, n_channels: usize, record: &mut Record) -> Result<()> {
        let mut n_channels = n_channels;
        for (index, block) in config.blocks.iter().enumerate() {
            let (number, key) = (index + 1, format!("blocks.{index}"));
            let shape = [block.filters, n_channels, block.kernel, block.kernel];
            let convolution = Operation::Convolution {
                weight: record.take(&format!("{key}.conv.weight"), &shape)?,
                // Left out where a batch norm follows, which has one.
                bias: match block.batch_norm {
                    true => None,
                    false => Some(record.take(&format!("{key}.conv.bias"), &[block.filters])?),
                },
                padding: block.padding.zeros(block.kernel),
                stride: 1,
            };
            self.push(format!("conv{number}"), convolution);
            let pools_first = block.pool_first;
            if pools_first {
                self.max_pool(block.pool, number);
            }
            if block.batch_norm {
                let norm = record.batch_norm(&format!("{key}.norm"), block.filters, true)?;
                self.push(format!("norm{number}"), norm);
            }
            self.activation(block.activation, number);
            if !pools_first {
                self.max_pool(block.pool, number);
            }
            n_channels = block.filters;
        }
        match config.head {
            Head::Flatten => self.push("flatten", Operation::Flatten),
            Head::AveragePool => self.push("average", Operation::AveragePool),
        }
        for index in 0..config.dense.len() {
            let linear = record.linear(&format!("dense.{index}"))?;
            self.push(format!("dense{}", index + 1), linear);
            self.activation(config.dense_activation, config.blocks.len() + index + 1);
        }
        Ok(())
    }

    fn resnet(
        &mut self,
        config: &ResnetConfig,
        input: InputShape,
        record: &mut Record,
    ) -> Result<()> {
        let channels = [input.channels, config.stem_filters];
        let stem = record.convolution("stem", channels, config.stem_kernel, 1)?;
        self.push("stem", stem);
        let mut stages = vec![Vec::new(); config.stages.len()];
        for (index, shape) in config.blocks(input).iter().enumerate() {
            let block = record.residual_block(&format!("blocks.{index}"), shape, config)?;
            stages[shape.stage].push(block);
        }
        for (index, blocks) in stages.into_iter().enumerate() {
            self.push(format!("stage{}", index + 1), Operation::Stage(blocks));
        }
        let norm = record.batch_norm("norm", config.last_channels(), true)?;
        self.push("norm", norm);
        let activation = config.activation;
        self.push(activation.as_str(), Operation::Activation(activation));
        self.push("average", Operation::AveragePool);
        Ok(())
    }

    fn max_pool(&mut self, side: usize, number: usize) {
        if side > 1 {
            self.push(format!("pool{number}"), Operation::MaxPool(side));
        }
    }

    fn activation(&mut self, activation: Activation, number: usize) {
        let name = format!("{}{number}", activation.as_str());
        self.push(name, Operation::Activation(activation));
    }
}

impl Weights {
    /// Of a matrix.
    fn transposed(&self) -> Self {
        let [n_rows, n_columns] = [self.shape[0], self.shape[1]];
        let column = |column| (0..n_rows).map(move |row| row * n_columns + column);
        let indices = (0..n_columns).flat_map(column);
        Self {
            shape: vec![n_columns, n_rows],
            values: indices.map(|index| self.values[index]).collect(),
        }
    }

    /// As files have them: little-endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }
}

/// The layers with those in the place of stages that stages are made of, in the order of the module
/// that is printed.
pub(crate) fn flat(layers: &[Layer]) -> Vec<&Layer> {
    let mut all = Vec::new();
    for layer in layers {
        match &layer.operation {
            Operation::Stage(blocks) => all.extend(blocks.iter().flat_map(ResidualBlock::layers)),
            _ => all.push(layer),
        }
    }
    all
}

impl ResidualBlock {
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.first.iter().chain(&self.path).chain(&self.projection)
    }
}

impl Layer {
    /// Its weights by the names of PyTorch's state_dict, but for the count of batches and what is in a
    /// stage.
    pub(crate) fn weights(&self) -> Vec<(String, &Weights)> {
        let parts: Vec<(&str, &Weights)> = match &self.operation {
            Operation::Convolution { weight, bias, .. } => {
                let bias = bias.iter().map(|bias| ("bias", bias));
                [("weight", weight)].into_iter().chain(bias).collect()
            }
            Operation::Linear { weight, bias } => vec![("weight", weight), ("bias", bias)],
            Operation::BatchNorm {
                weight,
                bias,
                running_mean,
                running_var,
                ..
            } => vec![
                ("weight", weight),
                ("bias", bias),
                ("running_mean", running_mean),
                ("running_var", running_var),
            ],
            Operation::Activation(_)
            | Operation::MaxPool(_)
            | Operation::Flatten
            | Operation::AveragePool
            | Operation::Stage(_) => Vec::new(),
        };
        let named = |(part, weights)| (format!("{}.{part}", self.name), weights);
        parts.into_iter().map(named).collect()
    }
}
