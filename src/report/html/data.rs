//! What the page says of the data: counts, statistics, sample images.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::sheet::Sheets;
use super::table::{Table, bar, facts, html, with_bar};
use super::text::{Text, count, fixed, name};
use crate::data::{Splits, Statistics};
use crate::run::records::Environment;
use crate::train::progress::thousands;

/// Sample images: so many of a class, of so many classes.
const SAMPLES_PER_CLASS: usize = 10;
const MOST_SAMPLES: usize = 200;
const MOST_SAMPLE_BYTES: usize = 150_000;

/// What a page needs of the data beside the images that were predicted. It outlives the data.
#[derive(Clone, Debug)]
pub struct DataPart {
    class_names: Vec<String>,
    /// Images of each class: train, validation and, unless the page is made before the test split was
    /// read, test.
    counts: Vec<(&'static str, Vec<usize>)>,
    /// Of the training split's pixels, one for each channel.
    statistics: Vec<Statistics>,
    pub(super) samples: Samples,
}

/// Training images, class by class.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Samples {
    pub(super) sheets: Sheets,
    /// A class and how many of the tiles are its own, in the tiles' order.
    pub(super) classes: Vec<(usize, usize)>,
}

impl DataPart {
    /// `test`: whether the test split may be shown too.
    pub fn new(splits: &Splits, test: bool) -> Result<Self> {
        let mut counts = vec![
            ("train", splits.class_counts(&splits.split.train)),
            ("validation", splits.class_counts(&splits.split.validation)),
        ];
        if test {
            counts.push(("test", splits.test_class_counts()));
        }
        counts.retain(|(_, of_classes)| of_classes.iter().any(|&n| n > 0));
        Ok(Self {
            class_names: splits.dataset.class_names.clone(),
            counts,
            statistics: splits.statistics.clone(),
            samples: Samples::of(splits)?,
        })
    }

    /// The table of the classes, and where the samples go.
    pub(super) fn section(&self, id: &str) -> String {
        let most = self.counts.iter().flat_map(|(_, counts)| counts).max();
        let most = most.copied().unwrap_or(0).max(1) as f64;
        let titles = self.counts.iter().map(|(split, _)| format!("#{split}"));
        let head: Vec<String> = std::iter::once("class".to_owned()).chain(titles).collect();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let mut table = Table::new("Images of each class", "classes", true, &head);
        for (class, class_name) in self.class_names.iter().enumerate() {
            let cells = self.counts.iter().map(|(split, counts)| {
                let n = counts[class] as f64;
                with_bar(&thousands(n as u64), n, &bar(n / most, split))
            });
            let cells: Vec<_> = std::iter::once(html(name(class_name)))
                .chain(cells)
                .collect();
            table.row("", &cells);
        }
        let mut section = table.end();
        let of_channels: Vec<_> = self.statistics.iter().map(moments).collect();
        let _ = write!(
            section,
            "<p class=\"note\">Pixels of the training split, from 0 to 1{}: {}.</p>\n",
            if of_channels.len() > 1 {
                ", red, green and blue"
            } else {
                ""
            },
            of_channels.join("; ")
        );
        if !self.samples.classes.is_empty() {
            let _ = write!(
                section,
                "<div class=\"samples\" id=\"{id}-samples\" data-view=\"samples\"></div>\n"
            );
        }
        section
    }
}

fn moments(channel: &Statistics) -> String {
    let (mean, deviation) = (fixed(channel.mean, 4), fixed(channel.deviation, 4));
    format!("mean {mean}, standard deviation {deviation}")
}

