//! The kernels on burn's two CPU backends: tensors lend their memory to the twins.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Flex, NdArray, TensorMetadata};
use burn::tensor::{DType, TensorData};
use burn_flex::FlexTensor;
use burn_ndarray::NdArrayTensor;
use weft_cpu::memory::written;
use weft_cpu::simd::Instructions;

use super::adam::AdamSpec;
use super::average::AverageSpec;
use super::cross_entropy::CrossEntropySpec;
use super::{
    DropoutSpec, GatherSpec, Kernels, batch_norm, conv_block, cross_entropy, dense, dropout_mask,
    gather_batch, orthogonal,
};

/// How a CPU backend's tensors lend their memory and are made of it.
trait Host: Backend<Device: Default> {
    /// Lends a float tensor's elements.
    fn with_f32<R>(tensor: &FloatTensor<Self>, f: impl FnOnce(&[f32]) -> R) -> R;

    /// Lends an integer tensor's elements as i32.
    fn with_i32<R>(tensor: &IntTensor<Self>, f: impl FnOnce(&[i32]) -> R) -> R;

    /// Lends a route's elements.
    fn with_u8<R>(tensor: &IntTensor<Self>, f: impl FnOnce(&[u8]) -> R) -> R;

    /// A float tensor's elements, without a copy where nobody else has them.
    fn into_f32(tensor: FloatTensor<Self>) -> Vec<f32>;

    fn float_tensor(values: Vec<f32>, shape: impl Into<Vec<usize>>) -> FloatTensor<Self> {
        let data = TensorData::new(values, shape.into());
        Self::float_from_data(data, &Self::Device::default())
    }

    fn route(values: Vec<u8>, shape: impl Into<Vec<usize>>) -> IntTensor<Self> {
        let data = TensorData::new(values, shape.into());
        Self::int_from_data(data, &Self::Device::default())
    }
}

impl Host for Flex {
    fn with_f32<R>(tensor: &FlexTensor, f: impl FnOnce(&[f32]) -> R) -> R {
        match tensor.as_slice() {
            Some(values) => f(values),
            None => f(tensor.to_contiguous().storage()),
        }
    }

    fn with_i32<R>(tensor: &FlexTensor, f: impl FnOnce(&[i32]) -> R) -> R {
        if let Some(values) = tensor.as_slice() {
            return f(values);
        }
        let data = tensor.to_contiguous().into_data();
        f(&data.iter::<i32>().collect::<Vec<_>>())
    }

    fn with_u8<R>(tensor: &FlexTensor, f: impl FnOnce(&[u8]) -> R) -> R {
        match tensor.as_slice() {
            Some(values) => f(values),
            None => f(tensor.to_contiguous().storage()),
        }
    }

    fn into_f32(tensor: FlexTensor) -> Vec<f32> {
        let data = tensor.into_data();
        data.into_vec().unwrap_or_default()
    }
}

impl Host for NdArray {
    fn with_f32<R>(tensor: &NdArrayTensor, f: impl FnOnce(&[f32]) -> R) -> R {
        match tensor {
            NdArrayTensor::F32(storage) => {
                let view = storage.view();
                match view.as_slice() {
                    Some(values) => f(values),
                    None => f(&view.iter().copied().collect::<Vec<_>>()),
                }
            }
            other => unreachable!("floats are f32 here, not {:?}", other.dtype()),
        }
    }

    fn with_i32<R>(tensor: &NdArrayTensor, f: impl FnOnce(&[i32]) -> R) -> R {
        match tensor {
            NdArrayTensor::I32(storage) => {
                let view = storage.view();
                match view.as_slice() {
                    Some(values) => f(values),
                    None => f(&view.iter().copied().collect::<Vec<_>>()),
                }
            }
            NdArrayTensor::I64(storage) => {
                f(&storage.view().iter().map(|&v| v as i32).collect::<Vec<_>>())
            }
            other => unreachable!("integers are i32 or i64 here, not {:?}", other.dtype()),
        }
    }

    fn with_u8<R>(tensor: &NdArrayTensor, f: impl FnOnce(&[u8]) -> R) -> R {
        match tensor {
            NdArrayTensor::U8(storage) => {
                let view = storage.view();
                match view.as_slice() {
                    Some(values) => f(values),
                    None => f(&view.iter().copied().collect::<Vec<_>>()),
                }
            }
            other => unreachable!("routes are u8 here, not {:?}", other.dtype()),
        }
    }

