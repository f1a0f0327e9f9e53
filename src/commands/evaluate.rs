//! `weft evaluate`

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::{download_bar::DownloadBar, say};
use crate::cli::{EvaluateArgs, EvaluationSplit};
use crate::config::Loaded;
use crate::experiment::{Experiment, SplitName};
use crate::run::checkpoints::{Pointer, Store};
use crate::run::{RunFolder, records};
use crate::train::progress::{Progress, Verbosity, thousands};

pub(super) fn run(args: &EvaluateArgs) -> Result<ExitCode> {
    let run = RunFolder::open(&args.run)?;
    let mut loaded = Loaded::new(Some(&run.config()), &[])?;
    if let Some(device) = &args.place.device {
        loaded.config.train.device.clone_from(device);
    }
    let data = args.place.data.as_deref();
    let experiment = Experiment::prepare(loaded, data, &mut DownloadBar::default())?;
    let split = match args.split {
        EvaluationSplit::Test => SplitName::Test,
        EvaluationSplit::Validation => SplitName::Validation,
    };
    let result = experiment.result_step(&run)?;
    let step = match &args.checkpoint {
        None => result,
        Some(name) => named_step(&run, name)?,
    };
    let checkpoint = Store::new(&run.root).load(step)?;
    let progress = Progress::new(Verbosity::Normal, 0, None);
    progress.start_evaluation(split.as_str(), experiment.n_images(split));
    let on_progress = |done| progress.update(done);
    let outcome = experiment.evaluate(&checkpoint, split, &on_progress)?;
    progress.finish();

    let names = &experiment.splits.dataset.class_names;
    say(&format!(
        "{} at step {step} on the {} split: {} images from {}\n",
        run.root.display(),
        split.as_str(),
        thousands(outcome.n_images),
        experiment.splits.source().title()
    ));
    say(&format!("loss      {:.4}", outcome.loss));
    say(&format!("accuracy  {:.4}\n", outcome.accuracy()));
    say(outcome.confusion.classification_report(names).trim_end());
    say("\nconfusion, per cent of the actual class (rows: actual, columns: predicted)\n");
    say(outcome.confusion.matrix_text(names).trim_end());
    if split == SplitName::Test && step == result {
        let record = experiment.record(&outcome, &checkpoint, split)?;
        records::write_json(&run.evaluation(), &record)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn named_step(run: &RunFolder, name: &str) -> Result<u64> {
    let store = Store::new(&run.root);
    let step = match name {
        "best" => store.pointed(Pointer::Best),
        "last" => store.pointed(Pointer::Last),
        step => step.trim_start_matches("step-").parse().ok(),
    };
    step.with_context(|| {
        let steps = store.steps().unwrap_or_default();
        let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
        format!(
            "{} has no checkpoint `{name}`\nhint: use best, last, or one of these steps: {}",
            run.root.display(),
            steps.join(", ")
        )
    })
}
