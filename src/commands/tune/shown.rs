//! What a person sees of a search: a row for each rung of a trial, a progress bar in a terminal, and the
//! rungs, the best trial and the files at the end.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::{say, warn};
use super::budget::Budget;
use super::supervise::End;
use crate::experiment::{Experiment, SplitName};
use crate::report::{html, study as page};
use crate::run::records;
use crate::run::study::{StudyFolder, StudyLog, Trial};
use crate::text::{printable, thousands};
use crate::train::early_stopping::Monitor;
use crate::tune::Study;
use crate::tune::result::{Best, Circumstances, shown};
use crate::tune::schedule::{Algorithm, Rung};

/// What has been shown of a search so far.
pub(super) struct Shown<'a> {
    study: &'a Study,
    folder: &'a StudyFolder,
    quiet: bool,
    bar: Option<ProgressBar>,
    /// Of each trial: its rungs, and whether it failed.
    told: Vec<(usize, bool)>,
    /// Epochs that were done when this process began, and when that was.
    since: (u64, Instant),
    best: Option<Best>,
    is_new: bool,
    header_shown: bool,
}

impl<'a> Shown<'a> {
    pub(super) fn new(study: &'a Study, folder: &'a StudyFolder, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        Self {
            study,
            folder,
            quiet,
            bar: terminal.then(|| new_bar(study.plan().epochs())),
            told: Vec::new(),
            since: (0, Instant::now()),
            best: None,
            is_new: false,
            header_shown: false,
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// A line of the search itself, on stderr.
    pub(super) fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| warn(line)),
            None if self.quiet && !line.starts_with("warning") => {}
            None => warn(line),
        }
    }

    /// What is searched, where, and how far it is.
    pub(super) fn introduce(
        &mut self,
        experiment: &Experiment,
        log: &StudyLog,
        jobs: u16,
        budget: Option<Budget>,
    ) {
        let study = self.study;
        let version = env!("CARGO_PKG_VERSION");
        self.say(&format!(
            "weft {version}  {} on {}",
            study.config.name, experiment.device.name
        ));
        let count = |split| thousands(experiment.n_images(split) as u64);
        self.say(&format!(
            "data    {}: train {}, validation {}; the test split is not read",
            experiment.splits.source().title(),
            count(SplitName::Train),
            count(SplitName::Validation)
        ));
        if let Some(warning) = &experiment.splits.source().warning {
            warn(&format!("WARNING: {warning}\n"));
        }
        self.say(&format!("search  {}", plan_text(study)));
        for dimension in &study.dimensions {
            let values = match dimension.values.count() {
                Some(n) => format!("{n} values"),
                None => "continuous".to_owned(),
            };
            self.say(&format!(
                "        {} ({values})",
                printable(&dimension.name)
            ));
        }
        let mut counts = study
            .dimensions
            .iter()
            .map(|dimension| dimension.values.count());
        let configs = counts.try_fold(1_u64, |all, n| Some(all.saturating_mul(n?)));
        let trials = first_rungs(&study.plan().rungs());
        if let Some(few) = configs.filter(|n| *n < trials as u64) {
            self.say(&format!(
                "        that is {few} configs, fewer than trials: some are trained again"
            ));
        }
        let workers = match jobs {
            1 => String::new(),
            n => format!(", {n} trials at once"),
        };
        let budget = match budget {
            None => String::new(),
            Some(Budget::Epochs(most)) => format!(", at most {} epochs", thousands(most)),
            Some(Budget::Time(most)) => format!(", for {}", duration(most.as_secs_f64())),
        };
        self.say(&format!(
            "study   {}{workers}{budget}",
            self.folder.root.display()
        ));
        if !log.trials.is_empty() {
            let rungs: usize = log.trials.iter().map(|trial| trial.rungs.len()).sum();
            let best = study.best(log).map_or(String::new(), |best| {
                format!("; best {:.4} (trial {})", best.value, best.trial)
            });
            self.say(&format!(
                "from    {} trials, {rungs} rungs, {} epochs{best}",
                log.trials.len(),
                log.epochs()
            ));
        }
        self.say("");
        self.told = log.trials.iter().map(told).collect();
        self.best = study.best(log);
        self.since = (log.epochs(), Instant::now());
        self.is_new = !log.trials.is_empty();
        self.draw(log);
    }

    /// Rows for what has come since.
    pub(super) fn news(&mut self, log: &StudyLog) {
        self.told.resize(log.trials.len(), (0, false));
        for (index, trial) in log.trials.iter().enumerate() {
            let before = std::mem::replace(&mut self.told[index], told(trial));
            for rung in before.0..trial.rungs.len() {
                self.row(index, trial, rung);
            }
            if let Some(failure) = trial.failed.as_ref().filter(|_| !before.1) {
                self.header();
                let number = index + 1;
                self.say(&format!(
                    "{number:>5}{:>9}{:>6}  failed: {}",
                    trial.bracket,
                    trial.rungs.len(),
                    printable(&failure.why)
                ));
                self.is_new = true;
            }
        }
        // Without those that failed since.
        self.best = self.study.best(log);
        self.draw(log);
    }

    fn header(&mut self) {
        if std::mem::replace(&mut self.header_shown, true) {
            return;
        }
        let objective = match self.study.search.objective {
            Monitor::ValidationAccuracy => "accuracy",
            Monitor::ValidationLoss => "loss",
        };
        self.say(&format!(
            "trial  bracket  rung  epochs  {objective:>9}   seconds"
        ));
    }

    fn row(&mut self, index: usize, trial: &Trial, rung: usize) {
        self.header();
        self.is_new = true;
        let result = &trial.rungs[rung];
        let score = self.study.score(result.value);
        let is_best = self
            .best
            .as_ref()
            .is_none_or(|best| score > self.study.score(best.value));
        if is_best {
            self.best = Some(Best {
                trial: index + 1,
                value: result.value,
                epoch: result.best_epoch,
            });
        }
        let mark = if is_best { "best" } else { "    " };
        let line = format!(
            "{:>5}{:>9}{rung:>6}{:>8}{:>11.4}{:>10.1}   {mark}  {}",
            index + 1,
            trial.bracket,
            result.epochs,
            result.value,
            result.seconds,
            values_text(self.study, trial)
        );
        self.say(line.trim_end());
    }

    /// Whether something came since the files were written.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The files are written.
    pub(super) fn written(&mut self) {
        self.is_new = false;
    }

    /// Keeps the clock of the bar going.
    pub(super) fn tick(&self) {
        if let Some(bar) = &self.bar {
            bar.tick();
        }
    }

    fn draw(&self, log: &StudyLog) {
        let Some(bar) = &self.bar else { return };
        let (planned, done) = (self.study.plan().epochs(), log.epochs());
        bar.set_length(planned.max(done));
        bar.set_position(done);
        let running = log
            .trials
            .iter()
            .filter(|trial| trial.running.is_some())
            .count();
        let mut text = format!("{done}/{planned} epochs  {running} running");
        if let Some(rung) = self.open_rung(log) {
            text += &format!("  {rung}");
        }
        if let Some(best) = &self.best {
            text += &format!("  best {:.4} (trial {})", best.value, best.trial);
        }
        let (before, since) = self.since;
        if done > before {
            let pace = since.elapsed().as_secs_f64() / (done - before) as f64;
            let left = planned.saturating_sub(done) as f64 * pace;
            text += &format!("  {} left", duration(left));
        }
        bar.set_message(text);
    }

    /// The first rung that lacks results: "bracket 0 rung 1: 2/4".
    fn open_rung(&self, log: &StudyLog) -> Option<String> {
        self.study.rungs(log).into_iter().find_map(|rung| {
            let of_bracket = log
                .trials
                .iter()
                .filter(|trial| trial.bracket == rung.bracket);
            // One that failed takes no result any more.
            let over =
                of_bracket.filter(|trial| trial.rungs.len() > rung.rung || trial.failed.is_some());
            let done = over.count().min(rung.n_trials);
            let text = format!(
                "bracket {} rung {}: {done}/{}",
                rung.bracket, rung.rung, rung.n_trials
            );
            (done < rung.n_trials).then_some(text)
        })
    }

    /// The rungs, the best trial, the files.
    pub(super) fn conclude(&mut self, log: &StudyLog, end: End) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let root = self.folder.root.display();
        if self.header_shown {
            self.say("");
        }
        self.rungs(log);
        let failed = log
            .trials
            .iter()
            .filter(|trial| trial.failed.is_some())
            .count();
        let seconds: f64 = log.trials.iter().map(Trial::seconds).sum();
        self.say(&format!(
            "\nspent   {} epochs of {} trials, {} of training{}",
            thousands(log.epochs()),
            log.trials.len(),
            duration(seconds),
            match failed {
                0 => String::new(),
                n => format!("; {n} failed"),
            }
        ));
        let mut next = format!("weft tune {root}");
        if let Some(best) = self.study.best(log) {
            let trial = &log.trials[best.trial - 1];
            self.say(&format!(
                "best    trial {}: {} {:.4} in epoch {}",
                best.trial,
                self.study.objective(),
                best.value,
                best.epoch
            ));
            for dimension in &self.study.dimensions {
                if let Some(value) = trial.values.get(&dimension.name) {
                    let value = printable(&shown(value));
                    self.say(&format!("        {} = {value}", printable(&dimension.name)));
                }
            }
            self.say(&format!(
                "files   {}    {}    {}",
                self.folder.best().display(),
                self.folder.csv().display(),
                self.folder.report().display()
            ));
            if end == End::Done {
                next = format!(
                    "weft train {}    weft tune {root} --final",
                    self.folder.best().display()
                );
            }
        }
        let stopped = match end {
            End::Done => None,
            End::Elsewhere => Some("other processes go on with it".to_owned()),
            End::TimeSpent => Some("the time is spent".to_owned()),
            End::EpochsSpent => Some("the epochs are spent".to_owned()),
            End::Signal(_) => Some("stopped".to_owned()),
        };
        if let Some(why) = stopped {
            self.say(&format!("\nnot over: {why}; started again it goes on"));
        }
        self.say(&format!("\nnext   {next}"));
    }

    /// A row for each rung: how many trials it has and is to have, the best and the median.
    fn rungs(&self, log: &StudyLog) {
        self.say("bracket  rung  epochs    trials      best    median");
        for rung in self.study.rungs(log) {
            let of_bracket = log
                .trials
                .iter()
                .filter(|trial| trial.bracket == rung.bracket);
            let mut values: Vec<f64> = of_bracket
                .filter_map(|trial| Some(trial.rungs.get(rung.rung)?.value))
                .collect();
            values.sort_by(|a, b| self.study.score(*b).total_cmp(&self.study.score(*a)));
            let cell =
                |value: Option<&f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
            self.say(&format!(
                "{:>7}{:>6}{:>8}{:>10}{:>10}{:>10}",
                rung.bracket,
                rung.rung,
                rung.epochs,
                format!("{}/{}", values.len(), rung.n_trials),
                cell(values.first()),
                cell(median(&values).as_ref())
            ));
        }
    }
}

