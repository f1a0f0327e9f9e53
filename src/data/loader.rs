//! The device-resident data loader. A whole split lives on the device as packed bytes; a batch is one
//! kernel launch, and nothing but the order of the images crosses to the device, once per epoch.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::epoch_order::epoch_order;
use crate::kernels::gather_batch::{Augmentation, FlipDraw, pack};
use crate::kernels::{GatherSpec, gather_batch};
use crate::random::mix;

/// What a step takes: the one place where models and data meet.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[batch, channel, height, width]`, normalised.
    pub images: Tensor<4>,
    /// `[batch]`, class indices.
    pub labels: Tensor<1, Int>,
    /// Images in the batch.
    pub n_images: usize,
    /// Key of the step's draws (dropout): a function of (seed, epoch, batch index).
    pub key: u32,
}

/// A split on a device.
#[derive(Clone, Debug)]
pub struct ResidentSplit {
    packed: Tensor<1, Int>,
    labels: Tensor<1, Int>,
    table: Tensor<1, Int>,
    /// What byte 0 becomes, for each channel.
    black: Vec<f32>,
    n_images: usize,
    channels: usize,
    height: usize,
    width: usize,
}

/// A split on the host: what [`ResidentSplit::upload`] takes.
pub struct HostSplit<'a> {
    /// All images.
    pub images: &'a super::idx::Images,
    /// Their classes.
    pub labels: &'a [u8],
    /// Those that belong to the split.
    pub image_indices: &'a [u32],
    /// The f32 bits of each byte, 256 for each channel.
    pub table: &'a [i32],
}

impl ResidentSplit {
    /// Copies a split to the device: one byte per pixel and channel.
    pub fn upload(split: &HostSplit, device: &Device) -> Self {
        let images = split.images;
        let labels = split.image_indices.iter();
        let labels = labels.map(|&index| i32::from(split.labels[index as usize]));
        Self {
            packed: int_tensor(
                pack(&images.pixels, images.n_values(), split.image_indices),
                device,
            ),
            labels: {
                let labels: Vec<i32> = labels.collect();
                // The device's own integer type, as `argmax` gives: they are compared.
                Tensor::from_data(TensorData::new(labels, [split.image_indices.len()]), device)
            },
            table: int_tensor(split.table.to_vec(), device),
            black: split
                .table
                .chunks_exact(256)
                .take(images.channels)
                .map(|table| f32::from_bits(table[0] as u32))
                .collect(),
            n_images: split.image_indices.len(),
            channels: images.channels,
            height: images.height,
            width: images.width,
        }
    }

    /// Bytes that the images of a split take on a device, in one buffer.
    pub fn bytes(n_images: usize, n_values: usize) -> usize {
        n_images * crate::kernels::gather_batch::words_per_image(n_values) * 4
    }

    /// What byte 0 becomes, for each channel.
    pub fn black(&self) -> &[f32] {
        &self.black
    }

    fn to_device(&self, device: &Device) -> Self {
        Self {
            packed: self.packed.clone().to_device(device),
            labels: self.labels.clone().to_device(device),
            table: self.table.clone().to_device(device),
            ..self.clone()
        }
    }
}

fn int_tensor(values: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), (device, DType::I32))
}

/// How a loader walks through its split.
#[derive(Clone, Debug)]
pub enum Order {
    /// As stored, unchanged: for evaluation.
    Stored,
    /// A permutation per epoch and random changes per image, both pure functions of (seed, epoch).
    Shuffled {
        /// The experiment's seed.
        seed: u64,
        /// Random changes of the images.
        augmentation: Augmentation,
        /// Which epoch comes next, and at which batch.
        cursor: Cursor,
    },
}

/// Where the next pass starts. Shared with the epoch loop, which sets it: burn's `DataLoader` has no
/// notion of an epoch or of a first batch.
#[derive(Clone, Debug, Default)]
pub struct Cursor(Arc<(AtomicU64, AtomicU64)>);

impl Cursor {
    /// The next `iter` gives the batches of `epoch` from `first_batch` on.
    pub fn set(&self, epoch: u64, first_batch: u64) {
        self.0.0.store(epoch, Ordering::Release);
        self.0.1.store(first_batch, Ordering::Release);
    }

    fn get(&self) -> (u64, u64) {
        (
            self.0.0.load(Ordering::Acquire),
            self.0.1.load(Ordering::Acquire),
        )
    }
}

/// Batches of a resident split.
pub struct ResidentLoader {
    split: ResidentSplit,
    batch_size: usize,
    positions: Range<usize>,
    order: Order,
    /// The order of the last epoch asked for, on the device.
    uploaded: Mutex<Option<(u64, Tensor<1, Int>)>>,
}

