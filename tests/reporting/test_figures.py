"""Test what the figures draw, read from the drawing itself, and the bytes of their files."""

import io
import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from tests.helpers.synthetic_report import VALUES, made_rows, write_study
from tools.engine.analysis.curves import published_curve
from tools.engine.analysis.differences import Difference, ImageVariance, difference
from tools.engine.analysis.gains import Gain, gains, over
from tools.engine.analysis.results import Column, load_results
from tools.engine.analysis.verdicts import VERDICTS
from tools.engine.reporting.document import DPI, Figure, Notes, Report, Section, Table
from tools.engine.reporting.drawing import figures, labels, scatter
from tools.engine.reporting.drawing import transfer_figure as quadrant
from tools.engine.reporting.drawing.figures import draw, draw_curves, figures_of, forest
from tools.engine.reporting.drawing.plotting import LOOKS, limits
from tools.engine.reporting.drawing.transfer_figure import transfer_pairs
from tools.engine.reporting.formats.html import html
from tools.engine.reporting.formats.latex import latex
from tools.engine.reporting.formats.markdown import markdown

PAPER = "configs/classification/resnet50_paper.py"
TOP1, MAP, MIOU = (Column(metric) for metric in ("top1", "mAP", "mIoU"))
# gains over B-standard in the paper: top-1, mAP, mIoU
GAINED = {
    "D-efficient": (1.02, 0.76, 1.83),
    "+ cosine": (1.77, 1.69, 2.28),
    "+ smooth": (2.20, 3.17, 1.70),
    "+ distill w/o mixup": (2.53, 3.42, 1.85),
    "+ mixup w/o distill": (3.02, 3.56, 0.94),
    "+ distill w/ mixup": (3.15, 3.79, 1.35),
}


@pytest.fixture
def results(tmp_path):
    return load_results(write_study(tmp_path / "demo-toy", made_rows()))


@pytest.fixture
def drawn(monkeypatch):
    """Make the figures return the drawing instead of the bytes of its file."""
    for module in (figures, scatter):
        monkeypatch.setattr(module, "png", lambda figure: figure)


def gain(recipe: str, column: Column, mean: float, half: float | None = 0.5, kind="seeds", verdict="undecided", base="base"):
    """Return a gain whose interval is mean +- half. Tests set only the parameters they need, hence seven."""
    error, dof = (None, None) if half is None else (half / 1.959964, float("inf"))
    diff = Difference(mean, 3, 3, error, dof, None if half is None else kind)
    return Gain(recipe, base, column, diff, None, 0.3, verdict)


def lines_of(axes) -> list[tuple[list, list]]:
    return [([float(x) for x in line.get_xdata()], [float(y) for y in line.get_ydata()]) for line in axes.get_lines()]


def marks_of(axes) -> dict[tuple[float, float], object]:
    """Return the lines of a single point, which are marks, by position."""
    return {(xs[0], ys[0]): line for line, (xs, ys) in zip(axes.get_lines(), lines_of(axes), strict=True) if len(xs) == 1}


# --- gains --------------------------------------------------------------------------------------------------


def test_a_forest_has_the_numbers_of_the_gains(results, drawn):
    over_reference = gains(results, over(results, "b_standard"))
    figure = forest(results, over_reference, "B-standard")
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_visible()}
    assert list(panels) == ["top-1", "mAP", "pixAcc", "mIoU"]
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["scratch", "+ smooth"]
    a, b = VALUES["smooth"]["mAP"], VALUES["b_standard"]["mAP"]
    diff = difference(a, b)
    assert [place for place in marks_of(panels["mAP"]) if place[1] == 1.0] == [(pytest.approx(diff.mean), 1.0)]
    assert ([pytest.approx(end) for end in diff.interval], [1.0, 1.0]) in lines_of(panels["mAP"])
    spans = [patch.get_extents().transformed(panels["mAP"].transData.inverted()) for patch in panels["mAP"].patches]
    assert {(round(s.x0, 6), round(s.x1, 6)) for s in spans} == {(-0.3, 0.3)}  # the margin of mAP
    (text,) = [text.get_text() for text in panels["mAP"].texts]  # scratch is beyond the axis: written
    low, high = difference(VALUES["scratch"]["mAP"], b).interval
    assert text == f"-40.19\n[{low:+.2f}, {high:+.2f}]"
    assert {axes.get_xlabel() for axes in panels.values()} == {"points over B-standard"}


