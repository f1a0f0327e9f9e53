//! The kernels one by one against burn's own operations for the same: the median time of a call with
//! everything before it done and itself waited for, less what an empty wait takes, and what that is in
//! GFLOP/s (of a dense convolution, forward; of the routed positions, backward).
//!
//! `cargo bench --bench kernels -- [DEVICE…] [--batch N] [--only NAME-PART] [--seconds PER-LINE] [--composed no]`
#![expect(clippy::print_stdout, reason = "it prints its table")]

use std::error::Error;
use std::time::Instant;

use burn::backend::Dispatch;
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Distribution, Int, Tensor};
use weft::device::DeviceChoice;
use weft::kernels::adam::{AdamSpec, adam};
use weft::kernels::conv_block::{Activation, Dropout, Spec};
use weft::kernels::cross_entropy::cross_entropy;
use weft::kernels::dense;
use weft::kernels::{DropoutSpec, Kernels, dropout};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Options {
    devices: Vec<String>,
    batches: Vec<usize>,
    only: String,
    seconds: f64,
    composed: bool,
}

fn options() -> Outcome<Options> {
    let mut options = Options {
        devices: Vec::new(),
        batches: Vec::new(),
        only: String::new(),
        seconds: 0.1,
        composed: true,
    };
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--batch" => options.batches.push(value()?.parse()?),
            "--only" => options.only = value()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--composed" => options.composed = value()? != "no",
            device => options.devices.push(device.to_owned()),
        }
    }
    if options.devices.is_empty() {
        options.devices.push("auto".to_owned());
    }
    if options.batches.is_empty() {
        options.batches.push(128);
    }
    Ok(options)
}

fn main() -> Outcome<()> {
    weft::device::configure_runtimes();
    let options = options()?;
    for device in &options.devices {
        let selected = device.parse::<DeviceChoice>()?.open()?;
        println!("{}", selected.name);
        println!(
            "{:<44} {:>9} {:>9} {:>9}   first call",
            "", "ms", "host ms", "GFLOP/s"
        );
        for &batch in &options.batches {
            let bench = Bench::new(&selected.device, &options);
            for (name, spec) in blocks(batch) {
                bench.block(&format!("{name}, batch {batch}"), spec)?;
            }
            for (name, spec) in layers(batch) {
                bench.layer(&format!("{name}, batch {batch}"), spec)?;
            }
            bench.loss(batch)?;
        }
        let bench = Bench::new(&selected.device, &options);
        for n in [128, 10_000, 100_000, 1_000_000] {
            bench.adam(n)?;
        }
    }
    Ok(())
}

/// Of the two networks that are measured throughout, and of residual networks.
fn blocks(batch: usize) -> Vec<(&'static str, Spec)> {
    let spec = Spec {
        batch,
        height: 28,
        width: 28,
        in_channels: 1,
        out_channels: 32,
        kernel: 3,
        padding: 0,
        stride: 1,
        pool: 2,
        bias: true,
        activation: Activation::Relu,
        dropout: None,
        channels_first: false,
    };
    let dropout = Some(Dropout {
        key: 7,
        layer: 0,
        threshold: 1 << 22,
        scale_bits: (4.0f32 / 3.0).to_bits(),
    });
    let second = Spec {
        height: 13,
        width: 13,
        ..spec
    };
    vec![
        ("1 -> 32", spec),
        (
            "32 -> 32",
            Spec {
                in_channels: 32,
                channels_first: true,
                ..second
            },
        ),
        (
            "1 -> 64, dropout",
            Spec {
                out_channels: 64,
                dropout,
                ..spec
            },
        ),
        (
            "64 -> 64, dropout",
            Spec {
                in_channels: 64,
                out_channels: 64,
                dropout,
                channels_first: true,
                ..second
            },
        ),
        ("residual, 28 x 28 x 16", residual(spec, 28, 16)),
        ("residual, 28 x 28 x 48", residual(spec, 28, 48)),
        ("residual, 14 x 14 x 96", residual(spec, 14, 96)),
        ("residual, 7 x 7 x 192", residual(spec, 7, 192)),
    ]
}

/// A convolution that leaves an image's shape.
fn residual(spec: Spec, side: usize, channels: usize) -> Spec {
    Spec {
        height: side,
        width: side,
        in_channels: channels,
        out_channels: channels,
        padding: 1,
        pool: 1,
        bias: false,
        activation: Activation::Identity,
        ..spec
    }
}

/// The fully connected ones of the same networks, and of an MLP.
fn layers(batch: usize) -> Vec<(&'static str, dense::Spec)> {
    let spec = |name, inputs, outputs| {
        let spec = dense::Spec {
            batch,
            inputs,
            outputs,
            activation: Activation::Relu,
            dropout: None,
            input_grad: true,
        };
        (name, spec)
    };
    vec![
        spec("784 x 512", 784, 512),
        spec("512 x 512", 512, 512),
        spec("512 x 10", 512, 10),
        spec("800 x 128", 800, 128),
        spec("1600 x 448", 1600, 448),
    ]
}

