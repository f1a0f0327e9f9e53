//! Exports: the ONNX graph, computed here node by node, gives weft's logits for every architecture and
//! option, in colour too; safetensors has the same weights under PyTorch's names; burn's own file
//! predicts; the command puts files where it says and destroys nothing. tests/parity/ compares with
//! onnxruntime and PyTorch themselves.

mod onnx_graph;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Bytes, Device, Tensor, TensorData};
use burn::train::checkpoint::Checkpoint as _;
use burn_pack::{Reader, Writer};
use prost::Message;
use weft::config::ExperimentConfig;
use weft::export::bpk::Predictor;
use weft::export::onnx::proto::{Dimension, ModelProto, ValueInfoProto};
use weft::export::{Exported, Format, pytorch};
use weft::model::{InputShape, Mode, ModelConfig};
use weft::run::checkpoints::{Checkpoint, Meta, Store};
use weft::run::input::{Background, ModelInput};
use weft::train::step::Trainee;

use crate::cli::{stdout, weft};
use onnx_graph::Array;

const GREY: InputShape = InputShape {
    channels: 1,
    height: 11,
    width: 9,
    n_classes: 4,
};
const COLOUR: InputShape = InputShape {
    channels: 3,
    ..GREY
};

/// Every architecture, activation, padding, with and without batch norm, pools that leave rows out, pools
/// before and after batch norm; residual blocks that keep the shape, halve it, change the width alone, many
/// of them and none.
const MODELS: [&str; 17] = [
    "kind = 'softmax_regression'",
    "kind = 'mlp'\nhidden = []",
    "kind = 'mlp'\nhidden = [7, 5]\nactivation = 'relu'\ndropout = 0.5",
    "kind = 'mlp'\nhidden = [7, 5]\nactivation = 'tanh'\nbatch_norm = true",
    "kind = 'mlp'\nhidden = [6]\nactivation = 'selu'",
    "kind = 'mlp'\nhidden = [6, 5]\nactivation = 'gelu'\nbatch_norm = true",
    "kind = 'cnn'\ndense = [6, 5]\ndense_activation = 'tanh'\ndense_dropout = 0.1\n\
     blocks = [{ filters = 3 }, { filters = 4, batch_norm = true, activation = 'gelu' }]",
    "kind = 'cnn'\ndense = []\nblocks = [{ filters = 3, kernel = 4, padding = 'valid', pool = 3, \
     activation = 'selu' }]",
    "kind = 'cnn'\ndense = [5]\ndense_activation = 'selu'\n\
     blocks = [{ filters = 4, kernel = 5, pool = 1, batch_norm = true, activation = 'tanh', dropout = 0.2 }, \
     { filters = 2, kernel = 2, padding = 'valid', pool = 2 }]",
    "kind = 'cnn'\ndense = [5]\nhead = 'average_pool'\n\
     blocks = [{ filters = 4, batch_norm = true, pool_first = true, activation = 'tanh' }, \
     { filters = 3, pool = 3, batch_norm = true, pool_first = true, activation = 'gelu' }]",
    "kind = 'cnn'\ndense = []\nhead = 'average_pool'\n\
     blocks = [{ filters = 4, pool = 1, pool_first = true, activation = 'gelu' }]",
    "kind = 'resnet'\nstem_filters = 3\nblock_dropout = 0.2\ndropout = 0.3\n\
     stages = [{ filters = 3, blocks = 2, stride = 1 }, { filters = 4, blocks = 5 }]",
    "kind = 'resnet'\nstem_filters = 4\nstem_kernel = 5\nactivation = 'gelu'\n\
     stages = [{ filters = 5, stride = 1 }, { filters = 5, blocks = 3, stride = 3 }]",
    "kind = 'resnet'\nstem_filters = 5\nstem_kernel = 1\nactivation = 'selu'\nstages = [{ filters = 2 }]",
    "kind = 'resnet'\nstem_filters = 3\nactivation = 'tanh'\nstages = [{ filters = 3 }]",
    "kind = 'resnet'\nstem_filters = 3\nactivation = 'tanh'\nstages = []",
    "kind = 'cnn'\ndense = []\nblocks = [{ filters = 3, activation = 'gelu', pool_first = true }]",
];

