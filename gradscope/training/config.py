"""The config of a training: every key of the YAML with its type, its default and what it means. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from gradscope.errors import ConfigError, PluginError, did_you_mean
from gradscope.plugins import Registry
from gradscope.strict.document import Document, Problem
from gradscope.strict.problems import validated
from gradscope.strict.section import Choice, Section
from gradscope.strict.writing import dump
from gradscope.strict.yaml12 import overridden, read
from gradscope.training.optimizers import OPTIMIZERS, Optimizer, Sgd
from gradscope.training.options import LAYOUTS, Count, DataOptions, ImportPath, ModelOptions, Positive, Shape
from gradscope.training.schedule import SCHEDULES, Constant, Schedule

ARCHITECTURES = Registry("gradscope.training.architectures", noun="architecture")
"""Each file: a pydantic model ``Options`` (a ``ModelOptions``) and ``build(options, ...)``, which imports torch."""
DATASETS = Registry("gradscope.training.datasets", noun="data set")
"""Each file: a pydantic model ``Options`` (a ``DataOptions``) and ``load(options, seed)``."""


Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Of a run: it becomes the name of a folder."""


@dataclass(frozen=True)
class Origin:
    """The document that a config was read from; configs of the same values are equal wherever they came from."""

    document: Document | None = field(default=None, compare=False, repr=False)


class OptionsOf(Mapping[str, type[Section]]):
    """The ``Options`` of each module of a registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def __getitem__(self, name: str) -> type[Section]:
        options = getattr(self.registry[name], "Options", None)
        if not (isinstance(options, type) and issubclass(options, Section)):
            raise PluginError(f"the {self.registry.noun} {name!r} has no pydantic model Options that is a Section")
        return options

    def __contains__(self, name: object) -> bool:
        return name in self.registry

    def __iter__(self) -> Iterator[str]:
        return iter(self.registry)

    def __len__(self) -> int:
        return len(self.registry)


class Training(Section):
    """How long and with which numbers the network is trained."""

    steps: Count = 200
    """Optimizer steps."""
    accumulate: Count = 1
    """Forward passes whose gradients are averaged into one step."""
    clip_norm: Positive | None = None
    """Scale the gradient down so that the L2 norm of all of it together is at most this; null for no clipping."""
    clip_value: Positive | None = None
    """Cut each entry of the gradient off at plus and minus this; null for no clipping."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Numbers of the forward pass: float32, or autocast to bfloat16 or to float16 (with a gradient scaler)."""
    compile: bool = False
    """Run the model through torch.compile."""
    validate_every: Count | None = 50
    """Steps between two validations, which also happen after the last step; null for the last alone."""
    checkpoint_every: Count | None = None
    """Steps between two checkpoints; null for none."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        if self.clip_norm is not None and self.clip_value is not None:
            yield "clip_value", "clip_norm and clip_value exclude each other; leave one of them null"


class Cadence(Section):
    """How often each table is recorded, in steps."""

    parameters: Count = 1
    """Steps between two records of the parameters' gradients and updates."""
    layers: Count = 1
    """Steps between two records of the layers' signals."""
    timesteps: Count = 1
    """Steps between two records of gradients through time."""


class Record(Section):
    """What is recorded."""

    every: Literal["auto"] | Count | Cadence = "auto"
    """Steps between two records: auto is every step up to 10,000 steps, thinned evenly beyond; a number n records the
    steps divisible by n and the last; or a number for each table."""


