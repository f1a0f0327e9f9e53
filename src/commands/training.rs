//! What `weft train` and `weft resume` share: signals, the display, the block at the end.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail, ensure};

use super::{events::Events, plots, report as page, say, signals, warn};
use crate::cli::{DisplayArgs, DrillArgs};
use crate::config::ExperimentConfig;
use crate::device::{self, Selected};
use crate::evaluate::Outcome;
use crate::evaluate::tta::Tta;
use crate::experiment::{Experiment, SplitName};
use crate::failure::{self, Work};
use crate::report::plots::Options;
use crate::run::RunFolder;
use crate::run::checkpoints::{Checkpoint, Store};
use crate::run::records::TrainState;
use crate::text::{first_line, thousands};
use crate::train::progress::{Progress, Verbosity, loss_text};
use crate::train::{Diverged, Ended, OnDivergence, Place, StopFlag};

/// How much is shown, and whether the test split is read.
pub(super) struct Shown {
    verbosity: Verbosity,
    test: bool,
}

impl Shown {
    pub(super) fn new(args: &DisplayArgs) -> Result<Self> {
        if args.tui && !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
            bail!(
                "--tui needs a terminal\nhint: leave it out, or do not redirect input and output"
            );
        }
        let verbosity = match (args.quiet, args.tui) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Dashboard,
            _ => Verbosity::Normal,
        };
        Ok(Self {
            verbosity,
            test: !args.no_test,
        })
    }

    /// The display of the evaluation at the end.
    fn evaluation(&self) -> Progress {
        let verbosity = match self.verbosity {
            Verbosity::Dashboard => Verbosity::Normal,
            other => other,
        };
        Progress::new(verbosity, 0, None)
    }

    pub(super) fn say(&self, line: &str) {
        if self.verbosity != Verbosity::Quiet {
            say(line);
        }
    }

    /// What is trained, where, and why there.
    pub(super) fn first_line(&self, config: &ExperimentConfig, device: &Selected) {
        let why = match &device.reason {
            Some(reason) => format!(": {reason}"),
            None => String::new(),
        };
        let version = env!("CARGO_PKG_VERSION");
        self.say(&format!(
            "weft {version}  {} on {}{why}",
            config.name, device.name
        ));
    }

    /// The data, the model and the run folder.
    pub(super) fn introduce(&self, experiment: &Experiment, run: &RunFolder) {
        let config = &experiment.config;
        let count = |split| thousands(experiment.n_images(split) as u64);
        self.say(&format!(
            "data    {}: train {}, validation {}, test {}",
            experiment.splits.source().title(),
            count(SplitName::Train),
            count(SplitName::Validation),
            count(SplitName::Test)
        ));
        self.say(&format!(
            "model   {}, {} parameters{}",
            config.model.summary(),
            thousands(experiment.n_parameters() as u64),
            match (
                config.train.averages(),
                experiment.n_images(SplitName::Validation)
            ) {
                (true, 0) => ", whose result is the average of the weights",
                (true, _) => ", validated as the average of the weights",
                (false, _) => "",
            }
        ));
        self.say(&format!("run     {}\n", run.root.display()));
        if let Some(warning) = &experiment.splits.source().warning {
            warn(&format!("WARNING: {warning}\n"));
        }
    }
}

/// Trains until the end or a signal, then prints the block and the next commands.
pub(super) fn train_and_report(
    experiment: &Experiment,
    run: &RunFolder,
    resume: Option<(Checkpoint, TrainState)>,
    drill: DrillArgs,
    shown: &Shown,
) -> Result<ExitCode> {
    let place = |step: Option<u64>, n_rollbacks| {
        step.map_or(Place::NEVER, |step| Place { n_rollbacks, step })
    };
    let stop = StopFlag::at(place(drill.stop_at_step, drill.stop_after_rollbacks))
        .and_kill_at(place(drill.kill_at_step, drill.kill_after_rollbacks));
    let _watch = signals::watch(&stop)?;
    failure::set_work(Work {
        device: Some(experiment.device.name.clone()),
        run: Some(run.root.clone()),
    });
    let warming_up = experiment.device.adapter.as_ref().map(|_| {
        let kept = device::kernel_cache().map(|folder| format!(", kept in {}", folder.display()));
        format!(
            "compiling and tuning kernels: minutes on the first run, seconds later{}",
            kept.unwrap_or_default()
        )
    });
    let progress = Progress::new(shown.verbosity, experiment.config.train.epochs, warming_up);
    page::while_training(experiment, run, &progress)?;
    let events = Events::begin(experiment, run, &progress)?;
    let dashboard = shown.verbosity == Verbosity::Dashboard;
    let (ended, state) = experiment.train(run, resume, progress, dashboard, stop.clone())?;

    if let Ended::Diverged(diverged) = &ended {
        return Err(divergence(experiment, run, diverged, &state));
    }
    if ended == Ended::Stopped {
        shown.say(&format!(
            "\nstopped in epoch {} after step {}; a checkpoint is saved\n\nnext   weft resume {}",
            state.epoch,
            state.step,
            run.root.display()
        ));
        if drill.stop_at_step.is_some() && stop.signal().is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        // Without a signal it was the dashboard's own key.
        let code = stop.signal().map_or(130, |signal| 128 + signal);
        return Ok(ExitCode::from(code as u8));
    }
    match (
        report(experiment, run, &state, ended, shown, &stop, &events),
        stop.signal(),
    ) {
        (Ok(()), _) => Ok(ExitCode::SUCCESS),
        (Err(error), None) => Err(error),
        (Err(_), Some(signal)) => {
            shown.say(&format!(
                "\nstopped while evaluating; the training is finished and saved\n\nnext   weft evaluate {}",
                run.root.display()
            ));
            Ok(ExitCode::from((128 + signal) as u8))
        }
    }
}

