//! `weft verify`

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{data_dir, say};
use crate::cli::VerifyArgs;
use crate::replay;
use crate::run::RunFolder;
use crate::run::records::TrainState;
use crate::verify::{self, Finding, Verdict};

pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let run = RunFolder::open(&args.run)?;
    let findings = verify::check(&run);
    for finding in &findings.all {
        say(&finding.to_string());
    }
    if let Some((_, state)) = &findings.newest {
        say("");
        tell(state);
    }
    let root = run.root.display();
    let (n_checks, n_bad) = (findings.all.len(), findings.n_bad());
    if n_bad > 0 {
        let is_config = |finding: &&Finding| {
            finding.verdict == Verdict::Bad && finding.subject == "config.toml"
        };
        let config_at_fault = findings.all.iter().any(|finding| is_config(&finding));
        let hint = match &findings.newest {
            Some((checkpoint, _)) if config_at_fault => format!(
                "mend config.toml; {} has the one that the run was made with",
                checkpoint.folder.join("config.toml").display()
            ),
            Some((_, state)) => format!("`weft resume {root}` goes on from step {}", state.step),
            None => format!("train again with `weft train {root}/config.toml`"),
        };
        bail!("{root}: {n_bad} of {n_checks} checks failed\nhint: {hint}");
    }
    say(&format!("{root} is whole: {n_checks} checks"));
    let Some((newest, state)) = findings.newest.filter(|_| args.exact) else {
        return Ok(ExitCode::SUCCESS);
    };

    say("");
    let data = data_dir(args.data.as_deref());
    let comparisons = replay::replay(&newest, &state, data.as_deref(), &|line| say(line))?;
    for comparison in &comparisons {
        let verdict = if comparison.same { "same" } else { "DIFFERS" };
        say(&format!("{verdict:<7} {}", comparison.name));
    }
    if comparisons.iter().any(|comparison| !comparison.same) {
        bail!(
            "the replay of {root} differs\nhint: the same bytes need the same weft, kind of processor \
             and number of threads; environment.json and the lines above tell the first ones"
        );
    }
    say(&format!("the replay of {root} is the same, byte for byte"));
    Ok(ExitCode::SUCCESS)
}

/// How the run came about.
fn tell(state: &TrainState) {
    for start in &state.starts {
        say(&format!(
            "step {:>8}  {}  weft {} on {}",
            start.step, start.time, start.weft, start.device
        ));
        for change in &start.changes {
            say(&format!("               changed {change}"));
        }
    }
    for rollback in &state.rollbacks {
        say(&format!(
            "step {:>8}  {}; back to step {}",
            rollback.step, rollback.what, rollback.to_step
        ));
    }
    let seconds: f64 =
        state.history.iter().map(|row| row.seconds).sum::<f64>() + state.epoch_seconds;
    let saving = state.checkpoint_seconds;
    say(&format!(
        "{seconds:.1} s of training and {saving:.2} s of saving ({:.1} %)\n",
        100.0 * saving / (seconds + saving).max(f64::MIN_POSITIVE)
    ));
}
