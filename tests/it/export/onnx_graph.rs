//! Computes an ONNX graph node by node, from the operators' specification
//! (<https://onnx.ai/onnx/operators/>), in f64 and without regard to speed. A node whose input is not
//! there, or whose name is taken, is a panic.

use std::collections::BTreeMap;

use weft::export::onnx::proto::{AttributeProto, GraphProto, NodeProto};

/// Numbers row by row.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

/// Every value of the graph by its name.
pub(crate) fn run(graph: &GraphProto, images: Array) -> BTreeMap<String, Array> {
    let mut values = BTreeMap::from([(graph.input[0].name.clone().unwrap(), images)]);
    for tensor in &graph.initializer {
        let bytes = tensor.raw_data.clone().unwrap();
        let numbers = bytes
            .chunks_exact(4)
            .map(|it| f32::from_le_bytes(it.try_into().unwrap()));
        let array = Array {
            shape: tensor.dims.iter().map(|&side| side as usize).collect(),
            values: numbers.map(f64::from).collect(),
        };
        assert_eq!(array.shape.iter().product::<usize>(), array.values.len());
        let taken = values.insert(tensor.name.clone().unwrap(), array);
        assert!(taken.is_none(), "{:?} twice", tensor.name);
    }
    for node in &graph.node {
        let inputs: Vec<&Array> = node.input.iter().map(|name| &values[name]).collect();
        let output = compute(node, &inputs);
        let taken = values.insert(node.output[0].clone(), output);
        assert!(taken.is_none(), "{:?} twice", node.output);
    }
    let used = |name: &String| graph.node.iter().any(|node| node.input.contains(name));
    for tensor in &graph.initializer {
        assert!(
            used(tensor.name.as_ref().unwrap()),
            "{:?} is idle",
            tensor.name
        );
    }
    values
}

fn compute(node: &NodeProto, inputs: &[&Array]) -> Array {
    let x = inputs[0];
    match node.op_type.as_deref().unwrap() {
        "Sub" => binary(x, inputs[1], |a, b| a - b),
        "Div" => binary(x, inputs[1], |a, b| a / b),
        "Add" => binary(x, inputs[1], |a, b| a + b),
        "Mul" => binary(x, inputs[1], |a, b| a * b),
        "Relu" => unary(x, |a| a.max(0.0)),
        "Tanh" => unary(x, f64::tanh),
        "Erf" => unary(x, erf),
        "Selu" => {
            let [alpha, gamma] =
                ["alpha", "gamma"].map(|name| f64::from(attribute(node, name).f.unwrap()));
            unary(x, |a| {
                gamma * if a > 0.0 { a } else { alpha * (a.exp() - 1.0) }
            })
        }
        "Flatten" => {
            assert_eq!(attribute(node, "axis").i, Some(1));
            Array {
                shape: vec![x.shape[0], x.shape[1..].iter().product()],
                values: x.values.clone(),
            }
        }
        "Gemm" => gemm(node, x, inputs[1], inputs[2]),
        "Conv" => convolution(node, x, inputs[1], inputs.get(2).copied()),
        "MaxPool" => max_pool(node, x),
        "GlobalAveragePool" => global_average_pool(x),
        "BatchNormalization" => batch_norm(node, x, &inputs[1..]),
        "Softmax" => softmax(node, x),
        other => panic!("{other} is not known here"),
    }
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> &'a AttributeProto {
    let is_it = |it: &&AttributeProto| it.name.as_deref() == Some(name);
    node.attribute.iter().find(is_it).unwrap()
}

fn sizes(node: &NodeProto, name: &str) -> Vec<usize> {
    attribute(node, name)
        .ints
        .iter()
        .map(|&size| size as usize)
        .collect()
}

fn unary(x: &Array, f: impl Fn(f64) -> f64) -> Array {
    Array {
        shape: x.shape.clone(),
        values: x.values.iter().map(|&value| f(value)).collect(),
    }
}

/// `b` is one number, or `[channel, 1, 1]`.
fn binary(a: &Array, b: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    if a.shape == b.shape {
        let pairs = a.values.iter().zip(&b.values);
        let values = pairs.map(|(&a, &b)| f(a, b)).collect();
        return Array {
            shape: a.shape.clone(),
            values,
        };
    }
    let per_channel: usize = match b.shape[..] {
        [] => a.values.len(),
        [n_channels, 1, 1] if n_channels == a.shape[1] => a.shape[2..].iter().product(),
        _ => panic!("{:?} does not broadcast to {:?}", b.shape, a.shape),
    };
    let value = |(index, &a): (usize, &f64)| f(a, b.values[index / per_channel % b.values.len()]);
    Array {
        shape: a.shape.clone(),
        values: a.values.iter().enumerate().map(value).collect(),
    }
}

/// x * transpose(weight) + bias
fn gemm(node: &NodeProto, x: &Array, weight: &Array, bias: &Array) -> Array {
    assert_eq!(attribute(node, "transB").i, Some(1));
    let [n_outputs, n_inputs] = weight.shape[..] else {
        panic!()
    };
    assert_eq!((x.shape[1], &bias.shape[..]), (n_inputs, &[n_outputs][..]));
    let mut values = Vec::new();
    for row in x.values.chunks(n_inputs) {
        for (weights, bias) in weight.values.chunks(n_inputs).zip(&bias.values) {
            let products = row.iter().zip(weights).map(|(a, b)| a * b);
            values.push(products.sum::<f64>() + bias);
        }
    }
    Array {
        shape: vec![x.shape[0], n_outputs],
        values,
    }
}

