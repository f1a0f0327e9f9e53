//! report.html: one page that explains a run, or several beside each other. All its text and tables are
//! HTML that this writes, escaped, so that it reads without a script; the script adds charts, images and
//! what can be clicked, from JSON in the page. Nothing is loaded from anywhere, and a policy in the page
//! says so to the browser.

mod compare;
mod data;
pub(super) mod frame;
mod gallery;
mod record;
mod result;
mod run;
pub(super) mod saved;
mod seed;
mod sheet;
pub(super) mod table;
pub(super) mod text;
mod view;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::RunRecords;
use crate::data::Splits;
use crate::run::records;
pub use data::DataPart;
use frame::{Frame, MARK, STYLE, chart};
use gallery::Gallery;
use run::Run;
use text::{Text, json, name};
use view::View;

/// A report is kept below this, in bytes: images are left out before that.
pub const MOST_BYTES: usize = 4_900_000;
/// What the images of one run take at most.
const MOST_IMAGE_BYTES: usize = 2_500_000;
/// Where less is left for those of a run, its training images are left out.
const LEAST_IMAGE_BYTES: usize = 60_000;
/// Of several runs so much is for their own sections. Those that do not fit are in the table only.
const MOST_DETAIL_BYTES: usize = 4_000_000;

const SCRIPT: [&str; 7] = [
    include_str!("../../assets/report/base.js"),
    include_str!("../../assets/report/tables.js"),
    include_str!("../../assets/report/charts.js"),
    include_str!("../../assets/report/photos.js"),
    include_str!("../../assets/report/matrix.js"),
    include_str!("../../assets/report/page.js"),
    include_str!("../../assets/report/report.js"),
];

/// One run that a page is about.
pub struct Subject<'a> {
    /// Its records.
    pub records: RunRecords,
    /// What is shown of its data. None if it was not found.
    pub data: Option<DataPart>,
    /// The images that were predicted. None where there are none to show.
    pub splits: Option<&'a Splits>,
    /// What a reader should know first, such as why there are no images.
    pub notes: Vec<String>,
}

impl<'a> Subject<'a> {
    /// A run with the data that it was trained on, if that is what `splits` holds.
    pub fn new(records: RunRecords, splits: Option<&'a Splits>) -> Result<Self> {
        let (mut notes, mut splits) = (Vec::new(), splits);
        if let Some(found) = splits
            && let Some(difference) = difference(&records, found)
        {
            notes.push(format!("The images are left out: {difference}."));
            splits = None;
        }
        Ok(Self {
            data: splits
                .map(|splits| DataPart::new(splits, true))
                .transpose()?,
            splits: splits.filter(|_| records.evaluated.is_some()),
            records,
            notes,
        })
    }
}

/// How data differs from what a run was trained and tested on.
fn difference(records: &RunRecords, splits: &Splits) -> Option<String> {
    let source = splits.source();
    let found = source.sha256.iter().map(|file| &file.sha256);
    let of_run = data::checksums(&records.environment.data);
    if !of_run.iter().map(|(_, sha256)| sha256).eq(found) {
        return Some(format!(
            "{} does not hold the data that the run was trained on (other SHA-256)",
            source.location
        ));
    }
    let predictions = &records.evaluated.as_ref()?.predictions;
    let labels = &splits.dataset.test.labels;
    let same = predictions.n_images() == labels.len()
        && (0..labels.len()).all(|image| predictions.label(image) == usize::from(labels[image]));
    (!same).then(|| "predictions.csv is of other images".to_owned())
}

/// The page. The same records give the same bytes.
pub fn page(subjects: &[Subject]) -> Result<String> {
    let runs: Vec<Run> = subjects
        .iter()
        .zip(1..)
        .map(|(subject, number)| Run::new(subject, number))
        .collect::<Result<_>>()?;
    let body = match &runs[..] {
        [] => bail!("a report needs a run"),
        [run] => one(run),
        runs => several(runs)?,
    };
    // What is left is for the images: first of all for those that were predicted.
    let room = |samples: bool| -> Result<usize> {
        let none = vec![Gallery::default(); runs.len()];
        let bare = json(&View::new(&runs, none, samples))?;
        Ok(MOST_BYTES.saturating_sub(assemble(&runs, &body, &bare).len()) / runs.len())
    };
    let samples = room(true)? >= LEAST_IMAGE_BYTES;
    let most = room(samples)?.min(MOST_IMAGE_BYTES);
    let galleries = runs
        .iter()
        .map(|run| match (&run.records.evaluated, run.splits) {
            (Some(evaluated), Some(splits)) => Gallery::of(&evaluated.predictions, splits, most),
            _ => Ok(Gallery::default()),
        })
        .collect::<Result<_>>()?;
    let data = json(&View::new(&runs, galleries, samples))?;
    Ok(assemble(&runs, &body, &data))
}

