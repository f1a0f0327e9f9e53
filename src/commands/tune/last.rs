//! `weft tune --final`: trains the best config once more and reads the test split, once.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::super::training::{self, Shown};
use super::super::{download_bar::DownloadBar, say};
use crate::cli::{DisplayArgs, DrillArgs, TrainedOn};
use crate::config::{ExperimentConfig, Loaded};
use crate::experiment::{Experiment, ResumePoint};
use crate::run::study::{Event, StudyFolder, StudyLog, now};
use crate::run::{disk, records};
use crate::train::schedule::ScheduleConfig;
use crate::tune::Study;
use crate::tune::result::{Best, Circumstances};
use crate::tune::turn::Turn;

pub(super) fn run(
    study: &Study,
    folder: &StudyFolder,
    searched: &Experiment,
    on: TrainedOn,
    quiet: bool,
) -> Result<ExitCode> {
    let (log, best, finished) = begin(study, folder, on)?;
    let config = config(study, &log, &best, on)?;
    if !quiet {
        let epochs = log.trials[best.trial - 1]
            .rungs
            .last()
            .map_or(0, |rung| rung.epochs);
        say(&format!(
            "final   trial {}: {} {:.4} in epoch {} of {epochs}; now for up to {} epochs on {}",
            best.trial,
            study.objective(),
            best.value,
            best.epoch,
            config.train.epochs,
            trained_on(on)
        ));
        if !finished {
            say("        the search is not over: a better trial may come");
        }
    }
    let source = searched.splits.source().location.clone();
    let loaded = Loaded::from_config(config)?;
    let data = std::path::Path::new(&source);
    let data = data.is_dir().then_some(data);
    let device = searched.device.clone();
    let experiment = Experiment::prepare(loaded, device, data, &mut DownloadBar::default())?;
    experiment.check_training_fits()?;
    let run = folder.last();
    experiment.check_room(&run.root)?;
    disk::create_folders(&run.root)
        .with_context(|| format!("cannot create {}", run.root.display()))?;
    let lock = run.lock()?;
    let mut point = ResumePoint::find_any(&run)?;
    match &mut point {
        Some(point) => {
            experiment.check_made(&point.checkpoint)?;
            point.forget_lost_best(&run);
            point.mend(&run)?;
        }
        None => experiment.describe(&run, std::env::args().collect())?,
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
    let around = Circumstances {
        device: searched.device.name.clone(),
        data: searched.splits.source().title(),
        finished,
    };
    super::shown::write(study, folder, &around)?;
    Ok(code)
}

/// What is trained, noted in the log before anything of it is; and whether the search is over.
fn begin(study: &Study, folder: &StudyFolder, on: TrainedOn) -> Result<(StudyLog, Best, bool)> {
    let lock = folder.lock()?;
    let log = lock.read()?;
    let root = folder.root.display();
    let Some(mut best) = study.best(&log) else {
        bail!("{root}: no trial has a result yet\nhint: `weft tune {root}` searches");
    };
    let running = log.trials.iter().filter_map(|trial| trial.running.as_ref());
    if running
        .clone()
        .any(|running| folder.is_alive(&running.worker))
    {
        bail!("{root}: the search goes on just now\nhint: wait until it ends, or stop it");
    }
    let finished = study.turn(&log, None, &|_| true) == Turn::Done && running.count() == 0;
    let Some(before) = &log.last else {
        lock.append(&Event::Final {
            trial: best.trial,
            trained_on: trained_on(on).to_owned(),
            time: now(),
        })?;
        return Ok((lock.read()?, best, finished));
    };
    let run = folder.last();
    if let Ok(evaluation) = records::read_evaluation(&run.evaluation()) {
        bail!(
            "{}: this study has read the test split: accuracy {:.4}, trial {} trained on {}\n\
             hint: another choice after that would be made on the test split; `weft train` takes {} \
             where that is wanted",
            run.root.display(),
            evaluation.accuracy,
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
    // It goes on with the trial that it began with.
    let chosen = log.trials[before.trial - 1].rungs.last();
    if let Some(rung) = chosen {
        best = Best {
            trial: before.trial,
            value: rung.value,
            epoch: rung.best_epoch,
        };
    }
    Ok((log, best, finished))
}

fn trained_on(on: TrainedOn) -> &'static str {
    match on {
        TrainedOn::Train => "train",
        TrainedOn::All => "train + validation",
    }
}

/// The best trial's config, as it is trained for its test result.
fn config(study: &Study, log: &StudyLog, best: &Best, on: TrainedOn) -> Result<ExperimentConfig> {
    let mut config = study.varied(&log.trials[best.trial - 1].values)?.config;
    config.name = format!("{}-final", study.config.name);
    if on == TrainedOn::All {
        // Nothing is left to choose an epoch by, so their number is fixed beforehand. A schedule that
        // falls is planned for all the epochs that a trial could have, and is followed to its end.
        config.train.epochs = match config.schedule {
            ScheduleConfig::Constant(_) => best.epoch,
            _ => study.search.max_epochs,
        };
        config.data.validation_fraction = 0.0;
        config.early_stopping.patience = 0;
    }
    Ok(config)
}
