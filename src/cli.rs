//! Every command and flag, with its help text. No logic.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::evaluate::tta::Tta;
use crate::export::Format;

/// Trains image classifiers on the GPU you already have (Vulkan, Metal, DX12), or on the CPU.
///
/// `weft train` without arguments trains a small network on Fashion-MNIST in a few minutes.
#[derive(Debug, Parser)]
#[command(
    name = "weft",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a model in a new run folder
    ///
    /// Writes runs/NAME with the config, a checkpoint after each epoch, results.csv and the test
    /// result. Ctrl-C saves a checkpoint; `weft resume` goes on from it.
    Train(TrainArgs),
    /// Go on with a run from its last checkpoint
    ///
    /// A checkpoint that is damaged is named, and the one before it is used. --epochs, --set and
    /// --device may change what does not fix the weights.
    Resume(ResumeArgs),
    /// List the built-in recipes, or print one
    ///
    /// A recipe is a whole config with what it reaches: `weft train NAME` trains it, `weft recipes NAME >
    /// FILE` is a config to start from. docs/recipes.md has the results over several seeds.
    Recipes(RecipesArgs),
    /// Search hyper-parameters: Hyperband, successive halving, random search
    ///
    /// A study is a TOML file with an experiment and a `[search]` section; configs/tune/ has examples. It
    /// is kept in runs/NAME: killed at any moment and started again it goes on. The test split is not
    /// read, until --final asks for the best config's result. docs/tune.md explains it.
    Tune(TuneArgs),
    /// Measure a trained model: loss, accuracy, a report per class, the confusion matrix
    ///
    /// The result on the test split is kept in evaluation.json and predictions.csv, and drawn in plots/:
    /// curves, confusion matrix, misclassified images, calibration, class counts, samples.
    Evaluate(EvaluateArgs),
    /// Say what is on pictures of your own: PNG, JPEG, WebP, BMP, GIF, folders of them, or - for stdin
    ///
    /// A picture of any size and colour is made what the model was trained on, and it is said where it was
    /// inverted for that. The data set need not be there. A file that cannot be used is told and the rest
    /// are predicted; the exit code is then 1.
    Predict(PredictArgs),
    /// Write a trained model as one file for other programs: ONNX, PyTorch weights, burn
    ///
    /// The file takes pixels in [0, 1] and carries class names and config. It needs neither weft nor
    /// the data set.
    Export(ExportArgs),
    /// Write one page about a run, or about several beside each other
    ///
    /// report.html holds everything: it opens from disk and loads nothing. It may be made while the run
    /// trains; `[report]` in the config has it made by the training.
    Report(ReportArgs),
    /// Check a run folder: checksums of every checkpoint, results.csv, that best and last are there
    ///
    /// With --exact it also trains the run again from its config, killed once on the way, and
    /// compares the weights, the optimizer's state and results.csv byte by byte.
    Verify(VerifyArgs),
    /// Measure training: time and parts of a step, cold and warm start, memory, arithmetic
    ///
    /// The embedded sample of Fashion-MNIST serves as data, unless --data, --set or a config names a
    /// folder: a step costs the same. docs/benchmark.md says how each figure is measured.
    Bench(BenchArgs),
    /// Show the data: where it comes from, its shape, class counts, pixel statistics
    Data(DataArgs),
    /// List the devices that weft can train on
    Devices,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Arguments of `weft train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Experiment as a TOML file, or the name of a recipe (see `weft recipes`) [default: the built-in quickstart]
    pub config: Option<PathBuf>,
    /// Change a key of the config, such as --set train.epochs=3; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub assignments: Vec<String>,
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Name of the run folder [default: the config's name]
    #[arg(long)]
    pub name: Option<String>,
    /// Folder for run folders
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs_dir: PathBuf,
    /// Write event files for TensorBoard: `tensorboard --logdir runs` shows them
    #[arg(long)]
    pub tensorboard: bool,
    /// Print the whole config that would be used, every key, and stop
    #[arg(long)]
    pub print_config: bool,
    #[command(flatten)]
    pub drill: DrillArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}

/// Arguments of `weft resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Run folder, such as runs/quickstart
    pub run: PathBuf,
    /// Train until this many epochs are done in all; more than the config says extends a finished run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub epochs: Option<u64>,
    /// Change a key of the run's config from here on, such as --set early_stopping.patience=20
    ///
    /// What may change: train.epochs, train.on_divergence, train.evaluation_batch_size,
    /// evaluation, checkpoint.every_minutes, report, and early_stopping but for its monitor. All else fixes the weights.
    /// The change is kept in the run's config.toml and in its checkpoints.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub assignments: Vec<String>,
    #[command(flatten)]
    pub drill: DrillArgs,
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}

