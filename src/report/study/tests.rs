//! The page and the table of studies that were made up.

use super::*;
use crate::report::html::MOST_BYTES;

const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\"'&";

fn small() -> StudyRecords {
    made_up::study(24, 5, Objective::ValidationAccuracy)
}

/// What the script is given.
fn of_json(page: &str) -> serde_json::Value {
    let (_, data) = page
        .split_once("<script type=\"application/json\" id=\"data\">")
        .unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

fn csv_rows(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let owned = |record: &::csv::StringRecord| record.iter().map(str::to_owned).collect();
    let head = owned(reader.headers().unwrap());
    let rows = reader
        .records()
        .map(|record| owned(&record.unwrap()))
        .collect();
    (head, rows)
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let pages = [page(&small()).unwrap(), page(&small()).unwrap()];
    assert!(pages[0] == pages[1]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    for page in &pages {
        crate::report::html::write(&path, page, false).unwrap();
    }
}

#[test]
fn the_page_says_what_came_out() {
    let study = small();
    let html = page(&study).unwrap();
    let best = study.best().unwrap();
    let value = study.objective.shown(best.best.unwrap());
    assert!(html.contains(&format!("<dd class=\"value\">{value}</dd>")));
    assert!(html.contains(&format!(
        "Trial {}, validation accuracy {value}: the best.",
        best.number
    )));
    assert!(
        html.contains("search did not read the test split"),
        "{html}"
    );
    assert!(
        html.contains("accuracy <b>91.25\u{a0}%</b>") && html.contains("aria-label=\"Final run\"")
    );
    assert!(html.contains("<code>weft train runs/made-up/best.toml</code>"));
    assert!(html.contains("<code>weft tune runs/made-up --final</code>"));
    assert!(!html.contains("<body data-live>"));
    let json = of_json(&html);
    assert_eq!(json["trials"]["number"].as_array().unwrap().len(), 24);
    assert_eq!(json["best"], best.number - 1);
    assert_eq!(json["curves"].as_array().unwrap().len(), 24);
    for bracket in 0..4 {
        assert!(html.contains(&format!("<h3>Bracket {bracket}</h3>")));
    }
}

#[test]
fn a_study_that_has_just_begun_has_a_page() {
    for n_dimensions in [0, 3] {
        let mut study = made_up::study(0, n_dimensions, Objective::ValidationLoss);
        study.finished = false;
        let html = page(&study).unwrap();
        assert!(html.contains("No trial has begun.") && html.contains("<body data-live>"));
        assert!(!html.contains("aria-label=\"Final run\"") && !html.contains("best.toml"));
        assert!(of_json(&html)["best"].is_null());
        assert_eq!(csv(&study).unwrap().lines().count(), 1);
    }
    let mut study = made_up::study(0, 0, Objective::ValidationLoss);
    study.planned.clear();
    assert!(page(&study).unwrap().contains("Nothing is planned yet."));
}

#[test]
fn failed_and_running_trials_are_told_apart_and_never_the_best() {
    let mut study = small();
    study.finished = false;
    study.trials[2].status = Status::Failed("out of memory:\n7 GiB".to_owned());
    study.trials[2].best = Some(0.999);
    study.trials[3].status = Status::Failed("diverged".to_owned());
    study.trials[3].best = Some(f64::NAN);
    study.trials[3].rungs.clear();
    study.trials[23].status = Status::Running;
    study.trials[23].best = None;
    study.trials[23].best_epoch = None;
    study.trials[23].rungs.clear();
    study.trials[23].curve.truncate(1);
    assert!(![3, 4, 24].contains(&study.best().unwrap().number));
    let html = page(&study).unwrap();
    assert!(html.contains("<span class=\"failed\">failed</span>: out of memory:<br>7 GiB"));
    assert!(html.contains("1 running") && html.contains("2 failed: a cross"));
    let json = of_json(&html);
    assert_eq!(json["trials"]["status"][2], 2);
    assert_eq!(json["trials"]["status"][23], 0);
    assert!(json["trials"]["best"][3].is_null(), "JSON has no NaN");

    let (head, rows) = csv_rows(&csv(&study).unwrap());
    assert_eq!(head[4], "validation_accuracy");
    assert_eq!(head.last().unwrap(), "reason");
    assert_eq!(rows[2][2], "failed");
    assert_eq!(rows[2].last().unwrap(), "out of memory:\n7 GiB");
    assert_eq!(&rows[23][2..7], ["running", "1", "", "", "0.37"]);
}

#[test]
fn a_study_without_any_value_has_a_page() {
    let mut study = small();
    study.importance = None;
    for trial in &mut study.trials {
        trial.status = Status::Failed("diverged".to_owned());
        trial.best = Some(f64::INFINITY);
        trial.values.truncate(2); // as no study should have it
        trial.rungs.clear();
    }
    assert!(study.best().is_none());
    let html = page(&study).unwrap();
    assert_eq!(html.matches("No trial has a value yet.").count(), 4);
    assert_eq!(html.matches("Too few trials").count(), 1);
    assert_eq!(html.matches("</span>: diverged").count(), 24);
    let (head, rows) = csv_rows(&csv(&study).unwrap());
    assert_eq!(rows[0].len(), head.len());
}

#[test]
fn the_best_is_the_lowest_loss_or_the_highest_accuracy_and_the_first_of_equal_ones() {
    for objective in [Objective::ValidationAccuracy, Objective::ValidationLoss] {
        let mut study = made_up::study(12, 2, objective);
        let values = study.trials.iter().filter_map(|trial| trial.best);
        let wanted = match objective {
            Objective::ValidationAccuracy => values.reduce(f64::max),
            Objective::ValidationLoss => values.reduce(f64::min),
        };
        assert_eq!(study.best().unwrap().best, wanted);
        for trial in &mut study.trials {
            trial.best = Some(0.5);
        }
        assert_eq!(study.best().unwrap().number, 1);
    }
}

#[test]
fn nothing_from_a_config_is_markup() {
    let mut study = small();
    let texts = [
        &mut study.name,
        &mut study.root,
        &mut study.algorithm,
        &mut study.sampling,
    ];
    texts
        .into_iter()
        .for_each(|text| *text = HOSTILE.to_owned());
    let texts = [
        &mut study.device,
        &mut study.data,
        &mut study.weft,
        &mut study.started,
    ];
    texts
        .into_iter()
        .for_each(|text| *text = HOSTILE.to_owned());
    study.best_config = Some(HOSTILE.to_owned());
    for dimension in &mut study.dimensions {
        dimension.name = HOSTILE.to_owned();
        dimension.keys = vec![HOSTILE.to_owned()];
        dimension.condition = Some(HOSTILE.to_owned());
        dimension.values = Some(vec![HOSTILE.to_owned(), "two".to_owned()]);
    }
    for trial in &mut study.trials {
        trial.folder = HOSTILE.to_owned();
        trial.status = Status::Failed(HOSTILE.to_owned());
        for value in trial.values.iter_mut().flatten() {
            value.text = HOSTILE.to_owned();
        }
    }
    study.trials[0].status = Status::Done;
    let run = study.final_run.as_mut().unwrap();
    run.folder = HOSTILE.to_owned();
    run.trained_on = HOSTILE.to_owned();
    let html = page(&study).unwrap();
    assert!(!html.contains("<img"));
    assert_eq!(
        html.matches("</script>").count(),
        2,
        "the data's and the script's own"
    );
    assert_eq!(of_json(&html)["dimensions"][0]["name"], HOSTILE);
    let (head, rows) = csv_rows(&csv(&study).unwrap());
    assert_eq!((&head[7][..], &rows[0][7][..]), (HOSTILE, HOSTILE));
}

#[test]
fn the_table_has_a_row_for_each_trial_and_its_numbers_have_all_digits() {
    let study = small();
    let (head, rows) = csv_rows(&csv(&study).unwrap());
    let names = study.dimensions.iter().map(|dimension| &dimension.name[..]);
    assert!(head[7..12].iter().map(|name| &name[..]).eq(names));
    assert_eq!(rows.len(), 24);
    for (row, trial) in rows.iter().zip(&study.trials) {
        assert_eq!(row[0], trial.number.to_string());
        assert_eq!(row[4].parse().ok(), trial.best);
        let dropout = trial.values[4].as_ref().map_or("", |value| &value.text[..]);
        assert_eq!(row[11], dropout);
    }
    assert!(rows.iter().any(|row| row[11].is_empty()));
    let loss = csv(&made_up::study(1, 1, Objective::ValidationLoss)).unwrap();
    assert!(
        loss.starts_with(
            "trial,bracket,status,epochs,validation_loss,best_epoch,seconds,optimizer"
        )
    );
}

#[test]
fn a_large_study_stays_small() {
    let mut study = made_up::study(2_000, 20, Objective::ValidationAccuracy);
    let html = page(&study).unwrap();
    assert!(html.len() < MOST_BYTES, "{} bytes", html.len());
    let json = of_json(&html);
    assert_eq!(json["trials"]["number"].as_array().unwrap().len(), 2_000);
    let curves = json["curves"].as_array().unwrap();
    assert!((250..=300).contains(&curves.len()), "{}", curves.len());
    assert!(
        curves.iter().any(|curve| curve[0] == json["best"]),
        "the best is among them"
    );
    assert!(html.contains("of 2,000 trials, so that this page stays small"));
    let table = html.split_once("<table class=\"trials\"").unwrap().1;
    assert_eq!(
        table
            .split_once("</table>")
            .unwrap()
            .0
            .matches("<tr")
            .count(),
        2_001
    );

    // Long texts: the best trials are in the table, and it says so.
    for value in study
        .trials
        .iter_mut()
        .flat_map(|trial| &mut trial.values)
        .flatten()
    {
        value.text = "<".repeat(100);
    }
    let html = page(&study).unwrap();
    assert!(html.len() < MOST_BYTES, "{} bytes", html.len());
    assert!(html.contains("best of 2,000, to keep this page small"));
}

#[test]
fn rungs_have_their_best_and_their_median() {
    assert_eq!(rungs::median(&[]), None);
    assert_eq!(rungs::median(&[1.0, 2.0, 4.0]), Some(2.0));
    assert_eq!(rungs::median(&[1.0, 2.0]), Some(1.5));
    let html = rungs::section(&small());
    assert_eq!(html.matches("<tbody>").count(), 4);
}
