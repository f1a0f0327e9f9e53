//! Proves that no failure of the disk loses what was saved. Every operation that changes the disk is
//! made to fail in turn: once, or from there on, which is what a kill at that operation leaves. And
//! power cuts: what was not waited for is lost, or not, or half.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Parser;
use weft::run::disk::{self, Operation};
use weft::verify::{self, Verdict};

use crate::common::{assert_orderly, cases, copy_folder, say};
use crate::divergence::{HOT, ROLLBACK};
use crate::tiny::{self, Draws, End, Tiny};

/// Runs a command in this thread, where the watch on the disk is. The text of the error, if any.
fn weft(arguments: &[&str]) -> Result<(), String> {
    let cli = weft::cli::Cli::try_parse_from([&["weft"], arguments].concat()).unwrap();
    match weft::commands::run(cli) {
        Ok(_) => Ok(()),
        Err(error) => Err(weft::commands::describe(&error)),
    }
}

fn train(tiny: &Tiny, place: &Path, more: &[&str]) -> Result<(), String> {
    let (config, place) = (tiny.config(), place.to_str().unwrap());
    let first = ["train", config.to_str().unwrap(), "--runs-dir", place];
    let quiet = ["-q", "--no-test", "--set", SHORT[0], "--set", SHORT[1]];
    weft(&[&first[..], &quiet, more].concat())
}

/// A process that another test starts has this one's files for a moment, locks included, until it
/// becomes another program.
fn resume(place: &Path) -> Result<(), String> {
    let run = place.join("tiny");
    let mut ended = Ok(());
    for _ in 0..100 {
        ended = weft(&["resume", run.to_str().unwrap(), "-q", "--no-test"]);
        match &ended {
            Err(error) if error.contains("another process writes this run") => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            _ => break,
        }
    }
    ended
}

/// The same operations each time: no checkpoint depends on the clock.
const SHORT: [&str; 2] = ["train.epochs=2", "checkpoint.every_minutes=0"];

fn go_on(tiny: &Tiny, place: &Path, more: &[&str]) -> Result<(), String> {
    let run = place.join("tiny");
    if tiny::is_run(&run) {
        return resume(place);
    }
    let _ = fs::remove_dir_all(&run); // an empty folder has the name
    train(tiny, place, more)
}

/// A run folder in which nothing is damaged, whatever else it lacks.
fn assert_sound(run: &Path) {
    let folder = weft::run::RunFolder::open(run).unwrap();
    let findings = verify::check(&folder);
    let bad = findings.all.iter().filter(|finding| {
        finding.verdict == Verdict::Bad && !finding.what.contains("ended before it saved one")
    });
    let bad: Vec<String> = bad.map(ToString::to_string).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    tiny::assert_nothing_lost(run);
}

const ERRORS: [(i32, &str); 4] = [(28, "ENOSPC"), (5, "EIO"), (122, "EDQUOT"), (30, "EROFS")];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Once,
    FromThereOn,
}

#[cfg(target_os = "linux")] // the numbers of the errors
#[test]
fn a_fault_at_every_operation_of_a_training() {
    fault_at_every_operation("training", &[], false);
}

/// One that goes back three times.
#[cfg(target_os = "linux")]
#[test]
fn a_fault_at_every_operation_of_rollbacks() {
    let hot = [&HOT[..], &ROLLBACK].concat();
    fault_at_every_operation("training with rollbacks", &hot, false);
}

#[cfg(target_os = "linux")]
#[test]
fn a_fault_at_every_operation_of_a_resume() {
    fault_at_every_operation("resume", &[], true);
}

fn fault_at_every_operation(name: &str, more: &[&str], resumed: bool) {
    let tiny = Tiny::new();
    let expected = expected(&tiny, more);
    let mut counts = Vec::new();
    for fault in [Fault::Once, Fault::FromThereOn] {
        let mut n_faults = 0;
        let mut survived = 0;
        for at in 0.. {
            let (number, name) = ERRORS[at % ERRORS.len()];
            let place = tiny.place();
            if resumed {
                train(&tiny, place.path(), &["--stop-at-step", "5"]).unwrap();
            }
            let (seen, hit) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
            let watch = {
                let (seen, hit) = (seen.clone(), hit.clone());
                disk::watch(move |operation| {
                    let now = seen.replace(seen.get() + 1);
                    if now < at || (fault == Fault::Once && now > at) {
                        return Ok(());
                    }
                    hit.borrow_mut().get_or_insert(format!("{operation:?}"));
                    Err(io::Error::from_raw_os_error(number))
                })
            };
            let ended = go_on(&tiny, place.path(), more);
            drop(watch);
            let Some(hit) = hit.take() else {
                ended.unwrap();
                break;
            };
            n_faults += 1;
            let case = format!("{name} at operation {at}, {fault:?}: {hit}");
            match ended {
                // Nothing is lost when a leftover cannot be removed, or a lock's text.
                Ok(()) => survived += 1,
                Err(error) => assert_names_it(&error, number, &case),
            }
            let run = place.path().join("tiny");
            if tiny::is_run(&run) {
                assert_sound(&run);
            }
            go_on(&tiny, place.path(), more).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(End::of(&run), expected, "{case}");
        }
        counts.push(format!("{fault:?} {n_faults} ({survived} survived)"));
    }
    say(&format!(
        "faults at every operation on the disk of a {}: {}, 0 ends differ",
        name,
        counts.join(", ")
    ));
}

