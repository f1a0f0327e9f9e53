//! `weft resume`

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::training::{self, Shown};
use super::{download_bar::DownloadBar, say, warn};
use crate::cli::ResumeArgs;
use crate::config::Loaded;
use crate::experiment::{Experiment, ResumePoint};
use crate::run::{RunFolder, atomic, records};

pub(super) fn run(args: ResumeArgs) -> Result<ExitCode> {
    let run = RunFolder::open(&args.run)?;
    let lock = run.lock()?;
    let mut loaded = Loaded::new(Some(&run.config()), &[])?;
    let mut point = ResumePoint::find(&run)?;
    for damaged in &point.damaged {
        warn(&format!(
            "warning: {damaged}; the checkpoint before it is used"
        ));
    }
    let planned = loaded.config.train.epochs;
    let epochs = args.epochs.unwrap_or(planned);
    let done = point.state.epoch - 1;
    if epochs < done {
        bail!(
            "{} has done {done} epochs, so --epochs {epochs} is behind it\nhint: give a number above \
             {done}",
            run.root.display()
        );
    }
    if point.state.finished && (args.epochs.is_none() || epochs == done) {
        say(&format!(
            "{} is finished: {done} of {planned} epochs\nnext   weft resume {} --epochs {}",
            run.root.display(),
            run.root.display(),
            done + planned
        ));
        return Ok(ExitCode::SUCCESS);
    }
    point.state.finished = epochs == done;
    if epochs != planned {
        loaded.config.train.epochs = epochs;
        // An early stop is overruled by asking for more: patience starts anew.
        point.state.epochs_without_improvement = 0;
        let config = loaded.config.to_toml()?;
        atomic::write_file(&run.config(), config.as_bytes())?;
        say(&format!(
            "epochs  {epochs} instead of {planned}; the learning-rate schedule is planned for {epochs}"
        ));
    }
    if let Some(device) = args.place.device {
        loaded.config.train.device = device;
    }
    let data = args.place.data.as_deref();
    let experiment = Experiment::prepare(loaded, data, &mut DownloadBar::default())?;
    point.check(&experiment)?;
    records::cut_back(&run.results(), done)?;

    let shown = Shown::new(&args.display);
    shown.introduce(&experiment, &run);
    shown.say(&format!(
        "from    {} (epoch {}, batch {})\n",
        point.checkpoint.folder.display(),
        point.state.epoch,
        point.state.batch
    ));
    let start = Some((point.checkpoint, point.state));
    let code = training::train_and_report(&experiment, &run, start, &shown);
    drop(lock);
    code
}
