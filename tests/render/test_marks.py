from gradscope.record.finding import Finding, Severity
from gradscope.render.marks import positions
from tests.render.cases import case


def at(*layers: str) -> list[int]:
    run, _ = case("vanishing")
    trunk = [layer.name for layer in run.catalogue.layers if layer.trunk]
    return positions(Finding("GS1", "r", Severity.ERROR, "m", "s", 1.0, 2.0, layers=layers), run, trunk)


def test_a_layer_stands_at_its_station():
    assert at("layers.0", "layers.4") == [0, 2]


def test_a_parameter_stands_at_its_layer():
    assert at("layers.4.weight", "layers.4.bias") == [2]


def test_an_activation_stands_at_the_station_before_it():
    assert at("layers.5") == [2]


def test_a_name_that_the_run_does_not_have_stands_nowhere():
    assert at("elsewhere") == []
