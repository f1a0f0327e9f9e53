//! What an optimizer does to each kind of tensor, on every device; and that a run of before goes on as it
//! was begun.

use std::fs;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use weft::config::Loaded;
use weft::experiment::{ResumePoint, config_of};
use weft::run::RunFolder;
use weft::run::checkpoints::{Meta, Store};
use weft::train::StopFlag;
use weft::train::optimizer::OptimizerConfig;
use weft::verify;

use crate::devices;
use crate::learning::{experiment, handful, quiet};

/// A matrix, filters, biases, and the scale and shift of a norm.
#[derive(Module, Debug)]
struct Tensors {
    conv: Conv2d,
    norm: BatchNorm,
    output: Linear,
}

impl Tensors {
    fn new(device: &Device) -> Self {
        Self {
            conv: Conv2dConfig::new([2, 4], [3, 3]).init(device),
            norm: BatchNormConfig::new(4).init(device),
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
                assert_eq!(before.len(), 6);
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