impl Samples {
    fn of(splits: &Splits) -> Result<Self> {
        let labels = &splits.dataset.train.labels;
        let n_classes = splits.dataset.class_names.len();
        let per_class = SAMPLES_PER_CLASS.min((MOST_SAMPLES / n_classes.max(1)).max(1));
        let mut of_class = vec![Vec::new(); n_classes.min(MOST_SAMPLES)];
        for &index in &splits.split.train {
            let class = usize::from(labels[index as usize]);
            if let Some(of_class) = of_class.get_mut(class)
                && of_class.len() < per_class
            {
                of_class.push(index as usize);
            }
        }
        // In rounds, so that a small budget still shows every class.
        let rounds = (0..per_class).flat_map(|round| {
            let nth = of_class.iter().filter_map(move |of| of.get(round));
            nth.copied().collect::<Vec<_>>()
        });
        let wanted: Vec<usize> = rounds.collect();
        let images = &splits.dataset.train.images;
        let (_, n) = Sheets::fitting(images, &wanted, MOST_SAMPLE_BYTES)?;
        let mut shown = wanted[..n].to_vec();
        shown.sort_by_key(|&index| (labels[index], index));
        let mut classes: Vec<(usize, usize)> = Vec::new();
        for &index in &shown {
            let class = usize::from(labels[index]);
            match classes.last_mut() {
                Some((last, n)) if *last == class => *n += 1,
                _ => classes.push((class, 1)),
            }
        }
        Ok(Self {
            sheets: Sheets::of(images, &shown)?,
            classes,
        })
    }
}

/// What the run's own records say of its data.
pub(super) fn recorded(environment: &Environment) -> String {
    let mut rows = vec![("Source", name(&title(&environment.data)))];
    if let Some(location) = environment.data["location"].as_str() {
        rows.push(("Location", name(location)));
    }
    if let Some(shape) = &environment.shape {
        let color = if shape.channels == 3 { "RGB" } else { "grey" };
        let (height, width) = (shape.height, shape.width);
        let images = format!("{height} x {width} pixels, {color}, one byte a channel");
        rows.push(("Images", images));
        rows.push(("Classes", shape.class_names.len().to_string()));
        let n = |n: usize| thousands(n as u64);
        let splits = format!(
            "train {}, validation {}, test {}",
            n(shape.n_train),
            n(shape.n_validation),
            n(shape.n_test)
        );
        rows.push(("Splits", splits));
    }
    let more = more_of(&environment.data);
    rows.extend(more.iter().map(|(key, text)| (&**key, text.clone())));
    facts(&rows)
}

/// For people: "Fashion-MNIST", "embedded sample of Fashion-MNIST", "a data set of its own".
pub(super) fn title(data: &Value) -> String {
    match data["kind"].as_str() {
        Some("fashion_mnist") => "Fashion-MNIST".to_owned(),
        Some("sample") => "embedded sample of Fashion-MNIST".to_owned(),
        Some("directory") => "a data set in MNIST's format".to_owned(),
        Some("image_folder") => "a folder of images".to_owned(),
        Some(other) => other.replace('_', " "),
        None => "unknown".to_owned(),
    }
}

/// The SHA-256 of each file of the data, and its name.
pub(super) fn checksums(data: &Value) -> Vec<(String, String)> {
    let files = data["sha256"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let files = files.into_iter().flatten();
    files
        .map(|entry| (text(&entry["file"]), text(&entry["sha256"])))
        .collect()
}

/// What a source has to say beyond what every source has, such as images that were skipped.
fn more_of(data: &Value) -> Vec<(String, String)> {
    const SHOWN: [&str; 4] = ["kind", "location", "sha256", "warning"];
    let entries = data.as_object().into_iter().flatten();
    let others = entries.filter(|(key, _)| !SHOWN.contains(&key.as_str()));
    // What belongs together, as what was made of a folder of images, has a row each.
    let rows = others.flat_map(|(key, value)| match value.as_object() {
        Some(parts) => parts.iter().collect(),
        None => vec![(key, value)],
    });
    rows.map(|(key, value)| {
        let mut title = key.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        (title, value_text(value))
    })
    .collect()
}

/// A value as HTML; a long list is folded.
fn value_text(value: &Value) -> String {
    let plain = |value: &Value| match value {
        Value::String(text) => name(text),
        Value::Object(_) if value["reason"].is_string() => format!(
            "{}: {}",
            name(value["file"].as_str().unwrap_or_default()),
            name(value["reason"].as_str().unwrap_or_default())
        ),
        other => Text(&other.to_string()).to_string(),
    };
    match value {
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => {
            const MOST: usize = 200;
            let listed = items.iter().take(MOST);
            let mut listed: Vec<String> = listed.map(plain).collect();
            if items.len() > MOST {
                listed.push(format!("and {} more", items.len() - MOST));
            }
            format!(
                "<details><summary>{}</summary>{}</details>",
                count(items.len() as u64, "entry").replace("entrys", "entries"),
                listed.join("<br>")
            )
        }
        other => plain(other),
    }
}
