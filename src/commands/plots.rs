//! The pictures that `weft train`, `resume` and `evaluate` leave in the run folder.

use anyhow::Result;

use super::{describe, warn};
use crate::experiment::Experiment;
use crate::report::plots::{self, Options, Plots};
use crate::report::{Evaluated, RunRecords};
use crate::run::RunFolder;

/// Draws the pictures of a run. What fails is a warning: the run is finished and saved by now.
/// `result` is the step that the run's result is by now: an evaluation of another one is not drawn.
pub(super) fn draw(
    experiment: &Experiment,
    run: &RunFolder,
    result: u64,
    options: Options,
) -> Option<Plots> {
    match try_draw(experiment, run, result, options) {
        Ok(plots) => Some(plots),
        Err(error) => {
            let text = describe(&error);
            let (what, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
            let and_then = if hint.is_empty() { "" } else { "; then " };
            warn(&format!(
                "warning: {what}; the pictures are not all drawn, and nothing else is lost\nhint: \
                 {hint}{and_then}`weft evaluate {}` draws them",
                run.root.display()
            ));
            None
        }
    }
}

fn try_draw(
    experiment: &Experiment,
    run: &RunFolder,
    result: u64,
    options: Options,
) -> Result<Plots> {
    let mut records = RunRecords::read(run)?;
    let is_result = |evaluated: &Evaluated| evaluated.evaluation.checkpoint_step == result;
    records.evaluated = records.evaluated.filter(is_result);
    let augmented = experiment.augmented()?;
    let (splits, seed) = (&experiment.splits, experiment.config.seed);
    let mut plots = plots::write_all(&records, Some(splits), augmented.as_ref(), seed, options)?;
    if augmented.is_none() {
        // Nothing is amiss: the config changes no image.
        plots.left_out.retain(|(name, _)| *name != "augmented");
    }
    Ok(plots)
}

/// Where the pictures are, and which there are not.
pub(super) fn told(run: &RunFolder, plots: &Plots) -> String {
    let mut text = format!("plots   {}", run.plots().display());
    for (name, why) in &plots.left_out {
        text += &format!("\n        without {name}: {why}");
    }
    text
}
