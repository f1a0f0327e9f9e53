#!/usr/bin/env python3
"""How long weft and the seed's recipe in Keras take to the seed's validation accuracy: from nothing, on this machine.

    python time_to_accuracy.py --weft target/release/weft [CONFIG] [--device cpu|gpu] [--target 0.9074] [--cold]

The clock is the wall's and runs from the start of the process (imports, reading of data, compiling of kernels included)
to the first epoch whose accuracy on the validation split reaches the target: its row in results.csv (weft), its
callback (Keras). Each side validates on its own split of the training images; no test image is read. The two run one
after the other, never at once. A side that ends before is "not reached", and there is no ratio then.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine

HERE = Path(__file__).resolve().parent
# What the seed's tuned CNN had on validation when it had 0.9125 on the test.
SEED_ACCURACY = 0.9074
POLL_S = 0.02


def main():
    args = parse()
    sides = {"weft": run_weft, "keras": run_keras}
    sides = {name: sides[name] for name in args.sides}
    runs = {name: [] for name in sides}
    for number in range(args.repeats):
        for name, run in sides.items():
            runs[name].append(run(args, number))
            print(f"{name:6} {text_of(runs[name][-1], args.target)}", flush=True)
    medians = {name: median(of_side) for name, of_side in runs.items()}
    ratio = None
    if all(medians.get(name) for name in ("weft", "keras")):
        ratio = medians["keras"] / medians["weft"]
        print(f"keras / weft {ratio:.2f}")
    else:
        print("keras / weft: none, since not every run of both reached the target")
    record = {
        "machine": machine.describe(args.threads),
        "command": sys.argv[1:],
        "target": args.target,
        "config": str(args.config or "quickstart"),
        "cold": args.cold,
        "runs": runs,
        "median_s": medians,
        "keras_by_weft": ratio,
    }
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("config", type=Path, nargs="?", help="what weft trains [default: its built-in quickstart]")
    add("--weft", type=Path, required=True, help="the binary")
    add("--device", default="auto", help="of weft, as `weft train --device` takes it; Keras takes a GPU if it sees one")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of weft's config; may be repeated")
    add("--cold", action="store_true", help="weft starts with an empty cache folder: it compiles and tunes anew")
    add("--target", type=float, default=SEED_ACCURACY, help=f"validation accuracy [default: {SEED_ACCURACY}]")
    add("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="four IDX files, .gz")
    add("--keras-epochs", type=int, help="most epochs of Keras [default: the recipe's 100]")
    add("--sides", nargs="+", choices=["weft", "keras"], default=["weft", "keras"])
    add("--repeats", type=int, default=1, help="runs of each side, in turn, each with the next seed")
    add("--threads", type=int, default=os.cpu_count(), help="threads of each side")
    add("--python", default=sys.executable, help="Keras' interpreter")
    add("--json", type=Path, help="write every number to this file")
    return parser.parse_args()


def run_weft(args, number):
    with tempfile.TemporaryDirectory(prefix="weft-peers-") as folder:
        command = [args.weft.resolve(), "train", *([args.config] if args.config else []), "--quiet"]
        command += ["--runs-dir", folder, "--name", "run", "--device", args.device, "--data", args.data]
        for assignment in [*args.set, f"seed={number + 1}"]:
            command += ["--set", assignment]
        environment = {"RAYON_NUM_THREADS": str(args.threads)}
        if args.cold:
            environment["WEFT_CACHE"] = str(Path(folder) / "cache")
        results = Path(folder) / "run/results.csv"

        def epochs(process):
            """A pair as soon as a row is whole; those of the last moment after the process has ended."""
            n_seen, ended = 0, False
            while not ended:
                ended = process.poll() is not None
                rows = rows_of(results)
                yield from [(int(row["epoch"]), float(row["valid_accuracy"])) for row in rows[n_seen:]]
                n_seen = len(rows)
                time.sleep(POLL_S)

        return watch("weft", command, environment, epochs, args.target)


def run_keras(args, number):
    command = [args.python, HERE / "seed_keras.py", "--data", args.data, "--threads", args.threads, "--seed", number + 1]
    command += ["--epochs", args.keras_epochs] if args.keras_epochs else []

    def epochs(process):
        for line in process.stdout:
            row = json.loads(line)
            yield row["epoch"], row["val_accuracy"]

    return watch("keras", command, {}, epochs, args.target)


def rows_of(results):
    """Of whole lines."""
    try:
        text = results.read_text()
    except FileNotFoundError:
        return []
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def watch(name, command, environment, epochs, target):
    """Runs it until the target is reached or it ends by itself."""
    command = [str(word) for word in command]
    rows, reached_s = [], None
    with tempfile.TemporaryFile("w+") as stderr:
        start = time.monotonic()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env={**os.environ, **environment}
        )
        try:
            for epoch, accuracy in epochs(process):
                rows.append({"epoch": epoch, "seconds": time.monotonic() - start, "valid_accuracy": accuracy})
                if accuracy >= target:
                    reached_s = rows[-1]["seconds"]
                    break
            ended = reached_s is None and process.wait()
        finally:
            process.kill()
            process.wait()
        if ended:
            stderr.seek(0)
            tail = "".join(stderr.readlines()[-30:])
            raise SystemExit(f"{name} ended with {ended}: {' '.join(command)}\n{tail}")
    return {"reached_s": reached_s, "epochs": rows, "command": command}


def text_of(run, target):
    epochs = run["epochs"]
    if run["reached_s"] is not None:
        last = epochs[-1]
        return f"{run['reached_s']:.1f} s to {last['valid_accuracy']:.4f} (target {target}) in epoch {last['epoch']}"
    best = max((row["valid_accuracy"] for row in epochs), default=0.0)
    seconds = epochs[-1]["seconds"] if epochs else 0.0
    return f"not reached: {target} in {len(epochs)} epochs and {seconds:.1f} s; the best was {best:.4f}"


def median(runs):
    """None unless all reached the target: leaving slow runs out would flatter."""
    times = [run["reached_s"] for run in runs]
    return statistics.median(times) if times and None not in times else None


if __name__ == "__main__":
    sys.exit(main())