/// Of sorted values.
fn median(values: &[f64]) -> Option<f64> {
    let n = values.len();
    Some((values.get(n / 2)? + values[n.saturating_sub(1) / 2]) / 2.0)
}

fn told(trial: &Trial) -> (usize, bool) {
    (trial.rungs.len(), trial.failed.is_some())
}

/// Trials in all.
fn first_rungs(rungs: &[Rung]) -> usize {
    let first = rungs.iter().filter(|rung| rung.rung == 0);
    first.map(|rung| rung.n_trials).sum()
}

/// "hyperband with random sampling, 1 to 10 epochs by 3: 22 trials in 3 brackets, 89 epochs"
fn plan_text(study: &Study) -> String {
    let (search, plan) = (&study.search, study.plan());
    let rungs = plan.rungs();
    let trials = first_rungs(&rungs);
    let sampling = match search.sampling {
        crate::tune::sampler::Sampling::Random => "random sampling",
        crate::tune::sampler::Sampling::Tpe => "TPE",
    };
    let brackets = rungs.iter().filter(|rung| rung.rung == 0).count();
    let (min, max, factor) = (search.min_epochs, search.max_epochs, search.factor);
    let how = match search.algorithm {
        Algorithm::Random => format!("random search, {sampling}, {max} epochs each"),
        Algorithm::Asha => {
            format!(
                "asynchronous successive halving, {sampling}, {min} to {max} epochs by {factor}"
            )
        }
        Algorithm::Hyperband => {
            format!("Hyperband, {sampling}, {min} to {max} epochs by {factor}, {brackets} brackets")
        }
    };
    let about = if search.algorithm == Algorithm::Asha {
        "about "
    } else {
        ""
    };
    format!(
        "{how}: {} trials, {about}{} epochs",
        thousands(trials as u64),
        thousands(plan.epochs())
    )
}

