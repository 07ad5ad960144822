from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gradscope.record.arrow import to_batch
from gradscope.record.journal import Journal, read_journal
from gradscope.record.schema import LAYERS
from tests.record.blocks import values

BATCHES = [
    to_batch(values("layers", [step], [("stem", 0), ("head", 0)], np.random.default_rng(step), ("forward_norm", "rows")))
    for step in range(4)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal-000000.arrow"


def written(path: Path) -> list[int]:
    """A journal of the batches above, and its length after each."""
    journal, ends = Journal(path, BATCHES[0].schema), []
    for batch in BATCHES:
        journal.append(batch)
        ends.append(path.stat().st_size)  # before it is closed: what was appended is on file
    journal.close()
    return ends


def test_a_journal_cut_anywhere_reads_as_its_whole_batches(path: Path) -> None:
    ends = written(path)
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        whole = [batch for batch, end in zip(BATCHES, ends, strict=True) if end <= cut]
        assert read_journal(path, LAYERS) == pa.Table.from_batches(whole, schema=BATCHES[0].schema)


@pytest.mark.parametrize("rest", [b"\0" * 64, b"\xff" * 64, b"\0" * 4096])
def test_what_a_power_failure_appends_is_not_read(path: Path, rest: bytes) -> None:
    written(path)
    path.write_bytes(path.read_bytes() + rest)
    assert read_journal(path, LAYERS) == pa.Table.from_batches(BATCHES)


def test_others_read_a_journal_as_an_arrow_stream(path: Path) -> None:
    written(path)
    with pa.ipc.open_stream(path) as stream:
        assert stream.read_all() == pa.Table.from_batches(BATCHES)


def test_a_journal_takes_no_file_over(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(FileExistsError):
        Journal(path, BATCHES[0].schema)


def test_a_journal_knows_that_it_was_deleted(path: Path) -> None:
    journal = Journal(path, BATCHES[0].schema)
    assert not journal.deleted
    path.unlink()
    assert journal.deleted
    journal.close()
