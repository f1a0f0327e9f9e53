//! What an optimizer does to each kind of tensor, on every device; and that a run of before goes on as it
//! was begun.

use std::fs;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Bytes, Device, Tensor, TensorData};
use burn_pack::Reader;
use weft::config::Loaded;
use weft::experiment::{ResumePoint, config_of};
use weft::random::Stream;
use weft::run::RunFolder;
use weft::run::checkpoints::{Meta, Store};
use weft::train::StopFlag;
use weft::train::optimizer::OptimizerConfig;
use weft::verify;

use crate::devices;
use crate::learning::{MODELS, experiment, handful, quiet};

/// A matrix, filters, biases, and the scale and shift of a norm.
#[derive(Module, Debug)]
struct Tensors {
    conv: Conv2d,
    norm: BatchNorm,
    hidden: Linear,
    output: Linear,
}

impl Tensors {
    fn new(device: &Device) -> Self {
        Self {
            conv: Conv2dConfig::new([2, 4], [3, 3]).init(device),
            norm: BatchNormConfig::new(4).init(device),
            hidden: LinearConfig::new(6, 9).init(device),
            output: LinearConfig::new(6, 5).init(device),
        }
        .map(&mut Away)
    }
}

/// Moves all parameters away from 0, where decay would not show.
struct Away;

impl burn::module::ModuleMapper for Away {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| match tensor.is_require_grad() {
            true => Tensor::from_inner(tensor.inner() + 0.5).require_grad(),
            false => tensor,
        })
    }
}

/// The numbers of each trained tensor, with its dimensions.
#[derive(Default)]
struct Numbers(Vec<(ParamId, usize, Vec<f32>)>);

impl ModuleVisitor for Numbers {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.val().is_require_grad() {
            return; // a running statistic
        }
        let data = param.val().into_data();
        self.0.push((param.id, D, data.iter::<f32>().collect()));
    }
}

fn numbers(model: &impl Module) -> Vec<(ParamId, usize, Vec<f32>)> {
    let mut numbers = Numbers::default();
    model.visit(&mut numbers);
    numbers.0
}

/// A gradient of zeros for each trained tensor.
struct Zeros<'a>(&'a mut GradientsParams);

impl ModuleVisitor for Zeros<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.val().is_require_grad() {
            let zeros = param.val().inner().zeros_like();
            self.0.register(param.id, zeros);
        }
    }
}

fn optimizer(toml: &str) -> OptimizerConfig {
    toml::from_str(toml).unwrap()
}

#[test]
fn decay_moves_matrices_and_filters_and_nothing_else() {
    for kind in ["sgd", "adam", "adamw"] {
        for decay_biases in [false, true] {
            let config = optimizer(&format!(
                "kind = \"{kind}\"\nweight_decay = 0.1\ndecay_biases = {decay_biases}"
            ));
            for device in devices::all("decay_moves_matrices_and_filters_and_nothing_else") {
                let mut model = Tensors::new(&device.autodiff());
                let before = numbers(&model);
                let mut optimizer = config.init();
                for _ in 0..2 {
                    let mut grads = GradientsParams::new();
                    model.visit(&mut Zeros(&mut grads));
                    model = optimizer.step(0.01, model, grads);
                }
                assert_eq!(before.len(), 8);
                for ((id, dimensions, before), (_, _, after)) in before.iter().zip(numbers(&model))
                {
                    let decays = decay_biases || *dimensions > 1;
                    let as_told = before
                        .iter()
                        .zip(&after)
                        .all(|(before, after)| match decays {
                            true => after.abs() < before.abs(),
                            false => after == before,
                        });
                    assert!(
                        as_told,
                        "{kind} {decay_biases} {id} {dimensions}: {before:?} {after:?}"
                    );
                }
            }
        }
    }
}

