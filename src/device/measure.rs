//! What a device tells about itself while it works: memory, kernel launches, its peak. CPU backends
//! tell none of it, but for a peak that is measured here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use burn::backend::DispatchDevice;
use burn::cubecl::MemoryScope;
use burn::cubecl::client::Client;
use burn::cubecl::config::TypeNameFormatLevel;
use burn::cubecl::config::type_name_format;
use burn::cubecl::future::block_on;
use burn::cubecl::ir::{ElemType, FloatKind};
use burn::cubecl::logging::{
    LaunchObservation, LaunchObserver, ProfileDuration, TimingMethod, TimingRequest,
};
use burn::cubecl::throughput::{ThroughputKey, ThroughputMode};
use burn::tensor::{Device, Tensor};

fn client(device: &Device) -> Option<Client> {
    let mut device = device.as_dispatch().clone();
    while let DispatchDevice::Autodiff(outer) = device {
        device = outer.inner();
    }
    match device {
        DispatchDevice::Cube(device) => Some(device.client()),
        _ => None,
    }
}

/// Bytes of a GPU's memory that this process has.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// In tensors that are alive.
    pub in_use: u64,
    /// Taken from the driver and kept for tensors to come: what the process needed at once so far.
    pub reserved: u64,
}

/// None on a CPU backend.
pub fn memory(device: &Device) -> Option<Memory> {
    let usage = client(device)?.memory_report(MemoryScope::Device).usage();
    Some(Memory {
        in_use: usage.bytes_in_use,
        reserved: usage.bytes_reserved,
    })
}

/// Gives memory that no tensor needs back to the driver.
pub fn release_memory(device: &Device) {
    if let Some(client) = client(device) {
        // Where it is refused, the figures are of more than one workload.
        let _ = client.memory_cleanup();
    }
}

/// A kernel that was launched.
#[derive(Clone, Debug, PartialEq)]
pub struct Launched {
    /// Its type, without paths.
    pub kernel: String,
    /// How often.
    pub n: u64,
    /// On the device's own clock. None where that has none for each launch.
    pub seconds: Option<f64>,
}

/// The kernels that `work` launches and the time that the device takes for each, the longest first.
/// Work that is queued and not finished when it returns is not seen.
pub fn launches<T>(work: impl FnOnce() -> T) -> (T, Vec<Launched>) {
    let watch = Arc::new(Watch::default());
    let observation = LaunchObservation::new(watch.clone());
    let result = work();
    drop(observation);
    (result, watch.launched())
}

/// What a kernel was seen to do.
#[derive(Default)]
struct Seen {
    n: u64,
    timings: Vec<ProfileDuration>,
    /// Timings that are not of the device's clock, or were not given at all, show in this sum.
    n_timed: u64,
    seconds: f64,
}

#[derive(Default)]
struct Watch(Mutex<BTreeMap<&'static str, Seen>>);

impl Watch {
    fn with(&self, kernel: &'static str, change: impl FnOnce(&mut Seen)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(kernel).or_default());
    }

    fn launched(&self) -> Vec<Launched> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut launched: Vec<Launched> = std::mem::take(&mut *all)
            .into_iter()
            .map(|(kernel, mut seen)| {
                for timing in std::mem::take(&mut seen.timings) {
                    seen.read(timing);
                }
                Launched {
                    kernel: type_name_format(kernel, TypeNameFormatLevel::Balanced),
                    n: seen.n,
                    seconds: (seen.n_timed == seen.n).then_some(seen.seconds),
                }
            })
            .collect();
        let order = |a: &Launched, b: &Launched| {
            let key = |it: &Launched| it.seconds.unwrap_or(0.0);
            key(b).total_cmp(&key(a)).then(b.n.cmp(&a.n))
        };
        launched.sort_by(order);
        launched
    }
}

impl Seen {
    fn read(&mut self, timing: ProfileDuration) {
        if timing.timing_method() == TimingMethod::Device
            && let Some(ticks) = block_on(timing.resolve())
        {
            self.n_timed += 1;
            self.seconds += ticks.duration().as_secs_f64();
        }
    }
}

impl LaunchObserver for Watch {
    fn launched(&self, kernel: &'static str) {
        self.with(kernel, |seen| seen.n += 1);
    }

    fn timing(&self) -> TimingRequest {
        TimingRequest::Deferred
    }

    fn profiled(&self, kernel: &'static str, profile: ProfileDuration) {
        self.with(kernel, |seen| seen.timings.push(profile));
    }

    fn timed(&self, kernel: &'static str, duration: Duration, method: TimingMethod) {
        if method == TimingMethod::Device {
            self.with(kernel, |seen| {
                seen.n_timed += 1;
                seen.seconds += duration.as_secs_f64();
            });
        }
    }
}

/// The most f32 arithmetic that a device was seen to do.
#[derive(Clone, Debug)]
pub struct Peak {
    /// Floating-point operations in a second; a multiply-add is two.
    pub flops_per_second: f64,
    /// How it was measured, for people.
    pub how: &'static str,
}

/// Sides of the matrices whose product is timed.
const SIDES: [usize; 3] = [512, 1024, 2048];
/// How often each product is timed.
const TRIES: usize = 4;

/// Measures it: seconds. None where the device refuses.
pub fn peak(device: &Device) -> Option<Peak> {
    let dtype = ElemType::Float(FloatKind::F32);
    let key = ThroughputKey {
        mode: ThroughputMode::ComputeDirect { dtype },
    };
    match device.performance_stats(&[key]).first() {
        Some(stat) => Some(Peak {
            flops_per_second: stat.value.ok()?.ops_per_s(),
            how: "f32 multiply-adds in registers",
        }),
        None => Some(Peak {
            flops_per_second: product_peak(device)?,
            how: "a large f32 matrix product",
        }),
    }
    .filter(|peak| peak.flops_per_second.is_finite() && peak.flops_per_second > 0.0)
}

fn product_peak(device: &Device) -> Option<f64> {
    let mut best = 0f64;
    for side in SIDES {
        let matrix = Tensor::<2>::full([side, side], 0.5, device);
        for _ in 0..TRIES {
            let started = Instant::now();
            let product = matrix.clone().matmul(matrix.clone());
            device.sync().ok()?;
            let seconds = started.elapsed().as_secs_f64();
            drop(product);
            best = best.max(2.0 * (side as f64).powi(3) / seconds);
        }
    }
    Some(best)
}
