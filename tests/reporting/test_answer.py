"""Test what a report's first screen says: the verdict in words, the tiles, the table and the plot of gains."""

from html import unescape
from math import sqrt
from statistics import mean, variance

import pytest

from tests.helpers.synthetic_report import VALUES, made_rows, made_study
from tools.engine.analysis.gains import gains, over
from tools.engine.analysis.results import Results
from tools.engine.power import power_of
from tools.engine.reporting.answer.gain_plot import gain_plot
from tools.engine.reporting.answer.main_table import main_table
from tools.engine.reporting.answer.sentences import seeds_to_tell, verdict
from tools.engine.reporting.answer.tiles import tiles
from tools.engine.reporting.answer.wording import duration, number, p_text, signed

WEIGHTS = {"scratch": None, "b_standard": "torchvision:a: by others", "smooth": "timm:b: by others"}
LABELS = {"b_standard": "B-standard", "smooth": "+ smooth", "mixup": "+ mixup"}


def study(values=VALUES, **changes) -> Results:
    rows = [{name: str(value) for name, value in row.items()} for row in made_rows(values)]
    return Results(made_study(rows, labels=LABELS, **changes), rows)


def whole(results: Results, margins=None) -> list:
    return gains(results, over(results, results.reference), margins)


def says(results: Results, margins=None) -> tuple[str, ...]:
    return verdict(results, whole(results, margins))


def shifted(by: dict[str, float], spread: float = 1.0, seeds: int = 3) -> dict:
    """Return values of recipes whose mAP lies by so many points above that of B-standard, all with one spread."""
    noise = [spread * (seed - (seeds - 1) / 2) for seed in range(seeds)]
    return {recipe: {"mAP": [60 + points + x for x in noise]} for recipe, points in ({"b_standard": 0.0} | by).items()}


# --- the verdict in words -----------------------------------------------------------------------------------


def test_the_headline_says_what_beats_what_by_how_much_and_how_sure():
    headline, unproven = says(study())
    assert headline == (
        "+ smooth beats B-standard by 3.07 points of top-1 (p 0.004) and 4.17 of mAP (p < 0.001); B-standard beats scratch by "
        "40.19 points of mAP (p < 0.001) and 19.5 of mIoU (p 0.001)."
    )
    assert unproven.startswith("Unproven: the only difference in mIoU (+ smooth +0.5; more than 50 seeds would tell).")


def test_a_recipe_that_is_better_everywhere_is_so_in_every_task():
    values = VALUES | {"smooth": {m: [v + 20 for v in seeds] for m, seeds in VALUES["b_standard"].items()}}
    headline, rest = says(study(values))
    assert headline.startswith("+ smooth beats B-standard in every task: by 20.00 points of top-1 (p ")
    assert rest == "Every comparison with B-standard is decided."


def test_of_several_proven_gains_the_largest_is_named_and_the_others_are_counted():
    headline, unproven = says(study(shifted({"smooth": 20, "mixup": 30, "third": 0.5})))
    assert headline.startswith("+ mixup beats B-standard by 30.0 points of mAP (p < 0.001, the most of 2 that do)")
    assert unproven.startswith("Unproven: 1 of 3 differences in mAP (third +0.5; ")


def test_losses_and_equal_recipes_are_said():
    values = shifted({"smooth": -20, "mixup": 0.001}, spread=0.02)
    headline, rest = says(study(values))
    assert headline == (
        "+ smooth falls behind B-standard by 20.00 points of mAP (p < 0.001); + mixup equals B-standard within 0.3 points of mAP."
    )
    assert rest == "Every comparison with B-standard is decided."


def test_where_nothing_is_proven_the_headline_says_so():
    headline, unproven = says(study(shifted({"smooth": 1, "mixup": -1.5})))
    assert headline == "No recipe is proven better or worse than B-standard."
    assert unproven.startswith("Unproven: both differences in mAP (largest: + mixup -1.5; ")
    assert unproven.endswith("Each number is for a chance of 80 %, if the difference is as large as it looks.")


