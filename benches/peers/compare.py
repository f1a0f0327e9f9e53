#!/usr/bin/env python3
"""Compares weft's training step with PyTorch's and Keras', on this machine, in one run.

    python compare.py --weft target/release/weft [--device cpu|gpu] [--peers pytorch,pytorch-compiled,keras]

For each model and batch size weft writes the experiment (`weft bench --export`), and weft and each peer train it from
the same weights on the same batches. First without dropout, to check that both do the same work: the loss of each of
the first steps must agree, or the pair is not timed and the command ends with 1. Then both stay warm and take turns,
one idle while the other trains. A ratio is peer / weft, pair by pair: above 1, weft is faster. README.md has the rest.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import machine
from child import Child, Failed, Unavailable, Unsupported
from experiment import Case, Weft

HERE = Path(__file__).resolve().parent
# Config files and the batch sizes that are compared unless others are given.
CASES = {
    HERE / "configs/mlp.toml": [128],
    HERE / "configs/cnn.toml": [128],
    HERE / "../../configs/seed/cnn-tuned.toml": [32, 128],
    HERE / "configs/resnet.toml": [128],
}
# Peers by name: script, mode. A list of names stands for the fastest of them.
PEERS = {
    "pytorch": ("peer_pytorch.py", "eager"),
    "pytorch-compiled": ("peer_pytorch.py", "compiled"),
    "keras": ["keras-function", "keras-xla", "keras-fit"],
    "keras-function": ("peer_keras.py", "function"),
    "keras-xla": ("peer_keras.py", "xla"),
    "keras-fit": ("peer_keras.py", "fit"),
}
# Turns that each mode is tried for, if a name stands for several.
TRIAL_TURNS = 2
# Seconds of a turn that --steps is chosen for, and what it may be.
TURN_S, FEWEST_STEPS, MOST_STEPS = 1.5, 10, 1000
# Other programs' load, in processors, from which on a pair of turns is disturbed; how often turns are taken, at most.
DISTURBED, MOST_TRIES = 0.1, 4
# How far losses may be apart, relatively: sums are taken in another order, and Adam makes much of a gradient that is
# all rounding error, more so with each step. 1e-6 is usual for PyTorch, 1e-4 for Keras.
TOLERANCE = 1e-3
# glibc's malloc gives freed memory back to the system and asks for it anew at each step, which costs PyTorch up to half
# of its time on a CPU. Its tuning guide advises another allocator; these settings do the same, with huge pages.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def main():
    args = parse()
    weft = Weft(args.weft, args.weft_device or args.device, args.threads, args.data)
    comparison = Comparison(args, weft)
    with tempfile.TemporaryDirectory(prefix="weft-peers-") as folder:
        for number, (config, batch) in enumerate(cases(args)):
            comparison.export_and_compare(config, batch, Path(folder) / str(number))
    record = comparison.record()
    print("\n" + markdown(record))
    if args.markdown:
        args.markdown.write_text(markdown(record) + "\n")
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    for failure in comparison.failures:
        print(f"FAILED  {failure}", file=sys.stderr)
    if not record["rows"]:
        print("FAILED  nothing was compared", file=sys.stderr)
    return 1 if comparison.failures or not record["rows"] else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--weft", type=Path, required=True, help="the binary")
    add("--device", choices=["cpu", "gpu"], default="cpu", help="of weft and, as CUDA, of the peers")
    add("--weft-device", help="another device for weft, as `weft bench --device` takes it")
    add("--configs", type=Path, nargs="+", help="experiments as TOML [default: four, see CASES]")
    add("--batch", type=int, nargs="+", help="batch sizes [default: 128; 32 too for the seed's; a config's own]")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the configs; may be repeated")
    add("--data", type=Path, help="folder of a data set [default: the embedded sample]")
    add("--peers", default="pytorch,pytorch-compiled,keras", help=f"of {', '.join(PEERS)}")
    add("--python", default=sys.executable, help="the peers' interpreter")
    add("--turns", type=int, default=7, help="turns of each side")
    add("--steps", type=int, help=f"steps of a turn [default: what weft does in {TURN_S} s]")
    add("--check-steps", type=int, default=10, help="steps whose losses are compared, at most an epoch's")
    add("--tolerance", type=float, default=TOLERANCE, help="largest relative difference of these losses")
    add("--threads", type=int, default=os.cpu_count(), help="threads of each side")
    add("--pause", type=float, default=0.5, help="seconds between turns, for spinning threads to go to sleep")
    add("--timeout", type=float, default=1800, help="seconds in which a child must answer")
    add("--plain-malloc", action="store_true", help="leave the peers' malloc as it is")
    add("--ways", help="of pytorch-compiled, with commas between: see COMPILERS in peer_pytorch.py [default: tries all]")
    add("--tf32", action="store_true", help="PyTorch, CUDA: matrix products in TF32 too")
    add("--markdown", type=Path, help="write the table to this file")
    add("--json", type=Path, help="write every number to this file")
    args = parser.parse_args()
    args.peers = args.peers.split(",")
    unknown = [name for name in args.peers if name not in PEERS]
    if unknown:
        parser.error(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return args


def cases(args):
    configs = {config: None for config in args.configs} if args.configs else CASES
    return [(config, batch) for config, batches in configs.items() for batch in args.batch or batches or [None]]


class Comparison:
    """rows: what was measured; skipped: peer -> why it is not there; failures: what must not be overlooked."""

    def __init__(self, args, weft):
        self.args, self.weft = args, weft
        self.rows, self.skipped, self.failures, self.versions = [], {}, [], {"weft": weft.version}

    def export_and_compare(self, config, batch, folder):
        try:
            self.case(Case(self.weft, config, batch, folder, self.args.set))
        except Failed as failure:
            self.failures.append(f"{config}: {failure}")

    def case(self, case):
        with self.start_weft(case.without_dropout, case.n_check_steps(self.args.check_steps)) as weft:
            losses = weft.ready()["losses"]
            ms_per_step = min(weft.turn()[0] for _ in range(2))
        in_a_turn = max(FEWEST_STEPS, min(round(TURN_S * 1e3 / ms_per_step), MOST_STEPS))
        n_steps = self.args.steps or in_a_turn
        for name in self.args.peers:
            if name in self.skipped:
                continue
            try:
                self.pair(case, name, losses, n_steps)
            except Unavailable as why:
                self.skipped[name] = str(why)
                print(f"skipped {name}: {why}", flush=True)
            except Unsupported as why:
                self.skipped[f"{name} for {case.title}"] = str(why)
                print(f"skipped {name} for {case.title}: {why}", flush=True)
            except Failed as failure:
                self.failures.append(f"{case.title}: {failure}")

    def pair(self, case, name, losses, n_steps):
        """Checks that the peer does the same work, and lets it and weft take turns."""
        mode, tried = self.fastest(case, name, n_steps)
        with self.start_peer(mode, case, n_steps) as peer:
            ready = {"peer": peer.ready()}
            check = self.check(case, mode, ready["peer"]["way"], losses)
            with self.start_weft(case, n_steps) as weft:
                ready["weft"] = weft.ready()
                pairs = self.take_turns([("weft", weft), ("peer", peer)])
        self.versions[name] = ready["peer"]["version"]
        row = {
            "model": case.name,
            "batch": case.batch,
            "peer": name,
            "mode": mode,
            "way": ready["peer"]["way"],
            "tried_ms": {**tried, **ready["peer"].get("tried_ms", {})},
            "steps_per_turn": n_steps,
            "devices": {side: ready[side]["device"] for side in ready},
            "warmup_s": {side: ready[side]["warmup_s"] for side in ready},
            "ms_per_step": {side: [turns[side][0] for turns in pairs] for side in ready},
            "mean_losses": {side: [turns[side][1] for turns in pairs] for side in ready},
            "load_of_others": [load_of(turns) for turns in pairs],
            "check": check,
        }
        self.rows.append(row)
        print(line_of(row), flush=True)

    def fastest(self, case, name, n_steps):
        """The mode that a peer's name stands for, and the milliseconds of those that were tried."""
        if not isinstance(PEERS[name], list):
            return name, {}
        tried = {}
        for mode in PEERS[name]:
            with self.start_peer(mode, case, n_steps) as peer:
                peer.ready()
                tried[mode] = min(peer.turn()[0] for _ in range(TRIAL_TURNS))
        return min(tried, key=tried.get), tried

    def take_turns(self, sides):
        """Pairs of turns, {side: (ms, loss, load of others)}. Those in which other programs ran are taken again, a few
        times; the least disturbed are kept. The times have no say in that."""
        pairs = []
        while len(pairs) < self.args.turns * MOST_TRIES:
            turns = {}
            for side, child in sides if len(pairs) % 2 == 0 else reversed(sides):
                time.sleep(self.args.pause)
                turns[side] = child.turn()
            pairs.append(turns)
            if sum(load_of(turns) <= DISTURBED for turns in pairs) >= self.args.turns:
                break
        kept = sorted(pairs, key=load_of)[: self.args.turns]
        return [turns for turns in pairs if any(turns is it for it in kept)]

    def check(self, case, mode, way, losses):
        """Raises Failed unless the peer's first losses are weft's."""
        with self.start_peer(mode, case.without_dropout, len(losses), "--check", "--ways", way) as peer:
            theirs = peer.ready()["losses"]
        apart = [abs(a - b) / max(abs(a), abs(b), 1e-6) for a, b in zip(losses, theirs, strict=True)]
        # Written so that NaN fails too.
        if not all(difference <= self.args.tolerance for difference in apart):
            step = next(step for step, difference in enumerate(apart) if not difference <= self.args.tolerance)
            raise Failed(
                f"{mode} does other work than weft: the loss of step {step + 1} is {theirs[step]:.6f} there and "
                f"{losses[step]:.6f} in weft, {apart[step]:.1e} apart; {self.args.tolerance:.0e} is allowed"
            )
        return {"n_steps": len(losses), "largest_difference": max(apart), "weft": losses, "peer": theirs}

    def start_weft(self, case, n_steps):
        return Child("weft", self.weft.interactive(case, n_steps), self.weft.environment, self.args.timeout)

    def start_peer(self, name, case, n_steps, *flags):
        script, mode = PEERS[name]
        args = self.args
        device = "cuda" if args.device == "gpu" else "cpu"
        command = [args.python, HERE / script, case.folder, "--batch", case.batch, "--steps", n_steps]
        command += ["--device", device, "--mode", mode, "--threads", args.threads, *flags]
        command += ["--tf32"] if args.tf32 else []
        if args.ways and script == "peer_pytorch.py" and "--ways" not in flags and mode == "compiled":
            command += ["--ways", args.ways]
        environment = {"OMP_NUM_THREADS": str(args.threads), **({} if args.plain_malloc else MALLOC)}
        return Child(name, command, environment, args.timeout)

    def record(self):
        return {
            "machine": machine.describe(self.args.threads),
            "versions": self.versions,
            "command": sys.argv[1:],
            "tolerance": self.args.tolerance,
            "rows": self.rows,
            "skipped": self.skipped,
            "failures": self.failures,
        }


