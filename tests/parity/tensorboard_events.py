#!/usr/bin/env python3
"""Reads weft's event files with TensorBoard's own code.

    python tensorboard_events.py WEFT

Trains on the embedded sample with --tensorboard, kills a run amid an epoch, tears its last record,
resumes it, and checks after each step that TensorBoard finds every epoch of results.csv once, the
hyper-parameters and metrics of the HPARAMS tab, and the sheet of misclassified images. Also with a
TensorBoard that was open all the while. Ends with 1 if anything is amiss.
"""

import csv
import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing import data_provider, plugin_event_accumulator
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups, metadata
from tensorboard.plugins.hparams import plugin_data_pb2

SCALARS = {
    "loss/train": "train_loss",
    "loss/validation": "valid_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/validation": "valid_accuracy",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
}


def train(weft, folder, *arguments, expect=0):
    command = [weft, *arguments]
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True)
    if (done.returncode == 0) != (expect == 0):
        sys.exit(f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}")


def check(what, holds):
    print(f"{'ok' if holds else 'MISS'}  {what}", flush=True)
    check.n_misses += not holds


check.n_misses = 0


def read(run, reader=None):
    """What TensorBoard makes of a run. `reader` is one that was open before."""
    reader = reader or plugin_event_accumulator.EventAccumulator(str(run / "tensorboard"), {})
    reader.Reload()
    return reader


def check_epochs(what, run, reader):
    rows = list(csv.DictReader((run / "results.csv").open()))
    right = bool(rows)
    for tag, column in SCALARS.items():
        points = {event.step: value_of(event) for event in reader.Tensors(tag)}
        expected = {int(row["epoch"]): float(row[column]) for row in rows}
        steps = [event.step for event in reader.Tensors(tag)]
        right &= steps == sorted(expected)
        right &= all(abs(points[step] - expected[step]) <= 1e-6 * abs(expected[step]) for step in points)
    check(f"{what}: {len(rows)} epochs of results.csv, each once (read: {steps})", right)


def value_of(event):
    proto = event.tensor_proto
    if proto.float_val:
        return proto.float_val[0]
    from tensorboard.util import tensor_util

    return float(tensor_util.make_ndarray(proto))


def check_hparams(run, reader):
    found = {
        tag: plugin_data_pb2.HParamsPluginData.FromString(content)
        for tag, content in reader.PluginTagToContent(metadata.PLUGIN_NAME).items()
    }
    start = found[metadata.SESSION_START_INFO_TAG].session_start_info
    check("hyper-parameters of several kinds", (
        start.hparams["optimizer.kind"].string_value == "adam"
        and start.hparams["train.batch_size"].number_value == 128
        and start.hparams["early_stopping.restore_best"].bool_value
    ))
    end = found[metadata.SESSION_END_INFO_TAG].session_end_info
    check("the run has ended well", end.status == api_pb2.STATUS_SUCCESS)
    check("it took its time", end.end_time_secs > start.start_time_secs > 0)


def check_tab(runs):
    """The HPARAMS tab of all runs together, as TensorBoard's server computes it."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(runs))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(runs))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request_context, experiment_id = RequestContext(), ""
    hparams = context.hparams_metadata(request_context, experiment_id)
    experiment = context.experiment_from_metadata(
        request_context, experiment_id, True, hparams, context.hparams_from_data_provider(
            request_context, experiment_id, limit=None))
    names = {info.name for info in experiment.hparam_infos}
    check("the tab's columns: keys of both architectures", {"model.hidden", "model.kind"} <= names)
    metrics = {(info.name.group, info.name.tag) for info in experiment.metric_infos}
    check("the tab's metrics", {("", "accuracy/test"), ("", "accuracy/validation")} <= metrics)
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING, api_pb2.STATUS_UNKNOWN],
        col_params=[
            api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos
        ],
    )
    groups = list_session_groups.Handler(
        request_context, context, experiment_id, request).run().session_groups
    check("the tab's rows: a run each", len(groups) == len(list(runs.iterdir())))
    for group in groups:
        values = {value.name.tag: value.value for value in group.metric_values}
        check(f"accuracy/test of {group.name}", 0 < values.get("accuracy/test", 0) <= 1)


def main():
    weft = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        common = ("--device", "cpu", "--quiet")
        settings = ("--set", "data.source=sample", "--set", 'model={kind="softmax_regression"}')
        # 32 steps are an epoch: it is killed in the third.
        train(weft, folder, "train", "--name", "killed", "--tensorboard", *common, *settings,
              "--set", "train.epochs=5", "--set", "checkpoint.every_minutes=0.0",
              "--kill-at-step", 80, expect=1)
        killed = folder / "runs" / "killed"
        still_open = read(killed)
        check_epochs("after a kill", killed, still_open)
        check("two epochs were done", len(still_open.Tensors("loss/train")) == 2)

        # A kill amid a write: half of the last record.
        [events] = (killed / "tensorboard").iterdir()
        events.write_bytes(events.read_bytes()[:-40])
        check("a torn record is not read", len(read(killed).Tensors("seconds")) == 1)
        train(weft, folder, "resume", "runs/killed", *common)
        check("the file before is empty", events.stat().st_size == 0)
        reader = read(killed)
        check_epochs("after a resume", killed, reader)
        check_epochs("the same in a reader that was open", killed, read(killed, still_open))
        check_hparams(killed, reader)
        check("the test split's result", [e.step for e in reader.Tensors("accuracy/test")] != [])

        train(weft, folder, "resume", "runs/killed", "--epochs", 7, *common)
        check("two files are left", len(list((killed / "tensorboard").iterdir())) == 2)
        check_epochs("after more epochs", killed, read(killed))
        check_epochs("the same in a reader that was open", killed, read(killed, still_open))

        train(weft, folder, "train", "--name", "other", "--tensorboard", *common,
              "--set", "data.source=sample", "--set", "train.epochs=2",
              "--set", 'model={kind="mlp", hidden=[32]}')
        other = folder / "runs" / "other"
        reader = read(other)
        check_epochs("a run without a break", other, reader)
        sheet = other / "plots" / "misclassified.png"
        if sheet.exists():
            [event] = reader.Tensors("misclassified")
            width, height, png = event.tensor_proto.string_val[:3]
            picture = Image.open(io.BytesIO(png))
            picture.load()
            check("the sheet of misclassified images", (
                picture.size == (int(width), int(height)) and png == sheet.read_bytes()))
        else:
            print("--  no plots/misclassified.png, so no picture")
        check_tab(folder / "runs")
        train(weft, folder, "verify", "runs/killed")
    if check.n_misses:
        sys.exit(f"{check.n_misses} checks failed")


if __name__ == "__main__":
    main()