/// "learning_rate=0.001 units=64": the last part of each name.
fn values_text(study: &Study, trial: &Trial) -> String {
    let short = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let texts: Vec<String> = study
        .dimensions
        .iter()
        .filter_map(|dimension| {
            let value = trial.values.get(&dimension.name)?;
            let own = short(&dimension.name);
            let mut others = study
                .dimensions
                .iter()
                .filter(|other| other.name != dimension.name);
            let name = match others.any(|other| short(&other.name) == own) {
                true => dimension.name.clone(),
                false => own,
            };
            Some(printable(&format!("{name}={}", shown(value))))
        })
        .collect();
    texts.join(" ")
}

fn new_bar(epochs: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(epochs), ProgressDrawTarget::stderr_with_hz(8));
    // The template is a constant.
    if let Ok(style) = ProgressStyle::with_template("search  [{bar:28}]  {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// "45 s", "12 min", "1 h 5 min"
fn duration(seconds: f64) -> String {
    let whole =
        Duration::try_from_secs_f64(seconds.max(0.0)).map_or(u64::MAX, |time| time.as_secs());
    match whole {
        0..=89 => format!("{whole} s"),
        90..=5399 => format!("{} min", (whole + 30) / 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Writes the best config, the table and the page.
pub(super) fn write(study: &Study, folder: &StudyFolder, around: &Circumstances) -> Result<()> {
    let log = folder.read()?;
    if let Some(best) = study.best(&log) {
        records::write_text(&folder.best(), &study.best_toml(&log, &best)?)?;
    }
    let all = study.records(folder, &log, around)?;
    records::write_text(&folder.csv(), &page::csv(&all)?)?;
    html::write(&folder.report(), &page::page(&all)?, false)
        .with_context(|| format!("the page of {} cannot be written", folder.root.display()))
}
