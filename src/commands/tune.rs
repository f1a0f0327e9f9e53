//! `weft tune`

mod budget;
mod last;
mod shown;
mod supervise;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};

use super::{data_dir, describe, download_bar::DownloadBar, quoted, signals, warn};
use crate::cli::TuneArgs;
use crate::config::Loaded;
use crate::device::DeviceChoice;
use crate::experiment::Experiment;
use crate::failure::{self, Work};
use crate::run::records;
use crate::run::study::{StudyFolder, StudyLog};
use crate::text::printable;
use crate::train::StopFlag;
use crate::tune::Study;
use crate::tune::worker::{Left, Workplace, check_same};
use budget::Budget;
use supervise::Supervisor;

pub(super) fn run(mut args: TuneArgs) -> Result<ExitCode> {
    if let Some(name) = args.name.take() {
        args.assignments.push(quoted("name", name));
    }
    if let Some(device) = &args.place.device {
        device.parse::<DeviceChoice>()?;
        args.assignments
            .push(quoted("train.device", device.clone()));
    }
    if let Some(token) = args.worker.take() {
        return Ok(work(&args, &token));
    }
    let budget = args
        .budget
        .as_deref()
        .map(str::parse::<Budget>)
        .transpose()?;
    let (study, folder) = open(&args)?;
    let experiment = prepare(&study, &args)?;
    let folder = match args.last {
        Some(_) => StudyFolder::open(&folder)?,
        None => StudyFolder::create(&folder, &study.to_toml()?)?,
    };
    let log = folder.read()?;
    let before = Study::read(&folder.study(), &[])?;
    refuse_changes(&before, &study, &folder)?;
    check_same(&study, &folder, &log, &experiment)?;
    let toml = study.to_toml()?;
    if before.to_toml()? != toml {
        records::write_text(&folder.study(), &toml)?;
    }
    // As the workers read it: in the file, what --set gave to one kind is forgotten where a trial has another.
    let study = Study::read(&folder.study(), &[])?;
    warn_of_torn(&log, &folder);
    match args.last {
        Some(on) => last::run(&study, &folder, &experiment, on, args.quiet),
        None => {
            let stop = StopFlag::default();
            let _watch = signals::watch(&stop)?;
            Supervisor::new(&study, &folder, &experiment, &args, budget, stop)?.run()
        }
    }
}

/// The study, and the folder that it has or will have.
fn open(args: &TuneArgs) -> Result<(Study, PathBuf)> {
    if args.study.is_dir() {
        if args
            .assignments
            .iter()
            .any(|given| given.starts_with("name="))
        {
            let study = args.study.display();
            bail!("{study} has its name\nhint: --name is for a study that begins from a file");
        }
        let folder = StudyFolder::open(&args.study)?;
        return Ok((
            Study::read(&folder.study(), &args.assignments)?,
            folder.root,
        ));
    }
    let study = Study::read(&args.study, &args.assignments)?;
    let folder = args.runs_dir.join(&study.config.name);
    Ok((study, folder))
}

/// Data and device, checked against the study.
fn prepare(study: &Study, args: &TuneArgs) -> Result<Experiment> {
    let device = study.config.train.device.parse::<DeviceChoice>()?.open()?;
    let data = data_dir(args.place.data.as_deref());
    let first = Loaded::from_config(study.config.clone())?;
    let experiment =
        Experiment::prepare(first, device, data.as_deref(), &mut DownloadBar::default())?;
    study.check_input(experiment.input)?;
    Ok(experiment)
}

/// A study may only ask for more than the one that its folder holds.
fn refuse_changes(before: &Study, study: &Study, folder: &StudyFolder) -> Result<()> {
    let changes = before.changes(study)?;
    let less = study.search.trials < before.search.trials
        || study.search.iterations < before.search.iterations;
    if !changes.is_empty() || less {
        let root = folder.root.display();
        let mut diff: String = changes
            .iter()
            .map(|change| format!("\n  {change}"))
            .collect();
        if less {
            diff += "\n  fewer trials or iterations";
        }
        bail!(
            "{root} holds a study that differs from this one:{diff}\n\
             hint: undo that, or begin another study with --name"
        );
    }
    Ok(())
}

/// That a search is over and no trial has a result.
fn none_left(log: &StudyLog, folder: &StudyFolder) -> anyhow::Error {
    let failure = log.trials.iter().find_map(|trial| trial.failed.as_ref());
    let why = failure.map_or(String::new(), |failure| {
        format!(": {}", printable(&failure.why))
    });
    anyhow!(
        "every trial failed{why}\nhint: {} has the reasons; begin another study with other values",
        folder.csv().display()
    )
}

fn warn_of_torn(log: &StudyLog, folder: &StudyFolder) {
    if !log.torn.is_empty() {
        let lines: Vec<String> = log.torn.iter().map(ToString::to_string).collect();
        let log = folder.log();
        warn(&format!(
            "warning: {}: line {} was torn by a kill, and counts for nothing",
            log.display(),
            lines.join(", ")
        ));
    }
}

/// How a worker tells whoever started it why it left; an error that is no trial's fault is [`TOLD`].
pub(super) const BUDGET_SPENT: u8 = 10;
pub(super) const STOPPED: u8 = 11;
pub(super) const TOLD: u8 = 12;

/// Trains trials until there is nothing left to do.
fn work(args: &TuneArgs, token: &str) -> ExitCode {
    match try_to_work(args, token) {
        Ok(Left::Done) => ExitCode::SUCCESS,
        Ok(Left::BudgetSpent) => ExitCode::from(BUDGET_SPENT),
        Ok(Left::Stopped) => ExitCode::from(STOPPED),
        // A device that failed is told as that by whoever ends the process.
        Err(error) if failure::check().is_err() => {
            warn(&format!("error: {}", describe(&error)));
            ExitCode::FAILURE
        }
        Err(error) => {
            warn(&format!("error: {}", describe(&error)));
            ExitCode::from(TOLD)
        }
    }
}

fn try_to_work(args: &TuneArgs, token: &str) -> Result<Left> {
    let stop = StopFlag::default();
    let _watch = signals::watch(&stop)?;
    supervise::leave_with_parent(&stop);
    let folder = StudyFolder::open(&args.study)?;
    let study = Study::read(&folder.study(), &args.assignments)?;
    let experiment = prepare(&study, args)?;
    failure::set_work(Work {
        device: Some(experiment.device.name.clone()),
        run: None,
    });
    let place = Workplace {
        study: &study,
        folder: &folder,
        experiment: &experiment,
        most_epochs: args.most_epochs,
        stop: &stop,
        token,
    };
    place.work()
}