def test_intervals_over_seeds_are_solid_and_those_over_images_dashed(results, drawn):
    shown = [
        gain("scratch", MAP, 1.0, kind="seeds and images", verdict="better"),
        gain("b_standard", MAP, 2.0, kind="images"),
        gain("smooth", MAP, 3.0, half=None),
    ]
    axes = forest(results, shown, "B-standard").axes[0]
    marks = marks_of(axes)
    faces = {y: mark.get_markerfacecolor() for (_, y), mark in marks.items()}
    assert faces == {0.0: LOOKS["better"][0], 1.0: "white", 2.0: "white"}
    styles = {
        ys[0]: line.get_linestyle() for line, (xs, ys) in zip(axes.get_lines(), lines_of(axes), strict=True) if len(xs) == 2
    }
    assert styles[0.0] == "-" and styles[1.0] == "--" and 2.0 not in styles


def test_every_verdict_has_a_colour_and_a_shape_of_its_own():
    assert set(LOOKS) == set(VERDICTS)
    colours, shapes = zip(*LOOKS.values(), strict=True)
    assert len(set(colours)) == len(set(shapes)) == len(VERDICTS)


def test_limits_include_all_points_and_cut_long_intervals():
    wide = gain("a", MAP, 1.0, half=40.0)
    low, high = limits([wide, gain("b", MAP, -2.0, half=0.1)])
    assert (low, high) == pytest.approx((-6 - 0.72, 6 + 0.72))  # three times the largest gain, and 6 % of the whole
    assert limits([gain("a", MAP, 0.01, half=0.01)])[0] < -0.3  # the margin
    low, high = limits([gain("a", MAP, 1.0), gain("scratch", MAP, -30.0)])
    assert -2 < low and high < 2
    assert limits([gain("scratch", MAP, -30.0)])[0] < -30  # the only gain
    assert limits([gain("a", MAP, 1.0, half=40.0)]) == pytest.approx((-39 - 4.8, 41 + 4.8))  # the typical interval is not cut
    low, high = limits([gain(name, MAP, mean) for name, mean in (("a", 1.0), ("b", 2.0), ("c", -30.0))])
    assert -4 < low and high < 4  # an outlier
    assert limits([]) == (-1, 1)


def test_an_interval_beyond_the_axis_has_an_arrowhead(results, drawn):
    axes = forest(results, [gain("smooth", MAP, 1.0, half=40.0), gain("scratch", MAP, 2.0, half=0.5)], "B-standard").axes[0]
    (low, high), ends = axes.get_xlim(), sorted(x for x, y in marks_of(axes) if y == 0)
    assert len(ends) == 3 and low < ends[0] and ends[1] == 1.0 and ends[2] < high


@pytest.mark.parametrize("mean", [-30.0, 30.0])
def test_the_values_of_a_gain_beyond_the_axis_do_not_cover_the_line_at_0(results, drawn, mean):
    figure = forest(results, [gain("smooth", MAP, 1.0), gain("scratch", MAP, mean)], "B-standard")
    axes = figure.axes[0]
    figure.draw_without_rendering()
    zero, box, panel = axes.transData.transform((0, 0))[0], axes.texts[0].get_window_extent(), axes.get_window_extent()
    assert not box.x0 < zero < box.x1 and panel.x0 <= box.x0 and box.x1 <= panel.x1
    (arrow,) = [line for line in axes.get_lines() if line.get_marker() in ("<", ">")]
    assert arrow.get_marker() == ("<" if mean < 0 else ">")


def legend_of(figure) -> set[str]:
    """Return the words of the legend below the panels."""
    return {text.get_text() for text in figure.legends[0].get_texts()}


def test_the_legend_explains_every_mark_that_is_drawn(results, drawn):
    plain = [gain("smooth", MAP, 1.0, verdict="better"), gain("b_standard", MAP, 2.0, verdict="better")]
    band = {"better", "95 % interval", "counts as no difference"}
    assert legend_of(forest(results, plain, "scratch")) == band
    images = replace(plain[1], diff=replace(plain[1].diff, kind="images"))
    over_images = "95 % interval over test images only, from one seed"
    assert legend_of(forest(results, [plain[0], images], "scratch")) == band | {over_images}
    wide = gain("b_standard", MAP, 1.0, half=40.0, verdict="better")
    assert legend_of(forest(results, [plain[0], wide], "scratch")) == band | {"the interval continues"}
    far = gain("scratch", MAP, -40.0, verdict="better")
    assert legend_of(forest(results, [*plain, far], "scratch")) == band | {"beyond the axis, at this value"}
    pairs = [(gain(g.recipe, TOP1, 1.0), g) for g in (*plain, far)]
    assert legend_of(quadrant.quadrant(results, pairs, "scratch")) == band | {"beyond the axes, at these values"}


