//! `weft tune --final`: trains the best config once more and reads the test split, once.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::super::training::{self, Shown};
use super::super::{download_bar::DownloadBar, say};
use crate::cli::{DisplayArgs, DrillArgs, TrainedOn};
use crate::config::{ExperimentConfig, Loaded};
use crate::experiment::{Experiment, ResumePoint, command_line};
use crate::run::checkpoints::Store;
use crate::run::study::{Event, Final, RungResult, StudyFolder, Trial, Values, now};
use crate::run::{disk, records};
use crate::train::schedule::ScheduleConfig;
use crate::tune::Study;
use crate::tune::result::Circumstances;
use crate::tune::turn::Turn;

pub(super) fn run(
    study: &Study,
    folder: &StudyFolder,
    searched: &Experiment,
    on: TrainedOn,
    quiet: bool,
) -> Result<ExitCode> {
    let is_begun = folder.last().config().is_file();
    if on == TrainedOn::All && searched.splits.dataset.validation.is_some() && !is_begun {
        bail!(
            "--final=all: {} has a validation folder of its own, which stays one\n\
             hint: --final trains on the training split alone",
            searched.splits.source().location
        );
    }
    let chosen = choose(study, folder, on)?;
    let loaded = Loaded::from_config(config(study, &chosen, on)?).with_context(|| {
        format!(
            "trial {} cannot be trained on {}",
            chosen.trial,
            trained_on(on)
        )
    })?;
    if !quiet {
        introduce(study, &chosen, on, loaded.config.train.epochs);
    }
    let source = Path::new(&searched.splits.source().location);
    let data = source.is_dir().then_some(source);
    let device = searched.device.clone();
    let experiment = Experiment::prepare(loaded, device, data, &mut DownloadBar::default())?;
    experiment.check_training_fits()?;
    let run = folder.last();
    experiment.check_room(&folder.root)?;
    disk::create_folders(&run.root)
        .with_context(|| format!("cannot create {}", run.root.display()))?;
    let lock = run.lock()?;
    let mut point = ResumePoint::find_any(&run)?;
    if let Some(point) = &mut point {
        experiment.check_made(&point.checkpoint)?;
        point.forget_lost_best(&run);
        point.mend(&run)?;
    }
    if !chosen.goes_on {
        folder.lock()?.append(&Event::Final {
            trial: chosen.trial,
            trained_on: trained_on(on).to_owned(),
            epochs: chosen.epochs,
            time: now(),
        })?;
    }
    if point.is_none() {
        experiment.describe(&run, command_line())?;
    }
    let shown = Shown::new(&DisplayArgs {
        no_test: false,
        tui: false,
        quiet,
    })?;
    shown.introduce(&experiment, &run);
    let start = point.map(|point| (point.checkpoint, point.state));
    let code = training::train_and_report(&experiment, &run, start, DrillArgs::default(), &shown)?;
    drop(lock);
    // It is not there after a signal.
    if let Ok(evaluation) = records::read_evaluation(&run.evaluation()) {
        folder.lock()?.append(&Event::Tested {
            loss: evaluation.loss,
            accuracy: evaluation.accuracy,
            time: now(),
        })?;
    }
    let around = Circumstances {
        device: searched.device.name.clone(),
        data: searched.splits.source().title(),
        finished: chosen.finished,
    };
    super::shown::write(study, folder, &around)?;
    Ok(code)
}

/// What is trained.
struct Chosen {
    trial: usize,
    values: Values,
    result: RungResult,
    /// Of the training; 0 is as many as the study's experiment has.
    epochs: u64,
    /// Whether an earlier call has begun it.
    goes_on: bool,
    /// Whether the search is over.
    finished: bool,
}

fn introduce(study: &Study, chosen: &Chosen, on: TrainedOn, epochs: u64) {
    say(&format!(
        "final   trial {}: {} {:.4} in epoch {} of {}; now for up to {epochs} epochs on {}",
        chosen.trial,
        study.objective(),
        chosen.result.value,
        chosen.result.best_epoch,
        chosen.result.epochs,
        trained_on(on)
    ));
    if !chosen.finished {
        say("        the search is not over: a better trial may come");
    }
}

