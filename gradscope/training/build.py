"""From a config to what trains: data, network, loss and optimizer on a device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradscope.errors import TrainingError, UnsupportedError, UserCodeError
from gradscope.training.config import ARCHITECTURES, DATASETS, Config
from gradscope.training.data import Data
from gradscope.training.device import placed, resolve
from gradscope.training.imports import Loss, check, loss_of
from gradscope.training.init_options import Init
from gradscope.training.initialisation import effective_sigma_w, lsuv_targets, misplaced, unit_variance
from gradscope.training.optimizers import Adam, AdamW, Optimizer, RMSprop, Sgd
from gradscope.training.seeds import derive


@dataclass(frozen=True, eq=False)
class Setup:
    """All that a training needs; the model is on ``device``, and so are the data where they fit."""

    config: Config
    device: torch.device
    data: Data
    model: nn.Module
    loss: Loss

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def sigma_w(self) -> dict[str, float]:
        """Layer -> effective sigma_w, sqrt(fan_in * mean square of its weights)."""
        return dict(effective_sigma_w(self.model))

    def first_batch(self) -> tuple[Tensor, Tensor]:
        """``batch_size`` training rows and their targets: what the network is probed and scaled with."""
        rows = self.config.data.batch_size
        return self.data.train.x[:rows].to(self.device), self.data.train.y[:rows].to(self.device)


def build(config: Config) -> Setup:
    """Load the data, draw the weights (on the CPU, so that a seed means the same on every device) and move both.

    Sets torch's random state; the caller keeps its own with ``device.own_random_state``.

    Raises:
        TrainingError: the device is not there, or the data cannot be loaded.
        ConfigError: what the data or the initialisation shows to be wrong, such as a batch larger than the data.
    """
    device = resolve(config.device)
    try:
        data: Data = DATASETS[config.data.name].load(config.data, config.seed)
    except UserCodeError as error:
        raise config.problem("data.factory", str(error)) from error
    except OSError as error:
        raise TrainingError(f"the data set {config.data.name!r} cannot be loaded: {error}") from error
    for at, what in config.misfits(data.input_shape, data.regression, data.answers):
        raise config.problem(at, what)
    torch.manual_seed(derive(config.seed, "weights"))
    try:
        often = {"answers": data.answers} if data.answers > 1 else {}
        model: nn.Module = ARCHITECTURES[config.model.kind].build(config.model, data.input_shape, data.outputs, **often)
    except UnsupportedError as error:
        raise config.problem("model.init.gain", str(error)) from error
    except UserCodeError as error:
        raise config.problem("model.factory", str(error)) from error
    init = getattr(config.model, "init", None)
    for pattern, what in misplaced(model, init) if isinstance(init, Init) else ():
        raise config.problem(("model", "init", "layers", pattern), what)
    try:
        loss = loss_of(config.loss) if ":" in config.loss else loss_function(config.loss, data.outputs)
    except UserCodeError as error:
        raise config.problem("loss", str(error)) from error
    setup = Setup(config, device, placed(data, device), model.to(device), loss)
    if "import" in (config.model.kind, config.data.name) or ":" in config.loss:
        check_imports(setup)
    if isinstance(init, Init) and "lsuv" in init.schemes:
        targets = lsuv_targets(setup.model, init, getattr(config.model, "activation", "identity"))
        unit_variance(setup.model, setup.first_batch()[0], targets)
    torch.manual_seed(derive(config.seed, "training"))
    return setup


def check_imports(setup: Setup) -> None:
    """Raise ``ConfigError`` where the user's own network, data and loss do not go together, as one batch shows."""
    config, (x, targets) = setup.config, setup.first_batch()
    rows = targets.shape if not setup.data.regression else targets.shape[:1]
    shape = (*rows, setup.data.outputs) if ":" not in config.loss else None
    for at, what in check(setup.model, setup.loss, (x, targets), shape):
        raise config.problem(at if at == "loss" or config.model.kind == "import" else "model.kind", what)


def loss_function(name: str, outputs: int) -> Loss:
    """``cross_entropy`` of the classes; ``mse`` against, and ``bce`` of a logit for each of, the one-hot classes.

    Where there are numbers to predict, ``mse`` is against these.
    """
    if name == "cross_entropy":
        return lambda y, targets: F.cross_entropy(y.flatten(0, -2), targets.flatten())
    of = F.mse_loss if name == "mse" else F.binary_cross_entropy_with_logits
    # under autocast torch computes both in float32, whatever the outputs are
    return lambda y, targets: of(y, targets if targets.is_floating_point() else F.one_hot(targets, outputs).to(y.dtype))


def optimizer_of(options: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of torch of this name with these options, over all parameters of ``model``."""
    kinds: dict[type, type[torch.optim.Optimizer]] = {
        Sgd: torch.optim.SGD,
        Adam: torch.optim.Adam,
        AdamW: torch.optim.AdamW,
        RMSprop: torch.optim.RMSprop,
    }
    return kinds[type(options)](model.parameters(), **options.model_dump(exclude={"name"}))