/// A run that diverged: where, what is kept, what to try.
fn divergence(
    experiment: &Experiment,
    run: &RunFolder,
    diverged: &Diverged,
    state: &TrainState,
) -> anyhow::Error {
    let root = run.root.display();
    let kept = match Store::new(&run.root).latest_whole() {
        Ok((checkpoint, _)) => format!(
            "the checkpoint of step {} is from before that",
            checkpoint.manifest.step
        ),
        Err(_) => "no checkpoint was saved before".to_owned(),
    };
    let (after, try_first) = match experiment.config.train.on_divergence {
        OnDivergence::Rollback => {
            let n = state.rollbacks.len();
            (
                format!(" after {n} rollbacks, each to a smaller learning rate"),
                String::new(),
            )
        }
        OnDivergence::Stop => (
            String::new(),
            format!(
                "`weft resume {root} --set train.on_divergence=rollback` goes on with a smaller \
                 learning rate; or "
            ),
        ),
    };
    anyhow!(
        "the training diverged{after}: {diverged}; {kept}\nhint: {try_first}train anew with a smaller \
         optimizer.learning_rate, or with train.clip_norm = 1.0"
    )
}

/// The seed's block: loss and accuracy of all splits, with the weights that are the result.
fn report(
    experiment: &Experiment,
    run: &RunFolder,
    state: &TrainState,
    ended: Ended,
    shown: &Shown,
    stop: &StopFlag,
    events: &Events,
) -> Result<()> {
    let last = state.history.last().map_or(0, |row| row.epoch);
    let best = state.best.as_ref().map(|best| best.epoch);
    let mut line = String::new();
    if ended == Ended::EarlyStopped {
        let patience = experiment.config.early_stopping.patience;
        line = format!("stopped early after epoch {last}: {patience} epochs without improvement; ");
    }
    let restored = experiment.config.early_stopping.restore_best && best.is_some();
    match (best, restored) {
        (Some(best), true) => line += &format!("best epoch {best}"),
        (Some(best), false) => line += &format!("last epoch {last} (best {best})"),
        (None, _) => line += &format!("last epoch {last}"),
    }
    if experiment.config.train.averages() {
        line += ", average of the weights";
    }
    shown.say(&format!("{line}\n"));

    let store = Store::new(&run.root);
    let result = experiment.result_step(state);
    let checkpoint = match store.load(result) {
        Err(error) if result != state.step => {
            let lost = first_line(&error);
            warn(&format!(
                "warning: the best epoch is lost: {lost}; the last one is evaluated\n"
            ));
            store.load(state.step)?
        }
        loaded => loaded?,
    };
    let progress = shown.evaluation();
    let mut columns: Vec<(SplitName, Outcome)> = Vec::new();
    for split in [SplitName::Train, SplitName::Validation, SplitName::Test] {
        let skipped = split == SplitName::Test && !shown.test;
        if !skipped && experiment.n_images(split) > 0 {
            progress.start_evaluation(split.as_str(), experiment.n_images(split));
            let on_progress = |done| {
                progress.update(done);
                ensure!(stop.signal().is_none(), "stopped by a signal");
                Ok(())
            };
            // The test split is read once: its numbers without the views come from the same pass.
            let tta = match split {
                SplitName::Test => experiment.config.evaluation.tta,
                SplitName::Train | SplitName::Validation => Tta::None,
            };
            let outcome = experiment.evaluate_views(&checkpoint, split, tta, &on_progress)?;
            columns.push((split, outcome));
        }
    }
    progress.finish();
    let row = |name: &str, cell: &dyn Fn(&(SplitName, Outcome)) -> String| {
        let cells: String = columns
            .iter()
            .map(|column| format!("{:>12}", cell(column)))
            .collect();
        format!("{name:<8}{cells}")
    };
    shown.say(&row("", &|(split, _)| split.as_str().to_owned()));
    // All columns are of the images alone, so that they compare.
    shown.say(&row("loss", &|(_, outcome)| {
        loss_text(outcome.plain.map_or(outcome.loss, |plain| plain.loss))
    }));
    shown.say(&row("accuracy", &|(_, outcome)| {
        let plain = outcome.plain.map(|plain| plain.accuracy);
        format!("{:.4}", plain.unwrap_or(outcome.accuracy()))
    }));
    for (split, outcome) in &columns {
        if let (Some(told), Some(plain)) = (outcome.tta.told(), outcome.plain) {
            shown.say(&format!(
                "\n{}, {told}: loss {} ({} without), accuracy {:.4} ({:.4} without)",
                split.as_str(),
                loss_text(outcome.loss),
                loss_text(plain.loss),
                outcome.accuracy(),
                plain.accuracy
            ));
        }
    }

    let mut evaluation = None;
    if let Some((split, outcome)) = columns.iter().find(|(split, _)| *split == SplitName::Test) {
        evaluation = Some(experiment.write_evaluation(run, outcome, &checkpoint, *split)?);
    }
    let step = checkpoint.manifest.step;
    let plots = experiment.config.report.plots;
    let plots = plots.then(|| plots::draw(experiment, run, step, Options::default()));
    let made = [
        plots.flatten().map(|plots| plots::told(run, &plots)),
        page::after(experiment, run).map(|report| format!("report  {}", report.display())),
    ];
    let made: Vec<String> = made.into_iter().flatten().collect();
    if !made.is_empty() {
        shown.say(&format!("\n{}", made.join("\n")));
    }
    let root = run.root.display();
    let more = experiment.config.train.epochs.saturating_mul(2);
    events.finish(evaluation.as_ref());
    shown.say(&format!(
        "\nnext   weft evaluate {root}    weft resume {root} --epochs {more}"
    ));
    Ok(())
}
