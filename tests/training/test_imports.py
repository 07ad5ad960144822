"""Networks, data and losses of the user's own, by ``module:name``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gradscope.errors import ConfigError
from gradscope.record.reader import load_run
from gradscope.training.build import build
from gradscope.training.config import Config, load_config
from gradscope.training.loop import train
from gradscope.training.trainer import Trainer
from tests.training import own

OWN = "tests.training.own"


def config(model: Any = None, data: Any = None, **sections: Any) -> Config:
    base = {"device": "cpu", "model": model or {"kind": "mlp", "depth": 2, "width": 4}}
    return Config.model_validate({**base, "data": data or {"name": "digits", "batch_size": 8}, **sections})


def network(name: str = "Network", **kwargs: Any) -> dict[str, Any]:
    return {"kind": "import", "factory": f"{OWN}:{name}", "kwargs": kwargs}


def data(name: str = "rows", **kwargs: Any) -> dict[str, Any]:
    return {"name": "import", "factory": f"{OWN}:{name}", "kwargs": kwargs, "batch_size": 8}


def test_a_network_is_made_by_its_factory_from_the_seed_of_the_config() -> None:
    one, again, other = (build(config(network(width=6), seed=seed)).model for seed in (3, 3, 4))
    assert isinstance(one, own.Network)
    assert one.hidden.weight.shape == (6, 64)
    assert one.head.weight.shape == (10, 6)
    assert torch.equal(one.hidden.weight, again.hidden.weight)  # type: ignore[union-attr, arg-type]
    assert not torch.equal(one.hidden.weight, other.hidden.weight)  # type: ignore[union-attr, arg-type]


def test_data_are_taken_as_they_are_and_split() -> None:
    setup = build(config(data=data(points=50)))
    x, y = own.rows(50, seed=0)
    ours = torch.cat([setup.data.train.x, setup.data.validation.x])
    assert sorted(ours.tolist()) == sorted(x.tolist())
    assert torch.equal(setup.data.train.y, (setup.data.train.x[:, 0] > 0).long())
    assert (len(setup.data.train), setup.data.outputs) == (40, 2)
    assert not torch.equal(build(config(data=data(points=50), seed=5)).data.train.x.sort(0)[0], ours[:40].sort(0)[0])
    assert y.shape == (50,)


def test_rows_to_validate_on_may_be_given_apart() -> None:
    setup = build(config(data=data("parts")))
    (x, _), (u, v) = own.parts()
    assert setup.data.train.x.tolist() == x.tolist()
    assert setup.data.validation.x.tolist() == u.tolist()
    assert setup.data.validation.y.tolist() == v.tolist()
    with pytest.raises(ConfigError, match=r"data\.batch_size: larger .*got 64; expected at most 40 rows"):
        build(config(data={**data("parts"), "batch_size": 64}))


@pytest.mark.parametrize("loss", [f"{OWN}:doubled", "torch.nn:CrossEntropyLoss", "torch.nn.functional:cross_entropy"])
def test_a_loss_is_a_function_or_one_of_torchs_classes(loss: str) -> None:
    ours, plain = (Trainer(build(config(loss=name))) for name in (loss, "cross_entropy"))
    (mine, accuracy), (theirs, expected) = ours.step(0), plain.step(0)
    assert mine.item() == pytest.approx((2 if "doubled" in loss else 1) * theirs.item(), rel=1e-6)
    assert accuracy == expected


def test_numbers_to_predict_may_have_a_loss_of_ones_own() -> None:
    given = config(data={"name": "diabetes", "batch_size": 8}, loss="torch.nn:SmoothL1Loss", training={"steps": 2})
    assert train(given).grid("steps", "loss").values[-1, 0] > 0


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no module": ({"model": {"kind": "import", "factory": "nowhere.at.all:f"}}, "model.factory: there is no module 'nowhere'"),
    "no submodule": ({"model": {"kind": "import", "factory": "tests.nowhere:f"}}, "there is no module 'tests.nowhere'"),
    "no name": ({"model": network("Netwerk")}, f"{OWN} has no 'Netwerk'; did you mean 'Network'?"),
    "no function": ({"model": network("constant")}, f"{OWN}:constant is no function or class (got int)"),
    "no module returned": ({"model": network("text")}, f"{OWN}:text returns a str (expected a torch.nn.Module)"),
    "wrong kwargs": ({"model": network(widht=3)}, "cannot be called with kwargs {'widht': 3}: got an unexpected keyword"),
    "a factory that fails": (
        {"model": network("broken")},
        f"calling {OWN}:broken fails: ValueError: no width will do (own",
    ),
    "wrong inputs": (
        {"model": network("narrow")},
        "model.factory: the network, on a batch of shape (8, 1, 8, 8), fails: Run",
    ),
    "wrong outputs": (
        {"model": network("wrong_outputs")},
        "the network gives (8, 7) for a batch of shape (8, 1, 8, 8) (expected (8, 10)",
    ),
    "no tensor": ({"model": network("Pair")}, "the network gives a tuple (expected a tensor)"),
    "uneven data": ({"data": data("uneven")}, f"data.factory: {OWN}:uneven: there are 29 targets for 30 rows"),
    "no pair": ({"data": data("no_pair")}, f"{OWN}:no_pair returns no pair of rows and targets (got Tensor)"),
    "two forms": ({"data": data("two_forms")}, "the rows to validate on have another form"),
    "no loss": ({"loss": f"{OWN}:squared"}, f"loss: {OWN} has no 'squared'"),
    "a loss of each row": ({"loss": f"{OWN}:each_row"}, "loss: it gives a tensor of shape (8,) (expected one number"),
    "a loss without gradient": ({"loss": f"{OWN}:detached"}, "loss: no gradient leads back from it"),
    "a loss that fails": (
        {"data": {"name": "diabetes", "batch_size": 8}, "loss": "torch.nn.functional:nll_loss"},
        "loss: the loss, on outputs of shape (8, 1) and targets of shape (8, 1), fails:",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_with_the_key_and_the_reason(case: str) -> None:
    sections, message = REFUSED[case]
    with pytest.raises(ConfigError) as raised:
        build(config(**sections))
    (problem,) = raised.value.problems
    assert message in problem
    assert "\n" not in problem


@pytest.mark.parametrize("path", ["mine", "mine.net", ":f", "mine:", "a b:c", "mine:f()", "mine/net.py:f"])
def test_what_is_no_module_and_name_is_refused_at_once(path: str, tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(f'model: {{kind: import, factory: "{path}"}}\ndata: {{name: digits}}\n')
    with pytest.raises(ConfigError, match=r"f\.yaml:1:32: model\.factory: .*expected your own, as module:name"):
        load_config(tmp_path / "f.yaml")


def test_a_recurrent_network_of_ones_own_without_a_linear_layer_is_trained() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(8, 10, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.rnn(x)[0][:, -1]
            return y

    own.Last = Last  # type: ignore[attr-defined]
    from gradscope.cli.run import described

    setup = build(config(network("Last"), {"name": "digits", "layout": "rows", "batch_size": 8}))
    assert "sigma_w" not in described(setup)
    assert Trainer(setup).step(0)[0].isfinite()


MINE = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, outputs, width):
        super().__init__(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, width), nn.BatchNorm1d(width), nn.Linear(width, outputs))

def loss(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets)
"""
CONFIG = """
model: {kind: import, factory: mine_of_the_test:Net, kwargs: {width: 5}}
data: {name: digits}
loss: mine_of_the_test:loss
training: {steps: 3}
"""


def test_a_run_finds_modules_in_the_current_folder_and_its_resolved_config_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_of_the_test.py").write_text(MINE)
    (tmp_path / "mine.yaml").write_text(CONFIG)
    # as the installed command: the path does not begin with the current folder
    program = "import sys; sys.path.pop(0); from gradscope.__main__ import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", program, "run", "mine.yaml", "--out", "one", "--device", "cpu", "-q"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    again = train(load_config(tmp_path / "one" / "config.resolved.yaml"))
    first = load_run(tmp_path / "one").grid("steps", "loss").values
    assert first.tolist() == again.grid("steps", "loss").values.tolist()
