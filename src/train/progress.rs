//! What a person sees while weft trains: a row per epoch on stdout; on stderr a progress bar in a
//! terminal, and without one a line whenever nothing was said for a while.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use burn::train::LearnerSummary;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::metrics::RunningMetric;
use crate::run::records::EpochRow;
use crate::text::thousands;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Rows and progress.
    Normal,
    /// Nothing until the end.
    Quiet,
    /// burn's dashboard owns the terminal; rows come when it is gone.
    Dashboard,
}

/// Longest silence without a terminal.
const SILENCE: Duration = Duration::from_secs(20);

/// The progress of one training, shared by the epoch loop, the renderer and a watch on silence.
#[derive(Clone)]
pub struct Progress(Arc<Mutex<Inner>>);

struct Inner {
    verbosity: Verbosity,
    bar: Option<ProgressBar>,
    /// Rows that the dashboard holds back.
    held: Vec<String>,
    header_shown: bool,
    epoch: u64,
    epochs: u64,
    split: Split,
    loss_metric: Option<MetricId>,
    loss: Option<f64>,
    last_word: Instant,
    /// Said while nothing has come back from the device yet.
    warming_up: Option<String>,
    after_row: Vec<AfterRow>,
}

/// Does something once an epoch is in results.csv; its error is shown, and ends nothing.
type AfterRow = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The split that is being walked through.
struct Split {
    name: &'static str,
    done: usize,
    total: usize,
    /// Images of a step.
    batch_size: usize,
    /// Images done and time when this process began with it, for the speed.
    since: (usize, Instant),
}

impl Progress {
    /// For a training of `epochs`. `warming_up` is said until the first step's result is there.
    pub fn new(verbosity: Verbosity, epochs: u64, warming_up: Option<String>) -> Self {
        let terminal = std::io::stderr().is_terminal() && verbosity == Verbosity::Normal;
        let inner = Inner {
            verbosity,
            bar: terminal.then(new_bar),
            held: Vec::new(),
            header_shown: false,
            epoch: 0,
            epochs,
            split: Split {
                name: "train",
                done: 0,
                total: 0,
                batch_size: 1,
                since: (0, Instant::now()),
            },
            loss_metric: None,
            loss: None,
            last_word: Instant::now(),
            warming_up,
            after_row: Vec::new(),
        };
        let progress = Self(Arc::new(Mutex::new(inner)));
        if verbosity == Verbosity::Normal {
            progress.lock().announce_warm_up();
            if !terminal {
                watch_silence(Arc::downgrade(&progress.0));
            }
        }
        progress
    }

    /// The renderer that burn-train drives.
    pub fn renderer(&self) -> Box<dyn MetricsRenderer> {
        Box::new(Renderer(self.clone()))
    }

    /// An epoch begins or goes on: `done` of `total` images are done, in steps of `batch_size`.
    pub fn start_epoch(&self, epoch: u64, done: usize, total: usize, batch_size: usize) {
        let mut inner = self.lock();
        inner.epoch = epoch;
        inner.start_split("train", done, total, batch_size);
    }

    /// Validation begins.
    pub fn start_validation(&self, total: usize) {
        self.lock().start_split("validation", 0, total, 1);
    }

    /// The evaluation of a split begins.
    pub fn start_evaluation(&self, split: &'static str, total: usize) {
        let mut inner = self.lock();
        inner.epoch = 0;
        inner.start_split(split, 0, total, 1);
    }

    /// So many images of the split are done.
    pub fn update(&self, done: usize) {
        self.lock().update(done);
    }

    /// Has something done after each row.
    pub fn after_row(&self, hook: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.lock().after_row.push(Arc::new(hook));
    }

    /// An epoch has ended: its row.
    pub fn row(&self, row: &EpochRow) {
        let after_row = self.show_row(row);
        // Without the lock: it may take a while.
        for hook in after_row {
            if let Err(error) = hook() {
                self.note(&format!("warning: {error}"));
            }
        }
    }

    fn show_row(&self, row: &EpochRow) -> Vec<AfterRow> {
        let mut inner = self.lock();
        if !inner.header_shown {
            inner.header_shown = true;
            let header = header(row.valid_loss.is_some());
            inner.say(&header);
        }
        let line = row_text(row);
        inner.say(&line);
        inner.after_row.clone()
    }

