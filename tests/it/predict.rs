//! `weft predict` as a stranger uses it: pictures of every kind, folders, stdin and bad files; the logits of
//! the data set's own images are those of an evaluation; hostile files cost no more memory than a photo.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use burn::data::dataloader::DataLoader;
use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use weft::config::Loaded;
use weft::data::download::NoProgress;
use weft::data::loader::{HostSplit, Order, ResidentLoader, ResidentSplit};
use weft::device::DeviceChoice;
use weft::experiment::{LoadedModel, load_splits};
use weft::model::Mode;
use weft::predict::Predictor;
use weft::predict::files::{self, Input};
use weft::run::RunFolder;

use crate::cli::{stdout, weft};

/// A run of the quickstart's network on the embedded sample, trained once for all tests.
fn run_folder() -> &'static Path {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let output = weft()
            .current_dir(folder.path())
            .args([
                "train",
                "--quiet",
                "--no-test",
                "--device",
                "cpu",
                "--name",
                "x",
            ])
            .args(["--set", "data.source=sample", "--set", "train.epochs=1"])
            .args(["--set", "data.normalization=standardize"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let run = folder.path().join("runs/x");
        (folder, run)
    });
    run
}

/// Runs `weft predict RUN ARGS` in a folder, with nothing of the data set at hand.
fn predict(folder: &Path, args: &[&str]) -> Output {
    weft()
        .current_dir(folder)
        .arg("predict")
        .arg(run_folder())
        .args(args)
        .env("WEFT_DATA", "/nowhere")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

fn paths(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["path"].as_str().unwrap())
        .collect()
}

