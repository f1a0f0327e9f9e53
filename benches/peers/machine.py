"""What a measurement ran on, and what else ran there."""

import datetime
import os
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


class OtherLoad:
    """What all processes but one do with the processors from now on, from Linux's /proc."""

    def __init__(self, pid):
        self.pid = pid
        self.before = self._times()

    def share(self):
        """Processor time of others and of the hypervisor, as a part of what one processor has; None without /proc."""
        after = self._times()
        if self.before is None or after is None:
            return None
        busy, own, total = [b - a for a, b in zip(self.before, after)]
        return max(0.0, busy - own) / (total / os.cpu_count()) if total > 0 else 0.0

    def _times(self):
        """Ticks: of all processes, of this one, and all there were on all processors."""
        try:
            # user, nice, system, idle, iowait, irq, softirq, steal; guests are in user and nice.
            fields = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
            # After the name in brackets; utime and stime are fields 14 and 15 of the line.
            own = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return None
        idle = fields[3] + fields[4]
        return sum(fields) - idle, int(own[11]) + int(own[12]), sum(fields)
