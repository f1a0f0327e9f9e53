//! Choosing, listing and describing devices. Only this module and `kernels` know backends by name.

pub mod measure;

use std::str::FromStr;

use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig, cache::CacheConfig};
use burn::tensor::wgpu::wgpu;
use burn::tensor::{Device, DeviceKind};

/// What `--device` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best hardware GPU, else the CPU.
    Auto,
    /// The best hardware GPU, or an error.
    Gpu,
    /// The adapter of this number in `weft devices`, software ones too.
    GpuIndex(usize),
    /// The first adapter whose name has this in it, whatever the case; software ones too.
    GpuName(String),
    /// burn's flex backend.
    Cpu,
    /// burn's ndarray backend.
    NdArray,
}

/// Why no device could be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The text is none of the choices.
    #[error(
        "device `{0}` is not known\nhint: use auto, gpu, gpu:INDEX, gpu:NAME-PART, cpu or ndarray; `weft \
         devices` lists what is here"
    )]
    Unknown(String),
    /// There is no such GPU.
    #[error(
        "no GPU for --device {asked}: {why}\nhint: `weft devices` lists the adapters; --device cpu trains on the CPU"
    )]
    NoGpu {
        /// What was asked for.
        asked: String,
        /// What was found.
        why: String,
    },
    /// The driver refused.
    #[error("{adapter} cannot be opened: {why}\nhint: update its driver, or use --device cpu")]
    Open {
        /// Name of the adapter.
        adapter: String,
        /// The driver's words.
        why: String,
    },
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        Ok(match text {
            "auto" => Self::Auto,
            "gpu" => Self::Gpu,
            "cpu" => Self::Cpu,
            "ndarray" => Self::NdArray,
            other => match other.strip_prefix("gpu:") {
                Some("") | None => return Err(DeviceError::Unknown(text.to_owned())),
                Some(which) => match which.parse() {
                    Ok(index) => Self::GpuIndex(index),
                    Err(_) => Self::GpuName(which.to_owned()),
                },
            },
        })
    }
}

/// An adapter of this machine, as its driver describes it. Listing opens no device.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Number for `gpu:INDEX`.
    pub index: usize,
    /// Name.
    pub name: String,
    /// `"discrete"`, `"integrated"`, `"virtual"`, `"software"` or `"other"`.
    pub kind: &'static str,
    /// `"Vulkan"`, `"Metal"`, `"DX12"` …
    pub api: &'static str,
    /// Driver and its version.
    pub driver: String,
    /// Largest buffer that a kernel can bind, in bytes.
    pub max_binding: u64,
    /// Largest buffer, in bytes.
    pub max_buffer: u64,
    /// Most invocations of a workgroup.
    pub max_invocations: u32,
    /// Whether shaders can compute in 16 bits.
    pub f16: bool,
    burn_kind: DeviceKind,
}

impl Adapter {
    /// A CPU that pretends to be a GPU.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }

    /// The most numbers that a kernel may add up in one loop, where the driver has such a limit. Mesa's
    /// llvmpipe ends all loops of a shader after 65,535 rounds (`LP_MAX_TGSI_LOOP_ITERATIONS` in its
    /// `lp_limits.h`), without a word, and burn sums a row in one loop.
    pub fn longest_sum(&self) -> Option<u64> {
        self.name.contains("llvmpipe").then_some(65_000)
    }

    /// Order of preference: lower is better.
    fn rank(&self) -> usize {
        ["discrete", "integrated", "virtual", "other", "software"]
            .iter()
            .position(|&kind| kind == self.kind)
            .unwrap_or(usize::MAX)
    }
}

/// A device, ready for tensors.
#[derive(Clone, Debug)]
pub struct Selected {
    /// burn's handle, without autodiff.
    pub device: Device,
    /// `"cpu"`, `"ndarray"` or `"gpu"`: what computes.
    pub backend: &'static str,
    /// What to call it: "Radeon 780M (Vulkan, integrated)", "CPU (flex, 8 threads)".
    pub name: String,
    /// Why this one, where `auto` chose.
    pub reason: Option<String>,
    /// The adapter, unless it is a CPU backend.
    pub adapter: Option<Adapter>,
}

