"""Test the gains of synthetic results against scipy, a three-line Holm, and sums by hand."""

from statistics import mean, variance

import numpy as np
import pytest
from scipy import stats

from tools.engine.analysis.gains import (
    correlations,
    decisive,
    families,
    gains,
    has_margin,
    image_variance,
    over,
    over_parents,
    pairs_of,
)
from tools.engine.analysis.results import Column, Results
from tools.engine.reporting.gain_tables import gain_cells, rank_table, rules
from tools.engine.reporting.result_tables import spread_table

RECIPES = ["base", "a", "b", "c"]
TASKS = {"top1": "classification", "mAP": "detection", "mAP_area": "detection", "mIoU": "segmentation"}
COLUMNS = {metric: Column(metric, "net", "p", "val") for metric in TASKS}


def results_of(values: dict[str, dict[str, list]], **study) -> Results:
    """Build results from ``values``: {recipe: {metric: for each seed a value, or those of its fine-tunings}}."""
    rows = []
    for recipe, metrics in values.items():
        for metric, seeds in metrics.items():
            for seed, group in enumerate(seeds):
                for k, value in enumerate(group if isinstance(group, list) else [group]):
                    row = dict(recipe=recipe, network="net", task=TASKS[metric], protocol="p", split="val", metric=metric)
                    row |= dict(pretrain_seed=str(seed), finetune_seed="" if metric == "top1" else str(100 * k + seed))
                    rows.append(row | dict(value=repr(float(value)), status="done", run=f"{recipe}-{metric}-{seed}-{k}"))
    common = dict(name="s", scale="toy", recipes=list(values), reference="base", metrics=list(TASKS))
    return Results(common | study, rows)


def random_values(seeds: int, metrics=("top1", "mAP", "mAP_area", "mIoU"), seed: int = 0) -> dict:
    """Draw a value for each recipe, metric and seed; later recipes are better by 2 points."""
    rng = np.random.default_rng(seed)
    return {r: {m: list(rng.normal(50 + 2 * i, 1.0, seeds)) for m in metrics} for i, r in enumerate(RECIPES)}


def holm_by_definition(ps: list[float]) -> list[float]:
    """Adjust by the definition: the k-th smallest is at least m - k times itself, and not below the one before it."""
    order, out, last = np.argsort(ps), np.zeros(len(ps)), 0.0
    for k, i in enumerate(order):
        out[i] = last = max(last, min(1.0, (len(ps) - k) * ps[i]))
    return list(out)


def scipys_test(a: list[float], b: list[float]):
    """Test two sides of equal seeds as the verdicts do: pairs from four seeds on, Welch's test with two or three."""
    return stats.ttest_rel(a, b) if len(a) >= 4 else stats.ttest_ind(a, b, equal_var=False)


PARENTS = {"a": ["base"], "b": ["a"], "c": ["b", "a"]}


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 8])
def test_p_is_welchs_below_four_seeds_and_else_that_of_pairs_adjusted_over_the_task(seeds):
    values = random_values(seeds)
    results = results_of(values, parents=PARENTS)
    pairs = [("a", "base"), ("b", "base"), ("c", "base"), ("b", "a"), ("c", "b"), ("c", "a")]  # ("a", "base") is in both tables
    table = gains(results, pairs)
    for metric in ("top1", "mAP", "mIoU"):
        family = [g for g in table if g.column.metric == metric]
        tests = [scipys_test(values[g.recipe][metric], values[g.base][metric]) for g in family]
        raw = [test.pvalue for test in tests]
        assert [g.diff.interval for g in family] == [pytest.approx(tuple(test.confidence_interval(0.95))) for test in tests]
        assert [g.p for g in family] == pytest.approx(holm_by_definition(raw), rel=1e-9)
        for g in family:
            low, high = g.diff.interval
            if -g.margin < low and high < g.margin:
                assert g.verdict == "equivalent"
            elif g.p < 0.05:
                assert g.verdict == ("better" if g.diff.mean > 0 else "worse")
            else:
                assert g.verdict == "undecided"


