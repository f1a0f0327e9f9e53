//! `weft evaluate`

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{data_dir, download_bar::DownloadBar, plots, report, say, warn};
use crate::cli::{EvaluateArgs, EvaluationSplit};
use crate::config::Loaded;
use crate::device::DeviceChoice;
use crate::evaluate::Outcome;
use crate::evaluate::logits::npy;
use crate::evaluate::predictions::CALIBRATION_BINS;
use crate::experiment::{Experiment, ResumePoint, SplitName, named_step};
use crate::failure::{self, Work};
use crate::report::plots::Options;
use crate::run::checkpoints::Store;
use crate::run::{RunError, RunFolder, atomic};
use crate::text::{first_line, thousands};
use crate::train::checkpoint::is_averaged;
use crate::train::progress::{Progress, Verbosity, loss_text};

pub(super) fn run(args: &EvaluateArgs) -> Result<ExitCode> {
    let run = RunFolder::open(&args.run)?;
    let mut loaded = Loaded::new(Some(&run.config()), &[])?;
    if let Some(device) = &args.place.device {
        loaded.config.train.device.clone_from(device);
    }
    let device = loaded.config.train.device.parse::<DeviceChoice>()?.open()?;
    failure::set_work(Work {
        device: Some(device.name.clone()),
        run: None,
    });
    let data = data_dir(args.place.data.as_deref());
    let bar = &mut DownloadBar::default();
    let experiment = Experiment::prepare(loaded, device, data.as_deref(), bar)?;
    if let Some(warning) = &experiment.splits.source().warning {
        warn(&format!("WARNING: {warning}\n"));
    }
    let split = match args.split {
        EvaluationSplit::Test => SplitName::Test,
        EvaluationSplit::Validation => SplitName::Validation,
    };
    if experiment.n_images(split) == 0 {
        bail!(
            "{} has no {} split: data.validation_fraction is 0\nhint: leave --split out to evaluate \
             on the test split",
            run.root.display(),
            split.as_str()
        );
    }
    let mut newest = ResumePoint::find(&run)?;
    for damaged in &newest.damaged {
        warn(&format!("warning: {damaged}; it is left out"));
    }
    if args.checkpoint.is_none()
        && let Some(lost) = newest.forget_lost_best(&run)
    {
        let lost = first_line(&lost);
        warn(&format!(
            "warning: the best epoch is lost: {lost}; the last one is evaluated"
        ));
    }
    let result = experiment.result_step(&newest.state);
    let step = match &args.checkpoint {
        None => result,
        Some(name) => named_step(&run, &newest.state, name)?,
    };
    let checkpoint = Store::new(&run.root).load(step)?;
    experiment.check_made(&checkpoint)?;

    let tta = args.tta.unwrap_or(experiment.config.evaluation.tta);
    let progress = Progress::new(Verbosity::Normal, 0, None);
    progress.start_evaluation(split.as_str(), experiment.n_images(split));
    let on_progress = |done| {
        progress.update(done);
        Ok(())
    };
    let outcome = experiment.evaluate_views(&checkpoint, split, tta, &on_progress)?;
    progress.finish();

    if let Some(path) = &args.logits {
        let n_classes = outcome.predictions.n_classes();
        atomic::write_file(path, &npy(&outcome.logits, n_classes))?;
    }

    let names = &experiment.splits.dataset.class_names;
    say(&format!(
        "{} at step {step}{} on the {} split: {} images, {}\n",
        run.root.display(),
        match is_averaged(&checkpoint) {
            true => ", average of the weights,",
            false => "",
        },
        split.as_str(),
        thousands(outcome.n_images),
        experiment.splits.source().title()
    ));
    say_numbers(&outcome);
    say(&format!(
        "{} images/s on {}{}\n",
        thousands(outcome.images_per_second().round() as u64),
        experiment.device.name,
        tta.note(None)
    ));
    say(outcome.confusion.classification_report(names).trim_end());
    say("");
    say(outcome.confusion.matrix_text(names).trim_end());
    if split == SplitName::Test && step == result {
        let _lock = match run.lock() {
            Err(error @ RunError::Locked { .. }) => {
                let holder = first_line(&error);
                warn(&format!("\nwarning: {holder}; nothing is written"));
                return Ok(ExitCode::SUCCESS);
            }
            lock => lock?,
        };
        // A training may have gone on or ended meanwhile, with a result of its own.
        let mut by_now = ResumePoint::find(&run)?;
        by_now.forget_lost_best(&run);
        let by_now = experiment.result_step(&by_now.state);
        if by_now != step {
            warn(&format!(
                "\nwarning: the run's result is by now that of step {by_now}; nothing is written"
            ));
            return Ok(ExitCode::SUCCESS);
        }
        experiment.mend_input(&run)?;
        experiment.write_evaluation(&run, &outcome, &checkpoint, split)?;
        say(&format!(
            "\nwrote   {}, {}",
            run.evaluation().display(),
            run.predictions().display()
        ));
        let options = Options {
            counts: args.counts,
        };
        if let Some(plots) = plots::draw(&experiment, &run, step, options) {
            say(&plots::told(&run, &plots));
        }
        if let Some(report) = report::after(&experiment, &run) {
            say(&format!("report  {}", report.display()));
        }
    } else {
        say("\nnothing is written: that is kept for the run's result on the test split");
    }
    Ok(ExitCode::SUCCESS)
}

/// Each number says of which views it is.
fn say_numbers(outcome: &Outcome) {
    let (tta, plain) = (outcome.tta, outcome.plain);
    say(&format!(
        "loss      {}{}",
        loss_text(outcome.loss),
        tta.note(plain.map(|plain| loss_text(plain.loss)))
    ));
    say(&format!(
        "accuracy  {:.4}{}",
        outcome.accuracy(),
        tta.note(plain.map(|plain| format!("{:.4}", plain.accuracy)))
    ));
    let predictions = &outcome.predictions;
    say(&format!(
        "top-2 accuracy {:.4}{}",
        predictions.top_k_accuracy(2),
        tta.note(None)
    ));
    say(&format!(
        "calibration error {:.4} (expected, {CALIBRATION_BINS} bins){}",
        predictions.calibration(CALIBRATION_BINS).expected_error,
        tta.note(None)
    ));
}