/// Settings of burn's runtimes for the whole process; call it before any device is used. Kernels
/// that were compiled and tuned are kept in the user's cache folder, and tensors without a device of
/// their own (an optimizer's state that is being loaded) live on the CPU.
pub fn configure_runtimes() {
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    if let CacheConfig::Target = config.environment.path {
        config.environment.path = match kernel_cache() {
            Some(folder) => CacheConfig::Directory(folder),
            None => CacheConfig::Global,
        };
    }
    config.compilation.cache = true;
    CubeClRuntimeConfig::set(config);
    if std::env::var_os("BURN_DEVICE").is_none() {
        // SAFETY: the caller has started no other thread yet.
        unsafe { std::env::set_var("BURN_DEVICE", "flex") };
    }
}

/// Where compiled and tuned kernels are kept.
pub fn kernel_cache() -> Option<std::path::PathBuf> {
    crate::cache_folder().map(|folder| folder.join("kernels"))
}

/// The adapters that `gpu…` can choose from, of the graphics API that burn settles on: the first with
/// a hardware adapter, else the first with any.
pub fn adapters() -> Vec<Adapter> {
    let mut software = Vec::new();
    for api in [
        wgpu::Backend::Vulkan,
        wgpu::Backend::Metal,
        wgpu::Backend::Dx12,
        wgpu::Backend::Gl,
    ] {
        let found = adapters_of(api);
        if found.iter().any(|adapter| !adapter.is_software()) {
            return found;
        }
        if software.is_empty() {
            software = found;
        }
    }
    software
}

fn adapters_of(api: wgpu::Backend) -> Vec<Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: api.into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let found = burn::cubecl::future::block_on(instance.enumerate_adapters(api.into()));
    // burn counts the adapters of each kind on their own.
    let mut seen = [0usize; 5];
    let mut number = |kind: usize| {
        seen[kind] += 1;
        seen[kind] - 1
    };
    found
        .iter()
        .enumerate()
        .map(|(index, adapter)| {
            let info = adapter.get_info();
            let (kind, burn_kind) = match info.device_type {
                wgpu::DeviceType::DiscreteGpu => ("discrete", DeviceKind::DiscreteGpu(number(0))),
                wgpu::DeviceType::IntegratedGpu => {
                    ("integrated", DeviceKind::IntegratedGpu(number(1)))
                }
                wgpu::DeviceType::VirtualGpu => ("virtual", DeviceKind::VirtualGpu(number(2))),
                wgpu::DeviceType::Cpu => ("software", DeviceKind::Cpu),
                // burn's public device kinds cannot name these.
                wgpu::DeviceType::Other => ("other", DeviceKind::DefaultDevice),
            };
            let limits = adapter.limits();
            Adapter {
                index,
                name: info.name,
                kind,
                api: api_name(info.backend),
                driver: format!("{} {}", info.driver, info.driver_info)
                    .trim()
                    .to_owned(),
                max_binding: limits.max_storage_buffer_binding_size,
                max_buffer: limits.max_buffer_size,
                max_invocations: limits.max_compute_invocations_per_workgroup,
                f16: adapter.features().contains(wgpu::Features::SHADER_F16),
                burn_kind,
            }
        })
        .collect()
}

fn api_name(api: wgpu::Backend) -> &'static str {
    match api {
        wgpu::Backend::Vulkan => "Vulkan",
        wgpu::Backend::Metal => "Metal",
        wgpu::Backend::Dx12 => "DX12",
        wgpu::Backend::Gl => "OpenGL",
        wgpu::Backend::BrowserWebGpu => "WebGPU",
        wgpu::Backend::Noop => "none",
    }
}

/// The hardware adapter that `auto` and `gpu` take.
pub fn best(adapters: &[Adapter]) -> Option<&Adapter> {
    let hardware = adapters.iter().filter(|adapter| !adapter.is_software());
    hardware.min_by_key(|adapter| adapter.rank())
}