/// Navigation and content.
struct Body {
    title: String,
    heading: String,
    status: String,
    navigation: Vec<(String, String)>,
    html: String,
}

fn one(run: &Run) -> Body {
    let sections = run.sections();
    let links = sections.iter();
    Body {
        title: run.name.clone(),
        heading: run.title_html(),
        status: format!(
            "{}<span>{}</span><span>{}</span>",
            status(run),
            Text(&data::title(&run.records.environment.data)),
            name(&run.records.environment.device)
        ),
        navigation: links
            .map(|section| (section.id.clone(), section.title.to_owned()))
            .collect(),
        html: run.html(2),
    }
}

fn several(runs: &[Run]) -> Result<Body> {
    let mut html = String::new();
    let mut navigation = Vec::new();
    for (key, title, section) in compare::sections(runs)? {
        html += &format!(
            "<section id=\"{key}\" aria-labelledby=\"{key}-title\"><h2 id=\"{key}-title\">{title}</h2>\n\
             {section}</section>\n"
        );
        navigation.push((key.to_owned(), title.to_owned()));
    }
    let mut room = MOST_DETAIL_BYTES;
    for run in runs {
        let mut own = run.html(3);
        if own.len() > room {
            own = format!(
                "<p>Its sections are left out, to keep this page small: <code>weft report {}</code> makes \
                 a page of its own.</p>\n",
                Text(&run.root)
            );
        }
        room = room.saturating_sub(own.len());
        html += &format!(
            "<details class=\"run\" id=\"{}\"><summary><h2>{}</h2>{}</summary>\n{}</details>\n",
            run.id,
            run.title_html(),
            status(run),
            own
        );
        navigation.push((run.id.clone(), run.name.clone()));
    }
    Ok(Body {
        title: format!("{} runs", runs.len()),
        heading: format!("{} runs beside each other", runs.len()),
        status: String::new(),
        navigation,
        html,
    })
}

fn status(run: &Run) -> String {
    let class = match run.saved.status {
        saved::Status::Finished => "done",
        saved::Status::Training(_) => "training",
        saved::Status::Stopped(_) => "stopped",
    };
    format!(
        "<span class=\"status {class}\">{}</span>",
        Text(&run.status_text())
    )
}

fn assemble(runs: &[Run], body: &Body, json: &str) -> String {
    let is_training = |run: &Run| matches!(run.saved.status, saved::Status::Training(_));
    let frame = Frame {
        title: &body.title,
        heading: &body.heading,
        status: &body.status,
        is_live: runs.iter().any(is_training),
        navigation: &body.navigation,
        html: &body.html,
        data: json,
        style: STYLE,
        scripts: &SCRIPT,
    };
    frame.page()
}

/// Writes a page, in one step. A file that is not a report stays, unless `force` says otherwise.
pub fn write(path: &Path, html: &str, force: bool) -> Result<()> {
    check_replaceable(path, force)?;
    Ok(records::write_text(path, html)?)
}

/// Refuses a path at which a file stands that is not a report.
pub fn check_replaceable(path: &Path, force: bool) -> Result<()> {
    if !force && !is_replaceable(path).with_context(|| path.display().to_string())? {
        bail!(
            "{} is not a page that weft wrote\nhint: choose another file with --output, or replace it \
             with --force",
            path.display()
        );
    }
    Ok(())
}

/// Whether nothing is there, or a report.
fn is_replaceable(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut start = Vec::new();
    file.take(MARK.len() as u64).read_to_end(&mut start)?;
    Ok(start == MARK.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_report_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        write(&path, &format!("{MARK}one"), false).unwrap();
        write(&path, &format!("{MARK}two"), false).unwrap();
        std::fs::write(&path, "<!doctype html>\nmine").unwrap();
        let error = write(&path, MARK, false).unwrap_err().to_string();
        assert!(
            error.contains("report.html is not a page") && error.contains("--force"),
            "{error}"
        );
        write(&path, MARK, true).unwrap();
        assert!(write(folder.path(), MARK, false).is_err());
    }
}
