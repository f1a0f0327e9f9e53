//! The weights of a checkpoint's model file, by the names that burn gives them.

use std::collections::BTreeMap;

use burn::tensor::Bytes;
use burn_pack::{DType, Reader};

use super::{Layer, LayersError, Operation, ResidualBlock, Result, Weights};
use crate::model::init::BATCH_NORM_EPSILON;
use crate::model::layers::Padding;
use crate::model::resnet::{BlockShape, KERNEL, ResnetConfig};

/// A checkpoint's model file, from which each tensor is taken once.
pub(super) struct Record {
    pub(super) prefix: &'static str,
    pub(super) tensors: BTreeMap<String, burn_pack::Tensor>,
}

impl Record {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes.to_vec()))?;
        let tensors = reader.into_tensors()?.into_iter();
        Ok(Self {
            prefix: "",
            tensors: tensors
                .map(|tensor| (tensor.name.clone(), tensor))
                .collect(),
        })
    }

    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Weights> {
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

    pub(super) fn linear(&mut self, name: &str) -> Result<Operation> {
        let is_matrix = |shape: &[usize]| shape.len() == 2;
        let weight = self.take_if(&format!("{name}.weight"), is_matrix, || {
            "a matrix of F32".to_owned()
        })?;
        let weight = weight.transposed();
        let bias = self.take(&format!("{name}.bias"), &weight.shape[..1])?;
        Ok(Operation::Linear { weight, bias })
    }

    /// Without a bias; keeps the size but for the stride.
    pub(super) fn convolution(
        &mut self,
        name: &str,
        [inputs, filters]: [usize; 2],
        kernel: usize,
        stride: usize,
    ) -> Result<Operation> {
        let shape = [filters, inputs, kernel, kernel];
        Ok(Operation::Convolution {
            weight: self.take(&format!("{name}.weight"), &shape)?,
            bias: None,
            padding: Padding::Same.zeros(kernel),
            stride,
        })
    }

    /// * `key`: in the record
    pub(super) fn residual_block(
        &mut self,
        key: &str,
        shape: &BlockShape,
        config: &ResnetConfig,
    ) -> Result<ResidualBlock> {
        let name = format!("stage{}.{}", shape.stage + 1, shape.block);
        let layer = |part: &str, operation| Layer {
            name: format!("{name}.{part}"),
            operation,
        };
        let key = |part: &str| format!("{key}.{part}");
        let activation = config.activation;
        let activated = |number: usize| {
            let part = format!("{}{number}", activation.as_str());
            layer(&part, Operation::Activation(activation))
        };
        let &BlockShape {
            in_channels: inputs,
            filters,
            stride,
            ..
        } = shape;
        let norm_1 = self.batch_norm(&key("norm_1"), inputs, true)?;
        let conv_1 = self.convolution(&key("conv_1"), [inputs, filters], KERNEL, stride)?;
        let norm_2 = self.batch_norm(&key("norm_2"), filters, true)?;
        let conv_2 = self.convolution(&key("conv_2"), [filters, filters], KERNEL, 1)?;
        let projection = match shape.projects() {
            true => {
                let name = key("projection");
                let convolution = self.convolution(&name, [inputs, filters], 1, stride)?;
                Some(layer("projection", convolution))
            }
            false => None,
        };
        Ok(ResidualBlock {
            inputs,
            filters,
            stride,
            first: vec![layer("norm1", norm_1), activated(1)],
            projection,
            path: vec![
                layer("conv1", conv_1),
                layer("norm2", norm_2),
                activated(2),
                layer("conv2", conv_2),
            ],
            name,
        })
    }

    pub(super) fn batch_norm(
        &mut self,
        name: &str,
        n: usize,
        of_images: bool,
    ) -> Result<Operation> {
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