/// Keeps the draws of augmentation and of steps apart from the others of the same seed.
const AUGMENTATION_TAG: u64 = 0x6175_676d; // "augm"
const STEP_TAG: u64 = 0x7374_6570; // "step"
const FLIP_TAG: u64 = 0x666c_6970; // "flip"

impl ResidentLoader {
    /// Batches of `batch_size`; the last one of a pass may be smaller.
    pub fn new(split: ResidentSplit, batch_size: usize, order: Order) -> Self {
        Self {
            positions: 0..split.n_images,
            split,
            batch_size,
            order,
            uploaded: Mutex::new(None),
        }
    }

    /// Batches in a pass over the whole split.
    pub fn n_batches(&self) -> usize {
        self.positions.len().div_ceil(self.batch_size)
    }

    fn order_on_device(&self, epoch: u64) -> Tensor<1, Int> {
        let mut uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, order)) = &*uploaded
            && *of == epoch
        {
            return order.clone();
        }
        let n = self.split.n_images;
        let order: Vec<i32> = match &self.order {
            Order::Stored => (0..n as i32).collect(),
            Order::Shuffled { seed, .. } => {
                let order = epoch_order(n, *seed, epoch);
                order.into_iter().map(|index| index as i32).collect()
            }
        };
        let order = int_tensor(order, &self.split.packed.device());
        *uploaded = Some((epoch, order.clone()));
        order
    }
}

impl DataLoader<Batch> for ResidentLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        let (seed, (epoch, first_batch), augmentation) = match &self.order {
            Order::Stored => (0, (0, 0), Augmentation::default()),
            Order::Shuffled {
                seed,
                augmentation,
                cursor,
            } => (*seed, cursor.get(), *augmentation),
        };
        let order = self.order_on_device(epoch);
        Box::new(Batches {
            loader: self,
            labels: self.split.labels.clone().select(0, order.clone()),
            order,
            seed,
            epoch,
            batch: first_batch,
            augmentation,
        })
    }

    fn num_items(&self) -> usize {
        self.positions.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self {
            split: self.split.to_device(device),
            batch_size: self.batch_size,
            positions: self.positions.clone(),
            order: self.order.clone(),
            uploaded: Mutex::new(None),
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        let at = |offset: usize| (self.positions.start + offset).min(self.positions.end);
        Arc::new(Self {
            split: self.split.clone(),
            batch_size: self.batch_size,
            positions: at(start)..at(end),
            order: self.order.clone(),
            uploaded: Mutex::new(None),
        })
    }
}

/// One pass.
struct Batches<'a> {
    loader: &'a ResidentLoader,
    order: Tensor<1, Int>,
    /// Labels in the order of the pass.
    labels: Tensor<1, Int>,
    seed: u64,
    epoch: u64,
    batch: u64,
    augmentation: Augmentation,
}

impl Batches<'_> {
    fn range(&self) -> Range<usize> {
        let positions = &self.loader.positions;
        let first = positions.start + self.batch as usize * self.loader.batch_size;
        let first = first.min(positions.end);
        first..(first + self.loader.batch_size).min(positions.end)
    }
}

impl Batches<'_> {
    /// `key`: of the epoch's other draws. Alternating (Jordan, 2024), two epochs in a row show both sides of
    /// each image; the first epoch is 1.
    fn flip(&self, key: u32) -> FlipDraw {
        match self.augmentation.alternates {
            false => FlipDraw::anew(key),
            true => FlipDraw {
                key: mix(&[self.seed, FLIP_TAG]) as u32,
                other_way: self.epoch.is_multiple_of(2),
            },
        }
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let range = self.range();
        if range.is_empty() {
            return None;
        }
        let split = &self.loader.split;
        let key = mix(&[self.seed, AUGMENTATION_TAG, self.epoch]) as u32;
        let spec = GatherSpec {
            first: range.start as u32,
            n_images: range.len() as u32,
            channels: split.channels as u32,
            height: split.height as u32,
            width: split.width as u32,
            key,
            flip: self.flip(key),
            augmentation: self.augmentation,
        };
        let key = mix(&[self.seed, STEP_TAG, self.epoch, self.batch]) as u32;
        self.batch += 1;
        Some(Ok(Batch {
            images: gather_batch(&split.packed, &self.order, &split.table, spec),
            labels: self.labels.clone().slice([range.clone()]),
            n_images: range.len(),
            key,
        }))
    }
}

impl DataLoaderIterator<Batch> for Batches<'_> {
    fn progress(&self) -> Progress {
        let done = self.range().start - self.loader.positions.start;
        Progress::new(done, self.loader.positions.len(), None)
    }
}
