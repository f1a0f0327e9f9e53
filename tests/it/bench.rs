//! `weft bench`: what it exports is what a training begins with, the losses that it hands to other
//! programs are those of a training's first steps, and its errors say what to do.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use burn::data::dataloader::DataLoader;
use safetensors::SafeTensors;
use serde_json::Value;
use weft::data::epoch_order::epoch_order;
use weft::data::loader::{Cursor, Order, ResidentLoader};
use weft::experiment::{Experiment, SplitName};
use weft::model::Mode;
use weft::run::RunFolder;
use weft::train::StopFlag;

use crate::cli::{stderr, stdout, weft};
use crate::devices;
use crate::learning::{experiment, quiet};

/// Small, but with all that a step has: batch norm, dropout, augmentation, clipping, smoothing.
const CNN: &str = "name = \"small\"\nseed = 7\n[data]\nnormalization = \"standardize\"\n\
    [augmentation]\nflip = 0.5\nshift = 2\n[model]\nkind = \"cnn\"\ndense = [8]\ndense_dropout = 0.3\n\
    [[model.blocks]]\nfilters = 4\nbatch_norm = true\n[schedule]\nkind = \"one_cycle\"\n\
    [train]\nepochs = 2\nbatch_size = 16\nlabel_smoothing = 0.1\nclip_norm = 1.0\n";

const SOFTMAX: &str = "name = \"line\"\nseed = 3\n[model]\nkind = \"softmax_regression\"\n\
    [train]\nbatch_size = 16\n";

fn bench(folder: &Path, args: &[&str], stdin: &str) -> Output {
    let mut child = weft()
        .current_dir(folder)
        .arg("bench")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A bench that reads no input may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn with_config(toml: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("it.toml"), toml).unwrap();
    folder
}

/// The same config and data through the library.
fn on_the_sample(toml: &str, device: &str) -> Experiment {
    let toml = match toml.contains("[data]\n") {
        true => toml.replace("[data]\n", "[data]\nsource = \"sample\"\n"),
        false => format!("{toml}\n[data]\nsource = \"sample\"\n"),
    };
    experiment(&toml, device, None)
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", stderr(output));
    let text = stdout(output);
    let read = |line| serde_json::from_str(line).unwrap();
    text.lines().map(read).collect()
}

/// The running sum of the loss after a training's first steps.
fn sum_after(experiment: &Experiment, n_steps: u64) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), "test").unwrap();
    experiment.describe(&run, Vec::new()).unwrap();
    let stop = StopFlag::at_step(n_steps);
    let (_, state) = experiment.train(&run, None, quiet(), false, stop).unwrap();
    assert_eq!(state.step, n_steps);
    state.totals.loss_sum
}

fn losses_are_those_of_a_training(toml: &str, device: &str, tolerance: f64) {
    let folder = with_config(toml);
    let args = [
        "it.toml",
        "--device",
        device,
        "--steps",
        "3",
        "--interactive",
    ];
    let lines = lines(&bench(folder.path(), &args, "go\n\n"));
    let [ready, turns @ ..] = lines.as_slice() else {
        panic!("no line of JSON");
    };
    assert_eq!(turns.len(), 2, "a line for each line of stdin");
    assert_eq!(ready["ready"], true);
    let experiment = on_the_sample(toml, device);
    assert_eq!(ready["device"], experiment.device.name.as_str());
    assert!(ready["warmup_s"].as_f64().unwrap() > 0.0);
    let losses: Vec<f64> = serde_json::from_value(ready["losses"].clone()).unwrap();
    assert_eq!(losses.len(), 3);

    // The sums are f32 on the device.
    let mut sum = 0f32;
    for (index, loss) in losses.iter().enumerate() {
        sum += (loss * 16.0) as f32;
        let expected = sum_after(&experiment, index as u64 + 1);
        let off = (f64::from(sum) - expected).abs() / expected;
        assert!(off <= tolerance, "{device}: {sum} is not {expected}");
    }
    // The turns go on from there.
    let mut expected = sum_after(&experiment, 3);
    for (turn, n_steps) in turns.iter().zip([6, 9]) {
        assert!(turn["ms_per_step"].as_f64().unwrap() > 0.0);
        let sum = sum_after(&experiment, n_steps);
        let of_turn = (sum - expected) / 48.0;
        let loss = turn["loss"].as_f64().unwrap();
        // Two running sums of f32 are subtracted here.
        assert!((loss - of_turn).abs() < 1e-4, "{device}: {loss}, {of_turn}");
        expected = sum;
    }
}