def test_a_comparison_has_one_verdict_in_every_table_and_direction():
    for seed in range(8):
        values = random_values(3, seed=seed) | {"scratch": {"mAP": [30.0, 31.0, 30.5]}}
        results = results_of(values, parents=PARENTS)
        tables = [over(results, "base"), over_parents(results), over(results, "scratch"), [("base", "a")]]
        seen: dict[tuple, set] = {}
        for gain in (g for pairs in tables for g in gains(results, pairs) if g.diff):
            mirrored = {"better": "worse", "worse": "better"}.get(gain.verdict, gain.verdict)
            word = gain.verdict if gain.recipe < gain.base else mirrored
            seen.setdefault((frozenset((gain.recipe, gain.base)), gain.column), set()).add((word, gain.p))
        assert all(len(verdicts) == 1 for verdicts in seen.values())


def test_a_task_has_verdicts_in_its_first_metric_alone():
    results = results_of(random_values(3))
    assert [c.metric for c in decisive(results)] == ["top1", "mAP", "mIoU"]
    area = next(g for g in gains(results, [("c", "base")]) if g.column.metric == "mAP_area")
    assert (area.verdict, area.words, area.p) == ("", "", None) and area.diff.interval
    assert gain_cells(results, area)[2:] == ["3 vs 3", "—", "—"]


def test_the_first_metric_is_the_tasks_and_not_the_studys():
    values = random_values(2)
    values = {r: {"mAP_area": m["mAP_area"], "mAP": m["mAP"]} for r, m in values.items()}
    order = dict(metrics=["mAP_area", "mAP"])
    assert [c.metric for c in decisive(results_of(values, **order, decisive={"detection": "mAP"}))] == ["mAP"]
    assert [c.metric for c in decisive(results_of(values, **order, decisive={"detection": "mAP_50"}))] == ["mAP_area"]


def test_a_family_has_each_pair_once_and_all_columns_of_its_task():
    rows = results_of(random_values(2), parents=PARENTS).rows
    rows += [row | dict(protocol="q", run=row["run"] + "q") for row in rows if row["metric"] == "mAP"]
    results = Results(results_of(random_values(2), parents=PARENTS).study, rows)
    detection = next(family for family in families(results) if family and family[0][1].metric == "mAP")
    assert len(detection) == len(set(detection)) == 2 * 6 and {c.protocol for _, c in detection} == {"p", "q"}


def test_pairs_with_scratch_are_a_family_of_their_own_unless_scratch_is_compared_already():
    values = random_values(2, ("mAP",)) | {"scratch": {"mAP": [1.0, 2.0]}}
    steps, control = families(results_of(values))
    assert {frozenset(("scratch", "base"))} == {pair for pair, _ in steps if "scratch" in pair}
    assert {pair for pair, _ in control} == {frozenset(("scratch", name)) for name in "abc"}


def test_p_alone_would_decide_what_holms_leaves_open():
    values = {"base": {"top1": [50.0, 51.0, 52.0]}, "a": {"top1": [53.0, 56.5, 55.2]}}
    alone = gains(results_of(values), [("a", "base")])
    many = results_of(values | {name: {"top1": [50.1, 51.2, 52.4]} for name in ("b", "c", "d")})
    first = gains(many, over(many, "base"))[0]
    assert alone[0].p == pytest.approx(scipys_test([53.0, 56.5, 55.2], [50.0, 51.0, 52.0]).pvalue)
    assert alone[0].p < 0.05 and alone[0].verdict == "better"
    assert first.p == pytest.approx(4 * alone[0].p) and first.verdict == "undecided"
    assert first.diff.interval == alone[0].diff.interval


