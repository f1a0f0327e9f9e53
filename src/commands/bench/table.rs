//! The figures of `weft bench` for people.

use crate::bench::record::{Benchmark, FirstStep, Phase, Timing};
use crate::text::thousands;

/// What is measured and how, then the figures.
pub(super) fn block(of: &Benchmark) -> Vec<String> {
    let mut lines = heading(of);
    lines.push(String::new());
    let rate = images(of.images_per_second);
    lines.push(row("step", &timing(&of.step), &rate));
    lines.extend(phases(of));
    let inference = &of.inference;
    let rate = images(inference.images_per_second);
    let rate = format!("{rate}, forward only, {} at once", inference.batch);
    lines.push(row("inference", &timing(&inference.pass), &rate));
    lines.extend(launches(of));
    lines.push(row("arithmetic", &arithmetic(of), &share_of_peak(of)));
    lines.extend(memory(of));
    if let Some(start) = &of.start {
        lines.push(first_step(
            "cold start",
            start.cold,
            "compiling and tuning",
            of,
        ));
        lines.push(first_step("warm start", start.warm, "loading", of));
    }
    lines
}

/// One row for each of several.
pub(super) fn summary(all: &[Benchmark]) -> Vec<String> {
    let names = all.iter().map(|of| of.config.chars().count());
    let width = names.max().unwrap_or(0).max("config".len());
    let line = |cells: [&str; 7]| {
        let [name, median, min, max, images, share, device] = cells;
        format!(
            "{name:<width$}  {median:>11}  {min:>8}  {max:>8}  {images:>9}  {share:>7}  {device}"
        )
    };
    let mut lines = vec![line([
        "config",
        "ms per step",
        "min",
        "max",
        "images/s",
        "of peak",
        "device",
    ])];
    lines.extend(all.iter().map(|of| {
        let share = of.arithmetic.share_of_peak;
        line([
            &of.config,
            &ms(of.step.median_ms),
            &ms(of.step.min_ms),
            &ms(of.step.max_ms),
            &thousands(of.images_per_second.round() as u64),
            &share.map_or("-".to_owned(), percent),
            &of.device,
        ])
    }));
    lines
}

fn heading(of: &Benchmark) -> Vec<String> {
    let [channels, height, width] = of.image;
    let color = if channels == 3 { "RGB" } else { "grey" };
    let parameters = thousands(of.parameters as u64);
    vec![
        format!("data     {}, {height} x {width} {color}", of.data),
        format!(
            "model    {}, {parameters} parameters, kernels {}",
            of.model, of.kernels
        ),
        format!(
            "turns    {} of {} steps of {} images, after one to warm up",
            of.repeats, of.steps, of.batch
        ),
    ]
}

/// `figure` begins with a number, which ends at one column in all rows.
fn row(name: &str, figure: &str, more: &str) -> String {
    let line = format!("{name:<11}  {figure:<33}  {more}");
    line.trim_end().to_owned()
}

fn timing(of: &Timing) -> String {
    let (min, max) = (ms(of.min_ms), ms(of.max_ms));
    format!("{:>9} ms  {min} to {max}", ms(of.median_ms))
}

fn images(per_second: f64) -> String {
    format!("{} images/s", thousands(per_second.round() as u64))
}

fn phases(of: &Benchmark) -> Vec<String> {
    let phases = &of.phases;
    let line = |name: &str, phase: Phase, more: &str| {
        let figure = format!("{:>9} ms  {:>6}", ms(phase.ms), percent(phase.share));
        row(&format!("  {name}"), &figure, more)
    };
    let sum = format!(
        "parts, each until the device is done: {} ms in all",
        ms(phases.sum_ms)
    );
    vec![
        line("data", phases.data, &sum),
        line("forward", phases.forward, ""),
        line("backward", phases.backward, ""),
        line("optimizer", phases.optimizer, ""),
        line("metrics", phases.metrics, ""),
    ]
}

