//! The program as a stranger meets it: help, errors that name the place and the fix, exit codes, a
//! whole life of a run (train, interrupt, resume, extend, evaluate) through the binary.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::devices;

pub(crate) fn weft() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command
        .env("WEFT_OFFLINE", "1")
        .env("WEFT_DATA", "")
        .env_remove("RUST_BACKTRACE");
    command
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Mesa's loader says this where no desktop session runs.
    text.lines()
        .filter(|line| !line.contains("XDG_RUNTIME_DIR"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn run(folder: &Path, args: &[&str]) -> Output {
    weft().current_dir(folder).args(args).output().unwrap()
}

fn error_of(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("mine.toml"),
        "[data]\nsource = \"sample\"\n[model]\nkind = \"mlp\"\ndrop_out = 0.1\n",
    )
    .unwrap();
    let output = run(folder.path(), args);
    assert!(!output.status.success(), "{args:?}");
    assert_eq!(stdout(&output), "", "{args:?}");
    assert!(
        !folder.path().join("runs").exists(),
        "{args:?} left a run folder"
    );
    stderr(&output)
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    insta::assert_snapshot!(error_of(&["train", "mine.toml"]), @r"
    error: mine.toml:5: unknown key `model.drop_out`
    hint: did you mean `model.dropout`?  `weft train --print-config` lists every key
    ");
    insta::assert_snapshot!(error_of(&["train", "--set", "train.epoch=3"]), @r"
    error: --set train.epoch=3: unknown key `train.epoch`
    hint: did you mean `train.epochs`?  `weft train --print-config` lists every key
    ");
    insta::assert_snapshot!(error_of(&["train", "--device", "tpu"]), @r"
    error: device `tpu` is not known
    hint: use auto, gpu, gpu:INDEX, gpu:NAME-PART, cpu or ndarray; `weft devices` lists what is here
    ");
    insta::assert_snapshot!(error_of(&["train", "--set", "train.batch_size=0"]), @r"
    error: --set train.batch_size=0: `train.batch_size` is 0, but it must be at least 1
    hint: use a positive whole number
    ");
    insta::assert_snapshot!(
        error_of(&["train", "none.toml"]),
        @r"
    error: none.toml cannot be read: No such file or directory (os error 2)
    hint: check the path; `weft train --print-config` prints a config to start from
    "
    );
    insta::assert_snapshot!(error_of(&["train", "--name", ".x"]), @r#"
    error: --set name=".x": `name` is ".x", but it begins with a dot
    hint: it names the run's folder: use letters, digits, - and _
    "#);
    insta::assert_snapshot!(error_of(&["train", "--tui"]), @r"
    error: --tui needs a terminal
    hint: leave it out, or do not redirect input and output
    ");
    let error = error_of(&["data", "--data", "nowhere"]);
    assert!(
        error.contains("nowhere") && error.contains("hint: "),
        "{error}"
    );
    let error = error_of(&["resume", "runs/none"]);
    assert!(
        error.starts_with("error: ") && error.contains("runs/none"),
        "{error}"
    );
    let error = error_of(&["train", "--device", "gpu:no such adapter"]);
    assert!(
        error.contains("gpu:no such adapter") && error.contains("--device cpu"),
        "{error}"
    );
    let error = error_of(&["train", "--device", "gpu:99"]);
    assert!(error.contains("gpu:99"), "{error}");
}

#[test]
fn a_hardware_gpu_that_is_not_there_is_an_error_not_a_cpu() {
    let adapters = weft::device::adapters();
    if weft::device::best(&adapters).is_some() {
        devices::say("SKIPPED: this machine has a hardware GPU");
        return;
    }
    let error = error_of(&["train", "--device", "gpu"]);
    assert!(
        error.starts_with("error: no GPU for --device gpu: "),
        "{error}"
    );
}

#[test]
fn help_completions_and_config() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["--help"][..],
        &["train", "--help"],
        &["resume", "--help"],
        &["evaluate", "--help"],
        &["data", "--help"],
        &["devices", "--help"],
    ] {
        let output = run(folder.path(), args);
        assert!(
            output.status.success() && stdout(&output).contains("Usage: weft"),
            "{args:?}"
        );
    }
    let completions = run(folder.path(), &["completions", "bash"]);
    assert!(stdout(&completions).contains("complete -F _weft"));
    let printed = run(
        folder.path(),
        &["train", "--print-config", "--set", "seed=7"],
    );
    assert!(stdout(&printed).starts_with("name = \"quickstart\"\nseed = 7\n"));
}

#[test]
fn devices_and_data_are_described() {
    let folder = tempfile::tempdir().unwrap();
    let devices = stdout(&run(folder.path(), &["devices"]));
    assert!(
        devices.contains("cpu      burn's flex backend"),
        "{devices}"
    );
    assert_eq!(devices.matches("<- auto").count(), 1, "{devices}");
    if devices::gpu_choice().is_some() {
        assert!(
            devices.contains("gpu:0 ") && devices.contains("largest binding"),
            "{devices}"
        );
    }
    let data = run(folder.path(), &["data", "--set", "data.source=sample"]);
    let data = stdout(&data);
    assert!(data.contains("embedded sample"), "{data}");
    assert!(
        data.contains("T-shirt/top       400         100       100"),
        "{data}"
    );
    assert!(
        data.contains("all             4,000       1,000     1,000"),
        "{data}"
    );
}

const SMALL: &[&str] = &[
    "--device",
    "cpu",
    "--set",
    "data.source=sample",
    "--set",
    "model.kind=mlp",
    "--set",
    "model.hidden=[16]",
];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train"], SMALL, more].concat()
}

#[test]
fn a_run_is_trained_finished_extended_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let trained = run(at, &small(&["--name", "mine", "--set", "train.epochs=2"]));
    let text = stdout(&trained);
    assert!(trained.status.success(), "{text}\n{}", stderr(&trained));
    assert!(
        text.starts_with("weft 0.1.0  mine on CPU (flex, "),
        "{text}"
    );
    assert!(
        text.contains("\nrun     runs/mine\n\nepoch   train loss  accuracy"),
        "{text}"
    );
    assert!(
        text.contains("train  validation        test\nloss"),
        "{text}"
    );
    assert!(text.contains("next   weft evaluate runs/mine"), "{text}");
    for file in [
        "config.toml",
        "environment.json",
        "results.csv",
        "evaluation.json",
    ] {
        assert!(at.join("runs/mine").join(file).exists(), "{file}");
    }

    let finished = run(at, &["resume", "runs/mine"]);
    assert!(finished.status.success());
    assert!(stdout(&finished).starts_with("runs/mine is finished: 2 of 2 epochs"));

    let extended = run(at, &["resume", "runs/mine", "--epochs", "3"]);
    let text = stdout(&extended);
    assert!(extended.status.success(), "{text}\n{}", stderr(&extended));
    let rows = std::fs::read_to_string(at.join("runs/mine/results.csv")).unwrap();
    let epochs: Vec<&str> = rows
        .lines()
        .skip(1)
        .filter_map(|row| row.split(',').next())
        .collect();
    assert_eq!(epochs, ["1", "2", "3"]);

    let evaluated = run(at, &["evaluate", "runs/mine"]);
    let report = stdout(&evaluated);
    assert!(
        report.contains("Ankle boot") && report.contains("weighted avg"),
        "{report}"
    );
    let block = text
        .lines()
        .find(|line| line.starts_with("accuracy"))
        .unwrap();
    let test = block.split_whitespace().last().unwrap();
    assert!(
        report.contains(&format!("accuracy  {test}")),
        "{report}\nshould agree with {block}"
    );
    for checkpoint in ["last", "best", "nonsense"] {
        let split = ["--split", "validation", "--checkpoint", checkpoint];
        let output = run(at, &[&["evaluate", "runs/mine"][..], &split].concat());
        assert_eq!(output.status.success(), checkpoint != "nonsense");
    }

    let again = run(
        at,
        &small(&[
            "--name",
            "mine",
            "--set",
            "train.epochs=1",
            "--no-test",
            "-q",
        ]),
    );
    assert!(again.status.success() && stdout(&again).is_empty());
    assert!(
        at.join("runs/mine-2/results.csv").exists(),
        "a taken name is never overwritten"
    );
    assert!(
        !at.join("runs/mine-2/evaluation.json").exists(),
        "--no-test reads no test split"
    );
}

#[test]
fn a_config_in_a_run_folder_repeats_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert!(
        run(at, &small(&["--set", "train.epochs=1"]))
            .status
            .success()
    );
    assert!(
        run(at, &["train", "runs/quickstart/config.toml"])
            .status
            .success()
    );
    let model = |name: &str| {
        let folder = at.join("runs").join(name).join("checkpoints");
        let last = std::fs::read_to_string(folder.join("last")).unwrap();
        std::fs::read(folder.join(last.trim()).join("model.bpk")).unwrap()
    };
    assert!(
        model("quickstart") == model("quickstart-2"),
        "the weights differ"
    );
}

/// A long training in the background, once its first epoch is done.
#[cfg(unix)]
fn in_its_second_epoch(at: &Path, more: &[&str]) -> std::process::Child {
    use std::process::Stdio;
    let child = weft()
        .current_dir(at)
        .args(small(&[
            "--set",
            "train.epochs=2000",
            "--set",
            "early_stopping.patience=0",
        ]))
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let results = at.join("runs/quickstart/results.csv");
    let started = Instant::now();
    while !results.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "no epoch was finished"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

#[cfg(unix)]
fn send(signal: &str, child: &std::process::Child) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[cfg(unix)]
fn interrupted(signal: &str, code: i32) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // Many steps to an epoch, so that it is stopped within one.
    let keys = ["train.batch_size=1", "early_stopping.restore_best=false"];
    let keys: Vec<&str> = keys.iter().flat_map(|key| ["--set", key]).collect();
    let child = in_its_second_epoch(at, &keys);
    std::thread::sleep(Duration::from_millis(300));
    send(signal, &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{signal}");
    let text = stdout(&output);
    let step = text
        .split("after step ")
        .nth(1)
        .and_then(|rest| rest.split(';').next())
        .unwrap();
    let last = std::fs::read_to_string(at.join("runs/quickstart/checkpoints/last")).unwrap();
    assert_eq!(last.trim(), format!("step-{step}"), "{text}");

    let results = at.join("runs/quickstart/results.csv");
    let epochs_of = |rows: String| -> Vec<u64> {
        let numbers = rows
            .lines()
            .skip(1)
            .filter_map(|row| row.split(',').next()?.parse().ok());
        numbers.collect()
    };
    let done = epochs_of(std::fs::read_to_string(&results).unwrap()).len() as u64;
    // What was saved within an epoch is not taken for the end of the one before.
    let state = std::fs::read(at.join(format!(
        "runs/quickstart/checkpoints/step-{step}/state.json"
    )));
    let state: serde_json::Value = serde_json::from_slice(&state.unwrap()).unwrap();
    assert!(state["batch"].as_u64().unwrap() > 0, "{state}");
    let back = ["resume", "runs/quickstart", "--epochs", &done.to_string()];
    let refused = run(at, &back);
    assert!(!refused.status.success(), "{}", stdout(&refused));
    let expected = format!(
        "error: runs/quickstart is within epoch {0}, so {done} epochs are behind it\n\
         hint: give {0} or more",
        done + 1
    );
    assert_eq!(stderr(&refused), expected);
    // Nor is its result told as that of the epoch before.
    assert!(run(at, &["evaluate", "runs/quickstart"]).status.success());
    let record = at.join("runs/quickstart/evaluation.json");
    let record = weft::run::records::read_evaluation(&record).unwrap();
    let expected = format!("epoch {done} and a part of epoch {}", done + 1);
    assert_eq!(record.epochs(), expected);
    let epochs = (done + 1).to_string();
    let resumed = run(
        at,
        &[
            "resume",
            "runs/quickstart",
            "--epochs",
            &epochs,
            "--no-test",
        ],
    );
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let from = format!("from    runs/quickstart/checkpoints/step-{step} ");
    assert!(stdout(&resumed).contains(&from), "{}", stdout(&resumed));
    let found = epochs_of(std::fs::read_to_string(&results).unwrap());
    let expected: Vec<u64> = (1..=done + 1).collect();
    assert_eq!(found, expected, "no epoch is skipped or repeated");
}

#[cfg(unix)]
#[test]
fn a_second_ctrl_c_leaves_at_once() {
    // A step that takes long: all images at once through a wide network.
    let slow = [
        "--set",
        "train.batch_size=4000",
        "--set",
        "model.hidden=[3000, 3000]",
    ];
    let mut output = String::new();
    // On a busy machine the first signal may come when the step is all but over, and the second when the
    // checkpoint is saved already.
    for _ in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let child = in_its_second_epoch(folder.path(), &slow);
        send("-INT", &child);
        // Two signals of a kind that are sent together may arrive as one.
        std::thread::sleep(Duration::from_millis(300));
        send("-INT", &child);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(130));
        output = stdout(&ended);
        if !output.contains("a checkpoint is saved") {
            return;
        }
    }
    panic!("{output}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_exits_130() {
    interrupted("-INT", 130);
}

#[cfg(unix)]
#[test]
fn sigterm_saves_and_exits_143() {
    interrupted("-TERM", 143);
}

#[test]
fn a_second_process_in_one_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert!(
        run(at, &small(&["--set", "train.epochs=1", "-q"]))
            .status
            .success()
    );
    let run_folder = weft::run::RunFolder::open(&at.join("runs/quickstart")).unwrap();
    let _lock = run_folder.lock().unwrap();
    let refused = run(at, &["resume", "runs/quickstart", "--epochs", "2"]);
    assert!(!refused.status.success());
    let holder = std::process::id().to_string();
    assert!(stderr(&refused).contains(&holder), "{}", stderr(&refused));
}

#[test]
fn other_data_is_never_evaluated_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let data = crate::learning::handful();
    let source = format!("data.source={}", data.path().display());
    let fraction = [
        "--set",
        "data.validation_fraction=0",
        "--set",
        "early_stopping.patience=0",
    ];
    let args = [
        &small(&["--set", &source, "--set", "train.epochs=1"])[..],
        &fraction,
    ]
    .concat();
    assert!(run(at, &args).status.success());
    // The run's config finds the set again by itself …
    assert!(run(at, &["evaluate", "runs/quickstart"]).status.success());
    let empty = run(
        at,
        &["evaluate", "runs/quickstart", "--split", "validation"],
    );
    assert!(!empty.status.success() && stderr(&empty).contains("no validation split"));
    // … and another set in its place is refused.
    let config = at.join("runs/quickstart/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let found = format!("source = \"{}\"", data.path().display());
    assert!(text.contains(&found), "{text}");
    std::fs::write(&config, text.replace(&found, "source = \"sample\"")).unwrap();
    let before = std::fs::read(at.join("runs/quickstart/evaluation.json")).unwrap();
    let other = run(at, &["evaluate", "runs/quickstart"]);
    assert!(
        !other.status.success() && stderr(&other).contains("other images"),
        "{}",
        stderr(&other)
    );
    assert_eq!(
        std::fs::read(at.join("runs/quickstart/evaluation.json")).unwrap(),
        before
    );
}

#[test]
fn a_refused_resume_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert!(
        run(at, &small(&["--set", "train.epochs=1", "-q"]))
            .status
            .success()
    );
    let config = std::fs::read(at.join("runs/quickstart/config.toml")).unwrap();
    for args in [
        ["--epochs", "0"].as_slice(),
        &["--epochs", "5", "--device", "gpu:99"],
    ] {
        let output = run(at, &[&["resume", "runs/quickstart"], args].concat());
        assert!(!output.status.success(), "{args:?}");
        assert_eq!(
            std::fs::read(at.join("runs/quickstart/config.toml")).unwrap(),
            config
        );
    }
    let quiet = run(
        at,
        &["resume", "runs/quickstart", "--epochs", "2", "--quiet"],
    );
    assert!(
        quiet.status.success() && stdout(&quiet).is_empty(),
        "{}",
        stdout(&quiet)
    );
}
