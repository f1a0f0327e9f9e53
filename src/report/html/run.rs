//! One run of a page: its records, what follows from them, its sections.

use anyhow::{Context, Result};

use super::data::{self, DataPart};
use super::saved::{Saved, Status};
use super::text::{Text, name};
use super::{Subject, record, result};
use crate::config::ExperimentConfig;
use crate::data::Splits;
use crate::model::InputShape;
use crate::report::RunRecords;
use crate::run::input::ModelInput;

pub(super) struct Run<'a> {
    pub(super) records: &'a RunRecords,
    pub(super) config: ExperimentConfig,
    pub(super) saved: Saved,
    pub(super) data: Option<&'a DataPart>,
    pub(super) splits: Option<&'a Splits>,
    /// input.json, if it is there and whole.
    pub(super) input: Option<ModelInput>,
    /// The folder's name.
    pub(super) name: String,
    /// The folder, as it was given.
    pub(super) root: String,
    /// What the ids of its elements begin with.
    pub(super) id: String,
    /// The data that was found is not the run's, or none was.
    notes: &'a [String],
}

/// A section: its id, its title, its HTML.
pub(super) struct Section {
    pub(super) id: String,
    pub(super) title: &'static str,
    pub(super) html: String,
}

impl<'a> Run<'a> {
    pub(super) fn new(subject: &'a Subject, number: usize) -> Result<Self> {
        let records = &subject.records;
        let path = records.run.config();
        let config: ExperimentConfig = toml::from_str(&records.config_toml).with_context(|| {
            format!(
                "{} is of another weft\nhint: use the weft that wrote it",
                path.display()
            )
        })?;
        let evaluated = records.evaluated.as_ref();
        let evaluated_step = evaluated.map(|it| it.evaluation.checkpoint_step);
        let root = &records.run.root;
        let absolute = std::path::absolute(root).unwrap_or_else(|_| root.clone());
        let folder = absolute.file_name().unwrap_or(absolute.as_os_str());
        Ok(Self {
            saved: Saved::read(&records.run, &config, evaluated_step),
            records,
            config,
            input: ModelInput::read(&records.run.input()).ok(),
            data: subject.data.as_ref(),
            splits: subject.splits,
            name: folder.to_string_lossy().into_owned(),
            root: root.display().to_string(),
            id: format!("r{number}"),
            notes: &subject.notes,
        })
    }

    pub(super) fn is_fashion_mnist(&self) -> bool {
        self.records.environment.data["kind"] == "fashion_mnist"
    }

    /// Time that went into the epochs.
    pub(super) fn seconds(&self) -> f64 {
        self.records.rows.iter().map(|row| row.seconds).sum()
    }

    /// What the model takes, if the records or the data know it.
    pub(super) fn input_shape(&self) -> Option<InputShape> {
        let recorded = self.input.as_ref().map(|input| InputShape {
            channels: input.channels,
            height: input.height,
            width: input.width,
            n_classes: input.class_names.len(),
        });
        recorded.or_else(|| {
            let dataset = &self.splits?.dataset;
            let images = &dataset.train.images;
            Some(InputShape {
                channels: images.channels,
                height: images.height,
                width: images.width,
                n_classes: dataset.class_names.len(),
            })
        })
    }

    pub(super) fn n_parameters(&self) -> Option<u64> {
        let layers = self.config.model.layer_summaries(self.input_shape()?);
        let parameters = layers.iter().map(|layer| layer.parameters);
        Some(parameters.fold(0, u64::saturating_add))
    }

    pub(super) fn status_text(&self) -> String {
        let planned = self.config.train.epochs;
        let done = self.records.rows.len() as u64;
        match self.saved.status {
            Status::Finished if done < planned => {
                format!("finished: stopped early after epoch {done} of {planned}")
            }
            Status::Finished => format!("finished: {done} of {planned} epochs"),
            Status::Training(epoch) => format!("in training: epoch {epoch} of {planned}"),
            Status::Stopped(epoch) => {
                format!("not finished: stopped in epoch {epoch} of {planned}")
            }
        }
    }