def test_the_legend_of_levels_explains_every_mark_that_is_drawn(tmp_path, results, drawn):
    legend = {"one seed", "mean, 95 % interval", "the reference, B-standard"}
    assert legend_of(draw(results)) == legend | {"beyond the axis, at this level"}
    rows = [row for row in made_rows() if row["recipe"] != "scratch"]
    near = load_results(write_study(tmp_path / "near-toy", rows, recipes=["b_standard", "smooth"]))
    assert legend_of(draw(near)) == legend


# --- transfer against top-1 ---------------------------------------------------------------------------------


def paper_pairs() -> list[tuple[Gain, Gain]]:
    return [
        (gain(name, TOP1, values[0], 0.3), gain(name, column, value))
        for name, values in GAINED.items()
        for column, value in ((MAP, values[1]), (MIOU, values[2]))
    ]


def names_of(figure) -> dict[str, str]:
    """Return the names that the list above the panels gives to numbers; empty without a list."""
    return dict(text.get_text().split("  ", 1) for legend in figure.legends[1:] for text in legend.get_texts())


def test_a_point_beyond_the_axes_is_a_cross_at_their_edge_with_its_values(results, drawn):
    far = [(gain("far", TOP1, 1.0), gain("far", MAP, -40.0))]
    figure = quadrant.quadrant(results, [*paper_pairs(), *far], "B-standard")
    axes = figure.axes[0]
    (low, high), texts = axes.get_ylim(), [text.get_text() for text in axes.texts]
    crosses = [line for line in axes.get_lines() if line.get_marker() == "X"]
    assert [line.get_xdata()[0] for line in crosses] == [1.0] and low < crosses[0].get_ydata()[0] < low + 0.1 * (high - low)
    (number,) = [number for number, name in names_of(figure).items() if name == "far"]
    assert low > -10 and f"{number} (+1.0, -40.0)" in texts


def test_pairs_are_of_one_recipe_over_one_base():
    top = [gain("a", TOP1, 1.0), gain("a", TOP1, 2.0, base="other"), gain("b", TOP1, 3.0)]
    lower = [gain("a", MAP, 0.5), gain("a", MIOU, 0.6, base="other"), gain("c", MAP, 0.7), gain("a", Column("mAP_area"), 0.4)]
    nothing = replace(gain("b", MAP, 0.0), diff=None)
    assert transfer_pairs([*top, *lower, nothing]) == [(top[0], lower[0]), (top[1], lower[1])]
    assert transfer_pairs(lower) == []


def test_a_quadrant_has_a_point_with_both_intervals_for_each_recipe(results, drawn):
    pairs = paper_pairs()
    figure = quadrant.quadrant(results, pairs, "B-standard")
    assert [axes.get_title() for axes in figure.axes] == ["mAP", "mIoU"]
    for axes, place in zip(figure.axes, (1, 2), strict=True):
        assert set(marks_of(axes)) >= {(values[0], values[place]) for values in GAINED.values()}
        lines = lines_of(axes)
        for x, *others in GAINED.values():
            y = others[place - 1]
            assert (pytest.approx([x - 0.3, x + 0.3], abs=1e-5), [y, y]) in lines
            assert ([x, x], pytest.approx([y - 0.5, y + 0.5], abs=1e-5)) in lines
        numbers = names_of(figure)
        assert list(numbers.values()) == list(GAINED)
        assert {text.get_text() for text in axes.texts} >= {*numbers, "transfers ↗", "lost in transfer ↘"}
        assert axes.get_xlabel() == "top-1, points over B-standard"
        assert axes.get_ylabel() == f"{axes.get_title()}, points over B-standard"


def boxes_of(axes) -> dict[str, object]:
    for text in axes.texts:
        text.get_window_extent()  # finds the place, but counts the line to the point
    return {text.get_text(): Text.get_window_extent(text) for text in axes.texts}


def common_area(a, b) -> float:
    return labels.overlap((a.x0, a.y0, a.x1, a.y1), (b.x0, b.y0, b.x1, b.y1))


def far_apart() -> list[tuple[Gain, Gain]]:
    """Return gains whose names find room beside their points."""
    places = ((1, 1), (2, -1), (3, 1.5), (-2, -1.5), (-1, 1))
    return [(gain(f"r{i}", TOP1, x, 0.1), gain(f"r{i}", MAP, y, 0.1)) for i, (x, y) in enumerate(places)]


