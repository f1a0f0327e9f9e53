//! Which kernels compute a model's layers: weft's own, or burn's one after another.

use weft_cpu::simd::Instructions;

use super::cnn::Head;
use super::layers::{Activation, Padding};
use super::resnet::{BlockShape, KERNEL, ResnetConfig};
use super::{InputShape, ModelConfig};
use crate::kernels::{batch_norm, conv_block, dense};

/// For people: `weft's (AVX-512)`, `weft's (WGSL), burn's for model.blocks[0]`. `on_cpu` is whether the
/// device is one of the CPU backends.
pub fn kernel_path(model: &ModelConfig, input: InputShape, batch: usize, on_cpu: bool) -> String {
    let own = match on_cpu {
        true => Instructions::best().as_str(),
        false => "WGSL",
    };
    let burns = burns_layers(model, input, batch, on_cpu);
    match burns.is_empty() {
        true => format!("weft's ({own})"),
        false => format!("weft's ({own}), burn's for {}", burns.join(", ")),
    }
}

/// The keys of the layers that burn's operations compute, in part at least.
fn burns_layers(model: &ModelConfig, input: InputShape, batch: usize, on_cpu: bool) -> Vec<String> {
    let mut burns = Vec::new();
    let mut linear =
        |key: String, inputs: usize, outputs: usize, activation: Option<Activation>| {
            let in_kernel = match activation {
                None => Some(conv_block::Activation::Identity),
                Some(activation) => activation.in_block(),
            };
            let runs = in_kernel.is_some_and(|activation| {
                let spec = dense::Spec {
                    batch,
                    inputs,
                    outputs,
                    activation,
                    dropout: None,
                    input_grad: true,
                };
                dense::runs(&spec, on_cpu)
            });
            if !runs {
                burns.push(key);
            }
        };
    match model {
        ModelConfig::SoftmaxRegression(_) => {
            linear(
                "the output".to_owned(),
                input.n_values(),
                input.n_classes,
                None,
            );
        }
        ModelConfig::Mlp(config) => {
            let mut inputs = input.n_values();
            for (index, &units) in config.hidden.iter().enumerate() {
                // With a batch norm, the activation is in its kernel or behind it.
                let activation = (!config.batch_norm).then_some(config.activation);
                linear(format!("model.hidden[{index}]"), inputs, units, activation);
                inputs = units;
            }
            linear("the output".to_owned(), inputs, input.n_classes, None);
            let units = config.hidden.iter().copied().max().unwrap_or(1);
            let activated = config.activation.in_block().is_some();
            if config.batch_norm && !(activated && batch_norm::runs(batch, units, on_cpu)) {
                burns.push("model.batch_norm".to_owned());
            }
        }
        ModelConfig::Resnet(config) => return resnet(config, input, batch, on_cpu),
        ModelConfig::Cnn(config) => {
            let mut blocks = Vec::new();
            let mut channels = input.channels;
            let mut sides = [input.height, input.width];
            for (index, block) in config.blocks.iter().enumerate() {
                let spec = conv_block::Spec {
                    batch,
                    height: sides[0],
                    width: sides[1],
                    in_channels: channels,
                    out_channels: block.filters,
                    kernel: block.kernel,
                    padding: Padding::zeros(block.padding, block.kernel),
                    stride: 1,
                    pool: block.pool,
                    bias: !block.batch_norm,
                    activation: block
                        .activation
                        .in_block()
                        .unwrap_or(conv_block::Activation::Identity),
                    dropout: None,
                    channels_first: false,
                };
                let own = match block.batch_norm {
                    false => block.activation.in_block().is_some(),
                    true => {
                        let rows = batch * spec.out_height() * spec.out_width();
                        let pooled = block.pool == 1 || block.pool_first;
                        let activated = block.activation.in_block().is_some();
                        pooled && activated && batch_norm::runs(rows, block.filters, on_cpu)
                    }
                };
                if !(own && conv_block::runs(&spec, on_cpu)) {
                    blocks.push(format!("model.blocks[{index}]"));
                }
                sides = [spec.out_height(), spec.out_width()];
                channels = block.filters;
            }
            let mut inputs = match config.head {
                Head::Flatten => channels * sides[0] * sides[1],
                Head::AveragePool => channels,
            };
            for (index, &units) in config.dense.iter().enumerate() {
                let key = format!("model.dense[{index}]");
                linear(key, inputs, units, Some(config.dense_activation));
                inputs = units;
            }
            linear("the output".to_owned(), inputs, input.n_classes, None);
            blocks.append(&mut burns);
            return blocks;
        }
    }
    burns
}

