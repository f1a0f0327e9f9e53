//! One checkpoint, one commit. burn-train hands model, optimizer and scheduler to three checkpointers
//! on three threads that know nothing of each other; ours only collect the bytes, and the epoch loop
//! writes them with its own state in one folder ([`crate::run::checkpoints`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burn::module::Module;
use burn::tensor::Bytes;
use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use burn_pack::{DType, Reader, Tensor, Writer};
use serde::{Deserialize, Serialize};

use super::step::Trainee;
use crate::run;

/// The `[checkpoint]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Longest time between two checkpoints. One is saved after each epoch too; 0 saves only those.
    pub every_minutes: f64,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every_minutes: 10.0,
        }
    }
}

impl CheckpointConfig {
    /// Longest time between two checkpoints; None where only epochs count.
    pub(super) fn interval(&self) -> Option<Duration> {
        let seconds = self.every_minutes * 60.0;
        // What does not fit is longer than any run.
        (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// The part of a checkpoint that a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The weights.
    Model,
    /// The optimizer's state.
    Optimizer,
    /// The schedule's state.
    Scheduler,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 3] = [Self::Model, Self::Optimizer, Self::Scheduler];

    /// File name in a checkpoint folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Model => "model.bpk",
            Self::Optimizer => "optimizer.bpk",
            Self::Scheduler => "scheduler.bpk",
        }
    }
}

/// The average of the weights in a checkpoint folder, where one is kept: a model file like that of
/// [`Part::Model`].
pub const AVERAGE_FILE: &str = "average.bpk";

/// The state of the epoch loop in a checkpoint folder.
pub const STATE_FILE: &str = "state.json";

/// The run's config at the time, in a checkpoint folder.
pub const CONFIG_FILE: &str = "config.toml";

/// Longest wait for the three parts: far above what serialising a model takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why a part is not to be saved.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PartError {
    /// It cannot be written as a record.
    #[error("{0}")]
    Record(String),
    /// The model has diverged.
    #[error("{0} is not finite")]
    NotFinite(String),
}

type Parts = BTreeMap<Part, Result<Vec<u8>, PartError>>;

/// Where the three checkpointers leave and find their bytes.
#[derive(Clone, Default)]
pub struct Slot(Arc<(Mutex<Parts>, Condvar)>);

impl Slot {
    /// Waits until all three parts have arrived, and takes them.
    pub fn take(&self) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
        let (_, arrived) = &*self.0;
        let incomplete = |parts: &mut Parts| parts.len() < Part::ALL.len();
        let (mut parts, waited) = arrived
            .wait_timeout_while(self.lock(), PATIENCE, incomplete)
            .unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(
            !waited.timed_out(),
            "the state of the run could not be collected for a checkpoint: only {:?} arrived",
            parts.keys().collect::<Vec<_>>()
        );
        std::mem::take(&mut *parts)
            .into_iter()
            .map(|(part, bytes)| {
                let name = part.file_name();
                let bytes = bytes.map_err(|error| anyhow::Error::from(error).context(name))?;
                Ok((name, bytes))
            })
            .collect()
    }

    /// Leaves bytes for the checkpointers to restore.
    pub fn put(&self, part: Part, bytes: Vec<u8>) {
        self.lock().insert(part, Ok(bytes));
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the three checkpointers.
pub struct PartCheckpointer {
    /// Which.
    pub part: Part,
    /// Where its bytes go.
    pub slot: Slot,
}

impl<R: Checkpoint> Checkpointer<R> for PartCheckpointer {
    fn save(&self, _id: usize, record: R) -> Result<(), CheckpointerError> {
        let bytes = match record.checkpoint_into_bytes() {
            Ok(bytes) => in_order(bytes),
            Err(error) => Err(PartError::Record(error.to_string())),
        };
        self.slot.lock().insert(self.part, bytes);
        self.slot.0.1.notify_all();
        Ok(())
    }

    fn delete(&self, _id: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn restore(&self, _id: usize) -> Result<R, CheckpointerError> {
        let bytes = match self.slot.lock().remove(&self.part) {
            Some(Ok(bytes)) => bytes,
            _ => return Err(CheckpointerError::Unknown("nothing to restore".to_owned())),
        };
        R::checkpoint_from_bytes(Bytes::from_bytes_vec(bytes)).map_err(CheckpointerError::Record)
    }
}

/// The bytes of a model file, as a checkpoint has it.
pub fn model_file(model: Trainee) -> Result<Vec<u8>, PartError> {
    let record = model.into_record().checkpoint_into_bytes();
    in_order(record.map_err(|error| PartError::Record(error.to_string()))?)
}

/// The file of a checkpoint that has the model: the average of the weights where there is one. The other
/// weights are for going on with the training.
pub fn weights_file(checkpoint: &run::checkpoints::Checkpoint) -> &'static str {
    match is_averaged(checkpoint) {
        true => AVERAGE_FILE,
        false => Part::Model.file_name(),
    }
}

/// Whether the model of a checkpoint is the average of its weights.
pub fn is_averaged(checkpoint: &run::checkpoints::Checkpoint) -> bool {
    checkpoint.files.contains_key(AVERAGE_FILE)
}

/// The same record with its tensors by name: burn writes an optimizer's in the order of a hash map,
/// which differs from run to run, and the same state should be the same bytes. Numbers that are not
/// finite are refused: such a state is of no use to anybody.
fn in_order(record: Bytes) -> Result<Vec<u8>, PartError> {
    let unreadable = |error: burn_pack::Error| PartError::Record(error.to_string());
    let reader = Reader::from_bytes(record).map_err(unreadable)?;
    let (metadata, scalars) = (reader.metadata().clone(), reader.scalars().clone());
    let mut tensors = reader.into_tensors().map_err(unreadable)?;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    for tensor in &tensors {
        if !is_finite(tensor).map_err(unreadable)? {
            return Err(PartError::NotFinite(tensor.name.clone()));
        }
    }
    let mut writer = Writer::new(tensors);
    for (key, value) in &metadata {
        writer = writer.with_metadata(key, value);
    }
    for (key, value) in scalars {
        writer = writer.with_scalar(&key, value);
    }
    Ok(writer.into_bytes().map_err(unreadable)?.to_vec())
}

/// Whether all numbers are. Only f32 is looked at: the one float type that weft trains in.
fn is_finite(tensor: &Tensor) -> Result<bool, burn_pack::Error> {
    if tensor.dtype != DType::F32 {
        return Ok(true);
    }
    let bytes = tensor.to_bytes()?;
    let mut numbers = bytes.chunks_exact(4);
    Ok(numbers
        .all(|number| <[u8; 4]>::try_from(number).is_ok_and(|n| f32::from_le_bytes(n).is_finite())))
}

/// Saves whenever the epoch loop asks, and leaves deleting to the run folder.
pub struct WhenAsked;

impl CheckpointingStrategy for WhenAsked {
    fn checkpointing(&mut self, _id: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        vec![CheckpointingAction::Save]
    }
}