/// A weft that did not know the key decayed all tensors: such a run goes on so, also where its config is
/// trained anew; a recipe without the key takes today's default.
#[test]
fn a_run_of_before_decays_as_it_did() {
    let data = handful();
    let toml = |decay_biases: &str| {
        format!(
            "[data]\nsource = \"{}\"\nvalidation_fraction = 0.25\n[model]\nkind = \"mlp\"\nhidden = [8]\n\
             batch_norm = true\n[optimizer]\nkind = \"sgd\"\nweight_decay = 0.1\n{decay_biases}[train]\n\
             epochs = 4\nbatch_size = 10\n",
            data.path().display()
        )
    };
    let experiment_of = |decay: &str| experiment(&toml(decay), "cpu", None);
    let before = experiment_of("decay_biases = true\n");
    let today = experiment_of("");
    assert_ne!(before.config, today.config);
    assert_ne!(
        before.config.identity().unwrap(),
        today.config.identity().unwrap()
    );

    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), "test").unwrap();
    before.describe(&run, Vec::new()).unwrap();
    let stop = StopFlag::at_step(4);
    before.train(&run, None, quiet(), false, stop).unwrap();
    make_old(&run);
    let findings = verify::check(&run);
    assert_eq!(findings.n_bad(), 0, "{:?}", findings.all);

    let point = ResumePoint::find(&run).unwrap();
    let of_checkpoint = config_of(&point.checkpoint).unwrap();
    let of_run = Loaded::new(Some(&run.config()), &[]).unwrap().config;
    for config in [&of_checkpoint, &of_run] {
        assert_eq!(config.optimizer, before.config.optimizer);
    }
    before.check_made(&point.checkpoint).unwrap();
    let error = today.check_made(&point.checkpoint).unwrap_err().to_string();
    assert!(
        error.contains("optimizer.decay_biases: true -> false"),
        "{error}"
    );
    let copy = folder.path().join("config.toml");
    fs::copy(run.config(), &copy).unwrap();
    let recipe = Loaded::new(Some(&copy), &[]).unwrap().config;
    assert_eq!(recipe.optimizer, today.config.optimizer);
    let other_kind = ["optimizer.kind=adam".to_owned()];
    let changed = Loaded::new(Some(&run.config()), &other_kind)
        .unwrap()
        .config;
    assert_eq!(changed.optimizer, optimizer("kind = \"adam\""));
}

/// Takes the key out of all files of a run.
fn make_old(run: &RunFolder) {
    let older = |text: &str| {
        let older = text.replace("decay_biases = true\n", "");
        assert_ne!(older, text);
        older
    };
    let config = fs::read_to_string(run.config()).unwrap();
    fs::write(run.config(), older(&config)).unwrap();
    let store = Store::new(&run.root);
    for step in store.steps().unwrap() {
        let checkpoint = store.load(step).unwrap();
        let config = String::from_utf8(checkpoint.files["config.toml"].clone()).unwrap();
        let config = older(&config);
        let files = checkpoint
            .files
            .iter()
            .map(|(name, bytes)| match &name[..] {
                "config.toml" => ("config.toml", config.as_bytes()),
                name => (name, &bytes[..]),
            });
        let manifest = &checkpoint.manifest;
        let meta = Meta {
            step: manifest.step,
            epoch: manifest.epoch,
            batch: manifest.batch,
            best: manifest.best,
            config_sha256: manifest.config_sha256.clone(),
            data_sha256: manifest.data_sha256.clone(),
        };
        store.write(&meta, &files.collect::<Vec<_>>()).unwrap();
    }
}

/// As a classifier in training holds its layers: the output layer is told by its path.
#[derive(Module, Debug)]
struct Net {
    classifier: Tensors,
}

/// Gradients drawn from a counter, written down for the reference.
struct Draw<'a> {
    grads: &'a mut GradientsParams,
    seen: Vec<Vec<f64>>,
    step: u64,
}

impl ModuleVisitor for Draw<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val().inner();
        if !param.val().is_require_grad() {
            return;
        }
        let mut stream = Stream::new(&[self.step, self.seen.len() as u64]);
        let n = tensor.shape().num_elements();
        let values: Vec<f32> = (0..n).map(|_| stream.normal() as f32).collect();
        self.seen
            .push(values.iter().map(|&v| f64::from(v)).collect());
        let data = TensorData::new(values, tensor.dims());
        let grad = Tensor::<D>::from_data(data, &tensor.device());
        self.grads.register(param.id, grad);
    }
}