def load_of(turns):
    """Of other programs during a pair of turns, in processors; 0 where that is not known."""
    return max(load or 0.0 for _, _, load in turns.values())


def summary(row):
    """Medians, and the ratios pair by pair."""
    weft, peer = row["ms_per_step"]["weft"], row["ms_per_step"]["peer"]
    ratios = [b / a for a, b in zip(weft, peer)]
    return statistics.median(weft), statistics.median(peer), min(ratios), statistics.median(ratios), max(ratios)


def line_of(row):
    weft, peer, low, middle, high = summary(row)
    ratios = f"{low:.2f} {middle:.2f} {high:.2f}"
    sides = f"weft {weft:8.3f} ms  {row['peer']} {peer:8.3f} ms"
    return f"{row['model']:16} {row['batch']:5}  {sides}  peer / weft {ratios}{disturbance(row)}"


def disturbance(row):
    load = statistics.median(row["load_of_others"])
    return f" (disturbed: other programs kept {load:.1f} processors busy)" if load > DISTURBED else ""


def markdown(record):
    """The table, and what it was measured on."""
    facts = record["machine"]
    lines = [
        f"Measured {facts['date']} on {facts['cpu']}, {facts['threads']} threads, {facts['gpu'] or 'no GPU'}.",
        "; ".join(f"{name}: {version}" for name, version in record["versions"].items()) + ".",
        "Milliseconds a step are medians; ratios are peer / weft pair by pair (above 1: weft is faster).",
    ]
    if record["rows"]:
        columns = ["model", "batch", "peer", "weft, ms", "peer, ms", "weft, images/s", "peer, images/s"]
        columns += ["peer / weft: min, median, max", "largest difference of losses"]
        lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in record["rows"]:
        weft, peer, low, middle, high = summary(row)
        images = [f"{row['batch'] / ms * 1e3:,.0f}" for ms in (weft, peer)]
        ratios = f"{low:.2f}, **{middle:.2f}**, {high:.2f}{disturbance(row)}"
        check = f"{row['check']['largest_difference']:.0e} in {row['check']['n_steps']} steps"
        name = f"{row['peer']} ({row['way']})"
        cells = [row["model"], row["batch"], name, f"{weft:.3f}", f"{peer:.3f}", *images, ratios, check]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    lines += [f"\nSkipped: {name}: {why}" for name, why in record["skipped"].items()]
    if record["failures"]:
        lines.append(f"\n{len(record['failures'])} comparisons FAILED.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