/// A dark shape on white.
fn drawing(width: u32, height: u32) -> DynamicImage {
    let inside =
        |x: u32, y: u32| x > width / 4 && x < width * 3 / 4 && y > height / 5 && y < height * 4 / 5;
    RgbImage::from_fn(width, height, |x, y| match inside(x, y) {
        true => Rgb([30, 60, 90]),
        false => Rgb([250, 250, 250]),
    })
    .into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn classes(prediction: &Value) -> Vec<String> {
    let predictions = prediction["predictions"].as_array().unwrap();
    let class = |it: &Value| it["class"].as_str().unwrap().to_owned();
    predictions.iter().map(class).collect()
}

#[test]
fn the_test_images_as_png_have_the_logits_of_an_evaluation() {
    let run = RunFolder::open(run_folder()).unwrap();
    let device = "cpu".parse::<DeviceChoice>().unwrap().open().unwrap();
    let config = Loaded::new(Some(&run.config()), &[]).unwrap().config;
    let splits = load_splits(&config, None, &mut NoProgress).unwrap();
    let model = LoadedModel::open(&run, None, &device).unwrap();

    let test = &splits.dataset.test;
    let indices: Vec<u32> = (0..test.labels.len() as u32).collect();
    let split = HostSplit {
        images: &test.images,
        labels: &test.labels,
        image_indices: &indices,
        table: &splits.table(config.data.normalization),
    };
    let split = ResidentSplit::upload(&split, &device.device);
    let loader = ResidentLoader::new(split, config.train.evaluation_batch_size, Order::Stored);
    let mut expected = Vec::new();
    for batch in loader.iter() {
        let logits = model
            .classifier
            .forward(batch.unwrap().images, Mode::Inference);
        expected.extend(logits.try_into_data_as::<f32>().unwrap().iter::<f32>());
    }

    let folder = tempfile::tempdir().unwrap();
    let n_pixels = 28 * 28;
    let files = indices.iter().map(|&index| {
        let pixels = &test.images.pixels[index as usize * n_pixels..][..n_pixels];
        let image = GrayImage::from_raw(28, 28, pixels.to_vec()).unwrap();
        let path = folder.path().join(format!("{index:05}.png"));
        image.save(&path).unwrap();
        Input::File(path)
    });
    let files: Vec<Input> = files.collect();
    assert_eq!(files::find(&[folder.path().to_owned()]).inputs, files);
    let predictor = Predictor::new(&model, &device.device, (None, None), false);
    let mut predicted = Vec::new();
    predictor
        .run(&files, |_, result| {
            let prediction = result.unwrap();
            let sum: f64 = prediction.probabilities.iter().sum();
            assert!((sum - 1.0).abs() < 1e-12);
            predicted.extend(prediction.logits);
            Ok(true)
        })
        .unwrap();
    let bits = |logits: &[f32]| -> Vec<u32> { logits.iter().map(|it| it.to_bits()).collect() };
    assert_eq!(predicted.len(), 10 * files.len());
    assert_eq!(bits(&predicted), bits(&expected));
}

#[test]
fn the_files_of_a_folder_data_set_are_given_to_the_model_as_in_training() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for class in ["bag", "shoe"] {
        fs::create_dir_all(at("set").join(class)).unwrap();
        for n in 0..10 {
            let (width, height) = (20 + 7 * n, 60 - 4 * n);
            let image = image::RgbaImage::from_fn(width, height, |x, y| {
                let color = if class == "bag" {
                    [x * 2, 90, y * 3]
                } else {
                    [200, x + y, 40]
                };
                let [red, green, blue] = color.map(|it| it as u8);
                image::Rgba([red, green, blue, if x < 5 { (n * 25) as u8 } else { 255 }])
            });
            image
                .save(at("set").join(class).join(format!("{n}.png")))
                .unwrap();
        }
    }
    for color in ["rgb", "grey"] {
        let set = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
        let output = weft()
            .current_dir(folder.path())
            .args(["train", "--quiet", "--device", "cpu", "--name", color])
            .args(set("data.source", "set"))
            .args(set("data.size", "16"))
            .args(set("data.color", color))
            .args(set("train.epochs", "1"))
            .args(set("model", "{kind=\"mlp\", hidden=[8]}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let run = RunFolder::open(&at("runs").join(color)).unwrap();
        let device = "cpu".parse::<DeviceChoice>().unwrap().open().unwrap();
        let mut config = Loaded::new(Some(&run.config()), &[]).unwrap().config;
        config.data.source = at("set").to_string_lossy().into_owned();
        let splits = load_splits(&config, None, &mut NoProgress).unwrap();
        let (train, test) = (&splits.dataset.train.images, &splits.dataset.test.images);
        let mut expected: Vec<&[u8]> = (0..train.n_images).map(|at| train.image(at)).collect();
        expected.extend((0..test.n_images).map(|at| test.image(at)));
        expected.sort_unstable();

        let model = LoadedModel::open(&run, None, &device).unwrap();
        assert_eq!(model.about.background, None);
        let predictor = Predictor::new(&model, &device.device, (None, None), false);
        let mut given = Vec::new();
        let found = files::find(&[at("set")]);
        let tell = |_: &Input, result: Result<weft::predict::Prediction, _>| {
            given.push(result.unwrap().prepared.pixels);
            Ok(true)
        };
        predictor.run(&found.inputs, tell).unwrap();
        given.sort_unstable();
        assert_eq!(given.len(), 20);
        assert!(given.iter().eq(expected), "{color}");
    }
}

#[test]
fn all_formats_and_names_are_predicted_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("more/deep")).unwrap();
    let small = drawing(120, 150);
    for (name, format) in [
        ("b.png", ImageFormat::Png),
        ("a.jpg", ImageFormat::Jpeg),
        ("more/c.webp", ImageFormat::WebP),
        ("more/deep/d", ImageFormat::Bmp),
        ("more/e.txt", ImageFormat::Gif), // by content, not by name
    ] {
        fs::write(at(name), encoded(&small, format)).unwrap();
    }
    fs::write(at("more/notes.md"), "no picture").unwrap();
    let args = ["b.png", "more", "a.jpg", "b.png", "--json", "--top", "10"];
    let output = predict(folder.path(), &args);
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = json_lines(&output);
    let expected = [
        "b.png",
        "more/c.webp",
        "more/deep/d",
        "more/e.txt",
        "a.jpg",
        "b.png",
    ];
    assert_eq!(paths(&lines), expected);
    for line in &lines {
        assert_eq!(classes(line)[0], classes(&lines[0])[0], "{line}");
        assert_eq!(line["inverted"], true);
        let predictions = line["predictions"].as_array().unwrap();
        let probability = |it: &Value| it["probability"].as_f64().unwrap();
        let probabilities: Vec<f64> = predictions.iter().map(probability).collect();
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(
            probabilities.is_sorted_by(|a, b| a >= b),
            "{probabilities:?}"
        );
        let mut indices: Vec<u64> = predictions
            .iter()
            .map(|it| it["index"].as_u64().unwrap())
            .collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..10).collect::<Vec<u64>>());
    }
    let text = predict(folder.path(), &["more"]);
    assert!(
        stderr(&text).contains("1 file that is no picture was left out"),
        "{}",
        stderr(&text)
    );
    let text = stdout(&text);
    assert!(
        text.starts_with("more/c.webp\n  ") && text.contains("inverted: "),
        "{text}"
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let shown = |args: &[&str]| stdout(&predict(folder.path(), args)).lines().count();
    assert_eq!(shown(&["more", "--top", "1"]), 3);
    assert_eq!(shown(&["b.png", "--top", "2", "--invert", "no"]), 3);
}