class Detect(Section):
    """How the run is judged."""

    ignore: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Rules that are not asked, by name or code."""
    stop_on: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Rules whose warnings and errors end the run early, by name or code: once a quarter of the steps is taken (32 at least,
    256 at most), and the finding stood over the last fifth of them."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        if not (self.ignore or self.stop_on):
            return
        from gradscope.detect.engine import RULES

        codes = {name: rule.CODE for name, rule in RULES.items()}
        known = [*codes, *codes.values()]
        for key, rules in (("ignore", self.ignore), ("stop_on", self.stop_on)):
            for i, rule in enumerate(rules):
                if rule not in known:
                    there = did_you_mean(rule, known) or " (gradscope rules lists them)"
                    yield f"{key}.{i}", f"no rule is called {rule!r}{there}"
        for i, rule in enumerate(self.stop_on):
            if {rule, codes.get(rule), *(name for name, code in codes.items() if code == rule)} & set(self.ignore):
                yield f"stop_on.{i}", f"{rule!r} is among the rules that are not asked, detect.ignore"


class Config(Section):
    """A network, its data and its training: what ``gradscope run`` takes."""

    name: Name = "run"
    """Name of the run; left out, it is the file's."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of the weights, of the order of the data and of everything else that is drawn."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train: auto takes the accelerator if there is one."""
    model: Annotated[ModelOptions, Choice("kind", OptionsOf(ARCHITECTURES), default="mlp")]
    """The network."""
    data: Annotated[DataOptions, Choice("name", OptionsOf(DATASETS), default="digits")]
    """The data."""
    loss: Literal["cross_entropy", "mse", "bce"] | ImportPath = "cross_entropy"
    """What is minimised: cross_entropy over classes, mse against one-hot classes or against the numbers of a data set that has
    numbers to predict, bce (one logit for each class), or a loss of your own, as module:name: a function of outputs and targets
    that gives one number, or a class such as torch.nn:SmoothL1Loss."""
    optimizer: Annotated[Optimizer, Choice("name", OPTIMIZERS, default="sgd")] = Sgd()
    """What takes the steps."""
    schedule: Annotated[Schedule, Choice("name", SCHEDULES, default="constant")] = Constant()
    """How the learning rate moves."""
    training: Training = Training()
    """How long and with which numbers the network is trained."""
    record: Record = Record()
    """What is recorded."""
    detect: Detect = Detect()
    """How the run is judged."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        steps, warmup = self.training.steps, self.schedule.warmup_steps
        if warmup > steps:
            yield "schedule.warmup_steps", f"longer than the training (got {warmup}; expected at most training.steps, {steps})"
        if self.data.shape is not None:
            yield from self.misfits(self.data.shape, self.data.regression, self.data.answers)

    def misfits(self, shape: Shape, regression: bool, answers: int) -> Iterable[tuple[str, str]]:
        """What does not fit together between the network, the loss and rows of this shape; for data that shows it late."""
        data, model = self.data, self.model
        if len(shape) in model.reads:
            yield from ((f"model.{key}", what) for key, what in model.misfits(shape))
        else:
            wanted = " or ".join(LAYOUTS[n] for n in model.reads)
            told = f"{model.kind} reads {wanted}, and {data.name} gives {LAYOUTS.get(len(shape), 'rows')} of shape {shape}"
            fitting = [layout for layout, other in data.layouts.items() if len(other) in model.reads]
            yield ("data.layout", f"{told} (expected {' or '.join(fitting)})") if fitting else ("data.name", told)
        if answers > 1 and not model.answers_often:
            yield "model.kind", f"{model.kind} answers once, and {data.name} asks at each of the last {answers} steps"
        if regression and self.loss in ("cross_entropy", "bce"):
            yield "loss", f"{data.name} has numbers to predict, not classes (got {self.loss!r}; expected 'mse')"

    def problem(self, at: str | tuple[str, ...], what: str) -> ConfigError:
        """The error to raise where a key turns out wrong only while the training is set up.

        ``at`` is a path, ``data.batch_size``, or its parts, of which one may hold dots.
        """
        document, where = self._origin.document, tuple(at.split(".")) if isinstance(at, str) else at
        return ConfigError([str(Problem(document.spot(where), where, what)) if document else f"{'.'.join(where)}: {what}"])

    @property
    def source(self) -> str | None:
        """The text of the file as it was given, where there is one; it knows nothing of overrides."""
        return self._origin.document.text if self._origin.document else None

    def to_yaml(self) -> str:
        """Every key of this config, defaults included, as YAML that ``load_config`` reads back as the same config."""
        return dump(self.model_dump(mode="json"))

    _origin: Origin = PrivateAttr(default_factory=Origin)


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """The config of a file, with overrides as ``model.depth=50`` set. Raises ``ConfigError`` with all its problems."""
    return config_from(overridden(read(path), overrides))


def config_from(document: Document) -> Config:
    """The config of a document that holds a mapping; its name is the file's where it states none."""
    if "axes" in document.data and "model" not in document.data:
        raise ConfigError([f"{document.file}: a sweep, not a config"], hint=f"gradscope sweep {document.file}")
    document = replace(document, data={**document.data, "name": document.data.get("name", name_of(Path(document.file).stem))})
    config = validated(Config, document)
    config._origin = Origin(document)
    return config


def name_of(stem: str) -> str:
    """A file's stem as the name of a run: what a run may not be called becomes a hyphen."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:100] or "run"
