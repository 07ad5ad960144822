"""Image sets as their authors published them, read from local files: the options, and files held to what they should be.

No torch here: ``gradscope schema`` reads the options. Nothing is ever downloaded.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gradscope.errors import TrainingError
from gradscope.strict.section import Section
from gradscope.training.options import DataOptions, Shape

FOLDER_VARIABLE = "GRADSCOPE_DATA"
"""Environment variable: the folder that holds one folder for each data set of files."""
FOLDER = "data"
"""That folder where the variable is not set, in the current one."""


class Augmentation(Section):
    """How training images are changed each time they are seen, a function of the seed and the epoch. He et al. (2016) take
    crop_padding: 4 and flip: true.
    """

    crop_padding: Annotated[int, Field(ge=0)] = 0
    """Pixels of zeros around an image, from which a window of its size is cut at random; 0 for none."""
    flip: bool = False
    """Whether half of the images, at random, are mirrored left to right."""


class PublishedImages(DataOptions):
    """Options that all image sets of files share."""

    validation: Literal["test"] | Annotated[float, Field(gt=0, lt=1)] = "test"  # type: ignore[assignment]
    """What is validated on: the published test images, or a share of the training images that is kept aside."""
    layout: Literal["image", "flat", "rows", "pixels"] = "image"
    """How an image is given: as an image, as a vector, or as a sequence of its rows or of its pixels."""
    augmentation: Augmentation = Augmentation()
    """How training images are changed."""
    path: str | None = None
    """Folder of the files; null is the data set's folder in $GRADSCOPE_DATA, or in data/ where that is not set."""
    published: bool = True
    """Whether the files must be the published ones, to the last bit; false takes any files of the same layout."""

    images: ClassVar[int]
    """Published training images."""
    image: ClassVar[Shape]
    """Channels, height and width."""

    @property
    def size(self) -> int | None:
        return self.images if self.published else None

    @property
    def shape(self) -> Shape:
        return self.layouts[self.layout]

    @property
    def layouts(self) -> Mapping[str, Shape]:
        channels, height, width = self.image
        return {
            "image": self.image,
            "flat": (channels * height * width,),
            "rows": (height, channels * width),
            "pixels": (height * width, channels),
        }

    @property
    def folder(self) -> Path:
        """Where the files are looked for."""
        return Path(self.path).expanduser() if self.path else Path(os.environ.get(FOLDER_VARIABLE) or FOLDER) / self.name

    def split(self, size: int) -> tuple[int, int]:
        """As of other data; the published test images come on top of ``size``."""
        return (size, 0) if self.validation == "test" else super().split(size)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        if self.augmentation != Augmentation() and self.layout != "image":
            yield "augmentation", f"crops and flips images (got layout {self.layout!r}; expected 'image')"


def found(options: PublishedImages, *names: str) -> Path:
    """The first of these files, of which one is needed. Raises ``TrainingError`` that says what is expected where."""
    for name in names:
        if (path := options.folder / name).is_file():
            return path
    raise TrainingError(
        f"the data set {options.name!r} needs {' or '.join(names)} in {options.folder}, and there is none",
        hint=f"put the published files there, or set data.path to their folder, or {FOLDER_VARIABLE} to the folder that "
        f"holds {options.name}/; nothing is downloaded",
    )


def content(path: Path) -> bytes:
    """All bytes of a file, unpacked where its name ends in ``.gz``."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, f"it cannot be unpacked ({error})") from error


def damaged(path: Path, why: str) -> TrainingError:
    """The error to raise for a file that is not what it should be."""
    return TrainingError(f"{path} is damaged: {why}", hint="put the published file in its place")


def hold_to(path: Path, held: bytes, md5: str) -> None:
    """Raise ``TrainingError`` unless these are the published bytes; ``md5`` is the checksum of the unpacked file."""
    if (got := hashlib.md5(held, usedforsecurity=False).hexdigest()) != md5:
        raise TrainingError(
            f"{path} is not the published file: its MD5 is {got}, not {md5}",
            hint="put the published file in its place, or set data.published to false to take this one as it is",
        )
