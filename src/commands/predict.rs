//! `weft predict`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;

use super::{line_out, lost, warn};
use crate::cli::{Choice, PredictArgs};
use crate::config::Loaded;
use crate::data::image_file::ImageError;
use crate::device::DeviceChoice;
use crate::evaluate::tta::Tta;
use crate::experiment::LoadedModel;
use crate::failure::{self, Work};
use crate::predict::files::{self, Input};
use crate::predict::{Prediction, Predictor, explain};
use crate::run::{RunFolder, disk};
use crate::text::printable;
use crate::text::thousands;

pub(super) fn run(args: &PredictArgs) -> Result<ExitCode> {
    let run = RunFolder::open(&args.run)?;
    let found = files::find(&args.images);
    let n_stdin = found
        .inputs
        .iter()
        .filter(|it| **it == Input::Stdin)
        .count();
    if n_stdin > 1 {
        bail!("- is given {n_stdin} times, but stdin holds one picture\nhint: give it once");
    }
    if found.inputs.is_empty() {
        bail!(
            "there is no picture in {}\nhint: PNG, JPEG, WebP, BMP and GIF files are predicted; hidden \
             ones are left out",
            list(&args.images)
        );
    }
    let config = Loaded::new(Some(&run.config()), &[])?.config;
    let device = args.device.as_ref().unwrap_or(&config.train.device);
    let device = device.parse::<DeviceChoice>()?.open()?;
    failure::set_work(Work {
        device: Some(device.name.clone()),
        run: None,
    });
    let model = LoadedModel::open(&run, args.checkpoint.as_deref(), &device)?;
    for warning in &model.warnings {
        warn(&format!("warning: {warning}"));
    }
    let asked = |choice| match choice {
        Choice::Auto => None,
        Choice::Yes => Some(true),
        Choice::No => Some(false),
    };
    let changes = (asked(args.invert), asked(args.mirror));
    // The run's config, not the checkpoint's: it may have been changed since.
    let tta = args.tta.unwrap_or(config.evaluation.tta);
    let explains = args.explain.is_some();
    let predictor = Predictor::new(&model, &device.device, changes, explains).with_views(tta);
    let mut told = Told {
        args,
        tta,
        model: &model,
        explain: match &args.explain {
            None => None,
            Some(Some(folder)) => Some(folder.clone()),
            Some(None) => Some(run.create_explanations()?),
        },
        n_done: 0,
        n_bad: 0,
    };
    predictor.run(&found.inputs, |input, result| told.tell(input, result))?;
    if found.n_left_out > 0 && !args.json {
        warn(&match found.n_left_out as u64 {
            1 => "1 file that is no picture was left out".to_owned(),
            n => format!("{} files that are no pictures were left out", thousands(n)),
        });
    }
    if told.n_bad == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let (bad, all) = (told.n_bad as u64, found.inputs.len() as u64);
    warn(&format!(
        "{} of {} could not be predicted",
        thousands(bad),
        thousands(all)
    ));
    Ok(ExitCode::FAILURE)
}

fn list(paths: &[PathBuf]) -> String {
    let names = paths.iter().map(|path| printable(&path.to_string_lossy()));
    names.collect::<Vec<_>>().join(", ")
}

/// What was told so far.
struct Told<'a> {
    args: &'a PredictArgs,
    tta: Tta,
    model: &'a LoadedModel,
    explain: Option<PathBuf>,
    n_done: usize,
    n_bad: usize,
}