def test_names_that_find_room_stand_beside_their_points(results, drawn):
    figure = quadrant.quadrant(results, far_apart(), "B-standard")
    assert names_of(figure) == {} and {text.get_text() for text in figure.axes[0].texts} >= {f"r{i}" for i in range(5)}


def test_names_that_would_hide_an_interval_become_numbers(results, drawn):
    wide = [(x, replace(y, diff=replace(y.diff, error=1.0))) for x, y in far_apart()]
    crowd = [(gain(f"a longer name {i}", TOP1, 1 + i / 10, 0.5), gain(f"a longer name {i}", MAP, i / 9)) for i in range(4)]
    figure = quadrant.quadrant(results, [*wide, *crowd], "B-standard")
    assert list(names_of(figure).values()) == [x.recipe for x, _ in (*wide, *crowd)]


def test_names_of_two_bases_are_whole_in_the_list(results, drawn):
    pairs = [
        (gain("smooth", TOP1, 1.0, base=base), gain("smooth", MAP, height, half=3.0, base=base))
        for base, height in (("b_standard", 1.0), ("scratch", 1.05), ("a base with a long name of many letters", 1.1))
    ]
    texts = list(names_of(quadrant.quadrant(results, pairs, "the parent")).values())
    assert texts[:2] == ["+ smooth over B-standard", "+ smooth over scratch"]
    assert texts[2].startswith("+ smooth over a base with a long name of")


def clean_panels(results) -> Iterator[tuple]:
    """Yield panels of many points, with the numbers beside them."""
    for seed in range(3):
        rng = random.Random(seed)
        names = [f"recipe number {i}" for i in range(12)]
        pairs = [(gain(n, TOP1, rng.gauss(1, 1)), gain(n, MAP, rng.gauss(1, 1))) for n in names]
        figure = quadrant.quadrant(results, pairs, "B-standard")
        yield figure.axes[0], [str(i) for i in range(1, 13)]
    yield from ((axes, [str(i) for i in range(1, 7)]) for axes in quadrant.quadrant(results, paper_pairs(), "B-standard").axes)


def test_labels_overprint_neither_each_other_nor_the_lines_at_0(results, drawn):
    for axes, names in clean_panels(results):
        boxes, panel = boxes_of(axes), axes.get_window_extent()
        x, y = axes.transData.transform((0, 0))
        for name, other in itertools.combinations(names, 2):
            assert common_area(boxes[name], boxes[other]) == 0, (name, other)
        for name in names:
            box = boxes[name]
            assert common_area(box, panel) >= 0.99 * box.width * box.height, name
            assert not box.x0 < x < box.x1 and not box.y0 < y < box.y1, name


def test_no_line_to_a_point_runs_through_a_name(results, drawn):
    lines = 0
    for axes, names in clean_panels(results):
        boxes = boxes_of(axes)
        for text in axes.texts:
            if text.arrow_patch is None:
                continue
            lines += 1
            ends = text.arrow_patch.get_transform().transform(text.arrow_patch.get_path().vertices)
            line = tuple(ends[0].tolist()), tuple(ends[-1].tolist())
            assert np.allclose(line[1], axes.transData.transform(text.xy), atol=1)  # it ends in its point
            for name in names:
                box = boxes[name]
                is_crossed = labels.crosses(line, (box.x0, box.y0, box.x1, box.y1))
                assert name == text.get_text() or not is_crossed, (name, text.get_text())
    assert lines > 0


def test_names_of_quadrants_lie_outside_of_the_axes(results, drawn):
    for axes in quadrant.quadrant(results, paper_pairs(), "B-standard").axes:
        boxes, panel = boxes_of(axes), axes.get_window_extent()
        corners = [box for name, box in boxes.items() if any(arrow in name for arrow in scatter.ARROWS.values())]
        assert len(corners) == 4 and all(common_area(box, panel) == 0 for box in corners)


@pytest.mark.parametrize(
    ("line", "is_crossed"),
    [
        (((0, 0), (4, 4)), True),
        (((0, 2), (4, 2)), True),
        (((2, 0), (2, 0.5)), False),
        (((0, 0), (0, 9)), False),
        (((0, 3.5), (3.5, 7)), False),
        (((1.5, 1.5), (2, 2)), True),
    ],
)
def test_a_line_crosses_a_box_if_a_part_of_it_lies_within(line, is_crossed):
    assert labels.crosses(line, (1, 1, 3, 3)) is is_crossed


