import csv
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from gradscope.errors import UsageError
from gradscope.render import plot, save, write_data
from tests.render.cases import case

SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}


@pytest.mark.parametrize("ending", SIGNATURES)
def test_a_figure_is_written_in_the_format_of_its_ending(ending, tmp_path):
    run, report = case("shallow")
    path = save(plot(run, reports=[report]), tmp_path / f"figure.{ending.upper()}")
    assert path.read_bytes().startswith(SIGNATURES[ending])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", SIGNATURES)
def test_the_same_run_gives_the_same_bytes(ending, tmp_path):
    run, report = case("exploding")
    first, second = (save(plot(run, reports=[report]), tmp_path / f"{i}.{ending}").read_bytes() for i in range(2))
    assert first == second


def test_an_svg_is_well_formed_whatever_the_layers_are_called(tmp_path):
    run, report = case("vanishing")
    ElementTree.parse(save(plot(run, "profile", reports=[report]), tmp_path / "figure.svg"))


def test_another_ending_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match=r"ends in \.png, \.svg or \.pdf"):
        save(Figure(), tmp_path / "figure.jpeg")
    with pytest.raises(UsageError, match=r"did you mean '\.png'"):
        save(Figure(), tmp_path / "figure.pgn")
    with pytest.raises(UsageError):
        save(Figure(), tmp_path / "figure")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["runs/a", Path("runs/a"), ["runs/a"]])
def test_a_path_in_the_place_of_a_run_is_told(given):
    with pytest.raises(UsageError, match="a Run is drawn") as error:
        plot(given)
    assert error.value.hint == "gradscope.load_run(FOLDER) gives one"


def test_folders_on_the_way_are_made(tmp_path):
    assert save(Figure(), tmp_path / "a" / "b" / "figure.png").exists()


def test_a_path_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        save(Figure(), tmp_path / "file" / "figure.png")
    (tmp_path / "figure.png").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        save(Figure(), tmp_path / "figure.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figure.png", "file"]


def test_a_figure_that_fails_half_way_leaves_what_was_there(tmp_path):
    class Broken(Figure):
        def savefig(self, fname, **options):
            Path(fname).write_bytes(b"half")
            raise RuntimeError("out of ink")

    path = tmp_path / "figure.png"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError, match="out of ink"):
        save(Broken(), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_no_font_has_is_drawn_without_a_warning(tmp_path):
    run, _ = case("one-layer")
    figure = plot(run, "loss")
    figure.text(0.5, 0.5, "层归一化")
    save(figure, tmp_path / "figure.png")


def test_one_report_for_each_run_or_none():
    (run, report), (other, _) = case("shallow"), case("vanishing")
    with pytest.raises(UsageError, match="2 runs but 1 reports"):
        plot([run, other], reports=[report])


def test_the_data_behind_a_figure_is_written_as_csv(tmp_path):
    run, _ = case("exploding")
    path = write_data(run, "loss", tmp_path / "out.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["run", "signal", "step", "layer", "value", "state", "timestep"]
    loss = [row for row in rows if row["signal"] == "loss"]
    assert [row["state"] for row in loss] == ["finite"] * 120 + ["nan"] * 80
    assert float(loss[3]["value"]) == float(run.grid("steps", "loss").values[3, 0])


def test_drawing_imports_neither_torch_nor_pyplot(tmp_path):
    code = (
        "import sys; from tests.render.cases import case; from gradscope.render import plot, save;"
        "run, report = case('shallow');"
        f"save(plot(run, reports=[report]), {str(tmp_path / 'figure.png')!r});"
        "print([m for m in ('torch', 'matplotlib.pyplot', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_room_itself_imports_no_matplotlib_and_no_rich():
    code = (
        "import sys, gradscope.render; list(gradscope.render.FIGURES); list(gradscope.render.FORMATS);"
        "print([m for m in ('matplotlib', 'rich', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_notebook_shows_the_figure_without_pyplot():
    figure = plot(case("shallow")[0], "loss")
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(SIGNATURES["png"])
