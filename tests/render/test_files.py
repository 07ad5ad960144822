from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gradscope.errors import UsageError
from gradscope.render.files import write_whole


def filled(content: bytes) -> Callable[[Path], int]:
    return lambda draft: draft.write_bytes(content)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "verdict.txt"
    write_whole(target, filled(b"old"))

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(UsageError, match=r"verdict\.txt: cannot be written: No space left on device"):
        write_whole(target, filled(b"new"))
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_is_followed_and_a_device_written_to(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_whole(tmp_path / "link.txt", filled(b"new"))
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    write_whole(Path(os.devnull), filled(b"gone"))
    assert not Path(os.devnull).is_file()


def test_a_written_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "any.txt").touch()
    write_whole(tmp_path / "ours.txt", filled(b""))
    assert (tmp_path / "ours.txt").stat().st_mode == (tmp_path / "any.txt").stat().st_mode


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b" / "verdict.txt", filled(b"new"))
    assert (tmp_path / "a" / "b" / "verdict.txt").read_bytes() == b"new"
