//! Copies of the splits on the device, which the experiments of a search share: they are made once.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;

use super::{Experiment, SplitName};
use crate::data::Normalization;
use crate::data::loader::ResidentSplit;

/// What is on the device. A copy of it shares the images.
#[derive(Clone, Default)]
pub(super) struct Resident(Arc<Mutex<Vec<(SplitName, Normalization, ResidentSplit)>>>);

impl Experiment {
    /// A split for training or for validation, copied to the device where it is not there yet. Each of the
    /// two has one kind of device, with or without gradients.
    pub(super) fn resident(&self, split: SplitName, device: &Device) -> ResidentSplit {
        let normalization = self.config.data.normalization;
        let mut held = self
            .resident
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let of = |(name, of, _): &&(SplitName, Normalization, ResidentSplit)| {
            *name == split && *of == normalization
        };
        if let Some((_, _, found)) = held.iter().find(of) {
            return found.clone();
        }
        let uploaded = self.upload(split, device);
        held.push((split, normalization, uploaded.clone()));
        uploaded
    }
}
