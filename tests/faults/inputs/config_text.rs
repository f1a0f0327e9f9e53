//! Malformed config files, through the loader and through the program.

use std::fs;
use std::path::Path;

use weft::config::Loaded;
use weft::config::layers::ConfigError;

use crate::common::{Ended, assert_orderly, run, say};

const REFERENCE: &str = include_str!("../../../configs/reference.toml");

/// The loader's error, which must be typed, name the file, and fit on a screen.
fn error_of(path: &Path) -> ConfigError {
    let error = Loaded::new(Some(path), &[]).err().expect("it was accepted");
    let error = error.downcast::<ConfigError>().unwrap();
    assert_orderly(&error.to_string());
    let named = error.message.starts_with(&path.display().to_string());
    assert!(named && error.hint.is_some(), "{error}");
    error
}

/// Refused by the loader and by the program, at this line (0: of the file as a whole), for a reason
/// with these words.
fn assert_refused(content: &[u8], line: usize, words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    fs::write(&path, content).unwrap();
    let error = error_of(&path);
    let rest = &error.message[path.display().to_string().len()..];
    if line > 0 {
        assert!(rest.starts_with(&format!(":{line}:")), "{error}");
    }
    assert!(error.to_string().contains(words), "{error}");

    let ended: Ended = run(folder.path(), &["train", "mine.toml"]);
    let text = ended.refusal();
    assert!(
        text.starts_with(&format!("error: mine.toml{rest}")),
        "{text}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn text_that_is_no_config_is_refused_with_its_line() {
    let cases: [(&[u8], usize, &str); 22] = [
        (
            b"[data]\nsource = \"sample\"\ncolour = 3\n",
            3,
            "unknown key `data.colour`",
        ),
        (b"name = \"x\"\nnmae = \"y\"\n", 2, "did you mean `name`?"),
        (b"[trian]\nepochs = 1\n", 1, "did you mean `train`?"),
        (
            b"seed = 1\n[train]\nepochs = \"many\"\n",
            3,
            "must be a whole number",
        ),
        (b"train = 3\n", 1, "must be a section"),
        (b"[train]\nepochs = 1.5\n", 2, "must be a whole number"),
        (b"[train]\nepochs = -1\n", 2, "must be a whole number"),
        (
            b"[optimizer]\nkind = \"sgd\"\nlearning_rate = nan\n",
            3,
            "is NaN",
        ),
        (
            b"[optimizer]\nkind = \"sgd\"\nmomentum = -0.5\n",
            3,
            "is -0.5",
        ),
        (b"[optimizer]\nkind = \"sdg\"\n", 2, "did you mean \"sgd\"?"),
        (b"[model]\nhidden = [1]\n", 1, "`model.kind` is missing"),
        (b"seed = 1\nseed = 2\n", 2, "line 1 has it too"),
        (
            b"[train]\nepochs = 1\n[train]\nepochs = 2\n",
            3,
            "given twice",
        ),
        (b"train.epochs = 1\n[train]\nepochs = 2\n", 2, "given twice"),
        (b"name = \"caf\xe9\"\n", 1, "e9 is not UTF-8"),
        (
            b"seed = 1\n# ok\nname = \"\xf0\x9f\x92\"\n",
            3,
            "f0 is not UTF-8",
        ),
        (b"\xff\xfen\x00a\x00m\x00e\x00", 1, "ff is not UTF-8"),
        (b"\x00\x00\x08\x03\x00\x00", 1, ""),
        (b"seed = 99999999999999999999\n", 1, "too large"),
        (b"name = \"\n", 1, ""),
        (b"name\n", 1, ""),
        (b"name = \"x\"\r\rseed = 1\n", 1, ""),
    ];
    for (content, line, words) in cases {
        assert_refused(content, line, words);
    }
}

#[test]
fn nothing_nests_deep_enough_to_overflow_the_stack() {
    const N: usize = 10_000;
    let a = |separator: &str| vec!["a"; N].join(separator);
    let cases = [
        format!("name = {}", "[".repeat(N)),
        format!("name = {}{}", "[".repeat(N), "]".repeat(N)),
        format!("name = {}1{}", "{a = ".repeat(N), "}".repeat(N)),
        format!("name = {}1{}", "[{a = ".repeat(N), "}]".repeat(N)),
        format!("{} = 1", a(".")),
        format!("[{}]\nx = 1", a(".")),
        format!("[[{}]]\nx = 1", a(".")),
        format!("name = {{{} = 1}}", a(".")),
        // Each of these alone is as deep as the parser takes.
        format!(
            "[{0}]\n{0} = {1}1{2}",
            vec!["a"; 79].join("."),
            "[".repeat(79),
            "]".repeat(79)
        ),
        (0..1500)
            .map(|n| format!("[a{n}.{}]\n", vec!["a"; 78].join(".")))
            .collect(),
    ];
    for text in &cases {
        assert_refused(text.as_bytes(), 1, "");
    }
    let folder = tempfile::tempdir().unwrap();
    for text in [
        "[".repeat(N),
        "{a=".repeat(N),
        format!("[{}]", "[".repeat(N)),
    ] {
        let set = format!("name={text}");
        // Not TOML, so it is text, and no name.
        run(folder.path(), &["train", "--set", &set]).refusal();
        run(folder.path(), &["train", "--set", &format!("model={text}")]).refusal();
    }
    let set = format!("{}=1", a("."));
    run(folder.path(), &["train", "--set", &set]).refusal();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_file_or_too_large_is_refused_before_it_is_parsed() {
    let large: [&[u8]; 4] = [b"# comment\n", b"\n", b"[", b"x"];
    for part in large {
        assert_refused(
            &part.repeat((10 << 20) / part.len()),
            0,
            "more than 256 KiB",
        );
    }
    let folder = tempfile::tempdir().unwrap();
    for (path, words) in [(".", "it is a folder"), ("absent.toml", "cannot be read")] {
        let ended = run(folder.path(), &["train", path]);
        assert!(ended.refusal().contains(words), "{ended:?}");
    }
    #[cfg(unix)]
    {
        for path in ["/dev/zero", "/dev/null/x"] {
            run(folder.path(), &["train", path]).refusal();
        }
        // An empty config is one: every key has its default.
        let printed = run(folder.path(), &["train", "/dev/null", "--print-config"]);
        assert!(printed.success().starts_with("name = \"experiment\"\n"));
    }
}

/// The search for the line of a mistake was quadratic once.
#[test]
fn thousands_of_mistakes_take_no_minutes() {
    const FULL: usize = 256 * 1024;
    let fill = |head: &str, part: &str, end: &str| {
        let n = (FULL - head.len() - end.len()) / part.len();
        format!("{head}{}{end}", part.repeat(n))
    };
    let cnn = "[model]\nkind = \"cnn\"\n";
    let cases = [
        (
            fill(cnn, "[[model.blocks]]\nx=1\n", ""),
            4,
            "unknown key `model.blocks[0].x`",
        ),
        (
            fill(cnn, "[[model.blocks]]\npool='x'\n", ""),
            4,
            "`model.blocks[0].pool` is \"x\"",
        ),
        (
            fill("", "[[model.blocks]]\n", ""),
            1,
            "`model.kind` is missing",
        ),
        (
            fill("[model]\nkind='mlp'\nhidden=[", "'x',", "]"),
            3,
            "`model.hidden[0]` is \"x\"",
        ),
        (
            fill("[model]\nkind='mlp'\nhidden=[", "1,", "'x']"),
            3,
            "is \"x\", but must be",
        ),
    ];
    for (text, line, words) in cases {
        assert_refused(text.as_bytes(), line, words);
    }
}

#[test]
fn a_cut_reference_config_is_a_config_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.toml");
    let (mut accepted, mut refused) = (0, 0);
    for length in 0..REFERENCE.len() {
        fs::write(&path, &REFERENCE.as_bytes()[..length]).unwrap();
        match Loaded::new(Some(&path), &[]) {
            Ok(_) => accepted += 1,
            Err(_) => {
                error_of(&path);
                refused += 1;
            }
        }
    }
    say(&format!(
        "config cut at each byte: {accepted} are configs, {refused} refused"
    ));
}