def test_seeds_that_differ_are_not_paired():
    values = {"base": {"mAP": [50.0, 51.0, 52.5, 50.5, 51.5]}, "a": {"mAP": [53.0, 54.0, 53.2, 54.4]}}
    (gain,) = gains(results_of(values), [("a", "base")])
    welch = stats.ttest_ind(values["a"]["mAP"], values["base"]["mAP"], equal_var=False)
    assert not gain.diff.paired and gain.p == pytest.approx(welch.pvalue)
    assert gain.words == f"{gain.verdict} (4 of 5 seeds of a)" and gain_cells(results_of(values), gain)[2] == "4 vs 5"
    results = results_of(values)
    results.rows[:] = [row for row in results.rows if (row["recipe"], row["pretrain_seed"]) != ("base", "0")]
    (gain,) = gains(results, [("a", "base")])  # four seeds each: 0 to 3 and 1 to 4
    assert not gain.diff.paired and gain_cells(results, gain)[2] == "4 vs 4"


@pytest.mark.parametrize("spread", [1e-6, 1e-3, 1.0, 100.0])
@pytest.mark.parametrize("seeds, n", [(2, "2 vs 2"), (3, "3 vs 3"), (4, "4 pairs"), (5, "5 pairs")])
def test_the_number_of_seeds_alone_says_if_runs_are_paired(seeds, n, spread):
    rng = np.random.default_rng(seeds)
    common = rng.normal(50, 1, seeds)  # with a small spread, nearly all of a run is what its seed does to both sides
    values = {r: {"mAP": list(common + rng.normal(0, spread, seeds))} for r in ("base", "a")}
    (gain,) = gains(results_of(values), [("a", "base")])
    assert gain.diff.paired == (seeds >= 4) and gain_cells(results_of(values), gain)[2] == n


@pytest.mark.parametrize("tunings", [1, 3])
@pytest.mark.parametrize("seeds, n", [(3, "3 vs 3"), (4, "4 pairs")])
def test_pretrainings_count_for_pairs_and_not_their_fine_tunings(seeds, n, tunings):
    rng = np.random.default_rng(0)
    values = {r: {"mAP": rng.normal(50, 1, (seeds, tunings)).tolist()} for r in ("base", "a")}
    (gain,) = gains(results_of(values), [("a", "base")])
    assert gain_cells(results_of(values), gain)[2] == n
    a, b = ([mean(group) for group in values[r]["mAP"]] for r in ("a", "base"))
    assert gain.p == pytest.approx(scipys_test(a, b).pvalue)


def test_the_rules_say_when_runs_are_paired():
    results = results_of(random_values(3))
    text = " ".join(rules(gains(results, over(results, "base"))))
    assert "the same seeds and 4 or more ('4 pairs')" in text and "('3 vs 3'), by Welch's interval" in text


def test_runs_are_paired_by_their_seeds_and_not_by_their_order():
    values = random_values(4, ("mAP",))
    results, mixed = results_of(values), results_of(values)
    mixed.rows.reverse()
    (expected,), (gain,) = (gains(r, [("c", "base")]) for r in (results, mixed))
    assert gain.diff.paired and gain.diff.error == pytest.approx(expected.diff.error)


def diverge(results: Results, recipe: str, metric: str, seed: str) -> None:
    """Mark the run of a recipe and seed in a metric as diverged."""
    for row in results.rows:
        if (row["recipe"], row["metric"], row["pretrain_seed"]) == (recipe, metric, seed):
            row.update(status="diverged", value="")


def test_a_recipe_of_which_a_seed_diverged_is_undecided_and_says_so():
    values = {"base": {"mAP": [50.0, 50.1, 50.2]}, "a": {"mAP": [60.0, 60.1, 60.2]}, "b": {"mAP": [40.0, 40.1, 40.2]}}
    results = results_of(values)
    diverge(results, "a", "mAP", "1")
    first, second = gains(results, over(results, "base"))
    assert first.words == "undecided (1 of a diverged)" and first.p is None and first.diff.interval[0] > 0
    assert second.verdict == "worse" and second.p == pytest.approx(second.diff.p)  # a is no test of the family


def test_a_transfer_whose_pretraining_diverged_is_undecided():
    values = {r: {"top1": [70.0, 70.1, 70.2], "mAP": [50.0 + i, 50.1 + i, 50.2 + i]} for i, r in enumerate(("base", "a"))}
    results = results_of(values)
    diverge(results, "a", "top1", "2")
    results.rows[:] = [r for r in results.rows if (r["recipe"], r["metric"], r["pretrain_seed"]) != ("a", "mAP", "2")]
    detection = next(g for g in gains(results, [("a", "base")]) if g.column.metric == "mAP")
    assert detection.words == "undecided (1 of a diverged)"


