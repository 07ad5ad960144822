from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.datasets.made_up import write


@pytest.fixture(scope="session")
def made_up_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small files of every published layout, with made-up images."""
    folder = tmp_path_factory.mktemp("data")
    write(folder)
    return folder