/// The stages in which one convolution or batch norm at least is burn's.
fn resnet(config: &ResnetConfig, input: InputShape, batch: usize, on_cpu: bool) -> Vec<String> {
    let convolves = |channels: [usize; 2], kernel: usize, stride, sides: [usize; 2]| {
        let spec = conv_block::Spec {
            batch,
            height: sides[0],
            width: sides[1],
            in_channels: channels[0],
            out_channels: channels[1],
            kernel,
            padding: Padding::Same.zeros(kernel),
            stride,
            pool: 1,
            bias: false,
            activation: conv_block::Activation::Identity,
            dropout: None,
            channels_first: false,
        };
        conv_block::runs(&spec, on_cpu)
    };
    // With its activation.
    let in_kernel = config.activation.in_block().is_some();
    let normalizes = |channels: usize, sides: [usize; 2]| {
        in_kernel && batch_norm::runs(batch * sides[0] * sides[1], channels, on_cpu)
    };
    let all = |block: &BlockShape, before: [usize; 2]| {
        let (filters, stride) = (block.filters, block.stride);
        let channels = [block.in_channels, filters];
        normalizes(block.in_channels, before)
            && convolves(channels, KERNEL, stride, before)
            && normalizes(filters, block.sides)
            && convolves([filters; 2], KERNEL, 1, block.sides)
            && (!block.projects() || convolves(channels, 1, stride, before))
    };
    let mut burns = Vec::new();
    let mut sides = [input.height, input.width];
    let channels = [input.channels, config.stem_filters];
    if !convolves(channels, config.stem_kernel, 1, sides) {
        burns.push("the stem".to_owned());
    }
    for block in config.blocks(input) {
        let stage = format!("model.stages[{}]", block.stage);
        if !all(&block, sides) && !burns.contains(&stage) {
            burns.push(stage);
        }
        sides = block.sides;
    }
    if !normalizes(config.last_channels(), sides) {
        burns.push("the last batch norm".to_owned());
    }
    burns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(model: &str) -> String {
        path_on(model, false)
    }

    fn path_on(model: &str, on_cpu: bool) -> String {
        let model: ModelConfig = toml::from_str(model).unwrap();
        let input = InputShape {
            channels: 1,
            height: 28,
            width: 28,
            n_classes: 10,
        };
        kernel_path(&model, input, 128, on_cpu)
    }

    #[test]
    fn what_burn_computes_is_named() {
        assert_eq!(path("kind = \"softmax_regression\""), "weft's (WGSL)");
        assert_eq!(path("kind = \"cnn\""), "weft's (WGSL)");
        assert_eq!(
            path("kind = \"mlp\"\nhidden = [9]\nactivation = \"gelu\""),
            "weft's (WGSL), burn's for model.hidden[0]"
        );
        assert_eq!(
            path("kind = \"cnn\"\n[[blocks]]\nbatch_norm = true\n[[blocks]]\nkernel = 9"),
            "weft's (WGSL), burn's for model.blocks[0], model.blocks[1]"
        );
    }

    #[test]
    fn on_a_cpu_burn_computes_little() {
        let burns = |model: &str| {
            let path = path_on(model, true);
            let burns = path.split_once(", burn's for ");
            burns.map(|(_, keys)| keys.to_owned()).unwrap_or_default()
        };
        for model in [
            "kind = \"resnet\"",
            "kind = \"resnet\"\nactivation = \"selu\"\n[[stages]]\nstride = 3",
            "kind = \"mlp\"\nhidden = [9]\nbatch_norm = true",
            "kind = \"cnn\"\nhead = \"average_pool\"\n[[blocks]]\nbatch_norm = true\npool_first = true\n\
             [[blocks]]\nbatch_norm = true\npool = 1\n[[blocks]]\nkernel = 9",
        ] {
            assert_eq!(burns(model), "", "{model}");
        }
        // A pool behind the batch norm; an activation that no kernel has.
        let model = "kind = \"cnn\"\ndense = []\n[[blocks]]\n[[blocks]]\nbatch_norm = true\n\
                     [[blocks]]\nbatch_norm = true\npool = 1\nactivation = \"gelu\"";
        assert_eq!(burns(model), "model.blocks[1], model.blocks[2]");
        let model = "kind = \"mlp\"\nhidden = [9]\nbatch_norm = true\nactivation = \"gelu\"";
        assert_eq!(burns(model), "model.batch_norm");
        let model = "kind = \"resnet\"\nactivation = \"gelu\"\n[[stages]]\n[[stages]]\nblocks = 2";
        let expected = "model.stages[0], model.stages[1], the last batch norm";
        assert_eq!(burns(model), expected);
    }
}