#[test]
fn bad_files_are_told_one_by_one_and_the_rest_are_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let good = encoded(&drawing(60, 60), ImageFormat::Png);
    fs::write(at("good.png"), &good).unwrap();
    fs::write(at("cut.png"), &good[..good.len() / 2]).unwrap();
    fs::write(at("empty.png"), "").unwrap();
    fs::write(at("text.png"), "hello").unwrap();
    let bad = ["cut.png", "empty.png", "gone.png", "text.png"];
    let args = [
        "good.png",
        "cut.png",
        "empty.png",
        "gone.png",
        "text.png",
        "good.png",
    ];

    let output = predict(folder.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output).matches("good.png\n").count(), 2);
    let errors = stderr(&output);
    for name in bad {
        let of = |line: &&str| line.starts_with(&format!("error: {name} "));
        assert_eq!(errors.lines().filter(of).count(), 1, "{name}: {errors}");
    }
    assert_eq!(errors.matches("\nhint: ").count(), 4, "{errors}");
    assert!(
        errors.trim_end().ends_with("4 of 6 could not be predicted"),
        "{errors}"
    );

    let output = predict(folder.path(), &[&args[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let lines = json_lines(&output);
    assert_eq!(paths(&lines), args);
    for line in &lines {
        let is_bad = bad.contains(&line["path"].as_str().unwrap());
        assert_eq!(line["error"].is_string(), is_bad, "{line}");
        assert_eq!(line["predictions"].is_array(), !is_bad, "{line}");
    }
    // A folder takes a damaged picture for one; what is empty of pictures is an error.
    let output = predict(folder.path(), &[".", "--json"]);
    assert_eq!(
        paths(&json_lines(&output)),
        ["./cut.png", "./empty.png", "./good.png", "./text.png"]
    );
    fs::create_dir(at("none")).unwrap();
    let output = predict(folder.path(), &["none"]);
    assert!(stderr(&output).starts_with("error: there is no picture in none\nhint: "));
}

#[test]
fn a_picture_comes_through_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = encoded(&drawing(80, 40), ImageFormat::Jpeg);
    fs::write(folder.path().join("x.jpg"), &bytes).unwrap();
    let mut child = weft()
        .current_dir(folder.path())
        .arg("predict")
        .arg(run_folder())
        .args(["x.jpg", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let lines = json_lines(&output);
    assert_eq!(paths(&lines), ["x.jpg", "-"]);
    assert_eq!(lines[0]["predictions"], lines[1]["predictions"]);
    let output = predict(folder.path(), &["-"]);
    assert!(
        stderr(&output).contains("error: - is empty"),
        "{}",
        stderr(&output)
    );
    let output = predict(folder.path(), &["-", "-"]);
    assert!(
        stderr(&output).contains("given 2 times"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_the_network_saw_is_drawn_beside_the_picture_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("x.png"), encoded(&drawing(300, 200), ImageFormat::Png)).unwrap();
    fs::write(
        at("x-explained.png"),
        encoded(&drawing(30, 20), ImageFormat::Png),
    )
    .unwrap();
    let before = fs::read(at("x-explained.png")).unwrap();
    let output = predict(
        folder.path(),
        &["x.png", "x-explained.png", "--explain=.", "--json"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = json_lines(&output);
    assert_eq!(lines[0]["explained"], "./x-explained-2.png");
    assert_eq!(fs::read(at("x-explained.png")).unwrap(), before);
    let sheet = image::open(at("x-explained-2.png")).unwrap().to_rgb8();
    // Two panels of 280; on the right a pixel of the network is a square of 10 of one colour.
    assert_eq!(sheet.dimensions(), (620, 320));
    for (x, y) in [(320, 20), (450, 160), (590, 290)] {
        let color = sheet.get_pixel(x, y);
        assert!((0..10).all(|d| sheet.get_pixel(x + d, y + 9 - d) == color));
    }
    assert_eq!(
        sheet.get_pixel(320, 20),
        &Rgb([0; 3]),
        "the background is that of training"
    );
    assert!(sheet.get_pixel(460, 160)[0] >= 240);
    let output = predict(folder.path(), &["x.png", "--explain"]);
    let place = run_folder().join("explain/x-explained.png");
    assert!(stdout(&output).contains("what the network saw: ") && place.exists());
}

/// As on a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_printed_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("x.png");
    fs::write(&picture, encoded(&drawing(30, 20), ImageFormat::Png)).unwrap();
    let (run, picture) = (run_folder().to_str().unwrap(), picture.to_str().unwrap());
    let file = folder.path().join("x.safetensors");
    let export = [
        "export",
        run,
        "--print-loader",
        "-o",
        file.to_str().unwrap(),
    ];
    for args in [
        &["predict", run, "--json", picture][..],
        &["predict", run, picture],
        &export,
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let output = weft().args(args).stdout(full.unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let error = stderr(&output);
        assert!(
            error.contains("error: stdout cannot be written: No space left")
                && error.contains("\nhint: make room on the disk"),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn no_file_name_reaches_the_terminal_raw() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["\u{1b}[2Jgood.png", "bad\u{7}\n.png"];
    fs::write(
        folder.path().join(names[0]),
        encoded(&drawing(9, 9), ImageFormat::Png),
    )
    .unwrap();
    fs::write(folder.path().join(names[1]), "").unwrap();
    for args in [&[][..], &["--top", "1"], &["--json"], &["--explain=out"]] {
        let output = predict(folder.path(), &[&[".", "./gone\u{1b}c"], args].concat());
        let all = stdout(&output) + &stderr(&output);
        let raw = |letter: char| letter.is_control() && letter != '\n';
        assert!(!all.contains(raw), "{all:?}");
        assert!(
            all.contains("good.png") && all.contains(".png is empty") || args == ["--json"],
            "{all}"
        );
    }
}

#[test]
fn a_run_without_its_input_json_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("old");
    copy_folder(run_folder(), &copy);
    fs::remove_file(copy.join("input.json")).unwrap();
    fs::write(
        folder.path().join("x.png"),
        encoded(&drawing(9, 9), ImageFormat::Png),
    )
    .unwrap();
    let weft = |args: &[&str]| {
        weft()
            .current_dir(folder.path())
            .args(args)
            .output()
            .unwrap()
    };
    let output = weft(&["predict", "old", "x.png"]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.starts_with("error: old has no input.json"), "{error}");
    assert!(
        error.contains("hint: `weft evaluate old` adds it"),
        "{error}"
    );
    assert!(stdout(&weft(&["verify", "old"])).contains("note    input.json: there is none"));
    assert!(weft(&["evaluate", "old"]).status.success());
    assert!(weft(&["predict", "old", "x.png"]).status.success());

    let text = fs::read_to_string(copy.join("input.json")).unwrap();
    fs::write(copy.join("input.json"), text.replace("Sneaker", "Sandal2")).unwrap();
    let error = stderr(&weft(&["predict", "old", "x.png"]));
    assert!(
        error.contains("input.json") && error.contains("SHA-256"),
        "{error}"
    );
    assert!(stdout(&weft(&["verify", "old"])).contains("FAILED  input.json"));
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => fs::copy(entry.path(), to).map(drop).unwrap(),
        }
    }
}

/// Files that ask for as much memory as they can.
#[cfg(target_os = "linux")]
fn hostile(folder: &Path) -> Vec<&'static str> {
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    let small = |format| encoded(&drawing(16, 16), format);
    let mut png = small(ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50]);
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..29]);
    png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    write("header.png", &png);
    let mut bmp = small(ImageFormat::Bmp);
    bmp[18..26].copy_from_slice(&[0x50, 0xc3, 0, 0, 0x50, 0xc3, 0, 0]);
    write("header.bmp", &bmp);
    let mut gif = small(ImageFormat::Gif);
    gif[6..10].fill(0xff);
    write("header.gif", &gif);
    // A profile that unpacks to 300 MB.
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..300).for_each(|_| zlib.write_all(&[0; 1 << 20]).unwrap());
    let content = [b"iCCPx\0\0", &zlib.finish().unwrap()[..]].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&content);
    let png = small(ImageFormat::Png);
    let mut bomb = png[..33].to_vec();
    bomb.extend((content.len() as u32 - 4).to_be_bytes());
    bomb.extend(&content);
    bomb.extend(crc.sum().to_be_bytes());
    bomb.extend(&png[33..]);
    write("bomb.png", &bomb);
    // An animation of 20,000 frames, and a file of zeros above the limit.
    let gif = small(ImageFormat::Gif);
    let frames = gif[13..gif.len() - 1].repeat(20_000);
    write("frames.gif", &[&gif[..13], &frames, b";"].concat());
    fs::File::create(folder.join("zeros.bmp"))
        .unwrap()
        .set_len(4 << 30)
        .unwrap();
    vec![
        "header.png",
        "header.bmp",
        "header.gif",
        "bomb.png",
        "frames.gif",
        "zeros.bmp",
    ]
}