impl Told<'_> {
    /// False once nobody reads any more.
    fn tell(&mut self, input: &Input, result: Result<Prediction, ImageError>) -> Result<bool> {
        self.n_done += 1;
        let name = input.name();
        let prediction = match result {
            Ok(prediction) => prediction,
            Err(error) => {
                self.n_bad += 1;
                let error = error.to_string();
                let (what, hint) = error.split_once("\nhint: ").unwrap_or((&error, ""));
                if self.args.json {
                    let line = json!({ "path": name, "error": what, "hint": hint });
                    return line_out(&line.to_string()).map_err(|error| lost(&error));
                }
                let what = printable(what);
                warn(&format!("error: {} {what}\nhint: {hint}", printable(&name)));
                return Ok(true);
            }
        };
        let explained = match (&self.explain, &prediction.sketch) {
            (Some(folder), Some(sketch)) => Some(explained(folder, &name, sketch)?),
            _ => None,
        };
        let text = match self.args.json {
            true => self.json(&name, &prediction, explained.as_deref()),
            false => self.text(&name, &prediction, explained.as_deref()),
        };
        line_out(&text).map_err(|error| lost(&error))
    }

    fn top(&self, prediction: &Prediction) -> Vec<usize> {
        let mut ranking = prediction.ranking();
        ranking.truncate(usize::from(self.args.top));
        ranking
    }

    fn json(&self, name: &str, prediction: &Prediction, explained: Option<&Path>) -> String {
        let classes = &self.model.about.class_names;
        let one = |class: usize| {
            json!({
                "class": classes[class],
                "index": class,
                "probability": prediction.probabilities[class],
            })
        };
        let predictions: Vec<_> = self.top(prediction).into_iter().map(one).collect();
        let mut line = json!({
            "path": name,
            "predictions": predictions,
            "inverted": prediction.prepared.inverted,
            "mirrored": prediction.prepared.mirrored,
        });
        if self.tta != Tta::None {
            line["tta"] = json!(self.tta);
        }
        if let Some(path) = explained {
            line["explained"] = json!(path.to_string_lossy());
        }
        line.to_string()
    }

    /// At most 80 columns, unless a name is longer.
    fn text(&self, name: &str, prediction: &Prediction, explained: Option<&Path>) -> String {
        let classes = &self.model.about.class_names;
        let classes: Vec<String> = classes.iter().map(|class| printable(class)).collect();
        let widest = classes.iter().map(|class| class.chars().count()).max();
        let width = widest.unwrap_or(0).min(40);
        let percent = |class: usize| prediction.probabilities[class] * 100.0;
        let name = printable(name);
        if self.args.top == 1 && explained.is_none() {
            let best = self.top(prediction)[0];
            let class = &classes[best];
            let prepared = &prediction.prepared;
            let changes = [
                prepared.inverted.then(|| "inverted".to_owned()),
                prepared.mirrored.then(|| "mirrored".to_owned()),
                self.tta.told(),
            ];
            let changes: Vec<String> = changes.into_iter().flatten().collect();
            let changes = match changes.is_empty() {
                true => String::new(),
                false => format!("  ({})", changes.join(", ")),
            };
            return format!("{class:<width$}  {:>5.1} %  {name}{changes}", percent(best));
        }
        let mut text = match self.n_done {
            1 => name,
            _ => format!("\n{name}"),
        };
        for class in self.top(prediction) {
            let bar = bar(prediction.probabilities[class], 80 - width - 14);
            let line = format!(
                "\n  {:<width$}  {:>5.1} %  {bar}",
                classes[class],
                percent(class)
            );
            text.push_str(line.trim_end());
        }
        for note in self.notes(prediction) {
            text.push_str("\n  ");
            text.push_str(&note);
        }
        if let Some(path) = explained {
            let path = printable(&path.to_string_lossy());
            text.push_str(&format!("\n  what the network saw: {path}"));
        }
        text
    }

    /// What was done to the picture, and why.
    fn notes(&self, prediction: &Prediction) -> Vec<String> {
        let prepared = &prediction.prepared;
        let mut notes = Vec::new();
        if prepared.inverted && self.args.invert == Choice::Yes {
            notes.push("inverted, as asked".to_owned());
        } else if prepared.inverted {
            let border = prepared.scene.border.median;
            let trained = match self.model.about.background {
                Some(background) if !background.is_dark() => "dark on light",
                _ => "light on dark",
            };
            notes.push(format!(
                "inverted: its border has brightness {border} of 255; the model knows {trained}"
            ));
        }
        if prepared.mirrored && self.args.mirror == Choice::Yes {
            notes.push("mirrored, as asked".to_owned());
        } else if prepared.mirrored {
            let note = "mirrored: the training images like it face the other way";
            notes.push(note.to_owned());
        }
        notes.extend(self.tta.told());
        notes
    }
}

fn explained(folder: &Path, name: &str, sketch: &explain::Sketch) -> Result<PathBuf> {
    let png = sketch.png()?;
    explain::write(folder, name, &png).map_err(|error| {
        let remedy = disk::remedy(&error);
        let error = printable(&error.to_string());
        anyhow::anyhow!("{error}\nhint: {remedy}, or use --explain=DIR")
    })
}

/// Eighths of a block.
fn bar(part: f64, width: usize) -> String {
    let eighths = (part * (width * 8) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    bar.push_str(rest[eighths % 8]);
    bar
}
