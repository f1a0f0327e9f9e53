//! `--budget`: a time, or a number of epochs.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Error, anyhow};

/// What a search may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Budget {
    /// This process, on the clock.
    Time(Duration),
    /// The study in all.
    Epochs(u64),
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let trimmed = text.trim();
        let digits = trimmed.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = trimmed[digits.len()..].to_owned();
        let refuse = || {
            anyhow!(
                "--budget {text}: that is neither a time nor a number of epochs\n\
                 hint: write 90s, 30m, 2h or 500epochs"
            )
        };
        let number: f64 = digits.trim().parse().map_err(|_| refuse())?;
        let seconds = match unit.as_str() {
            "epochs" | "epoch" if number >= 1.0 && number.fract() == 0.0 => {
                return Ok(Self::Epochs(number as u64));
            }
            "s" => number,
            "m" | "min" => number * 60.0,
            "h" => number * 3600.0,
            _ => return Err(refuse()),
        };
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if !time.is_zero() => Ok(Self::Time(time)),
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_times_or_epochs() {
        let read = |text: &str| text.parse::<Budget>().ok();
        let minutes = |n: u64| Some(Budget::Time(Duration::from_secs(60 * n)));
        assert_eq!(read("30m"), minutes(30));
        assert_eq!(read(" 1.5 h"), minutes(90));
        assert_eq!(read("60s"), minutes(1));
        assert_eq!(read("500epochs"), Some(Budget::Epochs(500)));
        for wrong in [
            "",
            "30",
            "m",
            "-1m",
            "0s",
            "1.5epochs",
            "0epochs",
            "30d",
            "1e999h",
            "nan s",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