impl DeviceChoice {
    /// Opens what was asked for. A GPU that is not there is an error, never a silent CPU.
    pub fn open(&self) -> Result<Selected, DeviceError> {
        match self {
            Self::Cpu => Ok(flex(None)),
            Self::NdArray => Ok(ndarray()),
            Self::Auto => {
                let adapters = adapters();
                match best(&adapters) {
                    Some(adapter) => {
                        let reason = format!("the best of {}", count(adapters.len(), "adapter"));
                        open(adapter, Some(reason))
                    }
                    None => Ok(flex(Some(why_no_hardware(&adapters)))),
                }
            }
            Self::Gpu => {
                let adapters = adapters();
                let best = best(&adapters)
                    .ok_or_else(|| no_gpu("gpu".to_owned(), why_no_hardware(&adapters)))?;
                open(best, None)
            }
            Self::GpuIndex(index) => {
                let adapters = adapters();
                match adapters.get(*index) {
                    Some(adapter) => open(adapter, None),
                    // A number may be part of a name: gpu:4090.
                    None => Self::GpuName(index.to_string()).open(),
                }
            }
            Self::GpuName(part) => {
                let wanted = part.to_lowercase();
                let adapters = adapters();
                let matching = |adapter: &&Adapter| adapter.name.to_lowercase().contains(&wanted);
                let adapter = adapters.iter().find(matching).ok_or_else(|| {
                    let names: Vec<&str> = adapters.iter().map(|a| a.name.as_str()).collect();
                    let why = match names.is_empty() {
                        true => "there is no adapter".to_owned(),
                        false => format!("no adapter has that in its name: {}", names.join(", ")),
                    };
                    no_gpu(format!("gpu:{part}"), why)
                })?;
                open(adapter, None)
            }
        }
    }
}

fn no_gpu(asked: String, why: String) -> DeviceError {
    DeviceError::NoGpu { asked, why }
}

fn why_no_hardware(adapters: &[Adapter]) -> String {
    match adapters.first() {
        None => "no GPU driver was found".to_owned(),
        Some(adapter) => format!(
            "no hardware GPU was found, only the software adapter {} (gpu:{} takes it)",
            adapter.name, adapter.index
        ),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn open(adapter: &Adapter, reason: Option<String>) -> Result<Selected, DeviceError> {
    let failed = |why: String| DeviceError::Open {
        adapter: adapter.name.clone(),
        why,
    };
    let options = Device::wgpu_options().device_kind(adapter.burn_kind.clone());
    let device = match options.init() {
        Ok(device) => device,
        // A second opening in one process finds the runtime registered.
        Err(burn::tensor::wgpu::WgpuInitError::Registration { .. }) => {
            Device::wgpu(adapter.burn_kind.clone())
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    // burn names adapters by kind and number; what it opened must be what was listed.
    match device.identity() {
        Some(identity) if identity.name != adapter.name => {
            let why = format!("burn opened {} in its place", identity.name);
            return Err(failed(why));
        }
        _ => {}
    }
    Ok(Selected {
        device,
        backend: "gpu",
        name: format!("{} ({}, {})", adapter.name, adapter.api, adapter.kind),
        reason,
        adapter: Some(adapter.clone()),
    })
}

fn flex(reason: Option<String>) -> Selected {
    Selected {
        device: Device::flex(),
        backend: "cpu",
        name: format!("CPU (flex, {})", count(threads(), "thread")),
        reason,
        adapter: None,
    }
}

fn ndarray() -> Selected {
    #[expect(
        deprecated,
        reason = "burn deprecates ndarray in favour of flex; weft keeps it as a second CPU path"
    )]
    let device = Device::ndarray();
    Selected {
        device,
        backend: "ndarray",
        name: format!("CPU (ndarray, {})", count(threads(), "thread")),
        reason: None,
        adapter: None,
    }
}

/// A device for what needs no particular one, such as counting parameters.
pub fn host() -> Device {
    Device::flex()
}

/// Threads that the CPU paths use.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read() {
        let read = |text: &str| text.parse::<DeviceChoice>().ok();
        assert_eq!(read("auto"), Some(DeviceChoice::Auto));
        assert_eq!(read("gpu:1"), Some(DeviceChoice::GpuIndex(1)));
        let name = DeviceChoice::GpuName("radeon".to_owned());
        assert_eq!(read("gpu:radeon"), Some(name));
        assert_eq!(read("gpu:"), None);
        assert_eq!(read("tpu"), None);
    }
}