# --- training curves ----------------------------------------------------------------------------------------


def study_with_curves(tmp_path, scale="toy", config=PAPER, epochs=4):
    rows = [row | {"network": "resnet50"} for row in made_rows() if row["task"] == "classification"]
    runs = {row["run"]: {"config": config} for row in rows}
    curves = {
        run: [
            *(dict(update=u, epoch=u / 10, loss=10.0 - u / 10 + i, lr=0.1) for u in range(1, 10 * epochs + 1)),
            *(dict(update=10 * e, epoch=float(e), top1=10.0 * e + i) for e in range(1, epochs + 1)),
        ]
        for i, run in enumerate(sorted(runs))
    }
    return load_results(write_study(tmp_path / f"demo-{scale}", rows, scale=scale, runs=runs)), curves


def test_curves_show_the_mean_over_seeds_and_each_seed(tmp_path, drawn):
    results, curves = study_with_curves(tmp_path)
    figure = draw_curves(results, curves)
    panels = {axes.get_title(): lines_of(axes) for axes in figure.axes if axes.get_visible()}
    assert list(panels) == ["classification, resnet50, loss", "classification, resnet50, top-1"]
    values = [line["top1"] for run in curves if "smooth" in run for line in curves[run] if "top1" in line]
    lines = [ys for _, ys in panels["classification, resnet50, top-1"]]
    assert len(lines) == 2 * (3 + 1)  # two recipes: three seeds and their mean
    for seed in range(3):
        assert values[4 * seed : 4 * seed + 4] in lines
    assert [pytest.approx(sum(values[i::4]) / 3) for i in range(4)] in lines


def test_losses_that_are_far_larger_have_a_panel_of_their_own(tmp_path, drawn):
    results, curves = study_with_curves(tmp_path)
    large = {
        run: [line | {"loss": 800 * line["loss"]} if "loss" in line else line for line in lines]
        for run, lines in curves.items()
        if "smooth" in run
    }
    titles = [axes.get_title().split(", ", 2)[2] for axes in draw_curves(results, curves | large).axes if axes.get_visible()]
    assert titles == ["loss", "loss, far larger", "top-1"]
    results.study["tricks"] = {"smooth": [["label_smoothing", {}], ["distillation", {"teacher": ""}]]}
    titles = [axes.get_title().split(", ", 2)[2] for axes in draw_curves(results, curves | large).axes if axes.get_visible()]
    assert titles == ["loss", "loss\n(times T² by distillation)", "top-1"]


def test_runs_that_stopped_early_shorten_the_mean_and_a_missing_loss_is_no_zero(tmp_path, drawn):
    results, curves = study_with_curves(tmp_path)
    first = next(run for run in curves if "smooth" in run)
    curves[first] = [line | {"loss": None} if "loss" in line and line["update"] > 20 else line for line in curves[first]]
    figure = draw_curves(results, curves)
    lines = lines_of(figure.axes[0])
    assert all(y > 0 for _, ys in lines for y in ys)
    assert {len(xs) for xs, _ in lines} == {20, 40}


@pytest.mark.parametrize(
    "scale, config, shown",
    [
        ("paper", PAPER, True),
        ("toy", PAPER, False),
        ("mini", PAPER, False),
        ("paper", PAPER.replace("50_", "50_places365_"), False),
    ],
)
def test_published_curves_lie_under_ours_at_scale_paper_only(tmp_path, drawn, scale, config, shown):
    results, curves = study_with_curves(tmp_path, scale, config)
    figure = draw_curves(results, curves)
    published = list(published_curve("smooth", PAPER, "resnet50", "top1").values)
    assert (published in [ys for axes in figure.axes for _, ys in lines_of(axes)]) is shown
    caption = figures_of_png(results, curves)["curves"].caption
    assert ("GluonCV resnet50_v1d (" in caption and "dmlc/web-data" in caption) is shown


def figures_of_png(results, curves) -> dict[str, Figure]:
    return figures_of(results, [], [], curves)


# --- files --------------------------------------------------------------------------------------------------


def test_figures_are_left_out_where_there_is_nothing_to_show(tmp_path, results):
    whole = gains(results, over(results, "b_standard"))
    assert list(figures_of(results, whole, [], {})) == ["gains", "forest", "quadrant"]
    steps = gains(results, [("smooth", "scratch")])
    assert list(figures_of(results, whole, steps, {})) == ["gains", "forest", "quadrant", "forest_steps"]
    empty = load_results(write_study(tmp_path / "s", [], recipes=["b_standard", "smooth"]))
    assert figures_of(empty, [], [], {"run": []}) == {}


