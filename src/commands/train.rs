//! `weft train`

use std::process::ExitCode;

use anyhow::Result;

use super::training::{self, Shown};
use super::{data_dir, download_bar::DownloadBar, quoted, say};
use crate::cli::TrainArgs;
use crate::config::Loaded;
use crate::device::DeviceChoice;
use crate::experiment::{Experiment, command_line};
use crate::run::RunFolder;

pub(super) fn run(args: TrainArgs) -> Result<ExitCode> {
    let mut assignments = args.assignments;
    if let Some(name) = args.name {
        assignments.push(quoted("name", name));
    }
    if let Some(device) = args.place.device {
        device.parse::<DeviceChoice>()?;
        assignments.push(quoted("train.device", device));
    }
    if args.tensorboard {
        assignments.push("report.tensorboard=true".to_owned());
    }
    let loaded = Loaded::new(args.config.as_deref(), &assignments)?;
    if args.print_config {
        say(loaded.config.to_toml()?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let shown = Shown::new(&args.display)?;
    let device = loaded.config.train.device.parse::<DeviceChoice>()?.open()?;
    shown.first_line(&loaded.config, &device);
    let data = data_dir(args.place.data.as_deref());
    let bar = &mut DownloadBar::default();
    let experiment = Experiment::prepare(loaded, device, data.as_deref(), bar)?;
    experiment.check_training_fits()?;
    experiment.check_room(&args.runs_dir)?;
    let run = RunFolder::create(&args.runs_dir, &experiment.config.name)?;
    let lock = run.lock()?;
    experiment.describe(&run, command_line())?;
    shown.introduce(&experiment, &run);
    let code = training::train_and_report(&experiment, &run, None, args.drill, &shown);
    drop(lock);
    code
}