struct Bench<'a> {
    device: &'a Device,
    options: &'a Options,
    /// Seconds that waiting for nothing takes.
    nothing: f64,
}

impl<'a> Bench<'a> {
    fn new(device: &'a Device, options: &'a Options) -> Self {
        let mut waits: Vec<f64> = (0..20)
            .map(|_| {
                let start = Instant::now();
                let _ = device.sync();
                start.elapsed().as_secs_f64()
            })
            .collect();
        Self {
            device,
            options,
            nothing: median(&mut waits),
        }
    }

    /// Times `call`, many in a row: with a wait at the end, and until all are handed over.
    fn line(&self, name: &str, flops: f64, mut call: impl FnMut()) -> Outcome<()> {
        if !name.contains(&self.options.only) {
            return Ok(());
        }
        let start = Instant::now();
        call();
        self.device.sync()?;
        let first = start.elapsed().as_secs_f64();
        // Another call, warm, for how many fit.
        let start = Instant::now();
        call();
        self.device.sync()?;
        let one = start.elapsed().as_secs_f64().max(1e-5);
        let calls = (self.options.seconds / 5.0 / one).clamp(1.0, 50.0) as usize;
        let (mut all, mut host) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            host.push(start.elapsed().as_secs_f64() / calls as f64);
            self.device.sync()?;
            let seconds = (start.elapsed().as_secs_f64() - self.nothing).max(0.0);
            all.push(seconds / calls as f64);
        }
        let seconds = median(&mut all);
        let rate = match flops > 0.0 {
            true => format!("{:.1}", flops / seconds / 1e9),
            false => String::new(),
        };
        println!(
            "{name:<44} {:>9.4} {:>9.4} {rate:>9}   {first:.2} s",
            seconds * 1e3,
            median(&mut host) * 1e3
        );
        Ok(())
    }

    fn random<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), self.device)
    }

    fn block(&self, name: &str, spec: Spec) -> Outcome<()> {
        let side = |n| [n, n];
        let images = self.random([spec.batch, spec.height, spec.width, spec.in_channels]);
        let weight = self.random([
            spec.out_channels,
            spec.in_channels,
            spec.kernel,
            spec.kernel,
        ]);
        let bias = self.random([if spec.bias { spec.out_channels } else { 0 }]);
        let grad = self.random::<4>(spec.output_shape());
        let on = |tensor: &Tensor<4>| tensor.clone().into_dispatch();
        let forward = || {
            let bias = bias.clone().into_dispatch();
            let (output, route) =
                <Dispatch as Kernels>::conv_block(on(&images), on(&weight), bias, spec);
            (
                Tensor::<4>::from_dispatch(output),
                Tensor::<4, Int>::from_dispatch(route),
            )
        };
        let routed = 2.0 * (spec.batch * spec.windows() * spec.weight_len()) as f64;
        let dense = routed * (spec.pool * spec.pool) as f64;
        self.line(&format!("{name}: forward"), dense, || drop(forward()))?;
        let (output, route) = forward();
        let of_output = || {
            let route = route.clone().into_dispatch();
            (on(&output), route, on(&grad))
        };
        self.line(&format!("{name}: weight gradient"), routed, || {
            let (output, route, grad) = of_output();
            drop(<Dispatch as Kernels>::conv_block_weight_grad(
                on(&images),
                output,
                route,
                grad,
                spec,
            ));
        })?;
        self.line(&format!("{name}: input gradient"), routed, || {
            let (output, route, grad) = of_output();
            drop(<Dispatch as Kernels>::conv_block_input_grad(
                on(&weight),
                output,
                route,
                grad,
                spec,
            ));
        })?;
        if !self.options.composed {
            return Ok(());
        }
        let composed = |images: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>| {
            let options = ConvOptions::new(side(1), side(spec.padding), side(1), 1);
            let x = conv2d(images, weight, spec.bias.then_some(bias), options);
            if !spec.has_route() {
                return x;
            }
            let pool = MaxPoolOptions::new(side(spec.pool)).with_stride(side(spec.pool));
            let x = relu(max_pool2d(x, pool));
            match spec.dropout {
                Some(_) => dropout(
                    x,
                    DropoutSpec {
                        key: 7,
                        layer: 0,
                        probability: 0.25,
                    },
                ),
                None => x,
            }
        };
        let images = self.random([spec.batch, spec.in_channels, spec.height, spec.width]);
        self.line(&format!("{name}: burn, forward"), dense, || {
            drop(composed(images.clone(), weight.clone(), bias.clone()));
        })?;
        // The first block's images need no gradient.
        let training = self.device.clone().autodiff();
        let leaf = |tensor: &Tensor<4>| Tensor::from_inner(tensor.clone()).to_device(&training);
        self.line(&format!("{name}: burn, both ways"), 0.0, || {
            let images = match spec.in_channels {
                1 => leaf(&images),
                _ => leaf(&images).require_grad(),
            };
            let bias = Tensor::from_inner(bias.clone()).to_device(&training);
            let output = composed(images, leaf(&weight).require_grad(), bias.require_grad());
            drop(output.sum().backward());
        })
    }

    fn layer(&self, name: &str, spec: dense::Spec) -> Outcome<()> {
        let inputs = self.random([spec.batch, spec.inputs]);
        let weight = self.random([spec.inputs, spec.outputs]);
        let bias = self.random([spec.outputs]);
        let grad = self.random([spec.batch, spec.outputs]);
        let on = |tensor: &Tensor<2>| tensor.clone().into_dispatch();
        let forward = || dense::dense(inputs.clone(), weight.clone(), bias.clone(), spec);
        let flops = 2.0 * (spec.batch * spec.inputs * spec.outputs) as f64;
        self.line(&format!("{name}: forward"), flops, || drop(forward()))?;
        let outputs = forward();
        for (what, input_grad) in [("gradients", true), ("gradients but inputs'", false)] {
            let flops = if input_grad { 2.0 * flops } else { flops };
            self.line(&format!("{name}: {what}"), flops, || {
                drop(<Dispatch as Kernels>::dense_grad(
                    on(&inputs),
                    on(&weight),
                    on(&outputs),
                    on(&grad),
                    dense::Spec { input_grad, ..spec },
                ));
            })?;
        }
        let training = self.device.clone().autodiff();
        let leaf = |tensor: &Tensor<2>| {
            let tensor = Tensor::from_inner(tensor.clone()).to_device(&training);
            tensor.require_grad()
        };
        let leaf_bias = || {
            let bias = Tensor::<1>::from_inner(bias.clone()).to_device(&training);
            bias.require_grad()
        };
        self.line(&format!("{name}: both ways"), 3.0 * flops, || {
            let outputs = dense::dense(leaf(&inputs), leaf(&weight), leaf_bias(), spec);
            drop(outputs.sum().backward());
        })?;
        if !self.options.composed {
            return Ok(());
        }
        self.line(&format!("{name}: burn, product"), flops, || {
            drop(inputs.clone().matmul(weight.clone()));
        })?;
        let composed = |inputs: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>| {
            relu(inputs.matmul(weight) + bias.unsqueeze())
        };
        self.line(&format!("{name}: burn, forward"), flops, || {
            drop(composed(inputs.clone(), weight.clone(), bias.clone()));
        })?;
        self.line(&format!("{name}: burn, both ways"), 3.0 * flops, || {
            let outputs = composed(leaf(&inputs), leaf(&weight), leaf_bias());
            drop(outputs.sum().backward());
        })
    }

    fn loss(&self, batch: usize) -> Outcome<()> {
        let logits = self.random([batch, 10]);
        let training = self.device.clone().autodiff();
        let labels = Tensor::<1, Int>::zeros([batch], self.device);
        let leaf = || {
            let logits = Tensor::<2>::from_inner(logits.clone()).to_device(&training);
            logits.require_grad()
        };
        let name = format!("loss, batch {batch}");
        self.line(&format!("{name}: forward"), 0.0, || {
            drop(cross_entropy(logits.clone(), labels.clone(), 0.0));
        })?;
        let targets = labels.clone().to_device(&training);
        self.line(&format!("{name}: both ways"), 0.0, || {
            drop(cross_entropy(leaf(), targets.clone(), 0.0).mean.backward());
        })?;
        if !self.options.composed {
            return Ok(());
        }
        self.line(&format!("{name}: burn, both ways"), 0.0, || {
            let log = log_softmax(leaf(), 1);
            let index: Tensor<2, Int> = targets.clone().unsqueeze_dim(1);
            let mean = -log.gather(1, index).mean();
            drop(mean.backward());
        })
    }

    fn adam(&self, n: usize) -> Outcome<()> {
        let step = AdamSpec {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            step_size: 1e-3,
            root_correction: 1.0,
            penalty: 0.0,
            keep: 1.0,
        };
        let grad = self.random([n]);
        let mut state = Some((self.random([n]), [self.random([n]), self.random([n])]));
        let name = format!("Adam, {n} parameters");
        self.line(&name, 0.0, || {
            state = state
                .take()
                .map(|(parameter, moments)| adam(parameter, grad.clone(), moments, step));
        })?;
        if !self.options.composed {
            return Ok(());
        }
        let mut state = Some((self.random([n]), self.random([n]), self.random([n])));
        self.line(&format!("{name}: burn"), 0.0, || {
            state = state.take().map(|(parameter, first, second)| {
                let first = first * 0.9 + grad.clone() * 0.1;
                let second = second * 0.999 + grad.clone().square() * 0.001;
                let update = first.clone() / (second.clone().sqrt() + 1e-8);
                (parameter - update * 1e-3, first, second)
            });
        })
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
