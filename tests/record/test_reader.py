from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gradscope.errors import FormatVersionError, GradscopeWarning, RunFolderError
from gradscope.record import parts, reader, writer
from gradscope.record.arrow import to_batch
from gradscope.record.parts import Part, write_part
from gradscope.record.reader import load_run
from gradscope.record.rows import sort_rows
from gradscope.record.schema import FORMAT_VERSION, LAYERS, TABLES
from gradscope.record.store import RunFolder
from tests.record.blocks import FINISHED, MANIFEST, store, training, values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    store(RunFolder.create(path, MANIFEST), list(training(60)))
    return path


def only_part(folder: Path, table: str = "layers") -> Path:
    (path,) = (folder / table).iterdir()
    return path


def test_a_folder_that_is_no_run_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="there is no such folder"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match=r"not a run folder: it has no manifest\.json") as error:
        load_run(tmp_path)
    assert error.value.hint is None
    assert "\n" not in str(error.value)
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"not a run folder: it has no manifest\.json"):
        load_run(tmp_path / "file")


def test_a_folder_of_runs_names_one(folder: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder") as error:
        load_run(folder.parent)
    assert error.value.hint == f"it holds 1 run; name one, as in {folder}"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": "1"}', '{"format": 1}', '{"format": 1, "name": "x", "status": "odd"}']
)
def test_a_damaged_manifest_is_one_clear_error(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"manifest\.json: ") as error:
        load_run(folder)
    assert "\n" not in str(error.value)


def test_a_run_of_a_newer_version_is_refused(folder: Path) -> None:
    restate(folder, format=FORMAT_VERSION + 1, news="unknown")
    with pytest.raises(
        FormatVersionError, match=rf"format {FORMAT_VERSION + 1}; .* reads formats up to {FORMAT_VERSION}"
    ) as error:
        load_run(folder)
    assert error.value.hint == "upgrade Gradscope to read it"


def test_a_newer_run_of_the_same_format_is_read(folder: Path) -> None:
    restate(folder, news="unknown")
    assert load_run(folder).manifest == load_run(folder).manifest
    assert load_run(folder).name == "net"


def test_an_older_run_goes_through_each_upgrade(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restate(folder, format=FORMAT_VERSION - 2, title="old")
    with pytest.raises(RunFolderError):
        load_run(folder)
    monkeypatch.setitem(reader.UPGRADES, FORMAT_VERSION - 2, lambda data: data | {"format": FORMAT_VERSION - 1})
    monkeypatch.setitem(
        reader.UPGRADES, FORMAT_VERSION - 1, lambda data: data | {"format": FORMAT_VERSION, "name": data["title"]}
    )
    assert load_run(folder).name == "old"


def test_every_older_format_has_its_upgrade() -> None:
    assert set(reader.UPGRADES) == set(range(1, FORMAT_VERSION))


def restate(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"x" * 500])
def test_a_damaged_part_is_one_clear_error_when_it_is_read(folder: Path, damage: bytes) -> None:
    path = only_part(folder)
    path.write_bytes(damage)
    run = load_run(folder)  # reads the manifest alone
    run.grid("parameters", "grad_norm")
    with pytest.raises(RunFolderError, match=r"part-000000-000000\.parquet: the file is damaged: ") as error:
        run.grid("layers", "forward_norm")
    assert "\n" not in str(error.value)


def test_a_part_that_lost_its_layout_is_damaged(folder: Path) -> None:
    path = only_part(folder)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(RunFolderError, match="the file is damaged"):
        load_run(folder).grid("layers", "forward_norm")


def spoil(path: Path, spoiled: object) -> None:
    """Overwrite the bytes of the column chunks that ``spoiled(row group, column)`` names."""
    content, footer = bytearray(path.read_bytes()), pq.read_metadata(path)
    for group in range(footer.num_row_groups):
        for i in range(footer.num_columns):
            chunk = footer.row_group(group).column(i)
            if spoiled(group, chunk.path_in_schema):  # type: ignore[operator]
                start = chunk.data_page_offset
                content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)


def test_a_grid_reads_its_column_and_no_names(folder: Path) -> None:
    whole = load_run(folder).grid("layers", "forward_norm")
    spoil(only_part(folder), lambda _, column: column not in ("step", "forward_norm"))
    assert load_run(folder).grid("layers", "forward_norm") == whole
    with pytest.raises(RunFolderError, match="the file is damaged"):
        load_run(folder).grid("layers", "backward_norm")