/// One tensor's step in f64, as the publication has it.
struct Reference {
    shape: [usize; 2],
    outputs_are_rows: bool,
    is_hidden: bool,
    values: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
}

const RATE: f64 = 0.02;
const ADAM_RATE: f64 = 0.003;
const DECAY: f64 = 0.1;

impl Reference {
    fn step(&mut self, grad: &[f64], time: i32, rate_factor: f64) {
        match self.is_hidden {
            true => self.step_muon(grad, RATE * rate_factor),
            false => self.step_adam(grad, time, ADAM_RATE * rate_factor),
        }
    }

    fn step_muon(&mut self, grad: &[f64], rate: f64) {
        let update: Vec<f64> = self
            .first
            .iter_mut()
            .zip(grad)
            .map(|(velocity, grad)| {
                *velocity = 0.95 * *velocity + grad;
                grad + 0.95 * *velocity
            })
            .collect();
        let [rows, columns] = self.shape;
        let (outputs, inputs) = match self.outputs_are_rows {
            true => (rows, columns),
            false => (columns, rows),
        };
        let scale = (outputs as f64 / inputs as f64).max(1.0).sqrt();
        for (value, update) in self
            .values
            .iter_mut()
            .zip(orthogonal(update, rows, columns))
        {
            *value -= rate * DECAY * *value + rate * scale * update;
        }
    }

    fn step_adam(&mut self, grad: &[f64], time: i32, rate: f64) {
        let decay = if self.shape[0] > 1 { DECAY } else { 0.0 };
        for (at, grad) in grad.iter().enumerate() {
            self.first[at] = 0.9 * self.first[at] + 0.1 * grad;
            self.second[at] = 0.999 * self.second[at] + 0.001 * grad * grad;
            let first = self.first[at] / (1.0 - 0.9f64.powi(time));
            let second = self.second[at] / (1.0 - 0.999f64.powi(time));
            self.values[at] -=
                rate * decay * self.values[at] + rate * first / (second.sqrt() + 1e-8);
        }
    }
}

fn product(a: &[f64], b: &[f64], [n, k, m]: [usize; 3]) -> Vec<f64> {
    let at = |at: usize| (0..k).map(|i| a[at / m * k + i] * b[i * m + at % m]).sum();
    (0..n * m).map(at).collect()
}

/// `zeropower_via_newtonschulz5` of the publication, but in f64.
fn orthogonal(g: Vec<f64>, rows: usize, columns: usize) -> Vec<f64> {
    let transposed = |x: &[f64], rows: usize, columns: usize| -> Vec<f64> {
        (0..rows * columns)
            .map(|at| x[at % rows * columns + at / rows])
            .collect()
    };
    if rows > columns {
        let x = orthogonal(transposed(&g, rows, columns), columns, rows);
        return transposed(&x, columns, rows);
    }
    let norm = g.iter().map(|v| v * v).sum::<f64>().sqrt() + 1e-7;
    let mut x: Vec<f64> = g.iter().map(|v| v / norm).collect();
    for _ in 0..5 {
        let a = product(&x, &transposed(&x, rows, columns), [rows, columns, rows]);
        let aa = product(&a, &a, [rows, rows, rows]);
        let b: Vec<f64> = a
            .iter()
            .zip(aa)
            .map(|(a, aa)| -4.775 * a + 2.0315 * aa)
            .collect();
        let bx = product(&b, &x, [rows, rows, columns]);
        x = x.iter().zip(bx).map(|(x, bx)| 3.4445 * x + bx).collect();
    }
    x
}

