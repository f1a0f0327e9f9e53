//! `weft export`

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::{say, warn};
use crate::cli::ExportArgs;
use crate::config::Loaded;
use crate::device::DeviceChoice;
use crate::experiment::LoadedModel;
use crate::export::{Exported, Format, pytorch};
use crate::run::{RunFolder, atomic, disk};
use crate::text::thousands;
use crate::train::checkpoint::is_averaged;

pub(super) fn run(args: &ExportArgs) -> Result<ExitCode> {
    let format = match (args.format, args.print_loader) {
        (None, false) => Format::Onnx,
        (None, true) => Format::Safetensors,
        (Some(Format::Safetensors), _) | (Some(_), false) => args.format.unwrap_or(Format::Onnx),
        (Some(_), true) => bail!(
            "--print-loader prints the PyTorch module for a safetensors file\n\
             hint: use --format safetensors, or leave --print-loader out"
        ),
    };
    let run = RunFolder::open(&args.run)?;
    // No kernel runs: the weights only pass through.
    let device = DeviceChoice::Cpu.open()?;
    let loaded = LoadedModel::open(&run, args.checkpoint.as_deref(), &device)?;
    for warning in &loaded.warnings {
        warn(&format!("warning: {warning}"));
    }
    let model = Exported::new(&loaded.config, &loaded.about, &loaded.checkpoint)?;
    let path = output_path(&run, args.output.as_deref(), format)?;
    let is_own = args.output.is_none() || is_in(&path, &run.exports());
    let may_replace = args.force || is_own;
    let replaced = is_taken(&path);
    if replaced && !may_replace {
        bail!(taken(&path));
    }
    let bytes = model.to_bytes(format)?;
    write(&path, &bytes, args.output.is_none(), may_replace)?;

    // With --print-loader, stdout is a Python file.
    let tell = if args.print_loader { warn } else { say };
    let verb = if replaced { "replaced" } else { "wrote" };
    let size = thousands(bytes.len() as u64);
    tell(&format!("{verb}    {}, {size} bytes", path.display()));
    let run_config = Loaded::new(Some(&run.config()), &[])?.config;
    if let Some(views) = run_config.evaluation.tta.told() {
        let note = format!(
            "note     the file takes an image alone: its results are those without the {views}"
        );
        tell(&note);
    }
    for line in summary(&model, &loaded, format, &path.display().to_string(), args) {
        tell(&line);
    }
    if args.print_loader {
        say(pytorch::module(&model, &path.display().to_string())?.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the file goes. What a slip could destroy is refused.
fn output_path(run: &RunFolder, output: Option<&Path>, format: Format) -> Result<PathBuf> {
    let file_name = format!("{}.{}", folder_name(run)?, format.extension());
    let Some(output) = output else {
        return Ok(run.exports().join(file_name));
    };
    let path = match output.is_dir() {
        true => output.join(file_name),
        false => output.to_owned(),
    };
    let extension = path.extension().and_then(|it| it.to_str());
    if extension != Some(format.extension()) {
        bail!(
            "--output {} does not end in .{extension}\nhint: name the file {}, or choose another --format",
            output.display(),
            path.with_extension(format.extension()).display(),
            extension = format.extension()
        );
    }
    let folder = disk::parent(&path);
    let place = folder.canonicalize().with_context(|| {
        format!(
            "{}: its folder is not there\nhint: make the folder, or choose another --output",
            path.display()
        )
    })?;
    if let Ok(checkpoints) = run.checkpoints().canonicalize()
        && place.starts_with(checkpoints)
    {
        bail!(
            "{} is among the run's checkpoints, which `weft resume` needs\nhint: choose another --output",
            path.display()
        );
    }
    Ok(path)
}

/// Runs of one config have one name, but each its own folder.
fn folder_name(run: &RunFolder) -> Result<String> {
    let root = run.root.canonicalize();
    let root = root.with_context(|| format!("{} cannot be found", run.root.display()))?;
    let name = root.file_name().context("/ is no run folder")?;
    Ok(name.to_string_lossy().into_owned())
}

fn is_in(path: &Path, folder: &Path) -> bool {
    let place = disk::parent(path).canonicalize().ok();
    place.is_some() && place == folder.canonicalize().ok()
}

/// Also by a link that leads nowhere.
fn is_taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn taken(path: &Path) -> String {
    format!(
        "{} is there already\nhint: choose another --output, or replace it with --force",
        path.display()
    )
}

fn write(path: &Path, bytes: &[u8], is_default: bool, may_replace: bool) -> Result<()> {
    let written = match (is_default, may_replace) {
        (true, _) => RunFolder::write(path, bytes),
        (false, true) => atomic::write_file(path, bytes),
        (false, false) => atomic::publish_new(path, bytes),
    };
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return anyhow::Error::msg(taken(path));
        }
        let remedy = disk::remedy(&error);
        anyhow::Error::from(error).context(format!(
            "the model could not be exported\nhint: {remedy}, or choose another place with --output"
        ))
    })
}

fn summary(
    model: &Exported,
    loaded: &LoadedModel,
    format: Format,
    path: &str,
    args: &ExportArgs,
) -> Vec<String> {
    let parameters = thousands(model.n_parameters() as u64);
    let architecture = loaded.config.model.summary();
    let n_classes = model.input.n_classes;
    let (outputs, how) = match format {
        Format::Onnx => (
            format!("logits and probabilities, float [batch, {n_classes}]"),
            format!("onnxruntime.InferenceSession(\"{path}\").run(None, {{\"images\": images}})"),
        ),
        Format::Safetensors => (
            format!(
                "logits, float [batch, {n_classes}], from the module that --print-loader prints"
            ),
            format!(
                "weft export {} --print-loader > model.py; python model.py IMAGE",
                args.run.display()
            ),
        ),
        Format::Bpk => (
            format!("logits and probabilities, float [batch, {n_classes}]"),
            format!("cargo run --release --example classify -- {path} IMAGE"),
        ),
    };
    vec![
        format!(
            "model    {} at step {}{}: {architecture}, {parameters} parameters",
            model.name,
            model.step,
            match is_averaged(&loaded.checkpoint) {
                true => ", average of the weights",
                false => "",
            }
        ),
        format!("input    images, {}", model.input_text()),
        format!("output   {outputs}"),
        format!("use      {how}"),
    ]
}
