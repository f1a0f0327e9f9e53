"""A process that speaks the protocol of peer.py: weft or a peer."""

import json
import os
import queue
import subprocess
import tempfile
import threading

from machine import OtherLoad


class Failed(Exception):
    """A child that ended or said something else than the protocol has; the message holds its stderr."""


class Unavailable(Exception):
    """A peer whose framework is not there."""


class Unsupported(Exception):
    """A case that is not written for a peer."""


class Child:
    """Started, not yet ready. Use it with `with`: it is ended at the end of the block.

    timeout_s: how long it may take to answer, warming up included
    """

    def __init__(self, name, command, environment, timeout_s):
        self.name, self.command, self.timeout_s = name, [str(word) for word in command], timeout_s
        self.stderr = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass
        finally:
            self.process.kill()
            self.process.wait()
            self.stderr.close()

    def ready(self):
        """Waits until it is warm. Returns what it says then: losses, device and so on."""
        message = self._answer()
        if "unavailable" in message:
            raise Unavailable(message["unavailable"])
        if "unsupported" in message:
            raise Unsupported(message["unsupported"])
        if not message.get("ready"):
            raise self._failed(f"said {message} instead of being ready")
        return message

    def turn(self):
        """Has it train for a turn. Returns milliseconds a step, the mean loss, and OtherLoad.share meanwhile."""
        others = OtherLoad(self.process.pid)
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._failed("ended") from None
        message = self._answer()
        return message["ms_per_step"], message["loss"], others.share()

    def _answer(self):
        try:
            line = self.lines.get(timeout=self.timeout_s)
        except queue.Empty:
            raise self._failed(f"did not answer for {self.timeout_s} s") from None
        if line is None:
            code = self.process.wait()
            raise self._failed(f"ended with {code}")
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            raise self._failed(f"printed {line!r}, which is no JSON") from None

    def _failed(self, what):
        self.process.kill()
        self.process.wait()
        self.stderr.seek(0)
        tail = "".join(self.stderr.readlines()[-30:])
        return Failed(f"{self.name} {what}: {' '.join(self.command)}\n{tail}".rstrip())