    fn into_f32(tensor: NdArrayTensor) -> Vec<f32> {
        Self::with_f32(&tensor, <[f32]>::to_vec)
    }
}

macro_rules! kernels_on_host {
    ($backend:ty) => {
        impl Kernels for $backend {
            fn gather_batch(
                packed: IntTensor<Self>,
                order: IntTensor<Self>,
                table: IntTensor<Self>,
                spec: GatherSpec,
            ) -> FloatTensor<Self> {
                let images = Self::with_i32(&packed, |packed| {
                    Self::with_i32(&order, |order| {
                        Self::with_i32(&table, |table| {
                            gather_batch::on_cpu(packed, order, table, &spec)
                        })
                    })
                });
                Self::float_tensor(images, spec.shape())
            }

            fn dropout_mask(like: FloatTensor<Self>, spec: DropoutSpec) -> FloatTensor<Self> {
                let shape = like.shape();
                let mask = dropout_mask::on_cpu(shape.num_elements(), &spec);
                Self::float_tensor(mask, shape.to_vec())
            }

            fn conv_block(
                images: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                spec: conv_block::Spec,
            ) -> (FloatTensor<Self>, IntTensor<Self>) {
                block::<Self>(&images, &weight, &bias, &spec)
            }

            fn conv_block_weight_grad(
                images: FloatTensor<Self>,
                output: FloatTensor<Self>,
                route: IntTensor<Self>,
                grad: FloatTensor<Self>,
                spec: conv_block::Spec,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                block_weight_grad::<Self>([&images, &output, &grad], &route, &spec)
            }

            fn conv_block_input_grad(
                weight: FloatTensor<Self>,
                output: FloatTensor<Self>,
                route: IntTensor<Self>,
                grad: FloatTensor<Self>,
                spec: conv_block::Spec,
            ) -> FloatTensor<Self> {
                block_input_grad::<Self>([&weight, &output, &grad], &route, &spec)
            }

            fn dense(
                inputs: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                spec: dense::Spec,
            ) -> FloatTensor<Self> {
                layer::<Self>([&inputs, &weight, &bias], &spec)
            }

            fn dense_grad(
                inputs: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                outputs: FloatTensor<Self>,
                grad: FloatTensor<Self>,
                spec: dense::Spec,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                layer_grad::<Self>([&inputs, &weight, &outputs, &grad], &spec)
            }

            fn batch_statistics(
                x: FloatTensor<Self>,
                channels: usize,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                let [mean, variance] = Self::with_f32(&x, |x| {
                    weft_cpu::batch_norm::statistics(Instructions::best(), channels, x)
                });
                (
                    Self::float_tensor(mean, [channels]),
                    Self::float_tensor(variance, [channels]),
                )
            }

            fn normalize(
                x: FloatTensor<Self>,
                mean: FloatTensor<Self>,
                variance: FloatTensor<Self>,
                gamma: FloatTensor<Self>,
                beta: FloatTensor<Self>,
                spec: batch_norm::Spec,
            ) -> FloatTensor<Self> {
                let y = with_norm::<Self, _>([&mean, &variance, &gamma, &beta], |layer| {
                    Self::with_f32(&x, |x| {
                        weft_cpu::batch_norm::forward(Instructions::best(), &spec, layer, x)
                    })
                });
                Self::float_tensor(y, x.shape().to_vec())
            }

            fn normalize_grad(
                x: FloatTensor<Self>,
                mean: FloatTensor<Self>,
                variance: FloatTensor<Self>,
                gamma: FloatTensor<Self>,
                beta: FloatTensor<Self>,
                grad: FloatTensor<Self>,
                spec: batch_norm::Spec,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                let set = Instructions::best();
                let [x_grad, gamma, beta] =
                    with_norm::<Self, _>([&mean, &variance, &gamma, &beta], |layer| {
                        Self::with_f32(&x, |x| {
                            Self::with_f32(&grad, |grad| {
                                weft_cpu::batch_norm::gradient(set, &spec, layer, x, grad)
                            })
                        })
                    });
                (
                    Self::float_tensor(x_grad, x.shape().to_vec()),
                    Self::float_tensor(gamma, [spec.channels]),
                    Self::float_tensor(beta, [spec.channels]),
                )
            }

            fn cross_entropy(
                logits: FloatTensor<Self>,
                labels: IntTensor<Self>,
                spec: CrossEntropySpec,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, IntTensor<Self>) {
                loss::<Self>(&logits, &labels, &spec)
            }

            fn cross_entropy_grad(
                logits: FloatTensor<Self>,
                labels: IntTensor<Self>,
                grad: FloatTensor<Self>,
                spec: CrossEntropySpec,
            ) -> FloatTensor<Self> {
                loss_grad::<Self>(&logits, &labels, &grad, &spec)
            }

            fn adam(
                parameter: FloatTensor<Self>,
                grad: FloatTensor<Self>,
                first: FloatTensor<Self>,
                second: FloatTensor<Self>,
                spec: AdamSpec,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                adam::<Self>(&parameter, &grad, [first, second], &spec)
            }

            fn average(
                average: FloatTensor<Self>,
                value: FloatTensor<Self>,
                spec: AverageSpec,
            ) -> FloatTensor<Self> {
                update::<Self>(average, &value, spec)
            }

            fn orthogonal(matrix: FloatTensor<Self>, spec: orthogonal::Spec) -> FloatTensor<Self> {
                let values = <Self as Host>::with_f32(&matrix, |matrix| {
                    weft_cpu::orthogonal::orthogonal(Instructions::best(), &spec, matrix)
                });
                <Self as Host>::float_tensor(values, [spec.rows, spec.columns])
            }
        }
    };
}

