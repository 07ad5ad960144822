import pytest

from gradscope.record.finding import Finding, Severity
from gradscope.record.manifest import Manifest, Status
from gradscope.record.run import Run
from gradscope.render import words
from tests.render.cases import case


def test_names_lose_their_control_characters_and_their_middle():
    assert words.plain("\x1b[31mred\n") == "\\x1b[31mred\\n"
    assert words.plain("a" * 10 + "b" * 10, 9) == "aaaa…bbbb"
    assert words.plain("层.0") == "层.0"


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (Status.FINISHED, None, "finished"),
        (Status.STOPPED, "GS101 vanishing-gradients: The gradient is small.", "stopped by GS101 vanishing-gradients"),
        (Status.FAILED, "RuntimeError: no\nrows", "failed: RuntimeError: no\\nrows"),
        (Status.FAILED, None, "failed"),
        (Status.INTERRUPTED, "interrupted from the keyboard", "interrupted"),
    ],
)
def test_how_a_run_ended_is_told_with_what_ended_it(status, reason, said):
    assert words.ended(Run(Manifest("r", status=status, reason=reason), {})) == said


def test_neighbouring_layers_are_folded_into_ranges():
    order = [f"layers.{i}" for i in range(20)]
    assert words.fold(order[:12], order) == "layers.0-layers.11 (12 of 20)"
    assert words.fold([order[3]], order) == "layers.3 (1 of 20)"
    assert words.fold([order[5], order[0], order[1]], order) == "layers.0-layers.1, layers.5 (3 of 20)"
    assert words.fold(order[::2], order) == "layers.0, layers.2, ..., layers.18 (10 of 20)"


def test_the_order_is_that_of_the_trunk_or_of_what_else_holds_the_names():
    run, _ = case("vanishing")
    assert len(words.forward_order(run, ["layers.0", "layers.38"])) == 20
    assert len(words.forward_order(run, ["layers.0", "layers.1"])) == 39
    assert len(words.forward_order(run, ["layers.0.weight"])) == 40
    assert words.forward_order(run, ["elsewhere"]) == ("elsewhere",)
    assert words.forward_order(None, ["a"]) == ("a",)


def finding(value: float, threshold: float, noise_floor: float | None = None) -> Finding:
    return Finding("GS101", "rule", Severity.ERROR, "m", "backward_ratio", value, threshold, noise_floor=noise_floor)


@pytest.mark.parametrize(
    ("value", "threshold", "said"),
    [
        (1.0822e6, 1e2, "backward_ratio 1.08e6, above the threshold 100 by 11,000 times"),
        (4e-7, 1e-3, "backward_ratio 4e-7, under the threshold 0.001 by 2,500 times"),
        (1e3, 1e2, "backward_ratio 1,000, above the threshold 100 by 10 times"),
        (0.0, 1e-3, "backward_ratio 0, under the threshold 0.001: exactly nothing"),
        (0.98e-3, 1e-3, "backward_ratio 0.00098, under the threshold 0.001"),
        (float("nan"), 1e-3, "backward_ratio is NaN"),
        (float("inf"), 1e2, "backward_ratio is inf"),
    ],
)
def test_evidence_says_value_threshold_and_by_how_much(value, threshold, said):
    assert words.evidence(finding(value, threshold)) == said


def test_the_noise_floor_is_said_in_the_direction_of_the_finding():
    assert words.chance(finding(1e-7, 1e-3, 0.04)) == "chance alone gives no less than 0.04 at this width"
    assert words.chance(finding(1e7, 1e2, 25.0)) == "chance alone gives no more than 25 at this width"
    assert words.chance(finding(1e7, 1e2)) is None


def test_powers_of_ten_need_no_mathematical_type():
    assert [words.power_of_ten(e) for e in (-12, 0, 1, 38)] == ["10⁻¹²", "1", "10", "10³⁸"]