/// A checkpoint whose numbers are all different, batch norm's too, as after training.
struct Case {
    config: ExperimentConfig,
    about: ModelInput,
    checkpoint: Checkpoint,
    model_file: Vec<u8>,
}

impl Case {
    fn new(model: &str, input: InputShape, standardized: bool) -> Self {
        let model: ModelConfig = toml::from_str(model).unwrap();
        model.validate(input).unwrap();
        let config = ExperimentConfig {
            name: "case".to_owned(),
            model,
            ..ExperimentConfig::default()
        };
        let model_file = model_file(&config.model, input);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let meta = Meta {
            step: 30,
            epoch: 1,
            batch: 30,
            best: None,
            config_sha256: String::new(),
            data_sha256: "da7a".to_owned(),
        };
        store.write(&meta, &[("model.bpk", &model_file)]).unwrap();
        let (mean, deviation) = match (standardized, input.channels) {
            (false, _) => (vec![0.0], vec![1.0]),
            (true, 1) => (vec![0.3], vec![0.4]),
            (true, _) => (vec![0.3, 0.5, 0.1], vec![0.4, 0.2, 0.7]),
        };
        Self {
            config,
            about: ModelInput {
                schema: ModelInput::SCHEMA,
                height: input.height,
                width: input.width,
                channels: input.channels,
                class_names: (0..input.n_classes)
                    .map(|class| format!("class \"{class}\""))
                    .collect(),
                mean,
                deviation,
                background: Some(Background {
                    value: 0,
                    fill: 1.0,
                    peak: 255,
                }),
                class_means: Vec::new(),
                data_sha256: "da7a".to_owned(),
            },
            checkpoint: store.load(30).unwrap(),
            model_file,
        }
    }

    fn exported(&self) -> Exported {
        Exported::new(&self.config, &self.about, &self.checkpoint).unwrap()
    }

    fn input(&self) -> InputShape {
        self.exported().input
    }

    /// Images in [0, 1], `[5, channel, height, width]`.
    fn pixels(&self) -> Array {
        let InputShape {
            channels,
            height,
            width,
            ..
        } = self.input();
        let n = 5 * channels * height * width;
        Array {
            shape: vec![5, channels, height, width],
            values: (0..n).map(|index| noise(index, 77).abs()).collect(),
        }
    }

    /// weft's own logits for them.
    fn logits(&self) -> Tensor<2> {
        let device = weft::device::host();
        let Array { shape, values } = self.pixels();
        let n_pixels = shape[2] * shape[3];
        let normalized = values.iter().enumerate().map(|(index, value)| {
            let channel = (index / n_pixels) % shape[1] % self.about.mean.len();
            ((value - self.about.mean[channel]) / self.about.deviation[channel]) as f32
        });
        let data = TensorData::new(normalized.collect::<Vec<f32>>(), shape.clone());
        let images = Tensor::<4>::from_data(data, &device);
        untrained(&self.config.model, self.input(), &device)
            .with_weights(&self.model_file)
            .unwrap()
            .classifier
            .forward(images, Mode::Inference)
    }
}

fn untrained(model: &ModelConfig, input: InputShape, device: &Device) -> Trainee {
    Trainee::new(model.init(input, 1, device), 0.0, 0.0)
}

