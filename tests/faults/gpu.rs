//! A GPU that is lost, a buffer that cannot be had, a kernel that cannot be launched, a panic on a
//! thread of burn's: one clear error within ten seconds, which names the checkpoint that holds.
//!
//! Each case is a process of its own: a child that is this same program with one `#[ignore]`d function.
//! It says `FAULT` when it provokes the failure, and the clock runs from there.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use burn::tensor::{Device, DeviceKind, Tensor};
use clap::Parser;
use weft::commands::failure;
use weft::device::{adapters, configure_runtimes};

const RUNS: &str = "WEFT_TEST_RUNS";

/// What is promised.
const PROMISE: Duration = Duration::from_secs(10);

/// How a child ended.
struct Ended {
    /// From the fault to the end of the process.
    after: Duration,
    stderr: String,
    code: Option<i32>,
}

/// Starts a child, or says that there is no adapter for it.
fn provoke(child: &str, runs: &Path) -> Option<Ended> {
    if adapters().is_empty() {
        let required = std::env::var_os("WEFT_REQUIRE_GPU").is_some_and(|value| value == "1");
        assert!(!required, "{child}: there is no wgpu adapter");
        let _ = writeln!(std::io::stderr(), "SKIPPED {child}: no wgpu adapter");
        return None;
    }
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            &format!("gpu::{child}"),
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(RUNS, runs)
        .env("WEFT_DATA", "")
        .env("WEFT_OFFLINE", "1")
        .env_remove("RUST_BACKTRACE")
        .env_remove("WEFT_BACKTRACE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(process.stdout.take().unwrap());
    let mut fault = None;
    let mut said = String::new();
    for line in stdout.lines() {
        let line = line.unwrap();
        if line.contains("FAULT") {
            fault = Some(Instant::now());
        }
        said += &(line + "\n");
    }
    let code = process.wait().unwrap().code();
    let ended = Instant::now();
    let mut stderr = String::new();
    let pipe = process.stderr.take().unwrap();
    BufReader::new(pipe).read_to_string(&mut stderr).unwrap();
    let stderr: String = stderr
        .lines()
        // Mesa's loader says this where no desktop session runs.
        .filter(|line| !line.contains("XDG_RUNTIME_DIR"))
        .map(|line| format!("{line}\n"))
        .collect();
    let fault = fault.unwrap_or_else(|| panic!("{child} met no fault:\n{said}{stderr}"));
    let after = ended - fault;
    let _ = writeln!(std::io::stderr(), "{child}: ended after {after:.1?}");
    Some(Ended {
        after,
        stderr,
        code,
    })
}

/// One error of two lines, in time.
fn assert_clear(ended: &Ended, words: &[&str]) {
    let Ended {
        after,
        stderr,
        code,
    } = ended;
    assert_eq!(*code, Some(1), "{stderr}");
    assert!(*after < PROMISE, "{after:?}\n{stderr}");
    let error: Vec<&str> = stderr
        .lines()
        .skip_while(|line| !line.starts_with("error: "))
        .collect();
    assert_eq!(error.len(), 2, "{stderr}");
    assert!(error[1].starts_with("hint: "), "{stderr}");
    assert!(!stderr.contains("panicked at"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "`{word}` is missing:\n{stderr}");
    }
}

/// The run that the children train.
fn run_of(runs: &Path) -> PathBuf {
    runs.join("lost")
}

#[test]
fn a_lost_gpu_ends_the_training_and_the_checkpoint_holds() {
    let runs = tempfile::tempdir().unwrap();
    let Some(ended) = provoke("child_loses_its_gpu_in_training", runs.path()) else {
        return;
    };
    let run = run_of(runs.path());
    let resume = format!("`weft resume {}`", run.display());
    assert_clear(&ended, &["error: the GPU was lost", "is whole", &resume]);
    let store = weft::run::checkpoints::Store::new(&run);
    let (newest, damaged) = store.latest_whole().unwrap();
    assert!(damaged.is_empty());
    let named = newest.folder.display().to_string();
    assert!(ended.stderr.contains(&named), "{named}:\n{}", ended.stderr);
    // … and the run can go on from it, on another device.
    let resumed = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["resume", "--device", "cpu", "--no-test", "--epochs"])
        .arg((newest.manifest.epoch + 1).to_string())
        .arg(&run)
        .env("WEFT_OFFLINE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&resumed.stderr);
    assert!(resumed.status.success(), "{said}");
}

#[test]
fn a_gpu_that_is_lost_at_the_start_says_so() {
    let runs = tempfile::tempdir().unwrap();
    if let Some(ended) = provoke("child_loses_its_gpu_at_once", runs.path()) {
        // The untrained model may be saved by then or not.
        assert_clear(&ended, &["error: the GPU was lost"]);
        let saved = ["has no checkpoint yet", "is whole"].map(|word| ended.stderr.contains(word));
        assert_ne!(saved[0], saved[1], "{}", ended.stderr);
    }
}

#[test]
fn reading_from_a_lost_gpu_is_an_error() {
    let runs = tempfile::tempdir().unwrap();
    if let Some(ended) = provoke("child_reads_from_a_lost_gpu", runs.path()) {
        assert_clear(&ended, &["error: the GPU was lost"]);
    }
}

#[test]
fn a_buffer_that_no_binding_can_hold_is_an_error() {
    let runs = tempfile::tempdir().unwrap();
    if let Some(ended) = provoke("child_wants_a_huge_buffer", runs.path()) {
        assert_clear(
            &ended,
            &["error: out of memory on ", "buffer of size", "batch_size"],
        );
    }
}

#[test]
fn a_kernel_that_cannot_be_launched_is_an_error() {
    let runs = tempfile::tempdir().unwrap();
    if let Some(ended) = provoke("child_launches_a_broken_kernel", runs.path()) {
        assert_clear(&ended, &["no_such_function"]);
    }
}

#[test]
fn a_panic_elsewhere_ends_a_process_whose_main_thread_waits() {
    let runs = tempfile::tempdir().unwrap();
    if let Some(ended) = provoke("child_waits_for_a_thread_that_panicked", runs.path()) {
        assert_clear(
            &ended,
            &["error: an internal failure", "of a test", "gpu.rs:"],
        );
    }
}

#[test]
fn a_panic_of_the_main_thread_is_told_once() {
    let runs = tempfile::tempdir().unwrap();
    if let Some(ended) = provoke("child_panics", runs.path()) {
        assert_clear(
            &ended,
            &["error: an internal failure", "of a test", "gpu.rs:"],
        );
        assert!(ended.after < Duration::from_secs(1), "{:?}", ended.after);
    }
}

/// What `main` does before it parses.
fn begin() -> PathBuf {
    configure_runtimes();
    failure::install();
    // A child that hangs is a failure of the test, not a test that hangs.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(120));
        std::process::abort();
    });
    std::env::var_os(RUNS).unwrap().into()
}

