//! Whether an experiment fits its device, before anything is written: the largest buffer against what
//! the adapter allows, and on devices that compute in the main memory the sum against what is free.
//!
//! Not checked is the memory of a GPU of its own: wgpu does not say how much there is. The sums are
//! lower bounds (no copies, no padding, no memory of the kernels that are being tuned), so that nothing
//! that would run is refused.

use std::path::Path;

use anyhow::{Result, bail};

use super::{Experiment, SplitName};
use crate::data::loader::ResidentSplit;
use crate::device::Adapter;
use crate::model::memory::{Layer, Totals};
use crate::run::disk;
use crate::text::thousands;

/// Bytes of an element: all tensors are f32 or i32.
const ELEMENT: u64 = 4;

/// A key of the config that sets how many images are computed at once.
struct Batch {
    key: &'static str,
    size: usize,
    /// Images that there are.
    n_images: usize,
}

impl Batch {
    /// A batch is never larger than its split.
    fn largest(&self) -> u64 {
        self.size.min(self.n_images) as u64
    }
}

/// A limit of an adapter on one buffer.
struct Limit<'a> {
    adapter: &'a str,
    bytes: u64,
}

impl<'a> Limit<'a> {
    fn of(adapter: &'a Adapter) -> Self {
        Self {
            adapter: &adapter.name,
            bytes: adapter.max_binding.min(adapter.max_buffer),
        }
    }

    fn check_images(&self, bytes: u64) -> Result<()> {
        if bytes <= self.bytes {
            return Ok(());
        }
        bail!(
            "the images take {} bytes on the device in one buffer, but {} allows at most {}\n\
             hint: use --device cpu, or a smaller data set",
            thousands(bytes),
            self.adapter,
            thousands(self.bytes)
        );
    }

    fn check_weights(&self, layers: &[Layer]) -> Result<()> {
        for layer in layers {
            let bytes = layer.weight.saturating_mul(ELEMENT);
            if bytes > self.bytes {
                bail!(
                    "the weights behind {} take {} bytes in one buffer, but {} allows at most {}\n\
                     hint: make that layer or the one before it smaller, or use --device cpu",
                    layer.name,
                    thousands(bytes),
                    self.adapter,
                    thousands(self.bytes)
                );
            }
        }
        Ok(())
    }

    fn check_batch(&self, batch: &Batch, layers: &[Layer]) -> Result<()> {
        let Some(layer) = layers.iter().max_by_key(|layer| layer.output) else {
            return Ok(());
        };
        let per_image = layer.output.saturating_mul(ELEMENT).max(1);
        let bytes = per_image.saturating_mul(batch.largest());
        if bytes <= self.bytes {
            return Ok(());
        }
        bail!(
            "`{}` is {}, but {} then takes {} bytes in one buffer, and {} allows at most {}\nhint: {}",
            batch.key,
            batch.size,
            layer.name,
            thousands(bytes),
            self.adapter,
            thousands(self.bytes),
            advice(batch, self.bytes / per_image)
        );
    }
}

/// A sum that the driver cuts short is a wrong result that nobody notices.
fn check_sums(adapter: &Adapter, batch: &Batch, layers: &[Layer]) -> Result<()> {
    let longest = layers.iter().max_by_key(|layer| layer.summed);
    let (Some(layer), Some(limit)) = (longest, adapter.longest_sum()) else {
        return Ok(());
    };
    let sum = layer.summed.saturating_mul(batch.largest());
    if sum <= limit {
        return Ok(());
    }
    bail!(
        "`{}` is {}, but {} then adds up {} numbers for a gradient, and {} ends a loop after 65,535\n\
         hint: {}; --device cpu has no such limit, and is faster than a software adapter",
        batch.key,
        batch.size,
        layer.name,
        thousands(sum),
        adapter.name,
        advice(batch, limit / layer.summed.max(1))
    );
}

fn advice(batch: &Batch, fitting: u64) -> String {
    match fitting {
        0 => "not even one image fits: make the model smaller, or use another --device".to_owned(),
        _ => format!("{} = {fitting} is the largest that fits", batch.key),
    }
}

/// Needs against the main memory.
struct MainMemory {
    free: u64,
}

impl MainMemory {
    /// * `fixed`: bytes whatever the batch
    /// * `per_image`: bytes for each image of the batch
    fn check(&self, batch: &Batch, fixed: u64, per_image: u64) -> Result<()> {
        let needed = fixed.saturating_add(per_image.saturating_mul(batch.largest()));
        if needed <= self.free {
            return Ok(());
        }
        let fitting = self.free.saturating_sub(fixed) / per_image.max(1);
        bail!(
            "`{}` is {}, which needs at least {} MiB of memory, but only {} MiB are free\nhint: {}",
            batch.key,
            batch.size,
            thousands(needed >> 20),
            thousands(self.free >> 20),
            advice(batch, fitting)
        );
    }
}

impl Experiment {
    /// Checks what every command does on the device: the data, the weights, evaluation.
    pub(super) fn check_evaluation_fits(&self) -> Result<()> {
        let layers = self.config.model.layers(self.input);
        let splits = [SplitName::Train, SplitName::Validation, SplitName::Test];
        let n_images = splits.map(|split| self.n_images(split));
        let batch = Batch {
            key: "train.evaluation_batch_size",
            size: self.config.train.evaluation_batch_size,
            n_images: n_images.into_iter().max().unwrap_or(0),
        };
        if let Some(adapter) = &self.device.adapter {
            let limit = Limit::of(adapter);
            limit.check_images(self.bytes_of_images(batch.n_images))?;
            limit.check_weights(&layers)?;
            limit.check_batch(&batch, &layers)?;
        }
        let totals = Totals::of(&layers);
        let fixed = totals.parameters.saturating_mul(ELEMENT);
        let per_image = totals.inference_per_image.saturating_mul(ELEMENT);
        match self.main_memory() {
            Some(memory) => memory.check(&batch, fixed, per_image),
            None => Ok(()),
        }
    }