def test_one_seed_proves_nothing_and_speaks_of_weights():
    values = {recipe: {metric: seeds[:1] for metric, seeds in metrics.items()} for recipe, metrics in VALUES.items()}
    headline, advice, weights = says(study(values))
    assert headline == (
        "The weights of + smooth lie above those of B-standard by 3.28 points of top-1, 4.79 of mAP and 0.80 of mIoU, but one "
        "seed of each proves nothing."
    )
    assert "three seeds" in advice and "not of how they were trained: there is one pretraining of each" in weights


def test_published_weights_are_judged_and_not_their_recipes():
    headline, unproven, weights = says(study(tricks=WEIGHTS))
    assert headline.startswith("The weights of + smooth beat those of B-standard by 3.07 points of top-1 (p 0.004) and")
    assert "; the weights of B-standard beat scratch by 40.19 points of mAP" in headline
    assert "more than 50 fine-tunings would tell" in unproven and "speaks of these weights" in weights
    assert not any("recipe" in sentence for sentence in (headline, unproven, weights))


def test_a_seed_that_diverged_leaves_the_verdict_to_seeds_that_do_not():
    results = study(shifted({"smooth": 20}))
    row = next(row for row in results.rows if (row["recipe"], row["metric"]) == ("smooth", "mAP"))
    row.update(value="", status="diverged")
    assert "(+ smooth +20.5; only seeds that do not diverge would tell)" in says(results)[1]


def test_a_study_without_two_numbers_compares_nothing():
    (sentence,) = says(study({"b_standard": VALUES["b_standard"]}))
    assert sentence.startswith("Nothing can be compared yet")


# --- how many seeds would tell --------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("others", [1, 4])
def test_the_seeds_that_would_tell_are_the_fewest_with_the_chance_at_the_threshold_of_holm(seeds, others):
    a, b = [61.0, 63.5, 60.1, 62.0, 64.2][:seeds], [60.0, 60.9, 61.7, 59.0, 61.5][:seeds]
    values = {"b_standard": {"mAP": b}, "smooth": {"mAP": a}}
    values |= {f"r{i}": {"mAP": [x + i for x in b]} for i in range(others - 1)}
    results = study(values)
    gain = next(gain for gain in whole(results) if gain.recipe == "smooth")
    if seeds >= 4:  # pairs: half the variance of the differences stands for that of one side
        std = sqrt(variance([x - y for x, y in zip(a, b, strict=True)]) / 2)
    else:
        std = sqrt((variance(a) + variance(b)) / 2)
    needed, difference = seeds_to_tell(results, gain), mean(a) - mean(b)
    assert power_of(needed, difference, std, 0.05 / others) >= 0.8 > power_of(needed - 1, difference, std, 0.05 / others)


def test_where_the_test_images_vary_too_much_no_seeds_would_tell():
    place = dict(metric="mAP", network="detection_net", protocol="p", split="val", total=400.0, common=400.0)
    results = study(shifted({"smooth": 3}), images=[dict(recipe="smooth", base="b_standard", **place)])
    assert seeds_to_tell(results, whole(results)[0]) is None
    assert "no number of seeds, but more test images, would tell" in says(results)[1]


# --- tiles, table and plot ------------------------------------------------------------------------------------


def test_a_tile_has_the_recipe_with_the_largest_gain_and_says_of_how_many():
    results = study(shifted({"scratch": 50, "smooth": 20, "mixup": 30}))
    (tile,) = tiles(results, whole(results))
    assert (tile.metric, tile.recipe, tile.gain, tile.verdict) == ("mAP", "+ mixup", "+30.0", "better")
    assert tile.interval.startswith("[+27.") and tile.words == "better, p < 0.001"
    assert tile.levels == "90.0 against 60.0 of B-standard; largest of 2 gains"


