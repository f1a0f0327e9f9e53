//! What resident data and sums on the device give over burn's own `DataLoader` and metrics, on the
//! same model, batch and optimizer. Both ways run in turn, so that a machine whose speed drifts slows
//! both; the ratio is taken pair by pair.
//!
//! `cargo bench --bench resident_data -- [DEVICE…] [--model mlp|cnn] [--steps N] [--pairs N]`
#![expect(clippy::print_stdout, reason = "it prints its table")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::Learner;
use burn::train::metric::{
    AccuracyInput, AccuracyMetric, LossInput, LossMetric, Metric, MetricMetadata,
};
use weft::data::loader::{Batch, Cursor, HostSplit, Order, ResidentLoader, ResidentSplit};
use weft::data::{download, fashion_mnist};
use weft::device::DeviceChoice;
use weft::kernels::gather_batch::{Augmentation, table};
use weft::model::{InputShape, Mode, ModelConfig};
use weft::train::metrics::Sums;
use weft::train::optimizer::{AdamConfig, OptimizerConfig};
use weft::train::step::Trainee;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 128;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    weft::device::configure_runtimes();
    let (mut devices, mut model, mut steps, mut pairs) = (Vec::new(), "cnn".to_owned(), 30, 7);
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--model" => model = value()?,
            "--steps" => steps = value()?.parse()?,
            "--pairs" => pairs = value()?.parse()?,
            device => devices.push(device.to_owned()),
        }
    }
    if devices.is_empty() {
        devices.push("cpu".to_owned());
    }
    let model: ModelConfig = toml_of(&model)?;
    println!(
        "model {}, batch {BATCH}, {steps} steps a turn, {pairs} pairs",
        model.summary()
    );
    println!(
        "device                                  ms per step: weft   burn's   burn / weft (min, median, max)"
    );
    for device in devices {
        let selected = device.parse::<DeviceChoice>()?.open()?;
        let (ours, theirs, ratios) = compare(&model, &selected.device, steps, pairs)?;
        println!(
            "{:<44} {:>12.2} {:>8.2}   {:.2}, {:.2}, {:.2}",
            selected.name,
            median(&ours),
            median(&theirs),
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            median(&ratios),
            ratios.iter().copied().fold(0.0, f64::max),
        );
    }
    Ok(())
}

