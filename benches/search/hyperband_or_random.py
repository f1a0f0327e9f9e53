#!/usr/bin/env python3
"""How many epochs Hyperband and random search spend until they have found the same accuracy.

    python3 benches/search/hyperband_or_random.py target/release/weft STUDY.toml [--seeds 1 2 3] [--trials 30]
        [--dir DIR] -- [arguments of weft tune, such as --device cpu --set data.validation_fraction=0.8]

For each seed of the search the study is run as it is (Hyperband) and with random search of --trials full trials. The goal
of a seed is the smaller of the two best values: both reach it, and the table says after how many epochs. The trials of
random search are drawn independently, so the epochs to the goal are also given as their mean over all orders of all
random trials of all seeds. Studies are kept in --dir, and go on there when this is started again.
"""

import argparse
import json
import random
import re
import subprocess
import sys
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weft", type=Path)
    parser.add_argument("study", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--dir", type=Path, default=Path("runs/hyperband-or-random"))
    own, more = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, more = own[:at], own[at + 1 :]
    args = parser.parse_args(own)
    args.dir.mkdir(parents=True, exist_ok=True)

    found, pool, cost = {}, [], 0
    for seed in args.seeds:
        for algorithm in ("hyperband", "random"):
            name = f"{algorithm}-{seed}"
            settings = {"algorithm": f'"{algorithm}"', "seed": seed, "trials": args.trials}
            events = search(args, name, settings, more)
            found[algorithm, seed] = progress(events)
            if algorithm == "random":
                ends = [event for event in events if event["event"] in ("end", "fail")]
                pool += [event.get("value", 0.0) for event in ends]
                cost = max(event["trained"] for event in ends)

    print("| seed | Hyperband: epochs, best | random: epochs, best | goal | epochs to it: Hyperband | random |")
    print("|---|---|---|---|---|---|")
    goals = []
    for seed in args.seeds:
        band, plain = found["hyperband", seed], found["random", seed]
        goal = min(band[-1][1], plain[-1][1])
        goals.append((band[-1], to_reach(band, band[-1][1])))
        cells = [f"{epochs}, {best:.4f}" for epochs, best in (band[-1], plain[-1])]
        print(f"| {seed} | {' | '.join(cells)} | {goal:.4f} | {to_reach(band, goal)} | {to_reach(plain, goal)} |")
    print(f"\nRandom search's mean epochs to Hyperband's best of each seed, over orders of all {len(pool)} random trials:")
    for seed, ((_, best), spent) in zip(args.seeds, goals):
        text = mean_epochs(pool, best, cost)
        print(f"  seed {seed}: {best:.4f}, Hyperband {spent} epochs, random {text}")


def search(args, name, settings, more):
    """The events of a study that is run to its end."""
    text = args.study.read_text()
    head, section = text.split("\n[search]\n")
    for key in settings:
        section = re.sub(rf"(?m)^{key} = .*\n", "", section)
    given = "".join(f"{key} = {value}\n" for key, value in settings.items())
    file = args.dir / f"{name}.toml"
    file.write_text(f"{head}\n[search]\n{given}{section}")
    command = [args.weft, "tune", file, "--name", name, "--runs-dir", args.dir, "--quiet", *more]
    subprocess.run([str(word) for word in command], check=True)
    lines = (args.dir / name / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def progress(events):
    """[(epochs so far, best so far)] after each rung."""
    epochs, best, steps = 0, 0.0, []
    for event in events:
        if event["event"] in ("end", "fail"):
            epochs += event["trained"]
            best = max(best, event.get("value", 0.0))
            steps.append((epochs, best))
    return steps


def to_reach(steps, goal):
    return next(epochs for epochs, best in steps if best >= goal)


def mean_epochs(pool, goal, cost, n_orders=10_000):
    n_good = sum(value >= goal for value in pool)
    if n_good == 0:
        return f"more than {len(pool) * cost}: none of them reached it"
    draw = random.Random(1)
    total = 0
    for _ in range(n_orders):
        order = draw.sample(pool, len(pool))
        total += next(index for index, value in enumerate(order, 1) if value >= goal)
    return f"{total / n_orders * cost:.0f} ({n_good} of them reached it)"


if __name__ == "__main__":
    main()