/// As a checkpoint has it, with numbers of our own.
fn model_file(model: &ModelConfig, input: InputShape) -> Vec<u8> {
    let record = untrained(model, input, &weft::device::host()).into_record();
    let bytes = record.checkpoint_into_bytes().unwrap();
    let tensors = Reader::from_bytes(bytes).unwrap().into_tensors().unwrap();
    let filled = tensors.into_iter().enumerate().map(|(number, tensor)| {
        let n = tensor.byte_len() / 4;
        // Deep networks keep numbers of a usual size so.
        let fan_in = match &tensor.shape[..] {
            [_, rest @ ..] if rest.len() == 3 => rest.iter().product(),
            [inputs, _] => *inputs,
            _ => 3,
        };
        let scale = (3.0 / fan_in as f64).sqrt();
        let value = |index| match tensor.name.ends_with("running_var") {
            true => 0.2 + noise(index, number).abs(),
            false => scale * noise(index, number),
        };
        let values = (0..n).flat_map(|index| (value(index) as f32).to_le_bytes());
        let bytes = Bytes::from_bytes_vec(values.collect());
        burn_pack::Tensor::new(
            tensor.name.clone(),
            tensor.dtype,
            tensor.shape.clone(),
            tensor.param_id,
            bytes,
        )
    });
    Writer::new(filled.collect()).into_bytes().unwrap().to_vec()
}

