"""Options that architectures and data sets share. No torch here: ``gradscope schema`` reads these."""

from __future__ import annotations

import json
import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from gradscope.strict.section import Section
from gradscope.training.init_options import Init

Activation = Literal[
    "relu", "leaky_relu", "tanh", "sigmoid", "gelu", "silu", "elu", "selu", "celu", "softplus", "softsign", "hardtanh",
    "hardsigmoid", "hardswish", "relu6", "rrelu", "mish", "logsigmoid", "tanhshrink", "softshrink", "hardshrink", "prelu",
    "identity",
]  # fmt: skip
"""Names of ``torch.nn.functional``, lower case; ``identity`` makes a linear network, ``prelu`` has a parameter per layer."""

Norm = Literal["none", "batch", "layer", "rms"]

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]

_IMPORT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def _import_path(text: str) -> str:
    if not _IMPORT.fullmatch(text):
        raise PydanticCustomError("import_path", "your own, as module:name")
    return text


ImportPath = Annotated[str, AfterValidator(_import_path)]
"""Where code of the user's own is: ``module:name``."""


def _finite(given: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(given, allow_nan=False)  # as the manifest will hold them
    except ValueError as error:
        raise PydanticCustomError("finite_number", "not finite") from error
    return given


Kwargs = Annotated[dict[str, Any], AfterValidator(_finite)]
"""What code of the user's own is called with."""

Shape = tuple[int, ...]
"""Of one row of data: (features,) of a vector, (steps, features) of a sequence, (channels, height, width) of an image."""
LAYOUTS: Mapping[int, str] = {1: "vectors", 2: "sequences", 3: "images"}
"""What a row is, by the number of its dimensions."""


class Residual(Section):
    """Residual blocks: h + branch_scale * branch(h)."""

    branch_scale: Literal["1/sqrt(depth)"] | float = 1.0
    """What the branch is multiplied by before it is added: a number, or 1/sqrt(depth); 0 is a factor that starts at 0 and is
    learned (ReZero, SkipInit)."""
    fixup: bool = False
    """Start as Fixup does (Zhang, Dauphin & Ma 2019), without norms: the last weight layer of each branch and the head at 0,
    the others of a branch of m layers scaled by L^(-1 / (2m - 2)) for L branches; a learned factor for each branch and a
    learned number before each of its weight layers and activations."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        if self.fixup and self.branch_scale != 1.0:
            yield "branch_scale", f"Fixup learns the scale of a branch (got {self.branch_scale}; expected 1)"


class ModelOptions(Section):
    """Base of every architecture's ``Options``, which adds ``kind: Literal[...]`` with the name of its file."""

    kind: str
    reads: ClassVar[tuple[int, ...]] = (1, 2, 3)
    """Dimensions of the rows that this architecture takes; one that takes all of them sees a row as one long vector."""
    answers_often: ClassVar[bool] = False
    """Whether it can answer at each of the last steps of a sequence: its ``build`` then takes how many, ``answers``."""

    def misfits(self, shape: Shape) -> Iterable[tuple[str, str]]:
        """What these options contradict in rows of this shape, which has as many dimensions as ``reads`` allows."""
        return ()


class BranchedOptions(ModelOptions):
    """Base of the ``Options`` of architectures with residual branches, whose keys ``residual``, ``norm`` and ``init`` are."""

    if TYPE_CHECKING:  # each has them among its own keys, in its own order
        residual: bool | Residual
        norm: str
        init: Init

    @property
    @abstractmethod
    def branch_depth(self) -> int:
        """The depth that 1/sqrt(depth) means."""

    @property
    def branch_scale(self) -> float | None:
        """What a branch is multiplied by; None without residual connections."""
        if self.residual is False:
            return None
        scale = self.residual.branch_scale if isinstance(self.residual, Residual) else 1.0
        return 1 / math.sqrt(self.branch_depth) if isinstance(scale, str) else scale

    @property
    def fixup(self) -> bool:
        """Whether the branches start as Fixup's."""
        return isinstance(self.residual, Residual) and self.residual.fixup

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        if not self.fixup:
            return
        if self.norm != "none":
            yield "norm", f"Fixup is for networks without norms (got {self.norm!r}; expected 'none')"
        if self.init.scheme == "lsuv":
            yield "init.scheme", "lsuv and Fixup both scale the layers; leave one of them out"
        if self.init.layers:
            yield "init.layers", "Fixup says how each layer starts; leave one of them out"


class DataOptions(Section):
    """Base of every data set's ``Options``, which adds ``name: Literal[...]`` with the name of its file."""

    name: str
    batch_size: Count = 128
    """Rows of one forward pass; a step's batch is batch_size * training.accumulate."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the data that is kept aside to validate on."""

    @property
    def size(self) -> int | None:
        """Rows of the whole data set, None where that is known only after loading."""
        return None

    @property
    def shape(self) -> Shape | None:
        """Shape of one row, None where that is known only after loading."""
        return None

    @property
    def layouts(self) -> Mapping[str, Shape]:
        """The shapes that a key ``layout`` chooses from, by its values; none without such a key."""
        return {}

    @property
    def regression(self) -> bool:
        """Whether there are numbers to predict instead of classes."""
        return False

    @property
    def answers(self) -> int:
        """At how many steps, the last ones, a class is asked for; 1 is one class for the whole row."""
        return 1

    def split(self, size: int) -> tuple[int, int]:
        """(training rows, validation rows) out of ``size``; at least one of each, given two."""
        validation = min(max(round(size * self.validation), 1), size - 1)
        return size - validation, validation

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        if self.size is not None:
            yield from self.misfits(self.size)

    def misfits(self, size: int) -> Iterable[tuple[str, str]]:
        """What these options contradict in a data set of ``size`` rows; for a loader that learns the size late."""
        rows = self.split(size)[0]
        if self.batch_size > rows:
            yield "batch_size", f"larger than the training data (got {self.batch_size}; expected at most {rows} of {size} rows)"
