"""Forest plot and curve: what is drawn where, by the numbers of the results."""

from __future__ import annotations

import pytest

from mam.report.collect import collect
from mam.report.curve import curve
from mam.report.forest import forest
from mam.report.page_pictures import pictures
from mam.report.plots import COLOURS, ROLES, as_svg, role_of


@pytest.fixture
def group(swept):
    (found,) = collect([swept]).groups
    return found


def varied(group):
    return [({key: run.traits[key] for key in ("lam", "control")}, run.result) for run in group.runs]


def test_a_forest_plot_has_a_row_for_each_merge_with_controls_beside_the_source(group):
    (axes,) = forest(varied(group), "WER", "a title").axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == ["λ 0.3 · source", "shrink", "λ 0.6 · source", "shrink"]
    merged = [run.result for run in group.runs if run.result.is_merged]
    points = [line for line in axes.lines if line.get_marker() not in ("None", "")]
    assert [float(line.get_xdata()[0]) for line in points] == [100 * one.delta.absolute for one in merged]
    assert [int(line.get_ydata()[0]) for line in points] == [3, 2, 1, 0]
    assert [line.get_color() for line in points] == [ROLES["none"].colour, ROLES["shrink"].colour] * 2
    intervals = [tuple(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 1.8]
    assert intervals == [tuple(100 * end for end in one.delta.ci95) for one in merged if one.delta.ci95]
    texts = " ".join(text.get_text() for text in axes.texts)
    assert "← better" in texts and "worse →" in texts and texts.count("[") == len(intervals)
    assert any(list(line.get_xdata()) == [0, 0] for line in axes.lines), "zero is marked"


def test_a_curve_has_bars_and_ticks_at_the_lambdas_that_were_run(group):
    (axes,) = curve(varied(group), "WER", {1}).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "0.3", "0.6"]
    assert list(axes.get_xticks()) == [0.0, 0.3, 0.6]
    assert [bars.get_label() for bars in axes.containers] == ["source", "shrink"]
    for bars, control in zip(axes.containers, ("none", "shrink"), strict=True):
        results = [run.result for run in group.runs if run.result.is_merged and run.result.merge.control == control]
        line, _, (segments,) = bars.lines
        assert list(line.get_ydata()) == [100 * result.rate for result in results]
        for result, segment in zip(results, segments.get_segments(), strict=True):
            low, high = result.delta.ci95 or (result.delta.absolute,) * 2
            ends = [100 * (result.rate + end - result.delta.absolute) for end in (low, high)]
            assert list(segment[:, 1]) == pytest.approx(ends)
    first, second = (bars.lines[0].get_xdata() for bars in axes.containers)
    assert all(a != b for a, b in zip(first, second, strict=True)), "bars stand side by side"


def test_close_lambdas_are_spaced_evenly_and_many_lines_get_panels(group):
    runs = varied(group)
    close = [({**one, "lam": {"0.3": "0.01", "0.6": "1"}.get(one["lam"], one["lam"])}, result) for one, result in runs]
    (axes,) = curve(close, "WER", set()).axes
    assert list(axes.get_xticks()) == [0.0, 1.0, 2.0]
    many = [({**one, "layers": str(i)}, result) for i in range(3) for one, result in runs]
    several = curve(many, "WER", set()).axes
    assert len(several) == 1, "one control: one panel"
    assert len(several[0].containers) == 6


def test_each_role_has_one_look():
    looks = {(role.colour, role.marker) for role in ROLES.values()}
    assert len(looks) == len(ROLES) and ROLES["none"].colour == COLOURS[0]
    assert role_of("of a plug-in").colour not in {role.colour for role in ROLES.values()}


def test_pictures_are_described_and_fit_both_backgrounds(group, tmp_path):
    (first,), (further,) = pictures(group, "g1", tmp_path)
    for picture, kind in ((first, "forest"), (further, "curve")):
        assert f'aria-label="{picture.caption[:20]}' in picture.svg and "#000000" not in picture.svg
        assert (tmp_path / "pictures" / f"g1-{kind}.png").stat().st_size > 5000
    again = as_svg(forest(varied(group), "WER", "t"), "g1", "d"), as_svg(forest(varied(group), "WER", "t"), "g1", "d")
    assert again[0] == again[1], "equal results make equal files"
