from dataclasses import replace

import numpy as np
import pytest

from gradscope.record.grid import Block
from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, ParameterInfo
from gradscope.record.sink import MemorySink
from gradscope.signals.profiles import depth_profile, parameter_profile, trunk
from gradscope.signals.states import State
from tests import synthetic
from tests.signals.makers import block, chain


def test_a_depth_profile_runs_along_the_trunk_in_forward_order():
    run = synthetic.plain_sigmoid(6, 10)
    profile = depth_profile(run)
    assert profile.layers == tuple(f"layers.{2 * i}" for i in range(6))
    assert profile.layers == tuple(layer.name for layer in trunk(run))
    assert profile.values.shape == profile.present.shape == (10, 6)
    assert np.array_equal(profile.steps, np.arange(10))


def test_a_depth_profile_follows_the_catalogue_and_not_the_order_of_recording():
    run = chain({"backward_norm": [[1.0, 2.0, 3.0]]})
    sink = MemorySink(run.manifest)
    sink.append(block("layers", (("c", 0), ("a", 0), ("b", 0)), {"backward_norm": [[3.0, 1.0, 2.0]]}))
    assert depth_profile(sink.run()).values.tolist() == [[1.0, 2.0, 3.0]]


def test_what_was_not_recorded_is_absent_and_what_was_nan_is_present():
    profile = depth_profile(chain({"backward_norm": [[1.0, None, float("nan")]]}))
    assert profile.present.tolist() == [[True, False, True]]
    assert profile.states.tolist() == [[State.FINITE, State.ABSENT, State.NAN]]


def test_the_last_call_is_on_the_profile_unless_another_is_asked_for():
    run = chain({"backward_norm": [[1.0, 2.0, 3.0]]})
    sink = MemorySink(run.manifest)
    sink.append(block("layers", (("a", 0), ("a", 1)), {"backward_norm": [[1.0, 7.0]]}))
    assert depth_profile(sink.run()).values.tolist() == [[7.0]]
    assert depth_profile(sink.run(), call=0).values.tolist() == [[1.0]]


def test_a_column_that_the_table_does_not_have_is_a_key_error():
    with pytest.raises(KeyError, match="no column 'gradient'"):
        depth_profile(chain({"backward_norm": [[1.0, 2.0, 3.0]]}), "gradient")


def test_measured_drops_the_steps_that_sampled_nothing():
    profile = depth_profile(chain({"backward_norm": [[1.0, 2.0, 3.0], [None] * 3, [4.0, None, 6.0]]})).measured
    assert profile.steps.tolist() == [0, 2]
    assert profile.present.tolist() == [[True] * 3, [True, False, True]]


def test_a_run_without_rows_has_an_empty_profile():
    profile = depth_profile(synthetic.empty())
    assert profile.empty
    assert profile.measured.values.shape == (0, 0)


def shared() -> Catalogue:
    parameters = tuple(
        ParameterInfo(f"a.{name}", "a", shape) for name, shape in (("w1", (2, 2)), ("bias", (2,)), ("w2", (2, 2)))
    )
    return Catalogue(
        (
            LayerInfo("a", "RNN", 0, tuple(p.name for p in parameters), trunk=True),
            LayerInfo("b", "Linear", 1, ("b.w",), trunk=True),
        ),
        (*parameters, ParameterInfo("b.w", "b", (2, 2))),
    )


def of(columns: dict[str, list[list[float | None]]]) -> MemorySink:
    sink = MemorySink(Manifest("shared", catalogue=shared()))
    sink.append(block("parameters", (("b.w", 0), ("a.w2", 0), ("a.bias", 0), ("a.w1", 0)), columns))
    return sink


def test_a_layers_norm_is_the_l2_norm_over_its_matrices():
    profile = parameter_profile(of({"grad_norm": [[7.0, 4.0, 12.0, 3.0]]}).run())
    assert profile.layers == ("a", "b")
    assert profile.values.tolist() == [[5.0, 7.0]]


def test_vectors_join_in_when_asked_for():
    profile = parameter_profile(of({"grad_norm": [[7.0, 4.0, 12.0, 3.0]]}).run(), matrices=False)
    assert profile.values.tolist() == [[13.0, 7.0]]


def test_norms_that_squares_cannot_hold_are_combined_all_the_same():
    profile = parameter_profile(of({"grad_norm": [[1.0, 4e-200, 0.0, 3e-200], [1.0, 4e200, 0.0, 3e200]]}).run())
    assert profile.values[:, 0] == pytest.approx([5e-200, 5e200], rel=1e-12)


def test_a_nan_in_one_matrix_is_the_layers_even_beside_infinity():
    nan, inf = float("nan"), float("inf")
    profile = parameter_profile(of({"grad_norm": [[1.0, nan, 0.0, inf], [1.0, 2.0, 0.0, inf]]}).run())
    assert profile.states[:, 0].tolist() == [State.NAN, State.INF]


def test_a_layer_is_absent_only_where_none_of_its_matrices_has_a_value():
    profile = parameter_profile(of({"grad_norm": [[1.0, None, 2.0, 3.0], [1.0, None, 2.0, None]]}).run())
    assert profile.present[:, 0].tolist() == [True, False]
    assert profile.values[0, 0] == 3.0


def test_the_last_finite_row_is_before_the_first_that_broke_for_good():
    inf = float("inf")
    profile = depth_profile(chain({"backward_norm": [[1.0, 1.0, 1.0], [inf, 1.0, 1.0], [2.0, 2.0, None], [1.0, 1.0, inf]]}))
    assert profile.last_finite_row == 2
    assert depth_profile(chain({"backward_norm": [[inf, 1.0, 1.0]] * 2})).last_finite_row == 0


def test_a_blocks_columns_may_come_apart():
    run = chain({"backward_norm": [[1.0, 2.0, 3.0]]})
    sink = MemorySink(replace(run.manifest))
    for column, values in (("backward_norm", [[1.0, 2.0, 3.0]]), ("forward_norm", [[4.0, 5.0, 6.0]])):
        sink.append(Block("layers", np.arange(1), tuple((n, 0) for n in "abc"), {column: np.array(values)}))
    recorded = sink.run()
    assert depth_profile(recorded).values.tolist() == [[1.0, 2.0, 3.0]]
    assert depth_profile(recorded, "forward_norm").values.tolist() == [[4.0, 5.0, 6.0]]