fn launches(of: &Benchmark) -> Option<String> {
    let launches = of.launches.as_ref()?;
    let busy = launches.device_ms_per_step;
    let busy = busy.map_or(String::new(), |busy| {
        format!("{} ms of work for the GPU in each step", ms(busy))
    });
    let per_step = format!("{:>9.0} kernels a step", launches.per_step);
    Some(row("launches", &per_step, &busy))
}

fn arithmetic(of: &Benchmark) -> String {
    let arithmetic = &of.arithmetic;
    let (rate, prefix) = prefixed(arithmetic.flops_per_second);
    let (amount, of_amount) = prefixed(arithmetic.flops_per_step as f64);
    format!("{rate:>9} {prefix}FLOP/s  {amount} {of_amount}FLOP a step")
}

fn share_of_peak(of: &Benchmark) -> String {
    let arithmetic = &of.arithmetic;
    let (Some(share), Some(peak), Some(what)) = (
        arithmetic.share_of_peak,
        arithmetic.peak_flops_per_second,
        &arithmetic.peak_of,
    ) else {
        return String::new();
    };
    let (peak, prefix) = prefixed(peak);
    format!("{} of the {peak} {prefix}FLOP/s of {what}", percent(share))
}

fn memory(of: &Benchmark) -> Vec<String> {
    let mib = |bytes: u64| format!("{:>9} MiB", thousands(bytes >> 20));
    let memory = &of.memory;
    let process = memory.process_peak_bytes;
    let process = process.map_or(format!("{:>9}", "unknown"), mib);
    let mut lines = vec![row("memory", &process, "of the process, at most")];
    if let (Some(reserved), Some(in_use)) =
        (memory.device_reserved_bytes, memory.device_in_use_bytes)
    {
        let more = format!("of the GPU; {} MiB between steps", thousands(in_use >> 20));
        lines.push(row("", &mib(reserved), &more));
    }
    lines
}

/// `on_gpu`: what the first step does there that later ones do not.
fn first_step(name: &str, of: FirstStep, on_gpu: &str, all: &Benchmark) -> String {
    let figure = format!("{:>9.2} s", of.seconds);
    let until = "until the first step is done";
    let more = match all.launches {
        Some(_) => format!(
            "{until}, {:.2} s of it {on_gpu} kernels",
            of.warm_up_seconds
        ),
        None => until.to_owned(),
    };
    row(name, &figure, &more)
}

/// Milliseconds: three decimals below one, else two, and none where they say nothing.
fn ms(value: f64) -> String {
    match value {
        1000.0.. => thousands(value.round() as u64),
        100.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        9.95.. => format!("{percent:.0} %"),
        0.095.. => format!("{percent:.1} %"),
        _ => format!("{percent:.2} %"),
    }
}

/// Three digits and the prefix of the unit.
fn prefixed(value: f64) -> (String, &'static str) {
    let mut scaled = value;
    let mut prefixes = ["", "k", "M", "G", "T", "P"].into_iter();
    let mut prefix = prefixes.next().unwrap_or_default();
    while scaled >= 999.5 {
        let Some(next) = prefixes.next() else { break };
        (scaled, prefix) = (scaled / 1000.0, next);
    }
    let digits = match scaled {
        99.5.. => 0,
        9.95.. => 1,
        _ => 2,
    };
    (format!("{scaled:.digits$}"), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_they_need() {
        assert_eq!(ms(0.1234), "0.123");
        assert_eq!(ms(12.345), "12.35");
        assert_eq!(ms(123.45), "123.5");
        assert_eq!(ms(12_345.6), "12,346");
        assert_eq!(percent(0.5), "50 %");
        assert_eq!(percent(0.0123), "1.2 %");
        assert_eq!(percent(0.000_12), "0.01 %");
        let written = |value| {
            let (number, prefix) = prefixed(value);
            format!("{number} {prefix}FLOP")
        };
        assert_eq!(written(829.0e6), "829 MFLOP");
        assert_eq!(written(12.3e9), "12.3 GFLOP");
        assert_eq!(written(999.7e9), "1.00 TFLOP");
        assert_eq!(written(1.5), "1.50 FLOP");
    }
}