    /// Checks what a training needs beside that.
    pub fn check_training_fits(&self) -> Result<()> {
        let layers = self.config.model.layers(self.input);
        let n_images = self.n_images(SplitName::Train);
        let batch = Batch {
            key: "train.batch_size",
            size: self.config.train.batch_size,
            n_images,
        };
        if let Some(adapter) = &self.device.adapter {
            Limit::of(adapter).check_batch(&batch, &layers)?;
            check_sums(adapter, &batch, &layers)?;
        }
        let Some(memory) = self.main_memory() else {
            return Ok(());
        };
        let totals = Totals::of(&layers);
        // The weights, their gradients, what is kept of each, and what a step makes of it.
        let copies = 2 + self.n_averages() + self.config.optimizer.n_working_copies();
        let resident = n_images + self.n_images(SplitName::Validation);
        let fixed = totals
            .parameters
            .saturating_mul(copies * ELEMENT)
            .saturating_add(self.bytes_of_images(resident));
        let per_image = totals.training_per_image.saturating_mul(ELEMENT);
        memory.check(&batch, fixed, per_image)
    }

    /// Refuses a place that has no room for two checkpoints: one that is kept while the next is
    /// written. `place` need not be there yet.
    pub fn check_room(&self, place: &Path) -> Result<()> {
        let there = place.ancestors().find(|folder| folder.is_dir());
        let folder = there.filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let Some(free) = disk::free_bytes(folder) else {
            return Ok(()); // the first checkpoint will tell
        };
        // Weights, averages, and some text.
        let numbers = self.n_parameters() as u64 * (1 + self.n_averages());
        let needed = 2 * (4 * numbers + 32 * 1024);
        if free < needed {
            bail!(
                "{} has room for {free} bytes, but two checkpoints take about {needed}\n\
                 hint: make room there, or put the run on another disk",
                folder.display()
            );
        }
        Ok(())
    }

    /// Running averages that are kept for each weight: the optimizer's, and that of the weights.
    fn n_averages(&self) -> u64 {
        let config = &self.config;
        config.optimizer.n_averages() + u64::from(config.train.averages())
    }

    fn bytes_of_images(&self, n_images: usize) -> u64 {
        ResidentSplit::bytes(n_images, self.input.n_values()) as u64
    }

    /// The memory that the device computes in, if that is the computer's own and known.
    fn main_memory(&self) -> Option<MainMemory> {
        let shared = self
            .device
            .adapter
            .as_ref()
            .is_none_or(|adapter| adapter.is_software() || adapter.kind == "integrated");
        let free = free_memory().filter(|_| shared)?;
        Some(MainMemory { free })
    }
}

/// What Linux says can be had, swap and the limit of the process's group included. Unknown elsewhere.
fn free_memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let free = parse_meminfo(&read("/proc/meminfo")?)?;
    let group = read("/proc/self/cgroup").and_then(|groups| {
        let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let limit = format!("/sys/fs/cgroup{}/memory.max", path.trim_end_matches('/'));
        read(&limit)?.trim().parse::<u64>().ok()
    });
    Some(group.map_or(free, |limit| limit.min(free)))
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let kib = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    let swap = kib("SwapFree:").unwrap_or(0);
    Some((kib("MemAvailable:")? + swap) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Vec<Layer> {
        let layer = |name: &str, output| Layer {
            name: name.to_owned(),
            output,
            kept: output,
            weight: 50,
            parameters: 50,
            summed: 1,
            places: 1,
        };
        vec![layer("a", 100), layer("b", 1000), layer("c", 10)]
    }

    fn batch(size: usize) -> Batch {
        Batch {
            key: "train.batch_size",
            size,
            n_images: 60,
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_names_one_that_does() {
        let limit = Limit {
            adapter: "Radeon",
            bytes: 200_000,
        };
        let error = limit.check_batch(&batch(1 << 40), &layers()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`train.batch_size` is 1099511627776, but b then takes 240,000 bytes in one buffer, and \
             Radeon allows at most 200,000\nhint: train.batch_size = 50 is the largest that fits"
        );
        assert!(limit.check_batch(&batch(51), &layers()).is_err());
        assert!(limit.check_batch(&batch(50), &layers()).is_ok());
        let tiny = Limit {
            adapter: "x",
            bytes: 10,
        };
        let error = tiny.check_batch(&batch(1), &layers()).unwrap_err();
        assert!(error.to_string().contains("not even one image"), "{error}");
        let error = tiny.check_weights(&layers()).unwrap_err().to_string();
        assert!(
            error.starts_with("the weights behind a take 200 bytes"),
            "{error}"
        );
    }

    #[test]
    fn main_memory_is_compared_with_the_whole() {
        let memory = MainMemory { free: 10 << 20 };
        assert!(memory.check(&batch(60), 1 << 20, 150 << 10).is_ok());
        let error = memory.check(&batch(60), 1 << 20, 300 << 10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`train.batch_size` is 60, which needs at least 18 MiB of memory, but only 10 MiB are \
             free\nhint: train.batch_size = 30 is the largest that fits"
        );
    }

    #[test]
    fn linux_says_what_is_free() {
        let text = "MemTotal:  16 kB\nMemAvailable:     8 kB\nSwapFree:        2 kB\n";
        assert_eq!(parse_meminfo(text), Some(10 << 10));
        assert_eq!(parse_meminfo("MemTotal: 16 kB\n"), None);
        assert_eq!(free_memory().is_some(), cfg!(target_os = "linux"));
    }
}