    /// Why there is no test result, in a few words.
    pub(super) fn why_no_result(&self) -> &'static str {
        match self.saved.status {
            Status::Training(_) => "measured when the training has ended",
            _ => "not measured: weft evaluate does that",
        }
    }

    /// Why the page has no images, if it has none.
    pub(super) fn images_missing(&self) -> Option<&str> {
        match (self.splits, self.notes.first()) {
            (None, Some(note)) => Some(note),
            (None, None) => Some("The images are not part of this page."),
            (Some(_), _) => None,
        }
    }

    /// What a reader should know before the numbers.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.notes.to_vec();
        if let Some(warning) = self.records.environment.data["warning"].as_str() {
            warnings.push(warning.to_owned());
        }
        warnings.extend(self.saved.warnings.iter().cloned());
        let is_bare = self.records.evaluated.is_none() && self.records.run.evaluation().exists();
        if is_bare && self.saved.status == Status::Finished {
            let root = &self.root;
            warnings.push(format!(
                "evaluation.json has no predictions.csv beside it, so the test result is left out: \
                 `weft evaluate {root}` writes both."
            ));
        }
        let rollbacks = self
            .saved
            .state
            .as_ref()
            .map_or(0, |state| state.rollbacks.len());
        if rollbacks > 0 {
            warnings.push(format!(
                "The training diverged and went back {rollbacks} times; the history below says where."
            ));
        }
        warnings
    }

    /// The sections in the page's order.
    pub(super) fn sections(&self) -> Vec<Section> {
        let evaluation = self.records.evaluated.as_ref().map(|it| &it.evaluation);
        let mut sections = vec![
            (
                "result",
                "Result",
                result::headline(self) + &result::beside_seed(self),
            ),
            ("curves", "Curves", record::curves(self)),
        ];
        match evaluation {
            Some(evaluation) => sections.extend([
                (
                    "confusion",
                    "Confusion matrix",
                    result::confusion(self, evaluation),
                ),
                (
                    "mistakes",
                    "Worst mistakes",
                    result::mistakes(self, evaluation),
                ),
                ("classes", "Classes", result::classes(evaluation)),
                (
                    "calibration",
                    "Calibration",
                    result::calibration(evaluation),
                ),
            ]),
            None => sections.push(("test", "Test result", result::none_yet(self))),
        }
        let of_data = data::recorded(self)
            + &self
                .data
                .map_or(String::new(), |data| data.section(&self.id));
        sections.extend([
            ("data", "Data", of_data),
            ("model", "Model", record::model(self)),
            ("config", "Configuration", record::config(self)),
            ("environment", "Environment", record::environment(self)),
            ("history", "History", record::history(self)),
            ("checksums", "Checksums", record::checksums(self)),
        ]);
        let section = |(key, title, html): (&str, &'static str, String)| Section {
            id: format!("{}-{key}", self.id),
            title,
            html,
        };
        sections.into_iter().map(section).collect()
    }

    /// The run as HTML, its titles at this level.
    pub(super) fn html(&self, level: u8) -> String {
        let mut html = warnings_html(&self.warnings());
        for Section {
            id,
            title,
            html: body,
        } in self.sections()
        {
            html += &format!(
                "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\
                 <h{level} id=\"{id}-title\">{title}</h{level}>\n{body}</section>\n"
            );
        }
        html
    }

    pub(super) fn title_html(&self) -> String {
        name(&self.name)
    }
}

/// Warnings in a box, or nothing.
pub(super) fn warnings_html(warnings: &[String]) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    let items: String = warnings
        .iter()
        .map(|warning| {
            format!(
                "<li>{}</li>",
                Text(warning).to_string().replace('\n', "<br>")
            )
        })
        .collect();
    format!(
        "<div class=\"warnings\" role=\"note\" aria-label=\"Warnings\"><ul>{items}</ul></div>\n"
    )
}
