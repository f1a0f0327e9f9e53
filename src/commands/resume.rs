//! `weft resume`

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::training::{self, Shown};
use super::{data_dir, download_bar::DownloadBar, warn};
use crate::cli::ResumeArgs;
use crate::config::{ExperimentConfig, Loaded};
use crate::device::DeviceChoice;
use crate::experiment::{Experiment, ResumePoint};
use crate::run::records::TrainState;
use crate::run::{RunFolder, atomic, records};

pub(super) fn run(args: ResumeArgs) -> Result<ExitCode> {
    let shown = Shown::new(&args.display)?;
    let run = RunFolder::open(&args.run)?;
    let lock = run.lock()?;
    let mut loaded = Loaded::new(Some(&run.config()), &[])?;
    let mut point = ResumePoint::find(&run)?;
    for damaged in &point.damaged {
        warn(&format!(
            "warning: {damaged}; the checkpoint before it is used"
        ));
    }
    let done = point.state.epoch - 1;
    let planned = loaded.config.train.epochs;
    plan(&mut loaded.config, &mut point.state, args.epochs, &run)?;
    if point.state.finished {
        shown.say(&finished(&loaded.config, &point.state, &run));
        return Ok(ExitCode::SUCCESS);
    }
    let config = loaded.config.clone();
    if let Some(device) = args.place.device {
        loaded.config.train.device = device;
    }
    let device = loaded.config.train.device.parse::<DeviceChoice>()?.open()?;
    shown.first_line(&loaded.config, &device);
    let data = data_dir(args.place.data.as_deref());
    let bar = &mut DownloadBar::default();
    let experiment = Experiment::prepare(loaded, device, data.as_deref(), bar)?;
    experiment.check_made(&point.checkpoint)?;

    // Nothing is changed on disk before everything has been checked.
    if config.train.epochs != planned {
        atomic::write_file(&run.config(), config.to_toml()?.as_bytes())?;
    }
    records::cut_back(&run.results(), done)?;
    shown.introduce(&experiment, &run);
    let from = point.checkpoint.folder.display();
    let (epoch, batch) = (point.state.epoch, point.state.batch);
    shown.say(&format!("from    {from} (epoch {epoch}, batch {batch})"));
    if config.train.epochs != planned {
        let epochs = config.train.epochs;
        shown.say(&format!(
            "epochs  {epochs} instead of {planned}; the learning-rate schedule is planned for {epochs}"
        ));
    }
    shown.say("");
    let start = Some((point.checkpoint, point.state));
    let code = training::train_and_report(&experiment, &run, start, &shown);
    drop(lock);
    code
}

/// Applies `--epochs`, and finds out whether anything is left to do.
fn plan(
    config: &mut ExperimentConfig,
    state: &mut TrainState,
    epochs: Option<u64>,
    run: &RunFolder,
) -> Result<()> {
    let done = state.epoch - 1;
    if let Some(epochs) = epochs {
        if epochs == 0 || epochs < done {
            bail!(
                "{} has done {done} epochs, so --epochs {epochs} is behind it\nhint: give a number \
                 above {done}",
                run.root.display()
            );
        }
        config.train.epochs = epochs;
        if epochs > done && config.early_stopping.stops(state) {
            // Asking for more overrules an early stop: patience starts anew.
            state.epochs_without_improvement = 0;
        }
    }
    state.finished = done >= config.train.epochs || config.early_stopping.stops(state);
    Ok(())
}

fn finished(config: &ExperimentConfig, state: &TrainState, run: &RunFolder) -> String {
    let (done, planned) = (state.epoch - 1, config.train.epochs);
    let how = if done < planned && config.early_stopping.stops(state) {
        format!("it stopped early after epoch {done} of {planned}")
    } else {
        format!("{done} of {planned} epochs are done")
    };
    let root = run.root.display();
    format!(
        "{root} is finished: {how}\nnext   weft evaluate {root}    weft resume {root} --epochs {}",
        done + planned
    )
}