def test_a_series_reads_the_row_groups_of_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "GROUP_ROWS", 10)
    store(RunFolder.create(tmp_path / "run", MANIFEST), list(training(60)))
    whole = load_run(tmp_path / "run").series("layers", "forward_norm", "layers.3")
    spoil(only_part(tmp_path / "run"), lambda group, column: group != 3 or column not in ("step", "forward_norm"))
    assert load_run(tmp_path / "run").series("layers", "forward_norm", "layers.3") == whole
    with pytest.raises(RunFolderError, match="the file is damaged"):
        load_run(tmp_path / "run").series("layers", "forward_norm", "layers.2")


def test_a_run_opened_before_its_files_are_merged_reads_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "JOURNAL_BATCHES", 2)
    blocks = list(training(100))
    sink = RunFolder.create(tmp_path / "run", MANIFEST)
    for block in blocks[:-8]:
        sink.append(block)
    opened, expected = load_run(tmp_path / "run"), load_run(tmp_path / "run")
    first = opened.grid("layers", "forward_norm")
    others = [expected.grid("layers", column) for column in ("backward_norm", "rows", "dead_share")]
    store(sink, blocks[-8:])
    assert [opened.grid("layers", column) for column in ("backward_norm", "rows", "dead_share")] == others
    assert len(load_run(tmp_path / "run").grid("layers", "rows").steps) > len(first.steps)


def test_a_missing_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "JOURNAL_BATCHES", 2)
    sink = RunFolder.create(tmp_path / "run", MANIFEST)
    for block in training(100):
        sink.append(block)
    (tmp_path / "run" / "layers" / "part-000001-000001.parquet").unlink()
    with pytest.warns(GradscopeWarning, match="some of its files are missing"):
        assert load_run(tmp_path / "run").grid("layers", "rows").steps.max() == 99
    sink.close()


def test_a_column_younger_than_the_part_is_absent_and_stays_so(tmp_path: Path) -> None:
    older = replace(LAYERS, columns=LAYERS.columns[:-1])
    block = values("layers", range(5), [("stem", 0), ("head", 0)], np.random.default_rng(0), ("forward_norm",))
    folder = tmp_path / "run"
    store(RunFolder.create(folder, MANIFEST), [])
    (folder / "layers").mkdir()
    rows = sort_rows(to_batch_of(block, older), older)
    write_part(folder / "layers" / "part-000000-000000.parquet", older, [rows])
    youngest = LAYERS.columns[-1].name
    assert load_run(folder).grid("layers", youngest).empty
    assert load_run(folder).grid("layers", "forward_norm").present.all()
    again = RunFolder.reopen(folder)
    store(again, [values("layers", range(5, 9), [("stem", 0)], np.random.default_rng(1), ("forward_norm", youngest))])
    assert load_run(folder).grid("layers", youngest).present.sum() == 4
    assert load_run(folder).grid("layers", "forward_norm").present.sum() == 14


def to_batch_of(block: object, table: object) -> object:
    import pyarrow as pa

    batch = to_batch(block)  # type: ignore[arg-type]
    return pa.Table.from_batches([batch]).select([*table.keys, *table.column_names])  # type: ignore[attr-defined]


def test_a_part_holds_its_layout(folder: Path) -> None:
    layout = Part(only_part(folder)).layout
    assert layout.entities == tuple((f"layers.{i}", 0) for i in range(6))
    assert layout.shared
    assert (layout.first, layout.last) == (0, 57)
    assert layout.counts.tolist() == [20] * 6


def test_columns_have_their_types_on_file(folder: Path) -> None:
    for table in TABLES.values():
        schema = pq.read_schema(only_part(folder, table.name))
        kinds = {"float64": "double", "int64": "int64", "bool": "bool"}
        assert {f.name: str(f.type) for f in schema} == (
            {key: "string" if key == table.entity else "int64" for key in table.keys}
            | {c.name: kinds[c.dtype] for c in table.columns}
        )


def test_an_unknown_table_or_column_is_a_key_error(folder: Path) -> None:
    run = load_run(folder)
    with pytest.raises(KeyError):
        run.grid("layers", "loss")
    with pytest.raises(KeyError):
        run.series("layers", "loss", "stem")
    with pytest.raises(KeyError):
        run.grid("nothing", "loss")


def test_a_name_that_was_not_recorded_is_an_empty_series(folder: Path) -> None:
    assert load_run(folder).series("layers", "rows", "nobody").values.shape == (0, 0)
    assert load_run(folder).manifest == replace(FINISHED, config={"seed": 1, "clip_norm": "Infinity"})
