//! `weft bench`

mod table;

use std::ffi::OsString;
use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{data_dir, download_bar::DownloadBar, quoted, say, warn};
use crate::bench::measure::{self, Options, Stage};
use crate::bench::record::{Benchmark, Document, SCHEMA};
use crate::bench::start::Told;
use crate::bench::turns::{self, Turns};
use crate::bench::{self, export};
use crate::cli::BenchArgs;
use crate::config::Loaded;
use crate::device::DeviceChoice;
use crate::experiment::{BURN_VERSION, Experiment};
use crate::failure::{self, Work};
use crate::run::records;

pub(super) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let loaded = load(args)?;
    if args.interactive {
        ensure!(
            loaded.len() == 1,
            "--interactive takes one config, not {}\nhint: start `weft bench` once for each of them",
            loaded.len()
        );
    }
    let time = records::utc_now();
    let mut measured = Vec::new();
    for (index, loaded) in loaded.into_iter().enumerate() {
        let experiment = prepare(loaded, args)?;
        if let Some(folder) = &args.export {
            write(&experiment, folder, args)?;
        }
        if args.first_step {
            first_step(&experiment)?;
        } else if args.interactive {
            interactive(&experiment, args.steps as usize)?;
        } else if args.export.is_none() || args.json {
            let config = args.configs.get(index).map(|path| path.as_path());
            measured.push(measure(&experiment, config, index == 0, args)?);
        }
    }
    if args.json {
        let document = Document {
            schema: SCHEMA,
            weft: env!("CARGO_PKG_VERSION").to_owned(),
            burn: BURN_VERSION.to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            time,
            benchmarks: measured,
        };
        say(&serde_json::to_string_pretty(&document)?);
    } else if measured.len() > 1 {
        say("");
        table::summary(&measured).iter().for_each(|line| say(line));
    }
    Ok(ExitCode::SUCCESS)
}

/// The configs, with what the flags say in place of theirs.
fn load(args: &BenchArgs) -> Result<Vec<Loaded>> {
    let mut assignments = args.assignments.clone();
    if let Some(device) = &args.device {
        device.parse::<DeviceChoice>()?;
        assignments.push(quoted("train.device", device.clone()));
    }
    if let Some(batch) = args.batch {
        assignments.push(format!("train.batch_size={batch}"));
    }
    let paths: Vec<Option<&Path>> = match args.configs.as_slice() {
        [] => vec![None],
        configs => configs
            .iter()
            .map(|config| Some(config.as_path()))
            .collect(),
    };
    let load = |path| Loaded::new(path, &assignments);
    let loaded: Vec<Loaded> = paths.into_iter().map(load).collect::<Result<_>>()?;
    for (index, first) in loaded.iter().enumerate() {
        let name = &first.config.name;
        if args.export.is_some() && loaded[..index].iter().any(|it| it.config.name == *name) {
            bail!(
                "two configs have the name \"{name}\", which names their folder in --export\n\
                 hint: export them to folders of their own"
            );
        }
    }
    Ok(loaded)
}

fn prepare(mut loaded: Loaded, args: &BenchArgs) -> Result<Experiment> {
    let is_source = |assignment: &String| assignment.trim_start().starts_with("data.source");
    let named = args.data.is_some() || args.assignments.iter().any(is_source);
    let looks = bench::choose_data(&mut loaded, named);
    let data = data_dir(args.data.as_deref()).filter(|_| looks || args.data.is_some());
    let device = loaded.config.train.device.parse::<DeviceChoice>()?.open()?;
    failure::set_work(Work {
        device: Some(device.name.clone()),
        run: None,
    });
    let bar = &mut DownloadBar::default();
    let experiment = bench::prepare(loaded, device, data.as_deref(), bar)?;
    if let Some(warning) = &experiment.splits.source().warning {
        warn(&format!("WARNING: {warning}\n"));
    }
    Ok(experiment)
}