fn toml_of(model: &str) -> Outcome<ModelConfig> {
    Ok(toml::from_str(match model {
        "mlp" => "kind = \"mlp\"\nhidden = [512, 512]",
        "cnn" => "kind = \"cnn\"\ndense = [64]\n[[blocks]]\nfilters = 16\n[[blocks]]\nfilters = 32",
        other => return Err(format!("--model {other} is not known: mlp or cnn").into()),
    })?)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn compare(
    config: &ModelConfig,
    device: &Device,
    steps: usize,
    pairs: usize,
) -> Outcome<(Vec<f64>, Vec<f64>, Vec<f64>)> {
    let training = device.clone().autodiff();
    let lookup = fashion_mnist::Lookup::standard("sample", None);
    let images = fashion_mnist::load(&lookup, &mut download::NoProgress)?.train;
    let input = InputShape {
        channels: 1,
        height: 28,
        width: 28,
        n_classes: 10,
    };
    let learner = || {
        let trainee = Trainee::new(config.init(input, 1, &training), 0.0, 0.0);
        let optimizer = OptimizerConfig::Adam(AdamConfig::default()).init();
        let rate = burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler::new(1e-3);
        let mut learner = Learner::new(trainee, optimizer, rate);
        learner.lr_step();
        learner
    };
    let all: Vec<u32> = (0..images.labels.len() as u32).collect();
    let split = HostSplit {
        images: &images.images,
        labels: &images.labels,
        image_indices: &all,
        table: &table(0.0, 1.0),
    };
    let order = Order::Shuffled {
        seed: 1,
        augmentation: Augmentation::default(),
        cursor: Cursor::default(),
    };
    let resident = ResidentLoader::new(ResidentSplit::upload(&split, &training), BATCH, order);
    let items: Vec<Item> = images
        .images
        .pixels
        .chunks(784)
        .zip(&images.labels)
        .map(|(pixels, &label)| Item {
            pixels: pixels.iter().map(|&byte| f32::from(byte) / 255.0).collect(),
            label: i32::from(label),
        })
        .collect();
    let theirs = DataLoaderBuilder::new(ToBatch)
        .batch_size(BATCH)
        .shuffle(1)
        .set_device(training.clone())
        .build(InMemDataset::new(items));

    let (mut ours_ms, mut theirs_ms, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut first, mut second) = (learner(), learner());
    for pair in 0..=pairs {
        let ours = turn(device, steps, || ours(&mut first, &resident, steps, device))?;
        let theirs = turn(device, steps, || with_burns(&mut second, &theirs, steps))?;
        // The first pair compiles, tunes and fills caches.
        if pair > 0 {
            ours_ms.push(ours);
            theirs_ms.push(theirs);
            ratios.push(theirs / ours);
        }
    }
    Ok((ours_ms, theirs_ms, ratios))
}

/// Milliseconds per step of one turn, with the device's work done.
fn turn(device: &Device, steps: usize, run: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    device.sync()?;
    let started = Instant::now();
    run()?;
    device.sync()?;
    Ok(started.elapsed().as_secs_f64() * 1e3 / steps as f64)
}

/// One step of training; returns the losses and the logits.
fn step(learner: &mut Learner<Trainee>, batch: Batch) -> (Tensor<1>, Tensor<2>, Tensor<1, Int>) {
    let model = learner.model();
    let mode = Mode::Training { key: batch.key };
    let logits = model.classifier.forward(batch.images, mode);
    let log_probabilities = burn::tensor::activation::log_softmax(logits.clone(), 1);
    let of_label = log_probabilities.gather(1, batch.labels.clone().unsqueeze_dim(1));
    let losses: Tensor<1> = of_label.squeeze_dim::<1>(1).neg();
    let grads = GradientsParams::from_grads(losses.clone().mean().backward(), &model);
    learner.optimizer_step(grads);
    (losses.inner(), logits.inner(), batch.labels.inner())
}

/// Resident data, sums on the device, one read at the end.
fn ours(
    learner: &mut Learner<Trainee>,
    loader: &ResidentLoader,
    steps: usize,
    device: &Device,
) -> Outcome<()> {
    let mut sums = Sums::of(&Default::default(), device);
    for batch in loader.iter().take(steps) {
        let batch = batch?;
        let n_images = batch.n_images;
        let (losses, logits, labels) = step(learner, batch);
        let predicted: Tensor<1, Int> = logits.argmax(1).squeeze_dim(1);
        let correct = predicted.equal(labels).int().sum();
        sums.add(Sums::new(losses.sum(), correct, n_images));
    }
    sums.read()?;
    Ok(())
}

/// burn's `DataLoader`, and its loss and accuracy metrics at each step.
fn with_burns(
    learner: &mut Learner<Trainee>,
    loader: &Arc<dyn DataLoader<Batch>>,
    steps: usize,
) -> Outcome<()> {
    let (mut loss_metric, mut accuracy_metric) = (LossMetric::new(), AccuracyMetric::new());
    let mut batches = loader.iter();
    for _ in 0..steps {
        let Some(batch) = batches.next() else { break };
        let (losses, logits, labels) = step(learner, batch?);
        let metadata = MetricMetadata {
            progress: batches.progress(),
            iteration: None,
            lr: None,
        };
        loss_metric.update(&LossInput::new(losses.mean()), &metadata)?;
        accuracy_metric.update(&AccuracyInput::new(logits, labels), &metadata)?;
    }
    Ok(())
}

#[derive(Clone, Debug)]
struct Item {
    pixels: Vec<f32>,
    label: i32,
}

/// As burn's own MNIST example: a tensor per image, then one for the batch.
#[derive(Clone)]
struct ToBatch;

impl Batcher<Item, Batch> for ToBatch {
    fn batch(&self, items: Vec<Item>, device: &Device) -> Batch {
        let n_images = items.len();
        let images = items.iter().map(|item| {
            let data = TensorData::new(item.pixels.clone(), [1, 1, 28, 28]);
            Tensor::<4>::from_data(data, device)
        });
        let images = Tensor::cat(images.collect(), 0);
        let labels: Vec<i32> = items.iter().map(|item| item.label).collect();
        let labels = Tensor::from_data(TensorData::new(labels, [n_images]), device);
        Batch {
            images,
            labels,
            n_images,
            key: 0,
        }
    }
}
