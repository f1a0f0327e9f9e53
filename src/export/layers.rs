//! A trained model as a plain sequence of operations, with the names and layouts of weights that
//! PyTorch has. What a file format needs to know of architectures is here; each format walks through
//! the sequence.

use std::collections::BTreeMap;

use burn::tensor::Bytes;
use burn_pack::{DType, Reader};

use crate::model::init::BATCH_NORM_EPSILON;
use crate::model::layers::Activation;
use crate::model::{ModelConfig, cnn::CnnConfig, mlp::MlpConfig};

/// Numbers with a shape, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weights {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// What comes after the normalisation, in the order of the forward pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    /// Unique among the layers, a Python identifier: "conv1", "norm1", "dense2", "output".
    pub(crate) name: String,
    pub(crate) operation: Operation,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    /// A square convolution with stride 1.
    Convolution {
        /// `[filter, channel, kernel, kernel]`
        weight: Weights,
        /// `[filter]`
        bias: Option<Weights>,
        /// Zeros on each side.
        padding: usize,
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
    Linear {
        /// `[output, input]`, the transpose of burn's.
        weight: Weights,
        /// `[output]`
        bias: Weights,
    },
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
///
/// * `n_channels`: of the images
pub(crate) fn layers(
    model: &ModelConfig,
    n_channels: usize,
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
            layers.cnn(config, n_channels, &mut record)?;
        }
        ModelConfig::Resnet(_) => todo!(),
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
            };
            self.push(format!("conv{number}"), convolution);
            if block.batch_norm {
                let norm = record.batch_norm(&format!("{key}.norm"), block.filters, true)?;
                self.push(format!("norm{number}"), norm);
            }
            self.activation(block.activation, number);
            if block.pool > 1 {
                self.push(format!("pool{number}"), Operation::MaxPool(block.pool));
            }
            n_channels = block.filters;
        }
        self.push("flatten", Operation::Flatten);
        for index in 0..config.dense.len() {
            let linear = record.linear(&format!("dense.{index}"))?;
            self.push(format!("dense{}", index + 1), linear);
            self.activation(config.dense_activation, config.blocks.len() + index + 1);
        }
        Ok(())
    }

    fn activation(&mut self, activation: Activation, number: usize) {
        let name = format!("{}{number}", activation.as_str());
        self.push(name, Operation::Activation(activation));
    }
}

/// A checkpoint's model file, from which each tensor is taken once.
struct Record {
    prefix: &'static str,
    tensors: BTreeMap<String, burn_pack::Tensor>,
}

impl Record {
    fn read(bytes: &[u8]) -> Result<Self> {
        let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes.to_vec()))?;
        let tensors = reader.into_tensors()?.into_iter();
        Ok(Self {
            prefix: "",
            tensors: tensors
                .map(|tensor| (tensor.name.clone(), tensor))
                .collect(),
        })
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Weights> {
        let expected = |found: &[usize]| found == shape;
        self.take_if(name, expected, || format!("{shape:?} of F32"))
    }

    fn take_if(
        &mut self,
        name: &str,
        fits: impl Fn(&[usize]) -> bool,
        expected: impl Fn() -> String,
    ) -> Result<Weights> {
        let name = format!("{}.{name}", self.prefix);
        let Some(tensor) = self.tensors.remove(&name) else {
            return Err(LayersError::Missing(name));
        };
        let (shape, dtype) = (tensor.shape.to_vec(), tensor.dtype);
        if dtype != DType::F32 || !fits(&shape) {
            return Err(LayersError::Unfit {
                name,
                shape,
                dtype,
                expected: expected(),
            });
        }
        let bytes = tensor.into_bytes()?;
        let number = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map_or(0.0, f32::from_le_bytes);
        Ok(Weights {
            shape,
            values: bytes.chunks_exact(4).map(number).collect(),
        })
    }

    fn linear(&mut self, name: &str) -> Result<Operation> {
        let is_matrix = |shape: &[usize]| shape.len() == 2;
        let weight = self.take_if(&format!("{name}.weight"), is_matrix, || {
            "a matrix of F32".to_owned()
        })?;
        let weight = weight.transposed();
        let bias = self.take(&format!("{name}.bias"), &weight.shape[..1])?;
        Ok(Operation::Linear { weight, bias })
    }

    fn batch_norm(&mut self, name: &str, n: usize, of_images: bool) -> Result<Operation> {
        let mut take = |part| self.take(&format!("{name}.{part}"), &[n]);
        Ok(Operation::BatchNorm {
            weight: take("gamma")?,
            bias: take("beta")?,
            running_mean: take("running_mean")?,
            running_var: take("running_var")?,
            epsilon: BATCH_NORM_EPSILON,
            of_images,
        })
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

impl Layer {
    /// Its weights by the names of PyTorch's state_dict, but for the count of batches.
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
            Operation::Activation(_) | Operation::MaxPool(_) | Operation::Flatten => Vec::new(),
        };
        let named = |(part, weights)| (format!("{}.{part}", self.name), weights);
        parts.into_iter().map(named).collect()
    }
}