#[test]
fn interactive_losses_are_those_of_a_training_on_flex() {
    losses_are_those_of_a_training(CNN, "cpu", 0.0);
}

#[test]
fn interactive_losses_are_those_of_a_training_on_wgpu() {
    match devices::gpu_choice() {
        Some(device) => losses_are_those_of_a_training(SOFTMAX, &device, 1e-5),
        None => devices::skip("interactive_losses_are_those_of_a_training_on_wgpu"),
    }
}

#[test]
fn steps_go_on_into_the_next_epoch() {
    let folder = with_config(SOFTMAX);
    // Four whole batches and a part of one in an epoch.
    let args = [
        "it.toml",
        "--device",
        "cpu",
        "--batch",
        "900",
        "--steps",
        "6",
        "--interactive",
    ];
    let lines = lines(&bench(folder.path(), &args, ""));
    let losses = lines[0]["losses"].as_array().unwrap();
    assert_eq!((lines.len(), losses.len()), (1, 6));
}

fn numbers(file: &SafeTensors, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap().data().chunks_exact(4);
    bytes
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

fn integers(file: &SafeTensors, name: &str) -> Vec<i64> {
    let bytes = file.tensor(name).unwrap().data().chunks_exact(8);
    bytes
        .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

#[test]
fn an_export_is_what_a_training_begins_with() {
    let toml = format!("{SOFTMAX}\n[data]\nnormalization = \"standardize\"\n");
    let folder = with_config(&toml);
    let args = [
        "it.toml", "--device", "cpu", "--batch", "32", "--export", "out",
    ];
    let output = bench(folder.path(), &args, "");
    assert!(output.status.success(), "{}", stderr(&output));
    let line = "wrote   out/line: config.json, weights.safetensors, data.safetensors\n";
    assert_eq!(stdout(&output), line);
    let read = |name: &str| fs::read(folder.path().join("out/line").join(name)).unwrap();

    let config: weft::config::ExperimentConfig =
        serde_json::from_slice(&read("config.json")).unwrap();
    let mut experiment = on_the_sample(&toml, "cpu");
    experiment.config.train.batch_size = 32;
    assert_eq!(config, experiment.config);

    let bytes = read("data.safetensors");
    let data = SafeTensors::deserialize(&bytes).unwrap();
    let indices = &experiment.splits.split.train;
    let train = &experiment.splits.dataset.train;
    let n_images = experiment.n_images(SplitName::Train);
    let order = integers(&data, "order");
    let expected = epoch_order(n_images, 3, 1).into_iter().map(i64::from);
    assert_eq!(order, expected.collect::<Vec<_>>());
    let labels = integers(&data, "labels");
    let expected = indices.iter();
    let expected = expected.map(|&index| i64::from(train.labels[index as usize]));
    assert_eq!(labels, expected.collect::<Vec<_>>());
    let images = data.tensor("images").unwrap();
    assert_eq!(images.shape(), [n_images, 1, 28, 28]);
    for (image, &index) in images.data().chunks_exact(784).zip(indices) {
        assert_eq!(image, train.images.image(index as usize));
    }
    let table = numbers(&data, "table");
    assert_eq!(data.tensor("table").unwrap().shape(), [1, 256]);

    // Logits from the files alone, against the first batch through weft's own loader and model.
    let bytes = read("weights.safetensors");
    let weights = SafeTensors::deserialize(&bytes).unwrap();
    let (weight, bias) = (
        numbers(&weights, "output.weight"),
        numbers(&weights, "output.bias"),
    );
    let device = &experiment.device.device;
    let split = experiment.upload(SplitName::Train, device);
    let cursor = Cursor::default();
    cursor.set(1, 0);
    let first_epoch = Order::Shuffled {
        seed: 3,
        augmentation: Default::default(),
        cursor,
    };
    let loader = ResidentLoader::new(split, 32, first_epoch);
    let batch = loader.iter().next().unwrap().unwrap();
    let model = experiment.untrained(device).classifier;
    let logits = model.forward(batch.images, Mode::Inference);
    let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
    for (row, &position) in logits.chunks_exact(10).zip(&order) {
        let image = &images.data()[position as usize * 784..][..784];
        for (class, &logit) in row.iter().enumerate() {
            let products = weight[class * 784..][..784].iter().zip(image);
            let products =
                products.map(|(w, &byte)| f64::from(*w) * f64::from(table[usize::from(byte)]));
            let sum = products.sum::<f64>() + f64::from(bias[class]);
            assert!((sum - f64::from(logit)).abs() < 1e-4, "{sum}, {logit}");
        }
    }
}

#[test]
fn only_an_earlier_export_is_replaced() {
    let folder = with_config(SOFTMAX);
    let args = ["it.toml", "--device", "cpu", "--export", "out"];
    for _ in 0..2 {
        let output = bench(folder.path(), &args, "");
        assert!(output.status.success(), "{}", stderr(&output));
    }
    fs::remove_file(folder.path().join("out/line/data.safetensors")).unwrap();
    let output = bench(folder.path(), &args, "");
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(stderr(&output), @r"
    error: out/line/config.json is there already, and is no part of an earlier export
    hint: choose another folder for --export
    ");
}

#[test]
fn errors_say_what_and_what_to_do() {
    let folder = with_config(SOFTMAX);
    let error = |args: &[&str]| {
        let output = bench(folder.path(), args, "");
        assert!(!output.status.success(), "{args:?}");
        assert_eq!(stdout(&output), "", "{args:?}");
        stderr(&output)
    };
    insta::assert_snapshot!(error(&["it.toml", "--interactive", "--device", "tpu"]), @r"
    error: device `tpu` is not known
    hint: use auto, gpu, gpu:INDEX, gpu:NAME-PART, cpu or ndarray; `weft devices` lists what is here
    ");
    insta::assert_snapshot!(error(&["it.toml", "--interactive", "--steps", "0"]), @r"
    error: invalid value '0' for '--steps <N>': 0 is not in 1..=4294967295

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(error(&["it.toml", "it.toml", "--interactive"]), @r"
    error: --interactive takes one config, not 2
    hint: start `weft bench` once for each of them
    ");
    insta::assert_snapshot!(error(&["it.toml", "it.toml", "--export", "out"]), @r#"
    error: two configs have the name "line", which names their folder in --export
    hint: export them to folders of their own
    "#);
    let large = [
        "it.toml",
        "--interactive",
        "--device",
        "cpu",
        "--batch",
        "4001",
    ];
    insta::assert_snapshot!(error(&large), @r"
    error: a batch of 4,001 images is more than the 4,000 of the training split
    hint: use a smaller --batch, or name a larger data set with --data DIR
    ");
    let diverges = [
        "it.toml",
        "--interactive",
        "--device",
        "cpu",
        "--set",
        "optimizer.kind=sgd",
        "--set",
        "optimizer.learning_rate=1e38",
    ];
    insta::assert_snapshot!(error(&diverges), @r"
    error: the loss is NaN at step 2: such a training is not measured
    hint: use a smaller optimizer.learning_rate, or train.clip_norm = 1.0
    ");
}

/// Every key of a document by its path, such as `benchmarks[].step.median_ms`.
fn paths(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                paths(value, &format!("{path}{dot}{name}"), into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                paths(item, &format!("{path}[]"), into);
            }
        }
        _ => {
            into.insert(path.to_owned());
        }
    }
}

fn document(folder: &Path, args: &[&str]) -> Value {
    let output = bench(folder, args, "");
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn number(value: &Value, path: &str) -> f64 {
    let pointer = format!("/{}", path.replace('.', "/"));
    let found = value.pointer(&pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {path}: {value}"))
}

/// What holds for every benchmark, whatever the machine.
fn is_sane(of: &Value) {
    let number = |path: &str| number(of, path);
    let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} is not {b}: {of}");
    for timing in ["step", "inference.pass"] {
        let part = |name: &str| number(&format!("{timing}.{name}"));
        assert!(
            0.0 < part("min_ms") && part("min_ms") <= part("median_ms"),
            "{of}"
        );
        assert!(part("median_ms") <= part("max_ms"), "{of}");
    }
    let turns = of["step"]["all_ms"].as_array().unwrap();
    assert_eq!(turns.len() as f64, number("repeats"));
    assert_eq!(
        of["losses"].as_array().unwrap().len() as f64,
        number("steps")
    );
    close(
        number("images_per_second"),
        number("batch") / number("step.median_ms") * 1e3,
    );
    let passes = number("inference.batch") / number("inference.pass.median_ms");
    close(number("inference.images_per_second"), passes * 1e3);

    let parts = ["data", "forward", "backward", "optimizer", "metrics"];
    let sum_of = |what: &str| -> f64 {
        let of_part = parts
            .iter()
            .map(|part| number(&format!("phases.{part}.{what}")));
        of_part.sum()
    };
    close(sum_of("share"), 1.0);
    close(sum_of("ms"), number("phases.sum_ms"));

    let rate = number("arithmetic.flops_per_step") / number("step.median_ms") * 1e3;
    close(number("arithmetic.flops_per_second"), rate);
    let share = rate / number("arithmetic.peak_flops_per_second");
    close(number("arithmetic.share_of_peak"), share);
    assert!(share > 0.0, "{of}");
    if cfg!(target_os = "linux") {
        assert!(number("memory.process_peak_bytes") > 1e6, "{of}");
    }
}

#[test]
fn the_document_is_sane_and_has_the_documented_fields_on_flex() {
    let folder = with_config(SOFTMAX);
    fs::write(folder.path().join("cnn.toml"), CNN).unwrap();
    let sizes = [
        "--device",
        "cpu",
        "--steps",
        "3",
        "--repeats",
        "4",
        "--json",
    ];
    let args = [&["it.toml", "cnn.toml"][..], &sizes].concat();
    let document = document(folder.path(), &args);
    assert_eq!(document["schema"], 1);
    let [line, cnn] = document["benchmarks"].as_array().unwrap().as_slice() else {
        panic!("two configs, two benchmarks: {document}");
    };
    for benchmark in [line, cnn] {
        is_sane(benchmark);
        assert_eq!(
            (&benchmark["backend"], &benchmark["batch"]),
            (&"cpu".into(), &16.into())
        );
        assert!(
            benchmark["launches"].is_null() && benchmark["memory"]["device_in_use_bytes"].is_null()
        );
        for start in ["cold", "warm"] {
            let seconds = |part: &str| number(benchmark, &format!("start.{start}.{part}"));
            assert!(seconds("warm_up_seconds") <= seconds("first_step_seconds"));
            assert!(seconds("first_step_seconds") < seconds("seconds"));
        }
    }
    // Forward, and backward without the gradient by the images: 784 x 10 multiply-adds each.
    assert_eq!(line["arithmetic"]["flops_per_step"], 16 * 2 * 2 * 7840);
    assert_eq!(line["image"], serde_json::json!([1, 28, 28]));

    let documented = include_str!("../../docs/benchmark.md");
    let mut found = BTreeSet::new();
    paths(&document, "", &mut found);
    assert!(found.len() > 40, "{found:?}");
    for path in found {
        let mut names = path.split('.');
        let is_missing = |name: &str| {
            let name = name.trim_end_matches("[]");
            !documented.contains(&format!("`{name}")) && !documented.contains(&format!(".{name}`"))
        };
        let missing = names.find(|name| is_missing(name));
        assert_eq!(missing, None, "{path} is not in docs/benchmark.md");
    }
}

#[test]
fn the_document_is_sane_on_wgpu() {
    let Some(device) = devices::gpu_choice() else {
        return devices::skip("the_document_is_sane_on_wgpu");
    };
    let folder = with_config(SOFTMAX);
    let sizes = ["--steps", "2", "--repeats", "2", "--no-start", "--json"];
    let args = [&["it.toml", "--device", &device][..], &sizes].concat();
    let document = document(folder.path(), &args);
    let benchmark = &document["benchmarks"][0];
    is_sane(benchmark);
    assert!(benchmark["start"].is_null());
    let per_step = number(benchmark, "launches.per_step");
    let kernels = benchmark["launches"]["kernels"].as_array().unwrap();
    let sum: f64 = kernels
        .iter()
        .map(|kernel| number(kernel, "per_step"))
        .sum();
    assert!(
        per_step >= 5.0 && (per_step - sum).abs() < 1e-9,
        "{benchmark}"
    );
    let in_use = number(benchmark, "memory.device_in_use_bytes");
    // The images of the training split alone take 784 bytes each.
    assert!(in_use > 4000.0 * 784.0, "{benchmark}");
    assert!(
        in_use <= number(benchmark, "memory.device_reserved_bytes"),
        "{benchmark}"
    );
}

#[test]
fn a_table_names_what_it_shows() {
    let folder = with_config(SOFTMAX);
    let sizes = ["--steps", "2", "--repeats", "1", "--no-start"];
    let args = [&["it.toml", "it.toml", "--device", "cpu"][..], &sizes].concat();
    let output = bench(folder.path(), &args, "");
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let names = [
        "turns    1 of 2 steps of 16 images",
        "step ",
        "  forward ",
        "  metrics ",
        "inference ",
        "arithmetic ",
        "memory ",
    ];
    for name in names {
        let n = text.matches(&format!("\n{name}")).count();
        assert_eq!(n, 2, "{name:?} in {text}");
    }
    assert!(!text.contains("cold start"), "{text}");
    assert!(text.contains("\nconfig  ms per step"), "{text}");
}