/// In ±1, a function of its arguments.
fn noise(index: usize, stream: usize) -> f64 {
    let mixed = weft::random::mix(&[index as u64, stream as u64]);
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn all_cases() -> impl Iterator<Item = (String, Case)> {
    let inputs = [GREY, COLOUR]
        .into_iter()
        .flat_map(|input| [(input, false), (input, true)]);
    inputs.flat_map(|(input, standardized)| {
        MODELS.into_iter().map(move |model| {
            let name = format!(
                "{model}, {} channels, standardized: {standardized}",
                input.channels
            );
            (name, Case::new(model, input, standardized))
        })
    })
}

fn decoded(exported: &Exported) -> ModelProto {
    ModelProto::decode(&exported.to_bytes(Format::Onnx).unwrap()[..]).unwrap()
}

fn sides(value: &ValueInfoProto) -> Vec<Dimension> {
    let tensor = value.r#type.clone().unwrap().tensor_type.unwrap();
    assert_eq!(tensor.elem_type, Some(1), "float");
    let sides = tensor.shape.unwrap().dim.into_iter();
    sides.map(|side| side.value.unwrap()).collect()
}

#[test]
fn onnx_computes_the_logits_of_weft() {
    for (name, case) in all_cases() {
        let model = decoded(&case.exported());
        let graph = model.graph.unwrap();
        let outputs = onnx_graph::run(&graph, case.pixels());
        for (output, expected) in [
            ("logits", case.logits()),
            ("probabilities", softmax(case.logits(), 1)),
        ] {
            let expected: Vec<f32> = expected.into_data().iter::<f32>().collect();
            let Array { shape, values } = &outputs[output];
            assert_eq!(shape[..], [5, GREY.n_classes], "{name}");
            for (value, expected) in values.iter().zip(&expected) {
                let difference = (value - f64::from(*expected)).abs();
                assert!(
                    difference < 2e-5,
                    "{name}: {output} {value}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn onnx_says_what_it_takes_and_gives() {
    let case = Case::new(MODELS[6], COLOUR, true);
    let model = decoded(&case.exported());
    let versions = (model.ir_version, model.opset_import[0].version);
    assert_eq!(versions, (Some(8), Some(17)));
    assert_eq!(model.producer_name.as_deref(), Some("weft"));
    assert_eq!(model.model_version, Some(30));
    assert!(model.doc_string.unwrap().contains("light on dark"));
    let graph = model.graph.unwrap();
    let batch = || Dimension::DimParam("batch".to_owned());
    let [input] = &graph.input[..] else {
        panic!("one input, not {}", graph.input.len())
    };
    assert_eq!(input.name.as_deref(), Some("images"));
    let image = [3, 11, 9].map(Dimension::DimValue);
    assert_eq!(sides(input), [&[batch()][..], &image].concat());
    let outputs: Vec<&str> = graph
        .output
        .iter()
        .filter_map(|it| it.name.as_deref())
        .collect();
    assert_eq!(outputs, ["logits", "probabilities"]);
    for output in &graph.output {
        assert_eq!(sides(output), [batch(), Dimension::DimValue(4)]);
    }
    let metadata: BTreeMap<_, _> = model
        .metadata_props
        .into_iter()
        .map(|entry| (entry.key.unwrap(), entry.value.unwrap()))
        .collect();
    let names: Vec<String> = serde_json::from_str(&metadata["class_names"]).unwrap();
    assert_eq!(names, case.about.class_names);
    let config: ExperimentConfig = toml::from_str(&metadata["weft_config"]).unwrap();
    assert_eq!(config.model, case.config.model);
}

#[test]
fn no_export_tells_where_the_data_lay() {
    let mut case = Case::new(MODELS[0], GREY, false);
    case.config.data.source = "/home/somebody/secret".to_owned();
    for format in [Format::Onnx, Format::Safetensors, Format::Bpk] {
        let bytes = case.exported().to_bytes(format).unwrap();
        let found = bytes.windows(8).any(|part| part == b"somebody");
        assert!(!found, "{format:?}");
        assert_eq!(
            bytes,
            case.exported().to_bytes(format).unwrap(),
            "{format:?} twice"
        );
    }
}

#[test]
fn safetensors_has_the_weights_of_onnx_and_what_pytorch_asks_for() {
    for (name, case) in all_cases() {
        let exported = case.exported();
        let bytes = exported.to_bytes(Format::Safetensors).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        assert_eq!(metadata["format"], "pt");
        let names: Vec<String> = serde_json::from_str(&metadata["class_names"]).unwrap();
        assert_eq!(names, case.about.class_names);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();

        let initializers = decoded(&exported).graph.unwrap().initializer.into_iter();
        let mut expected: BTreeSet<String> = BTreeSet::new();
        for tensor in initializers {
            let tensor_name = tensor.name.unwrap();
            let is_weight = !["mean", "deviation"].contains(&&*tensor_name);
            if is_weight && !tensor_name.starts_with("gelu.") {
                let view = file.tensor(&tensor_name).unwrap();
                let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
                assert_eq!(shape, tensor.dims, "{name}: {tensor_name}");
                assert_eq!(
                    view.data(),
                    tensor.raw_data.unwrap(),
                    "{name}: {tensor_name}"
                );
                if let Some(norm) = tensor_name.strip_suffix(".running_mean") {
                    let count = format!("{norm}.num_batches_tracked");
                    assert_eq!(file.tensor(&count).unwrap().data(), 30u64.to_le_bytes());
                    expected.insert(count);
                }
                expected.insert(tensor_name);
            }
        }
        let found: BTreeSet<String> = file.names().into_iter().map(str::to_owned).collect();
        assert_eq!(found, expected, "{name}");
        let model = untrained(&case.config.model, case.input(), &weft::device::host());
        assert_eq!(exported.n_parameters(), model.num_params(), "{name}");
    }
}

#[test]
fn the_printed_module_reads_well() {
    insta::assert_snapshot!(printed_classes(&Case::new(MODELS[8], COLOUR, true)), @r#"
    class Model(nn.Module):
        """Images [batch, 3, 11, 9], pixels in [0, 1], to logits [batch, 4]."""

        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.3, 0.5, 0.1]).view(-1, 1, 1), persistent=False)
            self.register_buffer("deviation", torch.tensor([0.4, 0.2, 0.7]).view(-1, 1, 1), persistent=False)
            self.conv1 = nn.Conv2d(3, 4, 5, padding=2, bias=False)
            self.norm1 = nn.BatchNorm2d(4, eps=1e-5)
            self.conv2 = nn.Conv2d(4, 2, 2)
            self.dense1 = nn.Linear(40, 5)
            self.output = nn.Linear(5, 4)

        def forward(self, images):
            x = (images - self.mean) / self.deviation
            x = torch.tanh(self.norm1(self.conv1(x)))
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            x = x.flatten(1)
            x = F.selu(self.dense1(x))
            return self.output(x)
    "#);
}

fn printed_classes(case: &Case) -> String {
    let module = pytorch::module(&case.exported(), "case.safetensors").unwrap();
    let parts = module.split("\n\n\n");
    let classes = parts.filter(|part| part.starts_with("class "));
    classes.collect::<Vec<_>>().join("\n\n\n")
}

#[test]
fn the_printed_module_of_a_residual_network_reads_well() {
    insta::assert_snapshot!(printed_classes(&Case::new(MODELS[11], GREY, false)), @r#"
    class Block(nn.Module):
        """A residual block; where the shape changes, a 1 x 1 convolution goes around it in place of x."""

        def __init__(self, inputs, filters, stride=1):
            super().__init__()
            self.norm1 = nn.BatchNorm2d(inputs, eps=1e-5)
            self.conv1 = nn.Conv2d(inputs, filters, 3, stride=stride, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(filters, eps=1e-5)
            self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
            self.projection = None
            if stride > 1 or inputs != filters:
                self.projection = nn.Conv2d(inputs, filters, 1, stride=stride, bias=False)

        def forward(self, x):
            first = F.relu(self.norm1(x))
            around = x if self.projection is None else self.projection(first)
            return around + self.conv2(F.relu(self.norm2(self.conv1(first))))


    class Model(nn.Module):
        """Images [batch, 1, 11, 9], pixels in [0, 1], to logits [batch, 4]."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(1, 3, 3, padding=1, bias=False)
            self.stage1 = nn.Sequential(Block(3, 3), Block(3, 3))
            self.stage2 = nn.Sequential(Block(3, 4, stride=2), *(Block(4, 4) for _ in range(4)))
            self.norm = nn.BatchNorm2d(4, eps=1e-5)
            self.output = nn.Linear(4, 4)

        def forward(self, images):
            x = self.stem(images)
            x = self.stage1(x)
            x = self.stage2(x)
            x = F.relu(self.norm(x))
            x = x.mean((2, 3))
            return self.output(x)
    "#);
    let classes = printed_classes(&Case::new(MODELS[15], GREY, false));
    assert!(!classes.contains("Block"), "{classes}");
    insta::assert_snapshot!(printed_classes(&Case::new(MODELS[9], GREY, false)), @r#"
    class Model(nn.Module):
        """Images [batch, 1, 11, 9], pixels in [0, 1], to logits [batch, 4]."""

        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
            self.norm1 = nn.BatchNorm2d(4, eps=1e-5)
            self.conv2 = nn.Conv2d(4, 3, 3, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(3, eps=1e-5)
            self.dense1 = nn.Linear(3, 5)
            self.output = nn.Linear(5, 4)

        def forward(self, images):
            x = torch.tanh(self.norm1(F.max_pool2d(self.conv1(images), 2)))
            x = F.gelu(self.norm2(F.max_pool2d(self.conv2(x), 3)))
            x = x.mean((2, 3))
            x = F.relu(self.dense1(x))
            return self.output(x)
    "#);
}

#[test]
fn burns_own_file_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.bpk");
    let device = weft::device::host();
    for (name, case) in all_cases() {
        fs::write(&path, case.exported().to_bytes(Format::Bpk).unwrap()).unwrap();
        let predictor = Predictor::read(&path, &device).unwrap();
        assert_eq!(predictor.class_names, case.about.class_names);
        let pixels: Vec<f32> = case
            .pixels()
            .values
            .iter()
            .map(|&value| value as f32)
            .collect();
        let found = predictor.probabilities(&pixels).unwrap().concat();
        let expected = softmax(case.logits(), 1).into_data();
        for (found, expected) in found.iter().zip(expected.iter::<f32>()) {
            assert!(
                (found - expected).abs() < 1e-5,
                "{name}: {found}, not {expected}"
            );
        }
        assert!(predictor.probabilities(&pixels[1..]).is_err());
    }
    fs::write(&path, b"no model").unwrap();
    let error = Predictor::read(&path, &device).err().unwrap();
    let text = weft::commands::describe(&error);
    assert!(
        text.contains("case.bpk") && text.contains("hint: `weft export"),
        "{text}"
    );
}

#[test]
fn a_model_of_photos_is_given_them_as_in_training() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.bpk");
    // Nothing but transparency, twice as wide as high, for 11 rows of 9.
    let mut picture = std::io::Cursor::new(Vec::new());
    image::RgbaImage::new(20, 10)
        .write_to(&mut picture, image::ImageFormat::Png)
        .unwrap();
    for input in [GREY, COLOUR] {
        let mut case = Case::new(MODELS[0], input, false);
        case.about.background = None;
        let exported = case.exported();
        let text = exported.input_text();
        assert!(text.contains("ratio kept, black around it"), "{text}");
        assert!(!text.contains("cut"), "{text}");
        let module = pytorch::module(&exported, "case.safetensors").unwrap();
        assert!(
            module.contains("ImageOps.contain(image, (9, 11), "),
            "{module}"
        );
        fs::write(&path, exported.to_bytes(Format::Bpk).unwrap()).unwrap();
        let predictor = Predictor::read(&path, &weft::device::host()).unwrap();
        let pixels = predictor.pixels(picture.get_ref()).unwrap();
        let channel = [vec![0.0; 3 * 9], vec![1.0; 5 * 9], vec![0.0; 3 * 9]].concat();
        assert_eq!(pixels, channel.repeat(input.channels));
        assert!(predictor.pixels(b"no picture").is_err());
    }
}

#[test]
fn a_checkpoint_of_another_model_is_refused_by_name() {
    let mut resnet = Case::new(MODELS[11], GREY, false);
    let mut case = Case::new(MODELS[6], GREY, false);
    let error = |case: &Case| {
        let error = Exported::new(&case.config, &case.about, &case.checkpoint)
            .err()
            .unwrap();
        format!("{error:#}")
    };
    for (model, named) in [
        // A layer too many, too few, of another size, of another architecture.
        (
            MODELS[6].replace("dense = [6, 5]", "dense = [6, 5, 5]"),
            "Cnn.dense.2.weight",
        ),
        (
            MODELS[6].replace("dense = [6, 5]", "dense = [6]"),
            "Cnn.dense.1.bias",
        ),
        (
            MODELS[6].replace("filters = 3", "filters = 8"),
            "Cnn.blocks.0.conv.weight",
        ),
        (MODELS[0].to_owned(), "SoftmaxRegression.output.weight"),
    ] {
        case.config.model = toml::from_str(&model).unwrap();
        let error = error(&case);
        assert!(
            error.contains("model.bpk") && error.contains(named),
            "{error}"
        );
    }
    for (blocks, named) in [
        (
            "[{ filters = 3, blocks = 2, stride = 1 }]",
            "Resnet.norm.gamma",
        ),
        (
            "[{ filters = 3, blocks = 3, stride = 1 }, { filters = 4, blocks = 4 }]",
            "Resnet.blocks.2.conv_1.weight",
        ),
        (
            "[{ filters = 3, blocks = 2, stride = 1 }, { filters = 4, blocks = 6 }]",
            "Resnet.blocks.7.norm_1.gamma",
        ),
        (
            "[{ filters = 3, blocks = 2, stride = 1 }, { filters = 4, blocks = 4 }]",
            "Resnet.blocks.6",
        ),
    ] {
        let model = format!("kind = 'resnet'\nstem_filters = 3\nstages = {blocks}");
        resnet.config.model = toml::from_str(&model).unwrap();
        let error = error(&resnet);
        assert!(error.contains(named), "{error}");
    }
}

fn run(folder: &Path, args: &[&str]) -> Output {
    weft().current_dir(folder).args(args).output().unwrap()
}

fn error_of(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_command_writes_where_it_says_and_destroys_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let model = "model={kind=\"softmax_regression\"}";
    let train = [
        "train",
        "-q",
        "--device",
        "cpu",
        "--name",
        "x",
        "--stop-at-step",
        "2",
    ];
    let trained = run(
        here,
        &[&train[..], &["--set", "data.source=sample", "--set", model]].concat(),
    );
    assert!(trained.status.success(), "{trained:?}");

    let output = run(here, &["export", "runs/x"]);
    assert!(output.status.success(), "{output:?}");
    let text = stdout(&output);
    let file = here.join("runs/x/export/x.onnx");
    let n_bytes = fs::metadata(&file).unwrap().len().to_string();
    let digits: String = text
        .lines()
        .next()
        .unwrap()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    assert!(
        digits.ends_with(&n_bytes) && text.starts_with("wrote "),
        "{text}"
    );
    assert!(
        text.contains("at step 2: softmax regression, 7,850 parameters"),
        "{text}"
    );
    ModelProto::decode(&fs::read(&file).unwrap()[..]).unwrap();
    let again = stdout(&run(here, &["export", "runs/x", "--format", "onnx"]));
    assert!(again.starts_with("replaced "), "{again}");

    // The printed module alone is on stdout.
    let output = run(here, &["export", "runs/x", "--print-loader"]);
    let text = stdout(&output);
    assert!(text.starts_with("\"\"\"x tells 10 classes apart"), "{text}");
    assert!(
        text.contains("WEIGHTS = \"runs/x/export/x.safetensors\""),
        "{text}"
    );
    assert!(here.join("runs/x/export/x.safetensors").exists());

    let folder_given = run(
        here,
        &["export", "runs/x", "--format", "bpk", "--output", "."],
    );
    assert!(folder_given.status.success() && here.join("x.bpk").exists());
    // What is there stays, unless it is said.
    fs::write(here.join("x.bpk"), "mine").unwrap();
    let over = ["export", "runs/x", "--format", "bpk", "-o", "."];
    let error = error_of(here, &over);
    assert!(
        error.contains("x.bpk is there already\nhint: ") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(fs::read(here.join("x.bpk")).unwrap(), b"mine");
    let forced = stdout(&run(here, &[&over[..], &["--force"]].concat()));
    assert!(forced.starts_with("replaced "), "{forced}");
    let own = stdout(&run(here, &["export", "runs/x", "-o", "runs/x/export"]));
    assert!(own.starts_with("replaced "), "{own}");
    let of_step = run(
        here,
        &["export", "runs/x", "--checkpoint", "0", "-o", "first.onnx"],
    );
    assert!(stdout(&of_step).contains("at step 0"), "{of_step:?}");

    let config = fs::read(here.join("runs/x/config.toml")).unwrap();
    for (output, expected) in [
        ("runs/x/config.toml", "does not end in .bpk"),
        ("absent/x.bpk", "make the folder"),
        (
            "runs/x/checkpoints/step-2/model.bpk",
            "which `weft resume` needs",
        ),
    ] {
        let error = error_of(here, &["export", "runs/x", "--format", "bpk", "-o", output]);
        assert!(
            error.contains(expected) && error.contains("hint: "),
            "{error}"
        );
    }
    assert_eq!(fs::read(here.join("runs/x/config.toml")).unwrap(), config);
    let error = error_of(
        here,
        &["export", "runs/x", "--format", "onnx", "--print-loader"],
    );
    assert!(error.contains("hint: use --format safetensors"), "{error}");
    let error = error_of(here, &["export", "runs/x", "--checkpoint", "77"]);
    assert!(error.contains("77") && error.contains("hint: "), "{error}");
    // Two runs of one config are two files.
    fs::rename(here.join("runs/x"), here.join("runs/x-2")).unwrap();
    let second = run(&here.join("runs/x-2"), &["export", ".", "-o", "../.."]);
    assert!(second.status.success(), "{second:?}");
    assert!(here.join("x-2.onnx").exists() && !here.join("x.onnx").exists());
    let verified = run(here, &["verify", "runs/x-2"]);
    assert!(verified.status.success(), "{verified:?}");
}
