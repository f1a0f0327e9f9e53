//! What the page says of the data: counts, statistics, sample images.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::run::Run;
use super::sheet::Sheets;
use super::table::{Table, bar, facts, html, with_bar};
use super::text::{Text, count, fixed, name};
use crate::data::image_folder::ImageSet;
use crate::data::{Splits, Statistics};
use crate::text::thousands;

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
        let _ = writeln!(
            section,
            "<p class=\"note\">Pixels of the training split, from 0 to 1{}: {}.</p>",
            if of_channels.len() > 1 {
                ", red, green and blue"
            } else {
                ""
            },
            of_channels.join("; ")
        );
        if !self.samples.classes.is_empty() {
            let _ = writeln!(
                section,
                "<div class=\"samples\" id=\"{id}-samples\" data-view=\"samples\"></div>"
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
        let n = Sheets::fitting(images, &wanted, MOST_SAMPLE_BYTES, 0)?;
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
pub(super) fn recorded(run: &Run) -> String {
    let data = &run.records.environment.data;
    let mut rows = vec![("Source", name(&title(data)))];
    if let Some(location) = data["location"].as_str() {
        rows.push(("Location", name(location)));
    }
    if let Some(input) = run.input_shape() {
        let color = if input.channels == 3 { "RGB" } else { "grey" };
        let (height, width) = (input.height, input.width);
        rows.push(("Images", format!("{height} x {width} pixels, {color}")));
        rows.push(("Classes", input.n_classes.to_string()));
    }
    if let Some(part) = run.data {
        let sizes = part.counts.iter().map(|(split, counts)| {
            let n: usize = counts.iter().sum();
            format!("{split} {}", thousands(n as u64))
        });
        rows.push(("Splits", sizes.collect::<Vec<_>>().join(", ")));
    }
    let set = serde_json::from_value::<ImageSet>(data["images"].clone());
    rows.extend(set.iter().flat_map(of_folder));
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

/// What was made of a folder of images: what was found, and what was left out.
fn of_folder(set: &ImageSet) -> Vec<(&'static str, String)> {
    let n = |n: usize, one: &str| count(n as u64, one);
    let mut rows = vec![("Image files", thousands(set.n_files as u64))];
    if !set.parts.is_empty() {
        rows.push(("Parts with a folder", name(&set.parts.join(", "))));
    }
    for (title, many, what) in [
        ("Made to fit", set.n_fitted, "of another size"),
        ("Ignored", set.n_ignored, "that are no images"),
        (
            "In test and training",
            set.n_leaked,
            "the same pixel for pixel",
        ),
        (
            "In two classes",
            set.n_in_two_classes,
            "the same pixel for pixel",
        ),
    ] {
        if many > 0 {
            rows.push((title, format!("{}, {what}", n(many, "file"))));
        }
    }
    if set.n_skipped > 0 {
        let bad = set.skipped.iter();
        let bad: Vec<String> = bad
            .map(|bad| format!("<li>{}: {}</li>", name(&bad.file), Text(&bad.reason)))
            .collect();
        let more = match set.n_skipped.saturating_sub(bad.len()) {
            0 => String::new(),
            more => format!("<li>and {}</li>", n(more, "other")),
        };
        let list = format!(
            "<details><summary>{}</summary><ul>{}{more}</ul></details>",
            n(set.n_skipped, "image"),
            bad.concat()
        );
        rows.push(("Skipped", list));
    }
    if let Some(cache) = &set.cache {
        rows.push(("Converted images", name(cache)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::image_folder::BadImage;

    #[test]
    fn what_was_left_out_of_a_folder_is_told() {
        let set = ImageSet {
            height: 32,
            width: 32,
            channels: 3,
            parts: Vec::new(),
            n_files: 1_500,
            n_fitted: 2,
            n_skipped: 3,
            skipped: vec![BadImage {
                file: "cat/<b>.png".to_owned(),
                reason: "is cut short".to_owned(),
            }],
            n_ignored: 0,
            n_leaked: 1,
            n_in_two_classes: 0,
            cache: None,
        };
        let html = facts(&of_folder(&set));
        for text in [
            "1,500",
            "2 files, of another size",
            "<summary>3 images</summary>",
            "<bdi>cat/&lt;b&gt;.png</bdi>: is cut short",
            "and 2 others",
            "1 file, the same",
        ] {
            assert!(html.contains(text), "{text} in {html}");
        }
        assert!(!html.contains("Ignored") && !html.contains("In two classes"));
    }
}