kernels_on_host!(Flex);
kernels_on_host!(NdArray);

fn block<B: Host>(
    images: &FloatTensor<B>,
    weight: &FloatTensor<B>,
    bias: &FloatTensor<B>,
    spec: &conv_block::Spec,
) -> (FloatTensor<B>, IntTensor<B>) {
    let len = spec.batch * spec.output_len();
    let (set, mut route) = (Instructions::best(), Vec::new());
    let route_len = if spec.has_route() { len } else { 0 };
    // SAFETY: the forward pass writes each number of both, and reads none.
    let output = unsafe {
        written(len, |output| {
            route = written(route_len, |route| {
                B::with_f32(images, |images| {
                    B::with_f32(weight, |weight| {
                        B::with_f32(bias, |bias| {
                            weft_cpu::conv_block::forward(
                                set, spec, images, weight, bias, output, route,
                            );
                        });
                    });
                });
            });
        })
    };
    let shape = spec.output_shape();
    let route_shape = match spec.has_route() {
        true => shape.to_vec(),
        false => vec![0],
    };
    (B::float_tensor(output, shape), B::route(route, route_shape))
}

fn block_weight_grad<B: Host>(
    [images, output, grad]: [&FloatTensor<B>; 3],
    route: &IntTensor<B>,
    spec: &conv_block::Spec,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (weight, bias) = B::with_f32(images, |images| {
        B::with_f32(output, |output| {
            B::with_f32(grad, |grad| {
                B::with_u8(route, |route| {
                    let instructions = Instructions::best();
                    weft_cpu::conv_block::weight_grad(
                        instructions,
                        spec,
                        images,
                        output,
                        route,
                        grad,
                    )
                })
            })
        })
    });
    let shape = [
        spec.out_channels,
        spec.in_channels,
        spec.kernel,
        spec.kernel,
    ];
    let bias = match spec.bias {
        true => B::float_tensor(bias, [spec.out_channels]),
        false => B::float_tensor(Vec::new(), [0]),
    };
    (B::float_tensor(weight, shape), bias)
}

fn block_input_grad<B: Host>(
    [weight, output, grad]: [&FloatTensor<B>; 3],
    route: &IntTensor<B>,
    spec: &conv_block::Spec,
) -> FloatTensor<B> {
    let set = Instructions::best();
    // SAFETY: the backward pass writes each number, and reads none.
    let images_grad = unsafe {
        written(spec.batch * spec.image_len(), |images_grad| {
            B::with_f32(weight, |weight| {
                B::with_f32(output, |output| {
                    B::with_f32(grad, |grad| {
                        B::with_u8(route, |route| {
                            weft_cpu::conv_block::input_grad(
                                set,
                                spec,
                                weight,
                                output,
                                route,
                                grad,
                                images_grad,
                            );
                        });
                    });
                });
            });
        })
    };
    B::float_tensor(images_grad, conv_block::images_shape(spec))
}

fn with_norm<B: Host, R>(
    [mean, variance, gamma, beta]: [&FloatTensor<B>; 4],
    f: impl FnOnce(weft_cpu::batch_norm::Layer) -> R,
) -> R {
    B::with_f32(mean, |mean| {
        B::with_f32(variance, |variance| {
            B::with_f32(gamma, |gamma| {
                B::with_f32(beta, |beta| {
                    f(weft_cpu::batch_norm::Layer {
                        mean,
                        variance,
                        gamma,
                        beta,
                    })
                })
            })
        })
    })
}