/// Arguments of `weft recipes`.
#[derive(Debug, Args)]
pub struct RecipesArgs {
    /// The recipe to print; with --table, finished run folders or folders of them
    #[arg(value_name = "NAME|RUN")]
    pub names: Vec<PathBuf>,
    /// Write what finished runs reached into FILE, as the table between its two markers
    ///
    /// Seeds of one recipe are one row. A run that does not follow the protocol of docs/recipes.md is refused,
    /// and FILE is then left as it is.
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
}

/// Arguments of `weft tune`.
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// Study as a TOML file, or the folder of one that was begun, such as runs/seed-mlp
    #[arg(value_name = "STUDY")]
    pub study: PathBuf,
    /// Train so many trials at once, each in a process of its own, which share the cores of a CPU
    ///
    /// More may be started at any time, on other machines too: `weft tune runs/NAME` in a folder that
    /// they share.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Stop after this time, such as 90s, 30m or 2h; or when the study has taken so many epochs, such as
    /// 500epochs
    ///
    /// Started again, it goes on.
    #[arg(long, value_name = "BUDGET")]
    pub budget: Option<String>,
    /// After the search: train the best config and read the test split, once
    ///
    /// =train keeps the validation split, which chooses the epoch. =all trains on both splits, for as many
    /// epochs as the best trial took to its best one.
    #[arg(long = "final", value_enum, value_name = "ON", num_args = 0..=1, require_equals = true, default_missing_value = "train", conflicts_with_all = ["budget", "jobs"])]
    pub last: Option<TrainedOn>,
    /// Change a key of the experiment, such as --set train.batch_size=64; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub assignments: Vec<String>,
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Name of the study's folder [default: the config's name]
    #[arg(long)]
    pub name: Option<String>,
    /// Folder for the study's folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs_dir: PathBuf,
    /// Print nothing but warnings and errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Be one of the processes that train trials
    #[arg(long, value_name = "TOKEN", hide = true)]
    pub worker: Option<String>,
    /// Epochs that the study may take in all
    #[arg(long, value_name = "N", hide = true)]
    pub most_epochs: Option<u64>,
}

/// The images that the best config is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TrainedOn {
    /// The training split
    Train,
    /// The training and the validation split
    All,
}

/// Ends that a replay and tests ask for.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DrillArgs {
    /// Stop with a checkpoint after this step
    #[arg(long, value_name = "STEP", hide = true)]
    pub stop_at_step: Option<u64>,
    /// Rollbacks that come before that step
    #[arg(long, value_name = "N", hide = true, default_value_t = 0)]
    pub stop_after_rollbacks: usize,
    /// Kill this process, as kill -9 does, after this step
    #[arg(long, value_name = "STEP", hide = true)]
    pub kill_at_step: Option<u64>,
    /// Rollbacks that come before that step
    #[arg(long, value_name = "N", hide = true, default_value_t = 0)]
    pub kill_after_rollbacks: usize,
}

/// Arguments of `weft verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Run folder, such as runs/quickstart
    pub run: PathBuf,
    /// Train the run again, kill that once, resume it, and compare every byte (CPU runs only)
    #[arg(long)]
    pub exact: bool,
    /// Folder of the data set: four IDX files, plain or .gz, or a folder of images for each class [default: $WEFT_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Where the images come from and where the tensors live.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// auto, gpu, gpu:INDEX, gpu:NAME-PART, cpu or ndarray; see `weft devices`
    ///
    /// auto takes the best hardware GPU, else the CPU. Software adapters are used only when named.
    #[arg(long)]
    pub device: Option<String>,
    /// Folder of the data set: four IDX files, plain or .gz, or a folder of images for each class [default: $WEFT_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// What is shown while training, and whether the test split is read at the end.