/// The disk fails while the pictures are drawn: the training is a success, and an evaluation draws them.
#[cfg(target_os = "linux")]
#[test]
fn a_fault_while_the_pictures_are_drawn() {
    let tiny = Tiny::new();
    let expected = expected(&tiny, &[]);
    let pictures = ["--set", "report.plots=true"];
    for (at, fault) in (0..7)
        .map(|at| (at, Fault::Once))
        .chain([(0, Fault::FromThereOn), (9, Fault::FromThereOn)])
    {
        let place = tiny.place();
        let seen = Rc::new(Cell::new(0));
        let watch = {
            let seen = seen.clone();
            disk::watch(move |operation| {
                if !format!("{operation:?}").contains("/plots") {
                    return Ok(());
                }
                let now = seen.replace(seen.get() + 1);
                match now == at || (now > at && fault == Fault::FromThereOn) {
                    true => Err(io::Error::from_raw_os_error(28)),
                    false => Ok(()),
                }
            })
        };
        let ended = train(&tiny, place.path(), &pictures);
        drop(watch);
        ended.unwrap_or_else(|error| panic!("operation {at}, {fault:?}: {error}"));
        assert!(seen.get() > at, "operation {at} was not reached");
        let run = place.path().join("tiny");
        assert_eq!(End::of(&run), expected);
        assert_sound(&run);
        weft(&["evaluate", run.to_str().unwrap(), "--device", "cpu"]).unwrap();
        let drawn = fs::read_dir(run.join("plots")).unwrap();
        let drawn = drawn.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let drawn: Vec<String> = drawn.collect();
        assert_eq!(drawn.len(), 14, "{drawn:?}");
    }
}

fn expected(tiny: &Tiny, more: &[&str]) -> End {
    let place = tiny.place();
    train(tiny, place.path(), more).unwrap();
    End::of(&place.path().join("tiny"))
}

/// An error tells the path and what the system said; a checkpoint's tells the bytes as well.
fn assert_names_it(error: &str, number: i32, case: &str) {
    assert_orderly(error);
    let said = io::Error::from_raw_os_error(number).to_string();
    assert!(error.contains(&said), "{case}: {error}");
    assert!(
        error.contains("/tiny") || error.contains("/.tmp"),
        "{case}: {error}"
    );
    assert!(error.contains("\nhint: "), "{case}: {error}");
    if error.contains("was not saved") {
        assert!(
            error.contains("it takes ") && error.contains(" bytes"),
            "{case}: {error}"
        );
        assert!(error.contains("weft resume"), "{case}: {error}");
    }
}

/// What a power cut may take back. The rules are those of a file system that honours fsync and
/// nothing more: content that was not waited for may be there in part, a name that its folder was not
/// waited for may be the old one, each for itself.
#[derive(Default)]
struct Unsafe {
    /// Files whose content was not waited for.
    contents: Vec<PathBuf>,
    /// Files and folders that were made in a folder that was not waited for.
    made: Vec<PathBuf>,
    /// Renames in such a folder: from, to, and what stood there.
    renamed: Vec<(PathBuf, PathBuf, Option<Vec<u8>>)>,
}

