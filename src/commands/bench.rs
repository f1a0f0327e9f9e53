//! `weft bench`

use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::{data_dir, download_bar::DownloadBar, quoted, say, warn};
use crate::bench::turns::{self, Turns};
use crate::bench::{self, export};
use crate::cli::BenchArgs;
use crate::config::Loaded;
use crate::device::DeviceChoice;
use crate::experiment::Experiment;
use crate::failure::{self, Work};

pub(super) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let loaded = load(args)?;
    if args.interactive {
        ensure!(
            loaded.len() == 1,
            "--interactive takes one config, not {}\nhint: start `weft bench` once for each of them",
            loaded.len()
        );
    }
    for loaded in loaded {
        let experiment = prepare(loaded, args)?;
        if let Some(folder) = &args.export {
            write(&experiment, folder, args)?;
        }
        if args.interactive {
            interactive(&experiment, args.steps as usize)?;
        }
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
    // With --interactive, stdout is JSON.
    let tell = if args.interactive { warn } else { say };
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
