//! `weft data`

use std::process::ExitCode;

use anyhow::Result;

use super::{data_dir, download_bar::DownloadBar, say, warn};
use crate::cli::DataArgs;
use crate::config::Loaded;
use crate::data::image_folder::{ImageSet, color_name};
use crate::data::{Splits, Statistics};
use crate::experiment::load_splits;
use crate::text::thousands;

pub(super) fn run(args: &DataArgs) -> Result<ExitCode> {
    let config = Loaded::new(args.config.as_deref(), &args.assignments)?.config;
    let data = data_dir(args.data.as_deref());
    let splits = load_splits(&config, data.as_deref(), &mut DownloadBar::default())?;
    let source = splits.source();
    say(&format!("source   {}", source.title()));
    for file in &source.sha256 {
        say(&format!("sha256   {}  {}", file.sha256, file.file));
    }
    let images = &splits.dataset.train.images;
    let (height, width) = (images.height, images.width);
    say(&format!(
        "images   {height} x {width} pixels, {}, one byte each",
        color_name(images.channels)
    ));
    if let Some(set) = &source.images {
        for line in files(set) {
            say(&line);
        }
    }
    for line in statistics(&splits) {
        say(&line);
    }
    say("");
    for line in counts(&splits) {
        say(&line);
    }
    if let Some(warning) = &source.warning {
        warn(&format!("\nWARNING: {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What was made of a folder of images.
fn files(set: &ImageSet) -> Vec<String> {
    let parts = match set.parts.is_empty() {
        true => "one set".to_owned(),
        false => set.parts.join(", "),
    };
    let mut lines = vec![format!(
        "files    {} in {parts}; {} fitted from another size, {} left out",
        thousands(set.n_files as u64),
        thousands(set.n_fitted as u64),
        thousands(set.n_skipped as u64)
    )];
    if let Some(cache) = &set.cache {
        lines.push(format!("cache    {cache}"));
    }
    lines
}

/// A line per channel.
fn statistics(splits: &Splits) -> Vec<String> {
    let all = &splits.statistics;
    let names: &[&str] = match all.len() {
        1 => &["pixels  "],
        _ => &["red     ", "green   ", "blue    "],
    };
    let line = |(channel, name): (&Statistics, &&str)| {
        format!(
            "{name} mean {:.4}, standard deviation {:.4} (training split, scaled to [0, 1])",
            channel.mean, channel.deviation
        )
    };
    all.iter().zip(names).map(line).collect()
}

/// A row per class and one for the sum.
fn counts(splits: &Splits) -> Vec<String> {
    let columns = [
        splits.class_counts(&splits.split.train),
        splits.class_counts(&splits.split.validation),
        splits.test_class_counts(),
    ];
    let names = &splits.dataset.class_names;
    let widest = names.iter().map(|name| name.chars().count()).max();
    let width = widest.unwrap_or(0).max("class".len());
    let row = |name: &str, cells: [String; 3]| {
        let [train, validation, test] = cells;
        format!("{name:<width$}  {train:>8}  {validation:>10}  {test:>8}")
    };
    let mut lines = vec![row(
        "class",
        ["train", "validation", "test"].map(str::to_owned),
    )];
    for (class, name) in names.iter().enumerate() {
        let cells = columns
            .each_ref()
            .map(|column| thousands(column[class] as u64));
        lines.push(row(name, cells));
    }
    let sums = columns
        .each_ref()
        .map(|column| thousands(column.iter().sum::<usize>() as u64));
    lines.push(row("all", sums));
    lines
}
