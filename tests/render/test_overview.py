from dataclasses import replace

from matplotlib.text import Text

from gradscope.record.finding import Report
from gradscope.render import plot
from tests.render.cases import case


def words(page) -> list[str]:
    return [t.get_text() for t in page.findobj(Text) if t.get_text()]


def test_the_page_holds_verdict_profile_map_and_loss():
    run, report = case("vanishing")
    said = words(plot(run, reports=[report]))
    assert "✗ pathological" in said
    assert "plain-sigmoid-20" in said
    assert "20 layers, 200 steps, finished" in said
    for title in ("Gradient by layer", "Gradient by layer and step", "Loss"):
        assert title in said
    assert report.findings[0].message in said


def test_a_healthy_run_is_called_healthy():
    run, report = case("shallow")
    assert "✓ healthy" in words(plot(run, reports=[report]))


def test_rules_that_were_not_asked_stand_beside_the_verdict():
    run, report = case("shallow")
    assert any(
        text.endswith(", finished, GS101 not asked")
        for text in words(plot(run, reports=[replace(report, not_asked=("GS101",))]))
    )


def test_without_a_report_no_verdict_is_made_up():
    said = words(plot(case("shallow")[0]))
    assert not any(verdict in text for text in said for verdict in ("healthy", "pathological", "inconclusive"))


def test_verdicts_of_several_runs_stand_under_each_other():
    cases = [case(n) for n in ("vanishing", "shallow", "exploding")]
    page = plot([run for run, _ in cases], reports=[report for _, report in cases])
    heights = [t.get_position()[1] for t in page.subfigs[0].texts if t.get_text()[0] in "✓✗"]
    assert len(heights) == 3
    assert heights == sorted(heights, reverse=True)


def test_more_findings_than_fit_are_counted_and_not_dropped_in_silence():
    run, report = case("vanishing")
    many = Report(run.name, 200, report.findings * 6)
    said = words(plot(run, reports=[many]))
    assert any("and 2 more findings" in text for text in said)
    assert any("6 findings, the worst first" in text for text in said)


def test_the_legend_of_the_profile_reads_row_by_row_and_stays_beside_the_map():
    run, report = case("deep")
    page = plot(run, reports=[report])
    page.canvas.draw()
    left = page.subfigs[1].subfigs[0]
    (legend,) = left.legends
    assert legend.get_window_extent().x1 <= left.bbox.x1
    places = [(text.get_window_extent(), text.get_text()) for text in legend.get_texts()]
    steps = [
        said for _, said in sorted(places, key=lambda place: (-round(place[0].y0), place[0].x0)) if said.startswith("step ")
    ]
    assert [int(said.removeprefix("step ").replace(",", "")) for said in steps] == sorted(
        int(said.removeprefix("step ").replace(",", "")) for said in steps
    )


def test_a_finding_through_time_is_told_apart_from_one_through_depth():
    run, report = case("forgetful")
    said = words(plot(run, reports=[report]))
    assert "GS101 vanishing-gradients through time" in said
    assert "GS101 vanishing-gradients" in words(plot(case("vanishing")[0], reports=[case("vanishing")[1]]))


def test_what_was_found_is_told_in_two_lines_at_most_within_the_page():
    run, report = case("vanishing")
    long = replace(report.findings[0], message="a gradient that nobody sees " * 30)
    page = plot(run, reports=[Report(run.name, 200, (long,))])
    page.canvas.draw()
    lines = [text for text in page.findobj(Text) if "nobody" in text.get_text()]
    assert len(lines) == 2
    assert lines[1].get_text().endswith(" …")
    assert all(line.get_window_extent().x1 < page.bbox.x1 for line in lines)
    assert lines[0].get_window_extent().y0 >= lines[1].get_window_extent().y1 - 1
