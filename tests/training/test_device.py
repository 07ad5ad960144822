from __future__ import annotations

import pytest
import torch

from gradscope.errors import TrainingError
from gradscope.training.batches import Batches
from gradscope.training.data import Data, Split
from gradscope.training.device import failures_are_told, fits, free_bytes, own_random_state, placed, resolve
from gradscope.training.published import Augmentation

ACCELERATOR = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None


@pytest.mark.skipif(ACCELERATOR is not None, reason="there is an accelerator")
@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_an_error_of_one_line_and_never_the_cpu(name: str) -> None:
    with pytest.raises(TrainingError, match=f"device '{name}' is not available") as caught:
        resolve(name)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert caught.value.hint == "use device: auto, here cpu"


def test_automatic_is_the_accelerator_or_else_the_cpu() -> None:
    assert resolve("auto") == (ACCELERATOR or torch.device("cpu"))
    assert resolve("cpu") == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(ACCELERATOR is None, reason="there is no accelerator")
def test_an_accelerator_can_be_named() -> None:
    assert ACCELERATOR is not None
    assert resolve(ACCELERATOR.type).type == ACCELERATOR.type


def test_the_callers_random_state_is_given_back() -> None:
    state = torch.get_rng_state()
    with own_random_state(resolve("auto")):
        torch.manual_seed(3)
        torch.rand(1)
    assert torch.equal(state, torch.get_rng_state())


def test_running_failures_are_told_with_what_to_do() -> None:
    with pytest.raises(TrainingError, match="out of memory on cpu") as caught, failures_are_told(torch.device("cpu")):
        torch.empty(1 << 60, dtype=torch.uint8)
    assert "batch_size" in str(caught.value.hint)


def test_a_compiler_that_is_missing_is_told_in_one_line() -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    def backend(*_: object) -> None:
        raise OSError("no C++ compiler found\nand a page of advice")

    compiled = torch.compile(lambda x: x + 1, backend=backend)
    with pytest.raises(TrainingError, match=r"torch.compile failed: no C\+\+ compiler found") as caught:  # noqa: SIM117
        with failures_are_told(torch.device("cpu")):
            compiled(torch.zeros(1))
    assert isinstance(caught.value.__cause__, BackendCompilerFailed)
    assert "\n" not in str(caught.value)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), failures_are_told(torch.device("cpu")):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_data_go_to_the_device_where_they_leave_the_greater_part_of_its_memory_free() -> None:
    assert fits(40, 100)
    assert not fits(41, 100)
    assert fits(10**12, None)  # not told
    assert free_bytes(torch.device("cpu")) is None
    part = Split(torch.zeros(4, 8), torch.zeros(4, dtype=torch.int64))
    data = Data(part, part, 2)
    assert data.nbytes == 2 * (4 * 8 * 4 + 4 * 8)
    assert placed(data, torch.device("meta")).train.x.is_meta


def test_batches_of_data_that_stayed_behind_are_brought_to_the_device() -> None:
    split = Split(torch.randn(12, 1, 4, 4), torch.zeros(12, dtype=torch.int64))
    batches = Batches(split, 4, 0, torch.device("meta"), Augmentation(crop_padding=1, flip=True))
    x, y = batches[1]
    assert (x.device.type, y.device.type, x.shape) == ("meta", "meta", (4, 1, 4, 4))
    assert not split.x.is_meta
