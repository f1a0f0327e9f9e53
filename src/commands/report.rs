//! `weft report`, and the reports that a training and an evaluation make.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{describe, download_bar::DownloadBar, say, warn};
use crate::cli::ReportArgs;
use crate::config::{ExperimentConfig, Loaded};
use crate::data::Splits;
use crate::experiment::{Experiment, load_splits};
use crate::report::RunRecords;
use crate::report::html::{self, DataPart, Subject};
use crate::run::RunFolder;
use crate::text::thousands;
use crate::train::progress::Progress;

pub(super) fn run(args: &ReportArgs) -> Result<ExitCode> {
    let runs = distinct(&args.runs)?;
    let output = match (&args.output, &runs[..]) {
        (Some(file), _) => file.clone(),
        (None, [run]) => run.report(),
        (None, _) => PathBuf::from("report.html"),
    };
    html::check_replaceable(&output, args.force)?;
    let mut sets = Sets::default();
    let mut all = Vec::new();
    for run in &runs {
        let records = RunRecords::read(run)?;
        let config = Loaded::new(Some(&run.config()), &[])?.config;
        all.push((records, sets.find(&config, args.data.as_deref())));
    }
    let mut subjects = Vec::new();
    for (records, found) in all {
        let splits = found.as_ref().ok().map(|&index| &sets.loaded[index].1);
        let mut subject = Subject::new(records, splits)?;
        if let Err(why) = found {
            let why = why.split("\nhint: ").next().unwrap_or_default();
            let note = format!("The images are left out: {why}.");
            subject.notes.push(note);
        }
        for note in &subject.notes {
            let root = subject.records.run.root.display();
            warn(&format!(
                "warning: {root}: {note}\nhint: name the folder of its data with --data DIR"
            ));
        }
        subjects.push(subject);
    }
    let page = html::page(&subjects)?;
    html::write(&output, &page, args.force)?;
    let bytes = thousands(page.len() as u64);
    say(&format!("report  {} ({bytes} bytes)", output.display()));
    Ok(ExitCode::SUCCESS)
}

/// The runs, each once.
fn distinct(paths: &[PathBuf]) -> Result<Vec<RunFolder>> {
    let mut runs: Vec<(PathBuf, RunFolder)> = Vec::new();
    for path in paths {
        let run = RunFolder::open(path)?;
        let canonical = path.canonicalize().unwrap_or_else(|_| path.clone());
        if runs.iter().all(|(there, _)| *there != canonical) {
            runs.push((canonical, run));
        }
    }
    Ok(runs.into_iter().map(|(_, run)| run).collect())
}

/// The data sets of several runs, each loaded once.
#[derive(Default)]
struct Sets {
    loaded: Vec<(ExperimentConfig, Splits)>,
}

impl Sets {
    /// Where among the loaded ones the data of a run is, or why it is not.
    fn find(&mut self, config: &ExperimentConfig, data: Option<&Path>) -> Result<usize, String> {
        let mut config = config.clone();
        if let Some(folder) = data {
            // The folder that was found at the time is not the one that is meant.
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            config.data.source = folder.to_string_lossy().into_owned();
        }
        let is_same = |(there, _): &(ExperimentConfig, Splits)| {
            there.data == config.data && there.seed == config.seed
        };
        if let Some(index) = self.loaded.iter().position(is_same) {
            return Ok(index);
        }
        let splits = load_splits(&config, None, &mut DownloadBar::default());
        let splits = splits.map_err(|error| describe(&error))?;
        self.loaded.push((config, splits));
        Ok(self.loaded.len() - 1)
    }
}

/// Writes the report of a run that has ended or was evaluated, if its config asks for one or there is
/// one already. Its failure is a warning.
pub(super) fn after(experiment: &Experiment, run: &RunFolder) -> Option<PathBuf> {
    let path = run.report();
    if !experiment.config.report.at_end && !path.exists() {
        return None;
    }
    let make = || -> Result<()> {
        let subject = Subject::new(RunRecords::read(run)?, Some(&experiment.splits))?;
        html::write(&path, &html::page(&[subject])?, false)
    };
    match make() {
        Ok(()) => Some(path),
        Err(error) => {
            warn(&format!("warning: {}", failed(run, &error)));
            None
        }
    }
}

/// Has the report written while the run trains, if its config asks for that.
pub(super) fn while_training(
    experiment: &Experiment,
    run: &RunFolder,
    progress: &Progress,
) -> Result<()> {
    let minutes = experiment.config.report.every_minutes;
    if minutes <= 0.0 {
        return Ok(());
    }
    let every = Duration::try_from_secs_f64(60.0 * minutes).unwrap_or(Duration::MAX);
    let data = DataPart::new(&experiment.splits, false).context("the report")?;
    let (run, last) = (run.clone(), Mutex::new(None::<Instant>));
    progress.after_row(move || {
        let mut last = last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < every) {
            return Ok(());
        }
        *last = Some(Instant::now());
        let make = || -> Result<()> {
            let subject = Subject {
                records: RunRecords::in_training(&run)?,
                data: Some(data.clone()),
                splits: None,
                notes: Vec::new(),
            };
            html::write(&run.report(), &html::page(&[subject])?, false)
        };
        make().map_err(|error| failed(&run, &error))
    });
    Ok(())
}

fn failed(run: &RunFolder, error: &anyhow::Error) -> String {
    let text = describe(error);
    let (what, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
    let and_then = if hint.is_empty() { "" } else { "; then " };
    format!(
        "the report was not written: {what}\nhint: {hint}{and_then}`weft report {}` makes it",
        run.root.display()
    )
}
