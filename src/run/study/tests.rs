use super::*;

fn start(trial: usize, rung: usize, epochs: u64, worker: &str) -> Event {
    Event::Start {
        trial,
        bracket: 0,
        rung,
        epochs,
        values: (rung == 0).then(|| Values::from([("x".to_owned(), toml::Value::Float(0.1))])),
        worker: worker.to_owned(),
        time: String::new(),
    }
}

fn end(trial: usize, rung: usize, value: f64) -> Event {
    Event::End {
        trial,
        rung,
        value,
        best_epoch: 1,
        trained: 1,
        seconds: 0.5,
        device: "CPU".to_owned(),
        time: String::new(),
    }
}

fn crash(trial: usize, rung: usize, worker: &str) -> Event {
    Event::Crash {
        trial,
        rung,
        worker: worker.to_owned(),
        why: "its process was ended".to_owned(),
        time: String::new(),
    }
}

fn study() -> (tempfile::TempDir, StudyFolder) {
    let place = tempfile::tempdir().unwrap();
    let folder = StudyFolder::create(&place.path().join("s"), "name = \"s\"\n").unwrap();
    (place, folder)
}

#[test]
fn what_is_appended_is_read() {
    let (_place, folder) = study();
    assert_eq!(folder.read().unwrap(), StudyLog::default());
    let events = [
        Event::Study {
            schema: STUDY_SCHEMA,
            weft: "0".to_owned(),
            study_sha256: "def".to_owned(),
            data_sha256: "abc".to_owned(),
            time: "now".to_owned(),
        },
        start(1, 0, 1, "a"),
        start(2, 0, 1, "b"),
        end(2, 0, 0.123_456_789_012_345_67),
        start(2, 1, 3, "b"),
        end(1, 0, 0.5),
    ];
    for event in &events {
        folder.lock().unwrap().append(event).unwrap();
    }
    let log = folder.read().unwrap();
    assert_eq!(log.data_sha256.as_deref(), Some("abc"));
    assert_eq!(log.trials.len(), 2);
    assert_eq!(log.trials[0].rungs.len(), 1);
    assert!(log.trials[0].running.is_none());
    assert_eq!(log.trials[1].rungs[0].value, 0.123_456_789_012_345_67);
    assert_eq!(log.trials[1].running.as_ref().unwrap().epochs, 3);
    assert_eq!(log.trials[1].values["x"], toml::Value::Float(0.1));
    assert_eq!(log.epochs(), 2);
    assert_eq!(folder.lock().unwrap().read().unwrap(), log);
}

/// A kill tears the line that is being written: it did not happen, and the next line stands alone.
#[test]
fn a_torn_line_counts_for_nothing_wherever_it_is_torn() {
    let (_place, folder) = study();
    folder.lock().unwrap().append(&start(1, 0, 1, "a")).unwrap();
    let whole = fs::read(folder.log()).unwrap();
    let line = serde_json::to_string(&end(1, 0, 0.5)).unwrap();
    for length in 1..line.len() {
        let torn = [&whole[..], &line.as_bytes()[..length]].concat();
        fs::write(folder.log(), torn).unwrap();
        // Amid the write others see nothing of it.
        let before = folder.read().unwrap();
        assert!(
            before.trials[0].running.is_some() && before.torn.is_empty(),
            "{length}"
        );
        folder.lock().unwrap().append(&end(1, 0, 0.25)).unwrap();
        let log = folder.read().unwrap();
        assert_eq!(log.torn, [2], "{length}");
        assert_eq!(log.trials[0].rungs[0].value, 0.25, "{length}");
    }
}