fn layer<B: Host>(
    [inputs, weight, bias]: [&FloatTensor<B>; 3],
    spec: &dense::Spec,
) -> FloatTensor<B> {
    let set = Instructions::best();
    // SAFETY: the forward pass writes each number before it reads it.
    let outputs = unsafe {
        written(spec.batch * spec.outputs, |outputs| {
            B::with_f32(inputs, |inputs| {
                B::with_f32(weight, |weight| {
                    B::with_f32(bias, |bias| {
                        weft_cpu::dense::forward(set, spec, inputs, weight, bias, outputs);
                    });
                });
            });
        })
    };
    B::float_tensor(outputs, [spec.batch, spec.outputs])
}

fn layer_grad<B: Host>(
    [inputs, weight, outputs, grad]: [&FloatTensor<B>; 4],
    spec: &dense::Spec,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let grads = B::with_f32(inputs, |inputs| {
        B::with_f32(weight, |weight| {
            B::with_f32(outputs, |outputs| {
                B::with_f32(grad, |grad| {
                    let instructions = Instructions::best();
                    weft_cpu::dense::backward(instructions, spec, inputs, weight, outputs, grad)
                })
            })
        })
    });
    let inputs_shape = match spec.input_grad {
        true => vec![spec.batch, spec.inputs],
        false => vec![0],
    };
    (
        B::float_tensor(grads.inputs, inputs_shape),
        B::float_tensor(grads.weight, [spec.inputs, spec.outputs]),
        B::float_tensor(grads.bias, [spec.outputs]),
    )
}

fn loss<B: Host>(
    logits: &FloatTensor<B>,
    labels: &IntTensor<B>,
    spec: &CrossEntropySpec,
) -> (FloatTensor<B>, FloatTensor<B>, IntTensor<B>) {
    let (sum, correct) = B::with_f32(logits, |logits| {
        B::with_i32(labels, |labels| {
            let labels = labels.iter().map(|&label| label as usize);
            cross_entropy::on_cpu(logits, labels, spec)
        })
    });
    let correct = match labels.dtype() {
        DType::I64 => TensorData::from([correct as i64]),
        _ => TensorData::from([correct as i32]),
    };
    (
        B::float_tensor(vec![sum / spec.n_images as f32], [1]),
        B::float_tensor(vec![sum], [1]),
        B::int_from_data(correct, &B::Device::default()),
    )
}

fn loss_grad<B: Host>(
    logits: &FloatTensor<B>,
    labels: &IntTensor<B>,
    grad: &FloatTensor<B>,
    spec: &CrossEntropySpec,
) -> FloatTensor<B> {
    let grad = B::with_f32(grad, |grad| grad[0]);
    let values = B::with_f32(logits, |logits| {
        B::with_i32(labels, |labels| {
            let labels = labels.iter().map(|&label| label as usize);
            cross_entropy::grad_on_cpu(logits, labels, grad, spec)
        })
    });
    B::float_tensor(values, [spec.n_images, spec.n_classes])
}

fn adam<B: Host>(
    parameter: &FloatTensor<B>,
    grad: &FloatTensor<B>,
    moments: [FloatTensor<B>; 2],
    spec: &AdamSpec,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = parameter.shape().to_vec();
    let [mut first, mut second] = moments.map(B::into_f32);
    let set = Instructions::best();
    // SAFETY: the step writes each number, and reads none.
    let updated = unsafe {
        written(first.len(), |updated| {
            B::with_f32(parameter, |parameter| {
                B::with_f32(grad, |grad| {
                    let moments = [&mut first[..], &mut second[..]];
                    weft_cpu::adam::step(set, spec, parameter, grad, moments, updated);
                });
            });
        })
    };
    let tensor = |values| B::float_tensor(values, shape.clone());
    (tensor(updated), tensor(first), tensor(second))
}

fn update<B: Host>(
    average: FloatTensor<B>,
    value: &FloatTensor<B>,
    spec: AverageSpec,
) -> FloatTensor<B> {
    let shape = average.shape().to_vec();
    let mut average = B::into_f32(average);
    B::with_f32(value, |value| {
        weft_cpu::average::update(Instructions::best(), spec.rate, value, &mut average);
    });
    B::float_tensor(average, shape)
}
