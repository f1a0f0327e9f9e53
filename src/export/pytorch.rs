//! The PyTorch module of one model, as text that a person can paste into a file and read.

use std::fmt::Write as _;

use anyhow::Result;

use super::Exported;
use super::layers::{Layer, Operation, ResidualBlock};
use crate::model::init::BATCH_NORM_EPSILON;
use crate::model::layers::Activation;
use crate::model::resnet::KERNEL;

/// A Python file that loads `weights_file` (strictly) and predicts from an image in [0, 1].
pub fn module(model: &Exported, weights_file: &str) -> Result<String> {
    let input = model.input;
    let shape = format!(
        "[batch, {}, {}, {}]",
        input.channels, input.height, input.width
    );
    let class_names = serde_json::to_string(&model.class_names)?; // a Python list too
    let weights_file = serde_json::to_string(weights_file)?;
    let title = model.title().replace('\\', "\\\\").replace('"', "\\\"");
    let looks = model.looks();
    let around = format!("\"#{:06x}\"", u32::from(model.around()) * 0x01_01_01);
    let done = match model.background {
        Some(_) => "This fits the whole picture: nothing is cut out or inverted here.",
        None => "So it is done here.",
    };
    let block_class = block_class(model);
    let constructor = constructor(model);
    let forward = forward(model);
    let mode = if input.channels == 3 { "RGB" } else { "L" };
    let size = format!("({}, {})", input.width, input.height);
    Ok(format!(
        r#""""{title}

python THIS_FILE IMAGE: the three likeliest classes. Needs torch, safetensors, numpy and pillow.
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

WEIGHTS = {weights_file}
CLASSES = {class_names}


{block_class}class Model(nn.Module):
    """Images {shape}, pixels in [0, 1], to logits [batch, {n_classes}]."""

    def __init__(self):
        super().__init__()
{constructor}
    def forward(self, images):
{forward}

def load(path=WEIGHTS):
    model = Model()
    model.load_state_dict(load_file(path), strict=True)
    return model.eval()


def main():
    import numpy
    from PIL import Image, ImageOps

    # The model takes {looks}.
    # {done}
    image = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("{mode}")
    fitted = ImageOps.contain(image, {size}, Image.Resampling.BICUBIC)
    image = Image.new("{mode}", {size}, {around})
    image.paste(fitted, ((image.width - fitted.width) // 2, (image.height - fitted.height) // 2))
    pixels = torch.from_numpy(numpy.asarray(image, dtype=numpy.float32) / 255)
    images = pixels.reshape(1, {height}, {width}, {channels}).permute(0, 3, 1, 2)
    with torch.no_grad():
        probabilities = load()(images).softmax(1)[0]
    for probability, index in zip(*probabilities.topk({n_best})):
        print(f"{{CLASSES[index]:20}} {{probability:6.1%}}")


if __name__ == "__main__":
    main()
"#,
        n_classes = input.n_classes,
        n_best = input.n_classes.min(3),
        height = input.height,
        width = input.width,
        channels = input.channels,
    ))
}

fn constructor(model: &Exported) -> String {
    let mut text = String::new();
    if let Some(channels) = &model.normalization {
        let mean: Vec<f64> = channels.iter().map(|channel| channel.mean).collect();
        let deviation: Vec<f64> = channels.iter().map(|channel| channel.deviation).collect();
        for (name, values) in [("mean", mean), ("deviation", deviation)] {
            let values = format!("torch.tensor({values:?}).view(-1, 1, 1)");
            let buffer = format!("self.register_buffer(\"{name}\", {values}, persistent=False)");
            line(&mut text, &buffer);
        }
    }
    for layer in &model.layers {
        if let Some(module) = submodule(&layer.operation) {
            line(&mut text, &format!("self.{} = {module}", layer.name));
        }
    }
    text
}

/// What holds weights is a module of its own.
fn submodule(operation: &Operation) -> Option<String> {
    match operation {
        Operation::Convolution {
            weight,
            bias,
            padding,
            stride,
        } => {
            let [n_outputs, n_inputs, kernel] = [0, 1, 2].map(|side| weight.shape[side]);
            let padding = match padding {
                0 => String::new(),
                padding => format!(", padding={padding}"),
            };
            let stride = match stride {
                1 => String::new(),
                stride => format!(", stride={stride}"),
            };
            let bias = if bias.is_some() { "" } else { ", bias=False" };
            Some(format!(
                "nn.Conv2d({n_inputs}, {n_outputs}, {kernel}{stride}{padding}{bias})"
            ))
        }
        Operation::BatchNorm {
            weight,
            epsilon,
            of_images,
            ..
        } => {
            let dimensions = if *of_images { 2 } else { 1 };
            let n_channels = weight.shape[0];
            Some(format!(
                "nn.BatchNorm{dimensions}d({n_channels}, eps={epsilon:?})"
            ))
        }
        Operation::Linear { weight, .. } => {
            let [n_outputs, n_inputs] = [0, 1].map(|side| weight.shape[side]);
            Some(format!("nn.Linear({n_inputs}, {n_outputs})"))
        }
        Operation::Stage(blocks) => Some(format!("nn.Sequential({})", stage(blocks))),
        Operation::Activation(_)
        | Operation::MaxPool(_)
        | Operation::Flatten
        | Operation::AveragePool => None,
    }
}

/// Blocks after the first are all alike.
fn stage(blocks: &[ResidualBlock]) -> String {
    let block = |block: &ResidualBlock| {
        let stride = match block.stride {
            1 => String::new(),
            stride => format!(", stride={stride}"),
        };
        format!("Block({}, {}{stride})", block.inputs, block.filters)
    };
    match blocks {
        [first, second, _, rest @ ..] if !rest.is_empty() => format!(
            "{}, *({} for _ in range({}))",
            block(first),
            block(second),
            blocks.len() - 1
        ),
        _ => blocks.iter().map(block).collect::<Vec<_>>().join(", "),
    }
}

fn first_block(layer: &Layer) -> Option<&ResidualBlock> {
    match &layer.operation {
        Operation::Stage(blocks) => blocks.first(),
        _ => None,
    }
}

/// The class of a residual network's blocks; nothing for a model without any.
fn block_class(model: &Exported) -> String {
    let Some(block) = model.layers.iter().find_map(first_block) else {
        return String::new();
    };
    let through = |layers: &[Layer], value: &str| {
        let value = value.to_owned();
        layers
            .iter()
            .fold(value, |value, layer| applied(layer, &value))
    };
    let (first, path) = (through(&block.first, "x"), through(&block.path, "first"));
    let epsilon = BATCH_NORM_EPSILON;
    format!(
        r#"class Block(nn.Module):
    """A residual block; where the shape changes, a 1 x 1 convolution goes around it in place of x."""

    def __init__(self, inputs, filters, stride=1):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs, eps={epsilon:?})
        self.conv1 = nn.Conv2d(inputs, filters, {KERNEL}, stride=stride, padding={padding}, bias=False)
        self.norm2 = nn.BatchNorm2d(filters, eps={epsilon:?})
        self.conv2 = nn.Conv2d(filters, filters, {KERNEL}, padding={padding}, bias=False)
        self.projection = None
        if stride > 1 or inputs != filters:
            self.projection = nn.Conv2d(inputs, filters, 1, stride=stride, bias=False)

    def forward(self, x):
        first = {first}
        around = x if self.projection is None else self.projection(first)
        return around + {path}


"#,
        padding = KERNEL / 2,
    )
}

/// A line for each layer with weights of its own, with what follows it around it.
fn forward(model: &Exported) -> String {
    let mut text = String::new();
    let mut value = "images".to_owned();
    if model.normalization.is_some() {
        line(&mut text, "x = (images - self.mean) / self.deviation");
        value = "x".to_owned();
    }
    for layer in &model.layers {
        if begins_a_line(layer) && value != "x" && value != "images" {
            line(&mut text, &format!("x = {value}"));
            value = "x".to_owned();
        }
        value = applied(layer, &value);
        if matches!(layer.operation, Operation::Stage(_)) {
            line(&mut text, &format!("x = {value}"));
            value = "x".to_owned();
        }
    }
    line(&mut text, &format!("return {value}"));
    text
}

fn begins_a_line(layer: &Layer) -> bool {
    matches!(
        layer.operation,
        Operation::Convolution { .. }
            | Operation::Linear { .. }
            | Operation::Flatten
            | Operation::AveragePool
            | Operation::Stage(_)
    )
}

fn applied(layer: &Layer, value: &str) -> String {
    match &layer.operation {
        Operation::Flatten => format!("{value}.flatten(1)"),
        Operation::AveragePool => format!("{value}.mean((2, 3))"),
        Operation::MaxPool(side) => format!("F.max_pool2d({value}, {side})"),
        Operation::Activation(Activation::Tanh) => format!("torch.tanh({value})"),
        // F.gelu is the exact form unless asked otherwise.
        Operation::Activation(activation) => format!("F.{}({value})", activation.as_str()),
        Operation::Convolution { .. }
        | Operation::BatchNorm { .. }
        | Operation::Stage(_)
        | Operation::Linear { .. } => {
            // In a block, by the attribute alone.
            let (_, name) = layer.name.rsplit_once('.').unwrap_or(("", &layer.name));
            format!("self.{name}({value})")
        }
    }
}

/// Adds a line of a method's body.
fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "        {line}");
}
