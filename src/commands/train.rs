//! `weft train`

use std::process::ExitCode;

use anyhow::Result;

use super::training::{self, Shown};
use super::{download_bar::DownloadBar, say};
use crate::cli::TrainArgs;
use crate::config::Loaded;
use crate::experiment::Experiment;
use crate::run::RunFolder;

pub(super) fn run(args: TrainArgs) -> Result<ExitCode> {
    let mut loaded = Loaded::new(args.config.as_deref(), &args.assignments)?;
    if let Some(name) = args.name {
        loaded.config.name = name;
    }
    if let Some(device) = args.place.device {
        loaded.config.train.device = device;
    }
    if args.print_config {
        say(loaded.config.to_toml()?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let data = args.place.data.as_deref();
    let experiment = Experiment::prepare(loaded, data, &mut DownloadBar::default())?;
    let run = RunFolder::create(&args.runs_dir, &experiment.config.name)?;
    let lock = run.lock()?;
    experiment.describe(&run, std::env::args().collect())?;

    let shown = Shown::new(&args.display);
    shown.introduce(&experiment, &run);
    let code = training::train_and_report(&experiment, &run, None, &shown);
    drop(lock);
    code
}