def bold(values) -> list[str]:
    """Return the labels of the recipes whose mAP is bold."""
    results = study(values)
    table = main_table(results, whole(results), results.columns)
    return [table.rows[row][0] for row, column in sorted(table.best) if table.header[column] == "mAP"]


def test_the_highest_value_is_bold_where_it_is_decided():
    assert bold(shifted({"smooth": 20, "mixup": 30})) == ["+ mixup"]
    assert bold(shifted({"smooth": 0.5, "mixup": -30})) == []
    assert bold(shifted({"smooth": -20, "mixup": -30})) == ["B-standard"]
    assert bold(shifted({"smooth": -20, "mixup": -0.1})) == []


def test_a_cell_has_level_gain_verdict_and_what_it_rests_on_once():
    results = study(tricks={"b_standard": [], "smooth": [["distillation", {}]], "scratch": None})
    table = main_table(results, whole(results), results.columns)
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows["+ smooth"]["mAP"].split("\n") == ["64.80 ± 0.56", "+4.17 [+2.87, +5.48]", "better, p < 0.001", "one teacher"]
    assert rows["B-standard"]["mAP"] == "60.63 ± 0.59" and rows["scratch"]["top-1"] == "—"
    assert "of 3 seeds" in table.note and "(3 vs 3)" in table.note


def test_n_stands_in_the_cells_where_it_differs():
    values = VALUES | {"smooth": {metric: seeds[:2] for metric, seeds in VALUES["smooth"].items()}}
    results = study(values)
    table = main_table(results, whole(results), results.columns)
    cell = dict(zip(table.header, table.rows[2], strict=True))["mAP"]
    assert cell.startswith("65.10 ± 0.28 (n=2)\n") and ", 2 vs 3\n" in cell and "seeds" not in table.note


def test_the_plot_shows_each_gain_with_its_values():
    results = study()
    html = unescape(gain_plot(results, [gain for gain in whole(results) if gain.verdict]))
    assert html.count('class="panel"') == 3 and html.count("data-tip") == 5  # scratch has no top-1
    assert "+ smooth, mAP\n64.80 against 60.63 of B-standard\n+4.17 [+2.87, +5.48], better, p < 0.001" in html
    assert ">better</li>" in html and ">equivalent</li>" not in html


def test_the_plot_tells_an_interval_of_images_from_one_over_seeds():
    values = {recipe: {metric: seeds[:1] for metric, seeds in metrics.items()} for recipe, metrics in VALUES.items()}
    place = dict(metric="mAP", network="detection_net", protocol="p", split="val", total=0.25, common=0.25)
    results = study(values, images=[dict(recipe="smooth", base="b_standard", **place)])
    html = gain_plot(results, [gain for gain in whole(results) if gain.column.metric == "mAP"])
    assert 'class="interval dashed"' in html and 'class="mark hollow"' in html and "over test images only" in html
    assert "undecided, interval over images only" in html


def test_names_are_text_in_the_plot():
    labels = LABELS | {"smooth": '"><script>alert(1)</script>'}
    rows = [{name: str(value) for name, value in row.items()} for row in made_rows()]
    results = Results(made_study(rows, labels=labels), rows)
    assert "<script" not in gain_plot(results, whole(results))


# --- numbers --------------------------------------------------------------------------------------------------


def test_numbers_have_sensible_digits_and_no_exponent():
    assert [number(x) for x in (2610.0, 690.4, 46.84, 2.614, 0.0453, -18.06)] == [
        "2,610",
        "690",
        "46.8",
        "2.61",
        "0.045",
        "-18.1",
    ]
    assert [duration(s) for s in (41.6, 142, 9000)] == ["42 s", "2.4 min", "2.5 h"]
    assert [signed(x, 1) for x in (-0.04, 0.04, -1.26)] == ["+0.0", "+0.0", "-1.3"]
    assert [p_text(p) for p in (0.0495, 0.0504, 0.028, 0.0001)] == ["p 0.0495", "p 0.0504", "p 0.028", "p < 0.001"]