fn convolution(node: &NodeProto, x: &Array, weight: &Array, bias: Option<&Array>) -> Array {
    let [n_images, n_channels, height, width] = x.shape[..] else {
        panic!()
    };
    let [n_filters, of_channels, kernel, kernel_width] = weight.shape[..] else {
        panic!()
    };
    assert_eq!((of_channels, kernel_width), (n_channels, kernel));
    assert_eq!(sizes(node, "kernel_shape"), [kernel; 2]);
    let [stride, same] = sizes(node, "strides")[..] else {
        panic!()
    };
    assert_eq!(stride, same);
    let [top, left, bottom, right] = sizes(node, "pads")[..] else {
        panic!()
    };
    let sides = [
        (height + top + bottom - kernel) / stride + 1,
        (width + left + right - kernel) / stride + 1,
    ];
    let at = |image: usize, channel: usize, row: usize, column: usize| -> f64 {
        let (Some(row), Some(column)) = (row.checked_sub(top), column.checked_sub(left)) else {
            return 0.0;
        };
        if row >= height || column >= width {
            return 0.0;
        }
        x.values[((image * n_channels + channel) * height + row) * width + column]
    };
    let mut values = Vec::new();
    for index in 0..n_images * n_filters * sides[0] * sides[1] {
        let (pixel, filter_and_image) =
            (index % (sides[0] * sides[1]), index / (sides[0] * sides[1]));
        let (row, column) = (pixel / sides[1] * stride, pixel % sides[1] * stride);
        let (image, filter) = (filter_and_image / n_filters, filter_and_image % n_filters);
        let mut sum = bias.map_or(0.0, |bias| bias.values[filter]);
        let weights = weight
            .values
            .chunks(n_channels * kernel * kernel)
            .nth(filter)
            .unwrap();
        for (index, weight) in weights.iter().enumerate() {
            let (channel, in_kernel) = (index / (kernel * kernel), index % (kernel * kernel));
            sum += weight
                * at(
                    image,
                    channel,
                    row + in_kernel / kernel,
                    column + in_kernel % kernel,
                );
        }
        values.push(sum);
    }
    Array {
        shape: vec![n_images, n_filters, sides[0], sides[1]],
        values,
    }
}

/// Windows that do not fit are left out, as without `ceil_mode`.
fn max_pool(node: &NodeProto, x: &Array) -> Array {
    let [side, same] = sizes(node, "kernel_shape")[..] else {
        panic!()
    };
    assert_eq!((side, sizes(node, "strides")), (same, vec![side; 2]));
    let [n_images, n_channels, height, width] = x.shape[..] else {
        panic!()
    };
    let sides = [height / side, width / side];
    let mut values = Vec::new();
    for plane in x.values.chunks(height * width) {
        for window in 0..sides[0] * sides[1] {
            let (top, left) = (window / sides[1] * side, window % sides[1] * side);
            let inside =
                (0..side * side).map(|i| plane[(top + i / side) * width + left + i % side]);
            values.push(inside.fold(f64::NEG_INFINITY, f64::max));
        }
    }
    Array {
        shape: vec![n_images, n_channels, sides[0], sides[1]],
        values,
    }
}

/// The mean of each plane, which stays an image of one pixel.
fn global_average_pool(x: &Array) -> Array {
    let [n_images, n_channels, height, width] = x.shape[..] else {
        panic!()
    };
    let planes = x.values.chunks(height * width);
    let mean = |plane: &[f64]| plane.iter().sum::<f64>() / (height * width) as f64;
    Array {
        shape: vec![n_images, n_channels, 1, 1],
        values: planes.map(mean).collect(),
    }
}

/// Inference: scale, bias, mean and variance by channel.
fn batch_norm(node: &NodeProto, x: &Array, of_channel: &[&Array]) -> Array {
    let epsilon = f64::from(attribute(node, "epsilon").f.unwrap());
    let n_channels = x.shape[1];
    assert!(of_channel.len() == 4 && of_channel.iter().all(|it| it.shape == [n_channels]));
    let per_channel: usize = x.shape[2..].iter().product();
    let value = |(index, x): (usize, &f64)| {
        let channel = index / per_channel % n_channels;
        let [scale, bias, mean, variance] =
            [0, 1, 2, 3].map(|it: usize| of_channel[it].values[channel]);
        (x - mean) / (variance + epsilon).sqrt() * scale + bias
    };
    Array {
        shape: x.shape.clone(),
        values: x.values.iter().enumerate().map(value).collect(),
    }
}

fn softmax(node: &NodeProto, x: &Array) -> Array {
    assert_eq!(attribute(node, "axis").i, Some(1));
    let row = |row: &[f64]| -> Vec<f64> {
        let sum: f64 = row.iter().map(|value| value.exp()).sum();
        row.iter().map(|value| value.exp() / sum).collect()
    };
    Array {
        shape: x.shape.clone(),
        values: x.values.chunks(x.shape[1]).flat_map(row).collect(),
    }
}

/// Its Maclaurin series (Abramowitz and Stegun, 7.1.5), which f64 takes as far as it matters here.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}