def test_rows_that_rest_on_one_teacher_or_one_pretraining_say_so():
    values = {name: {"mAP": [50.0 + 9 * i] * 3} for i, name in enumerate(("base", "a", "b"))}
    tricks = {"base": [["resnet_b", {}]], "a": [["distillation", {"teacher": ""}]], "b": "timm/x: by others"}
    words = [g.words for g in gains(results_of(values, tricks=tricks), [("a", "base"), ("b", "base")])]
    assert words == ["better (one teacher, spread below 1 image)", "better (one pretraining, spread below 1 image)"]


def test_an_interval_within_the_margin_is_equivalent_whatever_p_says():
    results = results_of({"base": {"mAP": [50.0, 50.01, 50.02]}, "a": {"mAP": [50.1, 50.11, 50.13]}})
    assert [(g.verdict, g.margin) for g in gains(results, [("a", "base")])] == [("equivalent", 0.3)]
    assert [g.verdict for g in gains(results, [("a", "base")], {"mAP": 0.05})] == ["better"]
    with pytest.raises(ValueError, match="no metric 'map' in this study.*for its metrics: top1, mAP"):
        gains(results, [("a", "base")], {"map": 1.0})


def test_a_metric_has_the_default_margin_of_its_family():
    results = results_of({r: {m: [1.0, 2.0] for m in TASKS} for r in ("base", "a")})
    margins = {g.column.metric: g.margin for g in gains(results, [("a", "base")])}
    assert margins == {"top1": 0.2, "mAP": 0.3, "mAP_area": 0.3, "mIoU": 0.5}
    assert has_margin("pixAcc") and not has_margin("flops_g") and not has_margin("seconds")


def images(a: str, b: str, metric: str, total: float, common: float) -> dict:
    return dict(recipe=a, base=b, metric=metric, network="net", protocol="p", split="val", total=total, common=common)


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_the_variance_over_images_widens_the_interval(seeds):
    values = random_values(seeds, ("mAP",))
    results = results_of(values, images=[images("a", "base", "mAP", 4.0, 2.25)])
    (with_images,) = gains(results, [("a", "base")])
    (without,) = gains(results_of(values), [("a", "base")])
    a, b = values["a"]["mAP"], values["base"]["mAP"]
    pairs, welch = variance([x - y for x, y in zip(a, b, strict=True)]) / seeds, (variance(a) + variance(b)) / seeds
    seed_variance = pairs if seeds == 4 else welch
    assert with_images.diff.error == pytest.approx((seed_variance + 2.25) ** 0.5)
    assert without.diff.error == pytest.approx(seed_variance**0.5) and with_images.diff.half > without.diff.error * 1.96
    assert with_images.diff.kind == "seeds and images"
    assert image_variance(results, "base", "a", COLUMNS["mAP"]).total == 4.0  # the variance of b - a is that of a - b
    assert image_variance(results, "b", "base", COLUMNS["mAP"]) is None


def test_one_seed_has_an_interval_of_images_alone_and_no_verdict():
    results = results_of({"base": {"mAP": [40.0]}, "a": {"mAP": [50.0]}}, images=[images("a", "base", "mAP", 4.0, 4.0)])
    (gain,) = gains(results, [("a", "base")])
    assert gain.diff.interval == pytest.approx((10 - 1.959964 * 2, 10 + 1.959964 * 2), abs=1e-5)
    assert (gain.diff.kind, gain.p, gain.verdict) == ("images", None, "undecided")


