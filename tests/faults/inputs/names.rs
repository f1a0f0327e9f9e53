//! Names of runs that lead elsewhere.

use std::fs;

use crate::common::{SMALL, listing, run, say};

fn bad_names() -> Vec<String> {
    let bad = [
        "",
        ".",
        "..",
        "...",
        "../x",
        "../../x",
        "a/../../x",
        "/tmp/weft-x",
        "/",
        "a/b",
        "a\\b",
        "..\\x",
        "C:\\x",
        "C:",
        "a\0b",
        "a\nb",
        "a\u{1b}[31mb",
        " a",
        "a ",
        "a.",
        ".hidden",
        ".tmp-x",
        "con",
        "CON",
        "nul.txt",
        "LPT1",
        "com9.x",
        "a*b",
        "a|b",
        "<a>",
        "a\"b",
    ];
    let long = [
        "x".repeat(201),
        "x".repeat(300),
        "\u{e9}".repeat(150),
        "x".repeat(100_000),
    ];
    bad.into_iter().map(str::to_owned).chain(long).collect()
}

/// As `--name`, as `--set` and in the file: refused, and nothing is written anywhere.
#[test]
fn a_name_that_leads_elsewhere_is_refused_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("above/work");
    fs::create_dir_all(&at).unwrap();
    let (mut n_cases, names) = (0, bad_names());
    for name in &names {
        let value = toml::Value::String(name.clone()).to_string();
        fs::write(at.join("mine.toml"), format!("seed = 1\nname = {value}\n")).unwrap();
        let before = listing(folder.path());
        let in_file = [&["train", "mine.toml"][..], &SMALL[1..]].concat();
        let set = format!("name={value}");
        let mut ways = vec![in_file, [&SMALL[..], &["--set", &set]].concat()];
        if !name.contains('\0') {
            ways.push([&SMALL[..], &["--name", name]].concat());
        }
        for args in ways {
            let ended = run(&at, &args);
            let text = ended.refusal();
            assert!(text.contains("`name` is \""), "{name:?}: {text}");
            assert!(listing(folder.path()) == before, "{name:?} left something");
            n_cases += 1;
        }
    }
    say(&format!(
        "names: {n_cases} cases of {} names, all refused",
        names.len()
    ));
}

#[test]
fn a_strange_but_harmless_name_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let longest = "x".repeat(200);
    for name in [
        "-x",
        "~",
        "caf\u{e9} 2",
        "a..b",
        "--help",
        "$HOME",
        &longest,
    ] {
        let name_arg = format!("--name={name}");
        let args = [&SMALL[..], &["--set", "train.epochs=1", &name_arg]].concat();
        run(folder.path(), &args).success();
        assert!(
            folder
                .path()
                .join("runs")
                .join(name)
                .join("results.csv")
                .exists()
        );
    }
}
