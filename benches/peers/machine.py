"""What a measurement ran on."""

import datetime
import platform
import re
import subprocess
from pathlib import Path


def describe(threads):
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu(),
        "threads": threads,
        "gpu": gpu(),
        "system": platform.platform(),
    }


def cpu():
    try:
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def gpu():
    """NVIDIA's, which the peers need; weft says for itself which adapter it takes."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None