/// The tensors of a net in the order in which they are visited.
fn references(tensors: &[(ParamId, usize, Vec<f32>)]) -> Vec<Reference> {
    // Filters, their bias, scale and shift of the norm, hidden weight and bias, output weight and bias.
    let shapes = [
        [4, 18],
        [1, 4],
        [1, 4],
        [1, 4],
        [6, 9],
        [1, 9],
        [6, 5],
        [1, 5],
    ];
    assert_eq!(tensors.len(), shapes.len());
    let of = |(index, (_, _, values)): (usize, &(ParamId, usize, Vec<f32>))| Reference {
        shape: shapes[index],
        outputs_are_rows: index == 0,
        is_hidden: index == 0 || index == 4,
        values: values.iter().map(|&v| f64::from(v)).collect(),
        first: vec![0.0; values.len()],
        second: vec![0.0; values.len()],
    };
    tensors.iter().enumerate().map(of).collect()
}

#[test]
fn muon_takes_the_steps_of_a_reference_in_f64() {
    let config = optimizer(&format!(
        "kind = \"muon\"\nlearning_rate = {RATE}\nadam_learning_rate = {ADAM_RATE}\nweight_decay = {DECAY}"
    ));
    for device in devices::all("muon_takes_the_steps_of_a_reference_in_f64") {
        let classifier = Tensors::new(&device.clone().autodiff());
        let mut net = Net { classifier };
        let mut wanted = references(&numbers(&net));
        let mut optimizer = config.init();
        for step in 1..=4 {
            let rate_factor = 1.0 / step as f64; // the schedule moves both rates
            let mut grads = GradientsParams::new();
            let mut draw = Draw {
                grads: &mut grads,
                seen: Vec::new(),
                step,
            };
            net.visit(&mut draw);
            for (reference, grad) in wanted.iter_mut().zip(&draw.seen) {
                reference.step(grad, step as i32, rate_factor);
            }
            net = optimizer.step(RATE * rate_factor, net, grads);
            for (index, (reference, (_, _, found))) in wanted.iter().zip(numbers(&net)).enumerate()
            {
                for (want, found) in reference.values.iter().zip(found) {
                    let difference = (want - f64::from(found)).abs();
                    assert!(
                        difference < 2e-5,
                        "{device:?} step {step}, tensor {index}: {found} {want}"
                    );
                }
            }
        }
    }
}

/// The tensors of a model file by their name.
fn tensors_of(model: &[u8]) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let reader = Reader::from_bytes(Bytes::from_bytes_vec(model.to_vec())).unwrap();
    let tensors = reader.into_tensors().unwrap().into_iter();
    tensors
        .map(|tensor| {
            let bytes = tensor.to_bytes().unwrap();
            let numbers = bytes.chunks_exact(4);
            let values = numbers.map(|four| f32::from_le_bytes(four.try_into().unwrap()));
            (tensor.name.clone(), tensor.shape.to_vec(), values.collect())
        })
        .collect()
}

/// With next to no learning rate for AdamW, what moves is Muon's: all hidden weights of each architecture,
/// and nothing of the output layer.
#[test]
fn muon_takes_the_hidden_weights_of_every_architecture() {
    let data = handful();
    // Layers before the output: 64 and 32 units, 64, two blocks and 32.
    for (model, n_hidden) in MODELS[1..].iter().zip([2, 1, 3]) {
        let toml = format!(
            "[data]\nsource = \"{}\"\n[model]\n{model}\n[optimizer]\nkind = \"muon\"\n\
             adam_learning_rate = 1e-30\n[train]\nbatch_size = 10\n",
            data.path().display()
        );
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(folder.path(), "test").unwrap();
        let stop = StopFlag::at_step(1);
        experiment(&toml, "cpu", None)
            .train(&run, None, quiet(), false, stop)
            .unwrap();
        let of_step =
            |step| tensors_of(&Store::new(&run.root).load(step).unwrap().files["model.bpk"]);
        let mut n_moved = 0;
        for ((name, shape, before), (_, _, after)) in of_step(0).iter().zip(of_step(1)) {
            let is_hidden = shape.len() > 1 && !name.contains("output");
            let is_running = name.contains("running");
            let mut pairs = before.iter().zip(&after);
            let moved = pairs.any(|(before, after)| (before - after).abs() > 1e-20);
            assert!(
                is_running || moved == is_hidden,
                "{model}: {name} {shape:?}"
            );
            n_moved += usize::from(is_hidden);
        }
        assert_eq!(n_moved, n_hidden, "{model}");
    }
}