fn fault() {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "FAULT").unwrap();
    stdout.flush().unwrap();
}

/// What `main` does after it has parsed.
fn end(run: impl FnOnce() -> anyhow::Result<ExitCode>) -> ! {
    let run = std::panic::AssertUnwindSafe(run);
    let code = failure::end(std::panic::catch_unwind(run));
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

/// burn's device on the adapter that `gpu:0` is, and the handles to lose it with.
fn open() -> (Device, burn::tensor::wgpu::WgpuSetup) {
    let kind = match adapters()[0].kind {
        "discrete" => DeviceKind::DiscreteGpu(0),
        "integrated" => DeviceKind::IntegratedGpu(0),
        "virtual" => DeviceKind::VirtualGpu(0),
        _ => DeviceKind::Cpu,
    };
    let options = Device::wgpu_options().device_kind(kind);
    options.init_with_setup().unwrap()
}

/// What a driver's reset does, as far as a program can do it: each buffer is gone, and wgpu tells that the
/// device is lost. After `destroy` it does so when it is asked for news while nothing is under way.
fn lose(setup: &burn::tensor::wgpu::WgpuSetup) {
    use burn::tensor::wgpu::wgpu::PollType;
    fault();
    setup.device.destroy();
    let started = Instant::now();
    while weft::failure::lost().is_none() && started.elapsed() < PROMISE {
        let _ = setup.device.poll(PollType::Poll);
        std::thread::yield_now();
    }
}

/// `weft train` on a GPU that goes away as soon as `file` of the run exists, and a bit of an epoch on.
fn lose_in_training(file: &str) -> ! {
    let runs = begin();
    let (_device, setup) = open();
    let awaited = run_of(&runs).join(file);
    std::thread::spawn(move || {
        while !awaited.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20));
        lose(&setup);
    });
    let mut args = vec![
        "weft",
        "train",
        "--device",
        "gpu:0",
        "--name",
        "lost",
        "--runs-dir",
    ];
    let runs = runs.display().to_string();
    args.push(&runs);
    for assignment in [
        "data.source=sample",
        "model={kind=\"softmax_regression\"}",
        "train.epochs=100000",
        "early_stopping.patience=0",
    ] {
        args.extend(["--set", assignment]);
    }
    let cli = weft::cli::Cli::parse_from(args);
    end(move || weft::commands::run(cli))
}