fn write(experiment: &Experiment, folder: &Path, args: &BenchArgs) -> Result<()> {
    let folder = export::write(experiment, folder)?;
    // With these, stdout is JSON.
    let tell = if args.interactive || args.json {
        warn
    } else {
        say
    };
    let files = export::FILES.join(", ");
    tell(&format!("wrote   {}: {files}", folder.display()));
    Ok(())
}

/// One JSON line when it is ready, then a turn and a line for each line of stdin.
fn interactive(experiment: &Experiment, n_steps: usize) -> Result<()> {
    let data = turns::upload(experiment);
    let mut turns = Turns::new(experiment, &data, n_steps);
    let warm_up = turns.warm_up()?;
    let ready = json!({
        "ready": true,
        "losses": warm_up.losses,
        "warmup_s": warm_up.seconds,
        "device": experiment.device.name,
    });
    say(&ready.to_string());
    for line in std::io::stdin().lock().lines() {
        line.context("stdin cannot be read")?;
        let turn = turns.turn()?;
        say(&json!({ "ms_per_step": turn.ms_per_step, "loss": turn.loss }).to_string());
    }
    Ok(())
}

/// What the process that measures a start does.
fn first_step(experiment: &Experiment) -> Result<()> {
    let data = turns::upload(experiment);
    let first_step_seconds = Turns::new(experiment, &data, 1).warm_up()?.seconds;
    say(&serde_json::to_string(&Told { first_step_seconds })?);
    Ok(())
}

/// Measures one config and shows it, unless it is for the JSON document.
fn measure(
    experiment: &Experiment,
    config: Option<&Path>,
    is_first: bool,
    args: &BenchArgs,
) -> Result<Benchmark> {
    let options = Options {
        n_steps: args.steps as usize,
        n_turns: args.repeats as usize,
        start: match args.no_start {
            true => None,
            false => Some(first_step_arguments(experiment, config, args)?),
        },
    };
    if !args.json {
        if !is_first {
            say("");
        }
        let device = &experiment.device;
        let reason = device.reason.as_ref();
        let why = reason.map_or(String::new(), |reason| format!(": {reason}"));
        let version = env!("CARGO_PKG_VERSION");
        say(&format!(
            "weft {version}  {} on {}{why}",
            experiment.config.name, device.name
        ));
    }
    let bar = stage_bar();
    let is_gpu = experiment.device.adapter.is_some();
    let on_stage = |stage: Stage| {
        let compiles = match is_gpu && stage.compiles() {
            true => ": compiling and tuning kernels takes a GPU minutes the first time",
            false => "",
        };
        bar.set_message(format!("{stage}{compiles}"));
        if bar.is_hidden() && !compiles.is_empty() {
            warn(&format!("{stage}{compiles}"));
        }
    };
    let measured = measure::measure(experiment, &options, &on_stage);
    bar.finish_and_clear();
    let measured = measured?;
    if !args.json {
        table::block(&measured).iter().for_each(|line| say(line));
    }
    Ok(measured)
}

/// What is being measured, where stderr is a terminal.
fn stage_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// What makes this program take one step of the same experiment. Its data is named by the place where it
/// was found: the process has another cache.
fn first_step_arguments(
    experiment: &Experiment,
    config: Option<&Path>,
    args: &BenchArgs,
) -> Result<Vec<OsString>> {
    let mut arguments = vec![OsString::from("bench"), OsString::from("--first-step")];
    arguments.extend(config.map(|config| config.as_os_str().to_owned()));
    if let Some(device) = &args.device {
        arguments.extend(["--device".into(), device.into()]);
    }
    if let Some(batch) = args.batch {
        arguments.extend(["--batch".into(), batch.to_string().into()]);
    }
    let source = experiment.splits.source().to_config()?;
    let source = quoted("data.source", source);
    for assignment in args.assignments.iter().chain([&source]) {
        arguments.extend(["--set".into(), assignment.into()]);
    }
    Ok(arguments)
}