    /// A line between the rows.
    pub fn note(&self, text: &str) {
        self.lock().note(text);
    }

    /// The training is over: the bar goes, held rows come.
    pub fn finish(&self) {
        let mut inner = self.lock();
        if let Some(bar) = inner.bar.take() {
            bar.finish_and_clear();
        }
        inner.verbosity = match inner.verbosity {
            Verbosity::Dashboard => Verbosity::Normal,
            other => other,
        };
        for line in std::mem::take(&mut inner.held) {
            inner.say(&line);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn start_split(&mut self, name: &'static str, done: usize, total: usize, batch_size: usize) {
        self.split = Split {
            name,
            done,
            total,
            batch_size,
            since: (done, Instant::now()),
        };
        self.loss = None;
        self.draw();
    }

    fn update(&mut self, done: usize) {
        if self.warming_up.take().is_some() {
            // The time until now was compilation: it would spoil the speed.
            self.split.since = (done, Instant::now());
        }
        self.split.done = done;
        self.draw();
    }

    /// "epoch 3/10", the bar, "210/375  12,400 images/s  loss 0.331  2 s left".
    fn draw(&self) {
        let Some(bar) = &self.bar else { return };
        if let Some(text) = &self.warming_up {
            bar.set_length(1);
            bar.set_position(0);
            bar.set_message(text.clone());
            return;
        }
        bar.set_length(self.split.total as u64);
        bar.set_position(self.split.done as u64);
        bar.set_prefix(self.stage());
        bar.set_message(self.details());
    }

    /// "epoch 3/10", or "evaluating" after the last one.
    fn stage(&self) -> String {
        match self.epoch {
            0 => "evaluating".to_owned(),
            epoch => format!("epoch {epoch}/{}", self.epochs),
        }
    }

    fn details(&self) -> String {
        let mut text = String::new();
        let (done_before, since) = self.split.since;
        let images = self.split.done.saturating_sub(done_before) as f64;
        let seconds = since.elapsed().as_secs_f64();
        if self.epoch == 0 || self.split.name != "train" {
            text.push_str(self.split.name);
        } else {
            let steps = |images: usize| images.div_ceil(self.split.batch_size);
            let _ = write!(
                text,
                "{}/{}",
                steps(self.split.done),
                steps(self.split.total)
            );
        }
        if images > 0.0 && seconds > 0.0 {
            let speed = images / seconds;
            let _ = write!(text, "  {} images/s", thousands(speed.round() as u64));
            if let Some(loss) = self.loss {
                let _ = write!(text, "  loss {loss:.3}");
            }
            let left = self.split.total.saturating_sub(self.split.done) as f64 / speed;
            let _ = write!(text, "  {} left", duration(left));
        }
        text
    }

    fn announce_warm_up(&mut self) {
        self.draw();
        if self.bar.is_none()
            && let Some(text) = self.warming_up.clone()
        {
            self.note(&text);
        }
    }

    fn note(&mut self, text: &str) {
        self.last_word = Instant::now();
        match (&self.bar, self.verbosity) {
            (Some(bar), _) => bar.println(text),
            (None, Verbosity::Normal) => {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            (None, Verbosity::Dashboard) => self.held.push(text.to_owned()),
            (None, Verbosity::Quiet) => {}
        }
    }

    fn say(&mut self, line: &str) {
        self.last_word = Instant::now();
        let print = || {
            // A reader that went away (`| head`) is no reason to lose a training.
            let _ = writeln!(std::io::stdout(), "{line}");
        };
        match (self.verbosity, &self.bar) {
            (Verbosity::Quiet, _) => {}
            (Verbosity::Dashboard, _) => self.held.push(line.to_owned()),
            (Verbosity::Normal, Some(bar)) => bar.suspend(print),
            (Verbosity::Normal, None) => print(),
        }
    }

    fn break_silence(&mut self) {
        if self.last_word.elapsed() < SILENCE {
            return;
        }
        let text = match &self.warming_up {
            Some(text) => format!("{text} (still at it)"),
            None => format!(
                "{}  {} of {} images  {}",
                self.stage(),
                thousands(self.split.done as u64),
                thousands(self.split.total as u64),
                self.details()
            ),
        };
        self.note(&text);
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(8));
    // The template is a constant that a test draws.
    if let Ok(style) = ProgressStyle::with_template("{prefix}  [{bar:28}]  {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Speaks up after [`SILENCE`], until the training is gone.
fn watch_silence(inner: Weak<Mutex<Inner>>) {
    std::thread::spawn(move || {
        while let Some(inner) = inner.upgrade() {
            inner
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .break_silence();
            drop(inner);
            std::thread::sleep(Duration::from_secs(1));
        }
    });
}

fn header(validates: bool) -> String {
    let valid = if validates {
        "   valid loss  accuracy"
    } else {
        ""
    };
    format!("epoch   train loss  accuracy{valid}   learning rate   seconds")
}

/// Four decimals; in powers of ten where that would not fit its column.
pub fn loss_text(loss: f64) -> String {
    if loss.abs() < 1e5 {
        format!("{loss:.4}")
    } else {
        format!("{loss:.3e}")
    }
}

fn row_text(row: &EpochRow) -> String {
    let mut line = format!(
        "{:>5}   {:>10}  {:>8.4}",
        row.epoch,
        loss_text(row.train_loss),
        row.train_accuracy
    );
    if let (Some(loss), Some(accuracy)) = (row.valid_loss, row.valid_accuracy) {
        let _ = write!(line, "   {:>10}  {accuracy:>8.4}", loss_text(loss));
    }
    let rate = format!("{:.1e}", row.learning_rate);
    let _ = write!(line, "   {rate:>13}   {:>7.1}", row.seconds);
    if row.best {
        line.push_str("   best");
    }
    line
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Passes burn-train's events on to a [`Progress`].
struct Renderer(Progress);

impl Renderer {
    fn metric(&self, state: &MetricState) {
        let MetricState::Numeric(entry, Some(value)) = state else {
            return;
        };
        let mut inner = self.0.lock();
        if inner.loss_metric.as_ref() == Some(&entry.metric_id)
            && !matches!(value, NumericEntry::Final(_))
        {
            inner.loss = Some(value.current());
        }
    }
}

impl MetricsRendererTraining for Renderer {
    fn update_train(&mut self, state: MetricState) {
        self.metric(&state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.metric(&state);
    }

    fn on_train_end(
        &mut self,
        _summary: Option<LearnerSummary>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
}

impl MetricsRendererEvaluation for Renderer {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl MetricsRenderer for Renderer {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        if *definition.name == RunningMetric::LOSS {
            self.0.lock().loss_metric = Some(definition.metric_id);
        }
    }
}

impl TrainingProgressLogger for Renderer {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _epoch: usize) {}
    fn start_split(&mut self, _split: &str, _total_items: usize) {}
    fn update_split(&mut self, items_processed: usize) {
        self.0.lock().update(items_processed);
    }
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _event: String) {}
}

impl EvaluationProgressLogger for Renderer {
    fn start_global_progress(&mut self, _total_tests: usize) {}
    fn start_test(&mut self, _name: &str, _total_items: usize) {}
    fn update_test_progress(&mut self, _items_processed: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _event: String) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_fit_their_column() {
        assert_eq!(loss_text(0.24071), "0.2407");
        assert_eq!(loss_text(99_999.5), "99999.5000");
        assert_eq!(loss_text(2.548239e18), "2.548e18");
    }

    #[test]
    fn rows_line_up_with_their_header() {
        let row = EpochRow {
            epoch: 2,
            step: 750,
            seconds: 3.12,
            learning_rate: 1e-3,
            train_loss: 0.4017,
            train_accuracy: 0.8573,
            valid_loss: Some(0.3688),
            valid_accuracy: Some(0.8691),
            best: true,
        };
        assert_eq!(
            format!("{}\n{}", header(true), row_text(&row)),
            "epoch   train loss  accuracy   valid loss  accuracy   learning rate   seconds\n    \
             2       0.4017    0.8573       0.3688    0.8691          1.0e-3       3.1   best"
        );
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(duration(0.2), "1 s");
        assert_eq!(duration(150.0), "2 min 30 s");
        assert_eq!(duration(7_300.0), "2 h 1 min");
    }

    #[test]
    fn the_bar_template_is_valid() {
        assert!(ProgressStyle::with_template("{prefix}  [{bar:28}]  {msg}").is_ok());
    }
}
