from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO

import pytest

from gradscope.record.grid import Block
from gradscope.record.manifest import Status
from gradscope.record.reader import load_run
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink
from gradscope.record.store import RunFolder
from tests.record.blocks import MANIFEST, training

BLOCKS = list(training(160, chunk=4))

WRITERS = """
import os, sys
from gradscope.record import writer
from gradscope.record.store import RunFolder
from tests.record.test_kill import BLOCKS, MANIFEST

writer.JOURNAL_BATCHES, writer.SMALL_PARTS, writer.SMALL_ROWS = 8, 3, 1000
assert "torch" not in sys.modules
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sink = RunFolder.create(line.strip(), MANIFEST)
        for number, block in enumerate(BLOCKS, 1):
            sink.append(block)
            os.write(1, b"stored %d\\n" % number)
        sink.close()
        os.write(1, b"closed\\n")
        os._exit(0)
    os.write(1, b"started %d\\n" % child)
    sys.stdin.readline()  # until then the number is the child's, dead or alive
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


@dataclass
class Writers:
    """A program that starts a writer for every path it is told."""

    told: IO[bytes]
    says: IO[bytes]

    def run(self, path: Path, *, seconds: float | None = None, blocks: int | None = None) -> tuple[int, bool]:
        """Let one write to ``path``, killed after some seconds or blocks if at all; how many blocks it acknowledged, and
        whether it closed.
        """
        self._tell(str(path))
        child = int(self._hear("started"))
        if blocks:
            next(number for word, number in self._lines() if (word, number) == ("stored", str(blocks)))
        if seconds is not None:
            time.sleep(seconds)
        if seconds is not None or blocks is not None:
            os.kill(child, signal.SIGKILL)
        self._tell("let it go")
        heard = dict(takewhile(lambda line: line[0] != "gone", self._lines()))
        return int(heard.get("stored", blocks or 0)), "closed" in heard

    def _tell(self, line: str) -> None:
        self.told.write(f"{line}\n".encode())
        self.told.flush()

    def _hear(self, awaited: str) -> str:
        return next(number for word, number in self._lines() if word == awaited)

    def _lines(self) -> Iterator[tuple[str, str]]:
        for line in self.says:
            word, _, number = line.decode().strip().partition(" ")
            yield word, number


@pytest.fixture
def writers() -> Iterator[Writers]:
    program = subprocess.Popen([sys.executable, "-c", WRITERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdin
    assert program.stdout
    with program:
        yield Writers(program.stdin, program.stdout)
        program.stdin.close()
        assert program.wait() == 0


def in_memory(blocks: list[Block]) -> Run:
    sink = MemorySink(MANIFEST)
    for block in blocks:
        sink.append(block)
    return sink.run()


@pytest.mark.slow
def test_fifty_kills_at_any_moment_lose_nothing_that_was_acknowledged(writers: Writers, tmp_path: Path) -> None:
    draw = random.Random(0)
    counts = set()
    for i in range(50):
        path, blocks = tmp_path / str(i), draw.randint(0, len(BLOCKS))
        stored, closed = writers.run(path, blocks=blocks, seconds=draw.choice([0.0, draw.uniform(0.0, 0.1)]))
        if not (path / "manifest.json").exists():
            assert stored == 0  # killed before the run was made
            continue
        run = load_run(path)
        assert run.status is Status.INTERRUPTED
        loaded = Run(MANIFEST, run._tables)
        assert loaded == in_memory(BLOCKS[:stored]) or loaded == in_memory(BLOCKS[: stored + 1])
        assert not closed or stored == len(BLOCKS)
        counts.add(stored)
    assert len(counts) > 25, "the kills did not fall at different moments"


def test_a_writer_that_is_let_be_closes(writers: Writers, tmp_path: Path) -> None:
    assert writers.run(tmp_path / "run") == (len(BLOCKS), True)


def test_a_killed_run_goes_on(writers: Writers, tmp_path: Path) -> None:
    stored, _ = writers.run(tmp_path / "run", blocks=100)
    assert 100 <= stored <= len(BLOCKS)
    sink = RunFolder.reopen(tmp_path / "run", from_step=0)
    for block in BLOCKS:
        sink.append(block)
    sink.close()
    assert Run(MANIFEST, load_run(tmp_path / "run")._tables) == in_memory(BLOCKS)