#[test]
fn a_log_that_contradicts_itself_is_refused_with_its_line() {
    let lines = |events: &[Event]| -> String {
        events
            .iter()
            .map(|event| serde_json::to_string(event).unwrap() + "\n")
            .collect()
    };
    let path = Path::new("log.jsonl");
    for (events, what) in [
        (vec![end(1, 0, 0.5)], "there is no trial 1"),
        (vec![start(2, 0, 1, "a")], "there is no trial 2"),
        (
            vec![start(1, 0, 1, "a"), end(1, 1, 0.5)],
            "was not in rung 1",
        ),
        (
            vec![start(1, 0, 1, "a"), end(1, 0, 0.5), end(1, 0, 0.5)],
            "was not in rung 0",
        ),
        (
            vec![start(1, 0, 1, "a"), end(1, 0, 0.5), start(1, 2, 9, "a")],
            "cannot begin rung 2",
        ),
    ] {
        let n = events.len();
        let error = StudyLog::parse(path, &lines(&events))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("log.jsonl:{n}: ")), "{error}");
        assert!(error.contains(what), "{error}");
    }
    for line in [
        "{}",
        "{\"event\":\"party\"}",
        "[1]",
        "{\"event\":\"study\",\"schema\":9,\"weft\":\"\",\"study_sha256\":\"\",\"data_sha256\":\"\",\"time\":\"\"}",
    ] {
        let error = StudyLog::parse(path, &format!("{line}\n"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("log.jsonl:1: "), "{error}");
    }
}

#[test]
fn a_trial_that_keeps_taking_its_process_down_fails() {
    let mut log = StudyLog::default();
    for attempt in 1..=MOST_CRASHES {
        let event = match attempt {
            1 => start(1, 0, 1, "a"),
            // Only the first start brings the values.
            _ => Event::Start {
                trial: 1,
                bracket: 0,
                rung: 0,
                epochs: 1,
                values: None,
                worker: attempt.to_string(),
                time: String::new(),
            },
        };
        log.apply(event).unwrap();
        let worker = if attempt == 1 {
            "a".to_owned()
        } else {
            attempt.to_string()
        };
        log.apply(crash(1, 0, &worker)).unwrap();
        assert_eq!(log.trials[0].failed.is_some(), attempt == MOST_CRASHES);
        assert_eq!(log.trials[0].running.is_none(), attempt == MOST_CRASHES);
    }
}

/// Another worker has taken it over: it is left to that one.
#[test]
fn a_crash_does_not_fail_a_trial_that_somebody_else_has() {
    let mut log = StudyLog::default();
    log.apply(start(1, 0, 1, "a")).unwrap();
    for _ in 0..MOST_CRASHES {
        log.apply(crash(1, 0, "before")).unwrap();
    }
    assert!(log.trials[0].failed.is_none() && log.trials[0].running.is_some());
    assert_eq!(log.claims["a"], (1, 0));
    log.apply(crash(1, 0, "a")).unwrap();
    assert!(log.trials[0].failed.is_some());
}

#[test]
fn a_worker_is_alive_until_it_is_dropped() {
    let (_place, folder) = study();
    let lock = folder.lock().unwrap();
    let (one, two) = (lock.join(&token()).unwrap(), lock.join("two").unwrap());
    assert_ne!(one.id, two.id);
    assert!(folder.is_alive(&one.id) && folder.is_alive(&two.id));
    let gone = two.id.clone();
    drop(two);
    assert!(!folder.is_alive(&gone) && folder.is_alive(&one.id));
    // One that was killed leaves its file, unlocked.
    fs::write(folder.workers().join("7-dead.lock"), "").unwrap();
    assert!(!folder.is_alive("7-dead"));
    lock.sweep();
    assert!(!folder.workers().join("7-dead.lock").exists());
    assert!(folder.is_alive(&one.id));
}

#[test]
fn a_run_is_no_study() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("config.toml"), "").unwrap();
    let error = StudyFolder::create(place.path(), "")
        .unwrap_err()
        .to_string();
    assert!(error.contains("a run, not a study"), "{error}");
    let error = StudyFolder::open(place.path()).unwrap_err().to_string();
    assert!(error.contains("not a study"), "{error}");
}
