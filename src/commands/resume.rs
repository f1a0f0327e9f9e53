//! `weft resume`

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::training::{self, Shown};
use super::{data_dir, download_bar::DownloadBar, warn};
use crate::cli::ResumeArgs;
use crate::config::{ExperimentConfig, Loaded};
use crate::device::DeviceChoice;
use crate::experiment::{Experiment, ResumePoint, command_line, config_of};
use crate::run::records::{Environment, TrainState};
use crate::run::{RunFolder, records};
use crate::text::first_line;

pub(super) fn run(args: ResumeArgs) -> Result<ExitCode> {
    let shown = Shown::new(&args.display)?;
    let run = RunFolder::open(&args.run)?;
    let lock = run.lock()?;
    let before = Loaded::new(Some(&run.config()), &[])?.config;
    let mut loaded = Loaded::new(Some(&run.config()), &args.assignments)?;
    let mut point = ResumePoint::find_any(&run)?;
    if let Some(point) = &mut point {
        for damaged in &point.damaged {
            warn(&format!(
                "warning: {damaged}; the checkpoint before it is used"
            ));
        }
        if let Some(lost) = point.forget_lost_best(&run) {
            let lost = first_line(&lost);
            warn(&format!(
                "warning: the best epoch is lost: {lost}; the best of those that come takes its place"
            ));
        }
        plan(
            &mut loaded.config,
            &before,
            &mut point.state,
            args.epochs,
            &run,
        )?;
        if point.state.finished {
            refuse_changes(&loaded.config, point)?;
            point.mend(&run)?;
            if loaded.config != before {
                records::write_text(&run.config(), &loaded.config.to_toml()?)?;
            }
            shown.say(&finished(&loaded.config, &point.state, &run));
            return Ok(ExitCode::SUCCESS);
        }
    } else if let Some(epochs) = args.epochs {
        loaded.config.train.epochs = epochs;
    }
    let device = args.place.device.as_ref();
    let device = device.unwrap_or(&loaded.config.train.device);
    let device = device.parse::<DeviceChoice>()?.open()?;
    shown.first_line(&loaded.config, &device);
    let data = data_dir(args.place.data.as_deref());
    let bar = &mut DownloadBar::default();
    let experiment = Experiment::prepare(loaded, device, data.as_deref(), bar)?;
    experiment.check_room(&run.root)?;
    let mut changes = Vec::new();
    if let Some(point) = &point {
        experiment.check_made(&point.checkpoint)?;
        changes = experiment.changes_since(&point.checkpoint)?;
    }
    experiment.check_training_fits()?;

    // Nothing is changed on disk before everything has been checked.
    if experiment.config != before {
        records::write_text(&run.config(), &experiment.config.to_toml()?)?;
    }
    if records::read_json::<Environment>(&run.environment()).is_err() {
        warn("warning: environment.json is damaged or gone; it is written anew");
        experiment.write_environment(&run, command_line())?;
    }
    if let Some(fault) = experiment.mend_input(&run)? {
        warn(&format!(
            "warning: input.json was {fault}; it is written anew"
        ));
    }
    shown.introduce(&experiment, &run);
    match &point {
        Some(point) => {
            point.mend(&run)?;
            let from = point.checkpoint.folder.display();
            let (epoch, batch) = (point.state.epoch, point.state.batch);
            shown.say(&format!("from    {from} (epoch {epoch}, batch {batch})"));
        }
        None => shown.say("from    the beginning: no checkpoint was saved before it ended"),
    }
    for change in &changes {
        shown.say(&format!("changed {change}"));
    }
    if changes.iter().any(|change| change.key == "train.epochs") {
        let epochs = experiment.config.train.epochs;
        shown.say(&format!(
            "        the learning-rate schedule is planned for {epochs} epochs from here on"
        ));
    }
    shown.say("");
    let start = point.map(|point| (point.checkpoint, point.state));
    let code = training::train_and_report(&experiment, &run, start, args.drill, &shown);
    drop(lock);
    code
}

/// A run that is finished is not trained again, but a change that it could not have is still refused.
fn refuse_changes(config: &ExperimentConfig, point: &ResumePoint) -> Result<()> {
    let (fixed, _) = config_of(&point.checkpoint)?.changes(config)?;
    Experiment::refuse(&fixed, &point.checkpoint)
}

/// Applies `--epochs`, and finds out whether anything is left to do.
fn plan(
    config: &mut ExperimentConfig,
    before: &ExperimentConfig,
    state: &mut TrainState,
    epochs: Option<u64>,
    run: &RunFolder,
) -> Result<()> {
    let done = state.epoch - 1;
    config.train.epochs = epochs.unwrap_or(config.train.epochs);
    let planned = config.train.epochs;
    let asked = epochs.is_some() || planned != before.train.epochs;
    let root = run.root.display();
    // What was saved within an epoch is no result: that epoch is ended first.
    let is_within = state.batch > 0;
    if is_within && planned <= done {
        let epoch = state.epoch;
        bail!(
            "{root} is within epoch {epoch}, so {planned} epochs are behind it\n\
             hint: give {epoch} or more"
        );
    }
    if asked && planned < done {
        bail!(
            "{root} has done {done} epochs, so {planned} are behind it\nhint: give {done} or more"
        );
    }
    if asked && planned > done && config.early_stopping.stops(state) {
        // Asking for more overrules an early stop: patience starts anew.
        state.epochs_without_improvement = 0;
    }
    state.finished = !is_within && (done >= planned || config.early_stopping.stops(state));
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
        done.saturating_add(planned)
    )
}