def test_fine_tunings_of_a_pretraining_are_averaged_and_their_variance_split():
    rng = np.random.default_rng(3)
    groups = {r: [list(rng.normal(50 + rng.normal(0, 2), 1, 3)) for _ in range(4)] for r in ("base", "a")}
    results = results_of({r: {"mAP": g} for r, g in groups.items()})
    (gain,) = gains(results, [("a", "base")])
    assert (gain.diff.n_a, gain.diff.n_b) == (4, 4)
    assert gain.diff.mean == pytest.approx(np.mean(groups["a"]) - np.mean(groups["base"]))
    table = spread_table(results)
    within = mean(variance(g) for g in groups["a"])
    between = variance([mean(g) for g in groups["a"]]) - within / 3
    row = next(row for row in table.rows if row[0] == "a")
    assert row[2:5] == [f"{variance([mean(g) for g in groups['a']]) ** 0.5:.2f}", f"{between**0.5:.2f}", f"{within**0.5:.2f}"]


def test_one_fine_tuning_of_each_is_not_separable():
    assert spread_table(results_of(random_values(3))).rows == []
    mixed = random_values(3, ("mAP",))
    mixed["a"]["mAP"] = [[1.0, 2.0], [3.0, 5.0]]
    rows = {row[0]: row for row in spread_table(results_of(mixed)).rows}
    assert rows["base"][3:] == ["—", "—", "not separable"] and rows["a"][3] != "—"


def test_recipes_are_paired_with_base_parents_and_scratch():
    parents = {"a": ["base"], "b": ["a", "base"], "c": ["b"]}
    results = results_of(random_values(2), parents=parents)
    assert over(results, "base") == [("a", "base"), ("b", "base"), ("c", "base")]
    assert over_parents(results) == [("a", "base"), ("b", "a"), ("b", "base"), ("c", "b")]
    assert over(results, "scratch") == []
    pairs = pairs_of([*RECIPES, "scratch"], "base", parents)
    assert set(over(results, "base")) | set(over_parents(results)) <= set(pairs) and ("a", "scratch") in pairs
    assert len(pairs) == len(set(pairs)) and all(a != b for a, b in pairs)


@pytest.mark.parametrize("seed", range(4))
def test_the_rank_correlation_of_gains_is_scipys(seed):
    values = random_values(3, ("top1", "mAP", "mIoU"), seed)
    results = results_of(values, published={"values": []})
    all_gains = gains(results, over(results, "base"))
    gain = {m: [mean(values[r][m]) - mean(values["base"][m]) for r in RECIPES[1:]] for m in ("top1", "mAP", "mIoU")}
    table = rank_table(results, {"base": all_gains})
    for metric, row in zip(("mAP", "mIoU"), table.rows, strict=True):
        rho = stats.spearmanr(gain["top1"], gain[metric]).statistic
        correlation = correlations(results, all_gains)[COLUMNS[metric]]
        assert correlation.rho == pytest.approx(rho) and correlation.chance.low <= correlation.chance.mean
        assert row[:3] == [metric, "base", f"{rho:+.2f} (of 3)"]
        assert row[3].startswith(f"{correlation.chance.mean:+.2f} [{correlation.chance.low:+.2f}, ")


def test_only_pretrainings_with_both_figures_are_ranked():
    values = random_values(3, ("top1", "mAP"))
    values["a"]["mAP"] = values["a"]["mAP"][:2]
    results = results_of(values)
    gain = {m: [mean(values[r][m][: 2 if r == "a" else 3]) for r in RECIPES[1:]] for m in ("top1", "mAP")}
    correlation = correlations(results, gains(results, over(results, "base")))[COLUMNS["mAP"]]
    assert correlation.rho == pytest.approx(stats.spearmanr(gain["top1"], gain["mAP"]).statistic)


def test_one_seed_has_no_chance_and_the_note_says_why():
    results = results_of(random_values(1, ("top1", "mAP")))
    table = rank_table(results, {"base": gains(results, over(results, "base"))})
    assert table.rows[-1][-1] == "—" and "With one seed, luck and gain cannot be separated" in table.note


def test_a_recipe_without_a_number_has_a_gain_without_one():
    results = results_of({"base": {"mAP": [1.0, 2.0], "top1": [1.0, 2.0]}, "a": {"mAP": [3.0, 4.5]}})
    top1, detection = gains(results, [("a", "base")])
    assert (top1.diff, top1.p, top1.verdict) == (None, None, "") and detection.diff.mean == pytest.approx(2.25)