/// A photo of 24 million pixels that lies on its side, as a phone writes it.
#[cfg(target_os = "linux")]
fn photo(path: &Path) {
    let jpeg = encoded(&drawing(6000, 4000), ImageFormat::Jpeg);
    let exif =
        b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    fs::write(path, [&jpeg[..2], exif, &jpeg[2..]].concat()).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn hostile_files_and_large_photos_stay_within_256_mib() {
    use std::io::{BufRead, BufReader};

    let folder = tempfile::tempdir().unwrap();
    let mut names = hostile(folder.path());
    photo(&folder.path().join("photo.jpg"));
    fs::write(
        folder.path().join("large.png"),
        encoded(&drawing(6000, 4000), ImageFormat::Png),
    )
    .unwrap();
    fs::write(
        folder.path().join("large.bmp"),
        encoded(&drawing(6000, 4000), ImageFormat::Bmp),
    )
    .unwrap();
    names.extend([
        "photo.jpg",
        "large.png",
        "large.bmp",
        "photo.jpg",
        "large.png",
    ]);
    let mut child = weft()
        .current_dir(folder.path())
        .arg("predict")
        .arg(run_folder())
        .args(&names)
        .args(["-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let n_bad = names.iter().filter(|_| next()["error"].is_string()).count();
    // It waits for stdin now, so its peak can be read; then stdin takes as much as it can.
    let peak = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib / 1024)
    };
    let before_stdin = peak(child.id()).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut with_stdin = before_stdin;
    while stdin.write_all(&[0x55; 1 << 20]).is_ok() {
        with_stdin = with_stdin.max(peak(child.id()).unwrap_or(0));
    }
    drop(stdin);
    let last = next();
    child.wait().unwrap();
    assert!(last["error"].as_str().unwrap().contains("bytes"), "{last}");
    assert_eq!(n_bad, 4, "the three headers and the file that is too large");
    assert!(before_stdin <= 256, "{before_stdin} MiB");
    assert!(with_stdin <= 256, "{with_stdin} MiB");
    crate::devices::say(&format!(
        "peak of predict: {before_stdin} MiB, {with_stdin} MiB with stdin"
    ));
}
