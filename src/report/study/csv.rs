//! study.csv: a row for each trial, for whoever computes with them.

use anyhow::Result;

use super::{Status, StudyRecords, Trial};

/// The table. Numbers have all their digits; a cell is empty where there is no value.
pub fn csv(study: &StudyRecords) -> Result<String> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let before = [
        "trial",
        "bracket",
        "status",
        "epochs",
        study.objective.column(),
        "best_epoch",
        "seconds",
    ];
    let names = study.dimensions.iter().map(|dimension| &dimension.name[..]);
    writer.write_record(before.into_iter().chain(names).chain(["reason"]))?;
    for trial in &study.trials {
        writer.write_record(row(study, trial))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn row(study: &StudyRecords, trial: &Trial) -> Vec<String> {
    let (status, reason) = match &trial.status {
        Status::Running => ("running", ""),
        Status::Done => ("done", ""),
        Status::Failed(reason) => ("failed", &reason[..]),
    };
    let mut row = vec![
        trial.number.to_string(),
        trial.bracket.to_string(),
        status.to_owned(),
        trial.epochs().to_string(),
        trial.best.map_or(String::new(), |best| best.to_string()),
        trial
            .best_epoch
            .map_or(String::new(), |epoch| epoch.to_string()),
        trial.seconds().to_string(),
    ];
    // A trial with too few values leaves cells empty, and the columns stay where they are.
    let values = (0..study.dimensions.len()).map(|index| trial.values.get(index));
    row.extend(values.map(|value| match value {
        Some(Some(value)) => value.text.clone(),
        _ => String::new(),
    }));
    row.push(reason.to_owned());
    row
}