#[test]
#[ignore = "a child of the tests above"]
fn child_loses_its_gpu_in_training() {
    lose_in_training("results.csv");
}

#[test]
#[ignore = "a child of the tests above"]
fn child_loses_its_gpu_at_once() {
    lose_in_training("environment.json");
}

#[test]
#[ignore = "a child of the tests above"]
fn child_reads_from_a_lost_gpu() {
    begin();
    let (device, setup) = open();
    end(move || {
        let ones = Tensor::<1>::ones([1000], &device);
        let sum = |x: Tensor<1>| x.sum().try_into_data_as::<f32>();
        sum(ones.clone()).unwrap();
        lose(&setup);
        // The read itself may still succeed; what it gives cannot be looked at.
        let data = sum(ones)?;
        data.iter::<f32>().for_each(drop);
        Ok(ExitCode::SUCCESS)
    })
}

#[test]
#[ignore = "a child of the tests above"]
fn child_wants_a_huge_buffer() {
    begin();
    let (device, _setup) = open();
    let bytes = adapters()[0].max_binding.min(adapters()[0].max_buffer);
    end(move || {
        fault();
        let ones = Tensor::<1>::ones([bytes as usize / 4 + 1000], &device);
        (ones + 1.0).sum().try_into_data_as::<f32>()?;
        Ok(ExitCode::SUCCESS)
    })
}

#[test]
#[ignore = "a child of the tests above"]
fn child_launches_a_broken_kernel() {
    use burn::cubecl::CubeCount;
    use burn::cubecl::prelude::KernelId;
    use burn::cubecl::server::KernelArguments;
    use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};

    struct Broken;
    impl KernelSource for Broken {
        fn source(&self) -> SourceTemplate {
            SourceTemplate::new(
                "@group(0) @binding(0) var<storage, read_write> x: array<f32>;\n\
                 @compute @workgroup_size(64) fn main() { x[0] = no_such_function(); }",
            )
        }
        fn id(&self) -> KernelId {
            KernelId::new::<Self>()
        }
        fn lang(&self) -> &'static str {
            "wgsl"
        }
    }

    begin();
    end(|| {
        let device = burn_wgpu::WgpuDevice::default();
        let client = burn::cubecl::Device::from(device).client();
        let handle = client.empty(4000);
        fault();
        client.launch(
            Box::new(SourceKernel::new(Broken, burn_wgpu::CubeDim::new_1d(64))),
            CubeCount::Static(1, 1, 1),
            KernelArguments::new().with_buffers(vec![handle.clone().binding()]),
        );
        let read = client.read_one(handle);
        let _ = read?;
        Ok(ExitCode::SUCCESS)
    })
}

#[test]
#[ignore = "a child of the tests above"]
fn child_waits_for_a_thread_that_panicked() {
    begin();
    end(|| {
        let worker = std::thread::spawn(|| {
            fault();
            panic!("a failure of a test");
        });
        std::thread::sleep(Duration::from_secs(60));
        drop(worker);
        Ok(ExitCode::SUCCESS)
    })
}

#[test]
#[ignore = "a child of the tests above"]
fn child_panics() {
    begin();
    end(|| {
        fault();
        panic!("a failure of a test");
    })
}