def test_the_same_results_give_the_same_bytes_without_a_date(tmp_path):
    results, curves = study_with_curves(tmp_path)
    whole = gains(results, over(results, "b_standard"))
    pairs = paper_pairs()
    for make in (
        lambda: draw(results),
        lambda: forest(results, whole, "B-standard"),
        lambda: quadrant.quadrant(results, pairs, "B-standard"),
        lambda: draw_curves(results, curves),
    ):
        png = make()
        assert make() == png
        with Image.open(io.BytesIO(png)) as image:
            image.load()
            assert set(image.info) <= {"dpi"} and image.mode == "P"
            figure = Figure("a", "b", "c", png)
            assert figure.width == image.width * 96 // DPI < 1000 and len(png) < 300_000


def test_names_are_not_read_as_formulas(tmp_path):
    label = r"$\frac{1}$ a_b ^ <b> " + "and so on " * 9
    rows = made_rows()
    results = load_results(write_study(tmp_path / "s", rows, labels={"smooth": label}))
    whole = gains(results, over(results, "b_standard"))
    curves = {row["run"]: [dict(update=1, epoch=1.0, loss=1.0)] for row in rows}
    assert list(figures_of(results, whole, [], curves)) == ["gains", "forest", "quadrant", "curves"]


def test_images_only_gains_of_one_seed_are_drawn(tmp_path, drawn):
    values = {recipe: {metric: v[:1] for metric, v in metrics.items()} for recipe, metrics in VALUES.items()}
    results = load_results(write_study(tmp_path / "s", made_rows(values)))
    column = next(c for c in results.columns if c.metric == "mAP")
    diff = difference([64.9], [60.1], ImageVariance(0.25, 0.25))
    axes = forest(results, [Gain("smooth", "b_standard", column, diff, None, 0.3, "undecided")], "B-standard").axes[0]
    assert ([pytest.approx(4.8 - 0.98, abs=1e-3), pytest.approx(4.8 + 0.98, abs=1e-3)], [0.0, 0.0]) in lines_of(axes)


# --- their places in a report -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report() -> Report:
    """Return a report of two tables, of which the first has a grey column, and two figures."""
    png = draw_png()
    tables = [
        Table("One", "lrr", ["a", "b", "c"], [["x", "1", "2"], ["y", "—", "3 better"]], "", (1,)),
        Table("Two", "l", ["a"], [["z"]]),
    ]
    first, second = Figure("first", "Drawn", "Words.", png), Figure("second", "Later", "More <words>.", png)
    sections = (Section("More", "of <it>", (tables[1], second)), Section("Notes", "to read", (Notes(("A | note.",)),)))
    return Report("made", ("It is so.", "Or not."), "Lead.", (first, tables[0]), sections, paper=tuple(tables))


def test_the_answer_comes_first_and_all_else_is_folded_by_subject(report):
    text, page = markdown(report), html(report)
    order = [
        "# made",
        "**It is so.**\n\nOr not.",
        "![Drawn](first.png)\n\nDrawn. Words.",
        "### One",
        "<details>\n<summary><b>More</b>: of &lt;it&gt;</summary>\n\n### Two",
        "![Later](second.png)\n\nLater. More &lt;words>.\n\n</details>",
        "- A \\| note.",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    order = [
        "It is so.",
        "Or not.",
        "Words.",
        'id="one"',
        "Lead.",
        '<details class="section" id="more">',
        'id="two"',
        "More &lt;words",
    ]
    places = [page.index(part) for part in order]
    assert places == sorted(places)


def test_figures_are_comments_in_latex(report):
    commented = [line for line in latex(report).splitlines() if "includegraphics" in line]
    assert len(commented) == 2 and all(line.startswith("% ") for line in commented)


def test_grey_columns_are_grey_in_every_format(report):
    text, page, tex = markdown(report), html(report), latex(report)
    assert "| x | *1* | 2 |" in text and "| y | — | 3 better |" in text
    assert (
        '<td class="r grey">1</td>' in page
        and '<td class="r better">3 better</td>' in page
        and '<th class="r grey" scope="col"><button type="button">b</button></th>' in page
    )
    assert r"x & \textcolor{gray}{1} & 2 \\" in tex and r"\usepackage{xcolor}" in tex


def draw_png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (144, 10)).save(file, "PNG")
    return file.getvalue()
