//! burn's dashboard, kept from harming the training: a panic of it (a terminal that went away) ends the
//! dashboard only, and Ctrl-C works in it.

use std::any::Any;
use std::error::Error;

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use burn::train::{Interrupter, LearnerSummary};

use crate::{failure, terminal};

/// Exit code of a training that was killed in the dashboard, as for Ctrl-C.
const KILLED: i32 = 130;

/// The dashboard, while it lives.
pub(super) struct Dashboard(Option<TuiMetricsRendererWrapper>);

impl Dashboard {
    pub(super) fn open(interrupter: Interrupter) -> Self {
        terminal::set_dashboard(true);
        let dashboard = TuiMetricsRendererWrapper::new(interrupter, None);
        std::thread::spawn(terminal::keep_ctrl_c);
        Self(Some(dashboard))
    }

    fn show(&mut self, act: impl FnOnce(&mut TuiMetricsRendererWrapper)) {
        let Some(dashboard) = &mut self.0 else { return };
        if let Err(panic) = failure::expecting(|| act(dashboard)) {
            self.close(&*panic);
        }
    }

    fn close(&mut self, panic: &(dyn Any + Send)) {
        if failure::message(panic).starts_with("Killing training") {
            terminal::leave(KILLED);
        }
        // Its destructor would panic once more.
        std::mem::forget(self.0.take());
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // While a panic unwinds the dashboard's own destructor does not close it, and whoever tells
        // the panic takes the terminal back.
        if std::thread::panicking() {
            return;
        }
        let dashboard = self.0.take();
        if let Err(panic) = failure::expecting(|| drop(dashboard)) {
            self.close(&*panic);
        }
        terminal::set_dashboard(false);
    }
}

impl MetricsRendererTraining for Dashboard {
    fn update_train(&mut self, state: MetricState) {
        self.show(|tui| tui.update_train(state));
    }

    fn update_valid(&mut self, state: MetricState) {
        self.show(|tui| tui.update_valid(state));
    }

    fn on_train_end(&mut self, summary: Option<LearnerSummary>) -> Result<(), Box<dyn Error>> {
        let mut result = Ok(());
        self.show(|tui| result = tui.on_train_end(summary));
        result
    }
}

impl MetricsRendererEvaluation for Dashboard {
    fn update_test(&mut self, name: EvaluationName, state: MetricState) {
        self.show(|tui| tui.update_test(name, state));
    }
}

impl MetricsRenderer for Dashboard {
    fn manual_close(&mut self) {
        self.show(MetricsRenderer::manual_close);
    }

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.show(|tui| tui.register_metric(definition));
    }
}

impl TrainingProgressLogger for Dashboard {
    fn start(&mut self, epochs: usize, first: usize, items: Option<usize>, label: Option<&str>) {
        self.show(|tui| TrainingProgressLogger::start(tui, epochs, first, items, label));
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.show(|tui| tui.update_epoch(epoch));
    }

    fn start_split(&mut self, split: &str, total_items: usize) {
        self.show(|tui| tui.start_split(split, total_items));
    }

    fn update_split(&mut self, items_processed: usize) {
        self.show(|tui| tui.update_split(items_processed));
    }

    fn end_split(&mut self) {
        self.show(TrainingProgressLogger::end_split);
    }

    fn end(&mut self) {
        self.show(TrainingProgressLogger::end);
    }

    fn log_event_training(&mut self, event: String) {
        self.show(|tui| tui.log_event_training(event));
    }
}

impl EvaluationProgressLogger for Dashboard {
    fn start_global_progress(&mut self, total_tests: usize) {
        self.show(|tui| tui.start_global_progress(total_tests));
    }

    fn start_test(&mut self, name: &str, total_items: usize) {
        self.show(|tui| tui.start_test(name, total_items));
    }

    fn update_test_progress(&mut self, items_processed: usize) {
        self.show(|tui| tui.update_test_progress(items_processed));
    }

    fn end_test(&mut self) {
        self.show(EvaluationProgressLogger::end_test);
    }

    fn end_global_progress(&mut self) {
        self.show(EvaluationProgressLogger::end_global_progress);
    }

    fn log_event_evaluation(&mut self, event: String) {
        self.show(|tui| tui.log_event_evaluation(event));
    }
}