impl Unsafe {
    fn note(&mut self, operation: &Operation) {
        match *operation {
            Operation::Open(path) if !path.exists() => self.made.push(path.to_owned()),
            Operation::CreateFolder(path) if !path.exists() => self.made.push(path.to_owned()),
            Operation::Write(path, _) | Operation::Empty(path) => {
                self.contents.retain(|there| there != path);
                self.contents.push(path.to_owned());
            }
            Operation::Sync(path) => self.contents.retain(|there| there != path),
            Operation::SyncFolder(folder) => {
                self.made.retain(|path| path.parent() != Some(folder));
                self.renamed
                    .retain(|(_, to, _)| to.parent() != Some(folder));
            }
            Operation::Rename(from, to) => {
                let old = fs::read(to).ok();
                self.renamed.push((from.to_owned(), to.to_owned(), old));
                for path in self.contents.iter_mut().chain(&mut self.made) {
                    if let Ok(below) = path.strip_prefix(from) {
                        *path = if below == Path::new("") {
                            to.to_owned()
                        } else {
                            to.join(below)
                        };
                    }
                }
            }
            Operation::Remove(path) => {
                self.contents.retain(|there| !there.starts_with(path));
                self.made.retain(|there| !there.starts_with(path));
            }
            _ => {}
        }
    }

    /// Cuts the power: each thing that is not safe is kept, lost or half lost.
    fn cut(&self, draws: &mut Draws) {
        for path in &self.contents {
            // An appended line is torn at its end; what was before it was waited for.
            if let Ok(bytes) = fs::read(path) {
                let keep = match draws.below(3) {
                    0 => bytes.len(),
                    1 => bytes.len() - bytes.len().min(7),
                    _ => bytes
                        .iter()
                        .rposition(|&byte| byte == b'\n')
                        .map_or(0, |_| self.whole(path, &bytes)),
                };
                fs::write(path, &bytes[..keep]).unwrap();
            }
        }
        for (from, to, old) in self.renamed.iter().rev() {
            if draws.below(2) == 0 && to.exists() && !from.exists() {
                fs::rename(to, from).unwrap();
                if let Some(old) = old {
                    fs::write(to, old).unwrap();
                }
            }
        }
        for path in self.made.iter().rev() {
            if draws.below(2) == 0 {
                let _ = fs::remove_file(path);
                let _ = fs::remove_dir_all(path);
            }
        }
    }

    /// A log keeps the lines before the last one; any other file may be empty.
    fn whole(&self, path: &Path, bytes: &[u8]) -> usize {
        if path.file_name().is_some_and(|name| name == "results.csv") {
            let last = bytes[..bytes.len() - 1]
                .iter()
                .rposition(|&byte| byte == b'\n');
            last.map_or(0, |at| at + 1)
        } else {
            0
        }
    }
}

#[test]
fn a_power_cut_at_every_operation() {
    let tiny = Tiny::new();
    let expected = expected(&tiny, &[]);
    let (mut n_cuts, mut draws) = (0, Draws(7));
    for at in 0.. {
        let place = tiny.place();
        let (seen, at_risk) = (
            Rc::new(Cell::new(0)),
            Rc::new(RefCell::new(Unsafe::default())),
        );
        let watch = {
            let (seen, at_risk) = (seen.clone(), at_risk.clone());
            disk::watch(move |operation| {
                if seen.replace(seen.get() + 1) >= at {
                    return Err(io::Error::other("the power is cut"));
                }
                at_risk.borrow_mut().note(operation);
                Ok(())
            })
        };
        let ended = train(&tiny, place.path(), &[]);
        drop(watch);
        if seen.get() <= at {
            ended.unwrap();
            break;
        }
        // The same moment several times: what is lost differs.
        for _ in 0..cases(2) {
            let after = tiny.place();
            let run = after.path().join("tiny");
            if place.path().join("tiny").is_dir() {
                copy_folder(&place.path().join("tiny"), &run);
            }
            let moved = at_risk.borrow().moved(place.path(), after.path());
            moved.cut(&mut draws);
            if tiny::is_run(&run) {
                tiny::assert_nothing_lost(&run);
            }
            go_on(&tiny, after.path(), &[])
                .unwrap_or_else(|error| panic!("operation {at}: {error}"));
            assert_eq!(End::of(&run), expected, "operation {at}");
            n_cuts += 1;
        }
    }
    say(&format!(
        "{n_cuts} power cuts, at every operation on the disk, 0 ends differ"
    ));
}

impl Unsafe {
    /// The same in a copy.
    fn moved(&self, from: &Path, to: &Path) -> Self {
        let moved = |path: &PathBuf| match path.strip_prefix(from) {
            Ok(below) => to.join(below),
            Err(_) => path.clone(),
        };
        let outside = |path: &PathBuf| !path.starts_with(from) || path == from;
        Self {
            contents: self
                .contents
                .iter()
                .filter(|path| !outside(path))
                .map(moved)
                .collect(),
            made: self
                .made
                .iter()
                .filter(|path| !outside(path))
                .map(moved)
                .collect(),
            renamed: self
                .renamed
                .iter()
                .map(|(from, to, old)| (moved(from), moved(to), old.clone()))
                .collect(),
        }
    }
}