/// The best trial, or the one that an earlier call began with.
fn choose(study: &Study, folder: &StudyFolder, on: TrainedOn) -> Result<Chosen> {
    let lock = folder.lock()?;
    let log = lock.read()?;
    let root = folder.root.display();
    let running = log.trials.iter().filter_map(|trial| trial.running.as_ref());
    if running
        .clone()
        .any(|running| folder.is_alive(&running.worker))
    {
        bail!("{root}: the search goes on just now\nhint: wait until it ends, or stop it");
    }
    let finished = study.turn(&log, None, &|_| true) == Turn::Done && running.count() == 0;
    let begun = log.last.as_ref().filter(|before| is_kept(before, folder));
    if let Some(before) = begun {
        check_again(before, folder, on)?;
    }
    let trial = match (begun, study.best(&log)) {
        (Some(before), _) => before.trial,
        (None, Some(best)) => best.trial,
        (None, None) if finished => return Err(super::none_left(&log, folder)),
        (None, None) => {
            bail!("{root}: no trial has a result yet\nhint: `weft tune {root}` searches")
        }
    };
    let known = &log.trials[trial - 1];
    let result = known.rungs.last().context("the best trial has no result")?;
    Ok(Chosen {
        trial,
        values: known.values.clone(),
        epochs: match begun {
            Some(before) => before.epochs,
            None => epochs(study, known, result, on)?,
        },
        result: result.clone(),
        goes_on: begun.is_some(),
        finished,
    })
}

/// Whether anything of a final training is there, or has been seen: else another choice loses nothing.
fn is_kept(before: &Final, folder: &StudyFolder) -> bool {
    let steps = Store::new(&folder.last().root).steps();
    before.tested.is_some()
        || folder.last().evaluation().exists()
        || steps.is_ok_and(|steps| !steps.is_empty())
}

fn check_again(before: &Final, folder: &StudyFolder, on: TrainedOn) -> Result<()> {
    let run = folder.last();
    let evaluation = records::read_evaluation(&run.evaluation());
    let tested = before.tested.map(|(_, accuracy)| accuracy);
    if let Some(accuracy) = tested.or(evaluation.ok().map(|evaluation| evaluation.accuracy)) {
        bail!(
            "{}: this study has read the test split: accuracy {accuracy:.4}, trial {} trained on {}\n\
             hint: another choice after that would be made on the test split; `weft train` takes {} \
             where that is wanted",
            run.root.display(),
            before.trial,
            before.trained_on,
            folder.best().display()
        );
    }
    if before.trained_on != trained_on(on) {
        bail!(
            "{}: the final training was begun on {}\nhint: give the same --final, which goes on with it",
            run.root.display(),
            before.trained_on
        );
    }
    Ok(())
}

/// With no validation split nothing is left to choose an epoch by, so their number is fixed beforehand. A
/// schedule that falls is planned for all the epochs that a trial could have, and is followed to its end.
fn epochs(study: &Study, trial: &Trial, result: &RungResult, on: TrainedOn) -> Result<u64> {
    let config = study.varied(&trial.values)?.config;
    Ok(match (on, config.schedule) {
        (TrainedOn::Train, _) => 0,
        (TrainedOn::All, ScheduleConfig::Constant(_)) => result.best_epoch,
        (TrainedOn::All, _) => study.search.max_epochs,
    })
}

fn trained_on(on: TrainedOn) -> &'static str {
    match on {
        TrainedOn::Train => "train",
        TrainedOn::All => "train + validation",
    }
}

/// The config of the chosen trial, as it is trained for its test result.
fn config(study: &Study, chosen: &Chosen, on: TrainedOn) -> Result<ExperimentConfig> {
    let mut config = study.varied(&chosen.values)?.config;
    config.name = format!("{}-final", study.config.name);
    if on == TrainedOn::All {
        if let ScheduleConfig::ReduceOnPlateau(_) = config.schedule {
            bail!(
                "--final=all: schedule.kind is \"reduce_on_plateau\", which watches a validation split\n\
                 hint: --final trains on the training split alone, and keeps it"
            );
        }
        config.train.epochs = chosen.epochs;
        config.data.validation_fraction = 0.0;
        config.early_stopping.patience = 0;
    }
    Ok(config)
}
