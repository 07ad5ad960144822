from __future__ import annotations

import torch

from gradscope.training.batches import Batches
from gradscope.training.data import Split


def batches(seed: int = 0, rows: int = 23, size: int = 5) -> Batches:
    return Batches(Split(torch.arange(rows).float()[:, None], torch.arange(rows)), size, seed)


def test_an_epoch_sees_each_row_at_most_once_and_only_whole_batches() -> None:
    drawn = [batches()[i][1] for i in range(4)]
    assert all(len(rows) == 5 for rows in drawn)
    assert len(set(torch.cat(drawn).tolist())) == 20


def test_inputs_and_classes_belong_together() -> None:
    x, y = batches()[7]
    assert torch.equal(x[:, 0].long(), y)


def test_every_epoch_has_an_order_of_its_own() -> None:
    each = batches()
    assert not torch.equal(each[0][1], each[4][1])


def test_a_batch_depends_on_its_number_and_the_seed_alone() -> None:
    each = batches()
    forward = [each[i][1] for i in range(12)]
    assert all(torch.equal(batches()[i][1], rows) for i, rows in enumerate(forward))
    assert not torch.equal(batches(seed=1)[0][1], forward[0])


def test_drawing_leaves_the_global_random_state_alone() -> None:
    state = torch.get_rng_state()
    batches()[0]
    assert torch.equal(state, torch.get_rng_state())