#[derive(Debug, Args)]
pub struct DisplayArgs {
    /// Do not read the test split at the end
    #[arg(long)]
    pub no_test: bool,
    /// Show burn's dashboard while training; q and then s stop with a checkpoint, as Ctrl-C does on Unix
    #[arg(long, conflicts_with = "quiet")]
    pub tui: bool,
    /// Print nothing but warnings and errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `weft evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Run folder, such as runs/quickstart
    pub run: PathBuf,
    /// Images to evaluate on
    #[arg(long, value_enum, default_value_t = EvaluationSplit::Test)]
    pub split: EvaluationSplit,
    /// best, last, or the step of a checkpoint [default: the run's result]
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: Option<String>,
    /// Average the logits of several views of each image [default: the config's evaluation.tta]
    ///
    /// Every number says so, and loss and accuracy are told without it too.
    #[arg(long, value_enum, value_name = "MODE")]
    pub tta: Option<Tta>,
    /// Write the logits to a file of NumPy's format too
    #[arg(long, value_name = "FILE.npy", hide = true)]
    pub logits: Option<PathBuf>,
    /// Draw the confusion matrix with counts instead of per cent
    #[arg(long)]
    pub counts: bool,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Arguments of `weft export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Run folder, such as runs/quickstart
    pub run: PathBuf,
    /// Which kind of file [default: onnx; safetensors with --print-loader]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// File to write, or a folder for it [default: RUN/export/RUN.FORMAT]
    #[arg(long, short, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Replace a file that is there already; in RUN/export/ that is always done
    #[arg(long)]
    pub force: bool,
    /// best, last, or the step of a checkpoint [default: the run's result]
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: Option<String>,
    /// Print a PyTorch module that loads the file and predicts: redirect it to a .py file
    #[arg(long)]
    pub print_loader: bool,
}

/// Arguments of `weft bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Experiments as TOML files or names of recipes [default: the built-in quickstart]
    #[arg(value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// auto, gpu, gpu:INDEX, gpu:NAME-PART, cpu or ndarray; see `weft devices`
    #[arg(long)]
    pub device: Option<String>,
    /// Images of a step [default: the config's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// Steps of a turn; a turn ends when the device has done its work
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Turns that are timed, after one that is not
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: u32,
    /// Do not measure cold and warm start, which compile and tune all kernels of a GPU anew
    #[arg(long)]
    pub no_start: bool,
    /// Print one JSON document; docs/benchmark.md explains its fields
    #[arg(long, conflicts_with = "interactive")]
    pub json: bool,
    /// Write config, initial weights, images and order to DIR/NAME, for other programs to start from
    ///
    /// Nothing is measured then, unless --json or --interactive asks for it.
    #[arg(long, value_name = "DIR")]
    pub export: Option<PathBuf>,
    /// Take a turn for each line of stdin, and print a line of JSON for it
    ///
    /// The first line has the mean loss of each of the first steps, which warm up.
    #[arg(long)]
    pub interactive: bool,
    /// Take one step and tell how long it took: what a process does whose start is measured
    #[arg(long, hide = true)]
    pub first_step: bool,
    /// Change a key of the configs, such as --set train.clip_norm=1.0; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub assignments: Vec<String>,
    /// Folder of a data set: four IDX files, plain or .gz, or a folder of images for each class
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// A split that can be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EvaluationSplit {
    /// The images that no choice was made on
    Test,
    /// The images that early stopping looked at
    Validation,
}

/// Arguments of `weft report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run folders, such as runs/quickstart
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The file to write [default: RUN/report.html for one run, report.html here for several]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file even if it is not a page that weft wrote
    #[arg(long)]
    pub force: bool,
    /// Folder with the data set that the runs were trained on [default: where they found it]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Arguments of `weft predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Run folder, such as runs/quickstart
    pub run: PathBuf,
    /// Picture files, folders of them, or - for stdin
    ///
    /// A folder is searched with the folders in it, in the order of names; hidden entries and links to
    /// folders are left out, and so are files that are no pictures, with a count.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Print a line of JSON for each picture
    #[arg(long)]
    pub json: bool,
    /// How many classes to show; with 1 there is one line for each picture
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub top: u16,
    /// Whether light and dark change places
    ///
    /// auto does it where the training images have one background in common and a picture's is the other
    /// one: photos are dark on light, MNIST and its like are light on dark.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub invert: Choice,
    /// Whether left and right change places
    ///
    /// auto does it where the mirror image is much nearer to what a class looks like in training: all
    /// shoes of Fashion-MNIST point to the left.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub mirror: Choice,
    /// For each picture, write a PNG with it beside what the network saw [default: in RUN/explain]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub explain: Option<Option<PathBuf>>,
    /// best, last, or the step of a checkpoint [default: the run's result]
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: Option<String>,
    /// Average the logits of several views of each picture [default: the config's evaluation.tta]
    #[arg(long, value_enum, value_name = "MODE")]
    pub tta: Option<Tta>,
    /// auto, gpu, gpu:INDEX, gpu:NAME-PART, cpu or ndarray [default: the run's]
    #[arg(long)]
    pub device: Option<String>,
}

/// Whether something is done to a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Where the picture needs it
    Auto,
    /// In every picture
    Yes,
    /// In none
    No,
}

/// Arguments of `weft data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Experiment as a TOML file, or the name of a recipe [default: the built-in quickstart]
    pub config: Option<PathBuf>,
    /// Change a key of the config, such as --set data.source=sample; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub assignments: Vec<String>,
    /// Folder of the data set: four IDX files, plain or .gz, or a folder of images for each class [default: $WEFT_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}
