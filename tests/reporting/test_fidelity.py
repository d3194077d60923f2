"""Test the comparison of two scales against scipy, by hand and by simulation, and the files that it writes."""

import json
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.helpers.synthetic_report import line, made_rows, write_study
from tests.helpers.two_scales import random_sides, side
from tools.engine.analysis.fidelity import Comparison, Side, agreement, agreement_of_seeds, compare_scales, load_scales
from tools.engine.reporting.drawing import scatter
from tools.engine.reporting.fidelity_report import print_fidelity, write_fidelity

PARENTS = {"d_efficient": ["b_standard"], "cosine": ["d_efficient"], "smooth": ["cosine"], "mixup": ["smooth"]}
MAPS = {  # recipe: mAP of three seeds
    "b_standard": [50.0, 51.0, 50.5],
    "d_efficient": [56.0, 57.1, 56.4],
    "cosine": [54.0, 55.1, 54.5],
    "smooth": [58.0, 58.9, 58.5],
    "mixup": [45.0, 46.2, 45.5],
}
PAPER = {"b_standard": 77.54, "d_efficient": 78.30, "cosine": 79.23, "smooth": 80.71, "mixup": 81.10}


def two_sides(recipes: int, seeds: int, pick: int = 0) -> tuple[Side, Side]:
    """Return two sides of unrelated normal values, the second with one value a recipe, gains over recipe r0."""
    _, a, b = [*random_sides(pick + 1, recipes, seeds)][pick]
    return a, b


def over(base: str, scores: dict[str, list[float]]) -> Side:
    return side(scores, [(recipe, base) for recipe in scores if recipe != base])


def study(folder: Path, scale: str, maps=None, **changes) -> Path:
    """Write a study's folder of one scale: mAP of each recipe, all runs of this scale alone."""
    rows = [
        row | {"scale": scale, "run": f"{scale}-{row['run']}"}
        for row in made_rows({r: {"mAP": v} for r, v in (maps or MAPS).items()})
    ]
    published = {"source": "Table 8", "values": [dict(recipe=r, network=None, metric="mAP", value=v) for r, v in PAPER.items()]}
    settings = dict(scale=scale, metrics=["mAP"], parents=PARENTS, published=published, images=[])
    return write_study(folder / f"demo-{scale}", rows, **settings | changes)


def compared(a: Path, b: Path | str) -> Comparison:
    return compare_scales(*load_scales(str(a), str(b)))


# --- numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("random", range(5))
def test_ranks_and_their_chance_are_scipys(random):
    a, b = two_sides(6, 3, random)
    pairs = list(a.gains)
    x, y = ([s.gains[pair].diff.mean for pair in pairs] for s in (a, b))
    agreed = agreement(pairs, a, b).ranks
    assert agreed.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    exact = stats.permutation_test(
        (x,), lambda x: stats.spearmanr(x, y).statistic, permutation_type="pairings", alternative="greater"
    )
    null = exact.null_distribution
    assert len(null) == 120
    higher, equal = np.mean(null > agreed.rho + 1e-9), np.mean(np.abs(null - agreed.rho) < 1e-9)
    assert agreed.chance.p == pytest.approx(higher + equal / 2)
    assert agreed.chance.mean == pytest.approx(0, abs=1e-9)
    assert (agreed.chance.low, agreed.chance.high) == pytest.approx(tuple(np.quantile(null, (0.025, 0.975))), abs=0.1)


def test_names_permuted_within_seeds_give_the_same_chance():
    a, b = two_sides(4, 2, 0)
    pairs = list(a.gains)
    y = [b.gains[pair].diff.mean for pair in pairs]
    scores = np.array([list(runs.values()) for runs in a.scores.values()])
    rhos, same = [], []
    for first, second in product(permutations(range(4)), repeat=2):
        means = (scores[list(first), 0] + scores[list(second), 1]) / 2
        rhos.append(stats.spearmanr(means[1:], y).statistic)
        same.append(np.sum(np.sign(means[1:] - means[0]) == np.sign(y)))
    agreed = agreement(pairs, a, b)
    for figure, chance, null in ((agreed.ranks.rho, agreed.ranks.chance, rhos), (agreed.same, agreed.chance, same)):
        null = np.array(null)
        share = np.mean(null > figure + 1e-9) + np.mean(np.abs(null - figure) < 1e-9) / 2
        assert (chance.mean, chance.p) == (pytest.approx(null.mean(), abs=1e-9), pytest.approx(share))


def test_gains_over_parents_move_with_their_parents():
    pairs = [("b", "a"), ("c", "b"), ("d", "c")]
    a = side({"a": [1.0], "b": [4.0], "c": [2.0], "d": [3.0]}, pairs)
    b = side({"a": [0.0], "b": [3.0], "c": [5.0], "d": [6.0]}, pairs)
    agreed = agreement(pairs, a, b)
    orders = [np.diff(order) for order in permutations([1.0, 4.0, 2.0, 3.0])]
    null = [stats.spearmanr(steps, [3.0, 2.0, 1.0]).statistic for steps in orders if np.ptp(steps)]
    assert agreed.ranks.rho == pytest.approx(stats.spearmanr([3.0, -2.0, 1.0], [3.0, 2.0, 1.0]).statistic)
    assert agreed.ranks.chance.mean == pytest.approx(np.mean(null))


def test_signs_that_one_reference_makes_equal_are_no_evidence():
    """All six gains are positive at both: the reference is the worst of seven, which happens by chance once in seven times."""
    a, b = (
        over("r0", {f"r{i}": [float(value)] for i, value in enumerate(values)}) for values in ([0, 3, 1, 2, 6, 5, 4], range(7))
    )
    agreed = agreement(list(a.gains), a, b)
    assert (agreed.same, agreed.chance.mean, agreed.chance.low, agreed.chance.high) == (6, 3.0, 0.0, 6.0)
    assert agreed.chance.p == pytest.approx(0.5 / 7)


def test_a_gain_of_exactly_zero_has_no_sign():
    a = over("r0", {"r0": [1.0], "r1": [1.0], "r2": [2.0], "r3": [0.0]})
    b = over("r0", {"r0": [1.0], "r1": [1.0], "r2": [3.0], "r3": [2.0]})
    assert agreement(list(a.gains), a, b).same == 1


def test_recipes_with_other_seeds_and_many_recipes_have_a_sampled_chance():
    a, b = two_sides(12, 2, 1)
    agreed = agreement(list(a.gains), a, b).ranks
    x, y = ([s.gains[pair].diff.mean for pair in a.gains] for s in (a, b))
    assert agreed.chance.p == pytest.approx(stats.spearmanr(x, y, alternative="greater").pvalue, abs=0.03)
    a, b = two_sides(5, 2, 1)
    a.scores["r1"].pop("1")
    assert 0 < agreement(list(a.gains), a, b).ranks.chance.p < 1


def test_fewer_than_three_gains_have_signs_and_no_rank_correlation():
    a, b = two_sides(3, 2, 0)
    agreed = agreement(list(a.gains), a, b)
    assert agreed.ranks.rho is None and agreed.ranks.chance is None and 0 <= agreed.chance.p <= 1


@pytest.mark.parametrize("steps", [False, True])
def test_equal_recipes_raise_few_alarms(steps):
    """Six equal recipes, three seeds: p of the ranks is uniform, so that 5 % are below 0.05, and signs raise no more alarms."""
    agreed = [agreement(*sides) for sides in random_sides(400, recipes=6, seeds=3, steps=steps)]
    ranks, signs = (
        np.array([part.p for part in parts]) for parts in ([f.ranks.chance for f in agreed], [f.chance for f in agreed])
    )
    assert 0.025 < np.mean(ranks < 0.05) < 0.08 and 0.025 < np.mean(ranks > 0.95) < 0.08
    assert tuple(np.quantile(ranks, (0.25, 0.5, 0.75))) == pytest.approx((0.25, 0.5, 0.75), abs=0.07)
    assert np.mean(signs < 0.05) < 0.08 and np.mean(signs) == pytest.approx(0.5, abs=0.05)


def test_seeds_that_rank_recipes_alike_agree_with_themselves():
    recipes = [{"0": 1.0, "1": 1.1, "2": 0.9}, {"0": 2.0, "1": 2.1, "2": 1.9}, {"0": 3.0, "1": 2.9, "2": 3.3}]
    assert agreement_of_seeds(recipes) == pytest.approx(1)
    values = np.random.default_rng(3).normal(size=(5, 3))
    rhos = [stats.spearmanr(values[:, i], np.delete(values, i, 1).mean(1)).statistic for i in range(3)]
    assert agreement_of_seeds([dict(zip("012", row, strict=True)) for row in values.tolist()]) == pytest.approx(np.mean(rhos))
    assert agreement_of_seeds(recipes[:2]) is None and agreement_of_seeds([{"0": 1.0}] * 3) is None
    assert agreement_of_seeds([*recipes, {"0": 1.0}]) is None and agreement_of_seeds([]) is None


# --- two scales of a study ----------------------------------------------------------------------------------


def test_a_study_against_the_published_numbers(tmp_path):
    comparison = compared(study(tmp_path, "toy"), "published")
    (fidelity,) = comparison.metrics
    ours, published = [6.0, 4.0333, 7.9667, -4.9333], [0.76, 1.69, 3.17, 3.56]
    assert [fidelity.a.gains[pair].diff.mean for pair in fidelity.whole.pairs] == pytest.approx(ours, abs=1e-3)
    assert [fidelity.b.gains[pair].diff.mean for pair in fidelity.whole.pairs] == pytest.approx(published)
    assert fidelity.whole.ranks.rho == pytest.approx(stats.spearmanr(ours, published).statistic)
    assert fidelity.whole.same == 3 and fidelity.steps.same == 2  # d_efficient and smooth
    decided = {recipe: gain.verdict for (recipe, base), gain in fidelity.a.gains.items() if base == "b_standard"}
    assert decided == {"d_efficient": "better", "cosine": "better", "smooth": "better", "mixup": "worse"}
    assert (fidelity.whole.decided, fidelity.whole.confirmed, dict(fidelity.verdicts)) == (4, 3, {})


def test_two_scales_have_a_table_of_verdicts(tmp_path):
    noisy = {recipe: [value - 20 for value in values] for recipe, values in MAPS.items()} | {"smooth": [10.0, 40.0, 70.0]}
    (fidelity,) = compared(study(tmp_path, "toy"), study(tmp_path, "mini", noisy)).metrics
    assert fidelity.verdicts == {("better", "better"): 2, ("better", "undecided"): 1, ("worse", "worse"): 1}
    assert (fidelity.whole.same, fidelity.whole.decided, fidelity.whole.confirmed) == (4, 4, 4)


def test_scratch_is_no_trick(tmp_path):
    folder = study(tmp_path, "toy", MAPS | {"scratch": [10.0, 11.0, 12.0]})
    (fidelity,) = compared(folder, study(tmp_path, "mini", MAPS | {"scratch": [20.0, 21.0, 22.0]})).metrics
    assert "scratch" not in dict(fidelity.whole.pairs) and "no trick" in fidelity.left_out["scratch"]


def test_recipes_of_one_scale_only_are_named(tmp_path):
    fewer = {recipe: values for recipe, values in MAPS.items() if recipe != "mixup"}
    (fidelity,) = compared(study(tmp_path, "toy", fewer), study(tmp_path, "mini")).metrics
    assert fidelity.left_out == {"mixup": "no number at toy"} and len(fidelity.whole.pairs) == 3


def test_a_recipe_that_lost_a_seed_to_divergence_is_left_out(tmp_path):
    folder = study(tmp_path, "toy")
    lines = (folder / "results.csv").read_text().splitlines()
    lines = [x.replace("54.0,done", ",diverged") if "cosine" in x and "mAP" in x else x for x in lines]
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    (fidelity,) = compared(folder, "published").metrics
    assert fidelity.left_out == {"cosine": "1 diverged at toy"}
    assert not any("cosine" in pair for pair in (*fidelity.whole.pairs, *fidelity.steps.pairs))


def test_metrics_of_one_scale_only_are_named(tmp_path):
    rows = [row | {"run": f"mini-{row['run']}"} for row in made_rows()]
    mini = write_study(tmp_path / "demo-mini", rows, scale="mini")
    toy = write_study(tmp_path / "demo-toy", [row for row in made_rows() if row["task"] == "detection"], metrics=["mAP"])
    comparison = compared(toy, mini)
    assert [fidelity.a.column.metric for fidelity in comparison.metrics] == ["mAP"]
    assert [(scale.name, column.metric) for scale, column in comparison.unmatched] == [
        ("mini", "top1"),
        ("mini", "pixAcc"),
        ("mini", "mIoU"),
    ]


def test_columns_of_one_protocol_belong_together(tmp_path):
    both = [
        row | {"protocol": p, "run": f"{p}-{row['run']}"} for p in ("p", "q") for row in made_rows() if row["task"] == "detection"
    ]
    toy = write_study(tmp_path / "demo-toy", both, metrics=["mAP"])
    mini = write_study(tmp_path / "demo-mini", [row | {"run": "m" + row["run"]} for row in both], metrics=["mAP"], scale="mini")
    assert [(f.a.column.protocol, f.b.column.protocol) for f in compared(toy, mini).metrics] == [("p", "p"), ("q", "q")]
    assert [(f.a.column.protocol, f.b.column.protocol) for f in compared(toy, "published").metrics] == [
        ("p", "published"),
        ("q", "published"),
    ]


# --- refused ------------------------------------------------------------------------------------------------


def test_studies_that_cannot_be_compared_are_refused(tmp_path):
    toy, mini = study(tmp_path, "toy"), study(tmp_path, "mini")
    for a, b, message in (
        (toy, study(tmp_path / "other", "mini", name="table9"), "is of the study demo and .* of table9"),
        (toy, toy, "share 15 runs, such as toy-detection-b_standard-0"),
        ("published", toy, "give the study's folder first"),
        (study(tmp_path / "bare", "toy", published=None), "published", "has no published numbers"),
        (toy, study(tmp_path / "first", "mini", reference="smooth"), "are over b_standard and those of .* over smooth"),
        (toy, study(tmp_path / "one", "mini", {"b_standard": MAPS["b_standard"]}), "No gain has a number at both scales"),
        (toy, tmp_path / "nowhere", "nowhere/results.csv does not exist"),
    ):
        with pytest.raises(ValueError, match=message):
            compared(a, b)
    assert [scale.name for scale in load_scales(str(toy), str(mini))] == ["toy", "mini"]
    again = study(tmp_path / "again", "toy", {r: v for r, v in MAPS.items()})
    text = (again / "results.csv").read_text().replace("toy-detection", "again-detection")
    (again / "results.csv").write_text(text)
    assert [scale.name for scale in load_scales(str(toy), str(again))] == [str(toy), str(again)]
    again.rename(tmp_path / "seeds-3-to-5")
    assert [scale.name for scale in load_scales(str(toy), str(tmp_path / "seeds-3-to-5"))] == ["demo-toy", "seeds-3-to-5"]


# --- files --------------------------------------------------------------------------------------------------


def test_files_hold_the_answer(tmp_path, capsys):
    folder = study(tmp_path, "toy")
    report, files = write_fidelity(str(folder), "published")
    assert set(files) == {"fidelity.json", "fidelity.md", "fidelity.html", "fidelity.png"}
    assert {path.name for path in folder.iterdir()} == {"results.csv", "study.json", *files}
    text = files["fidelity.md"].read_text()
    says = (
        "At toy and as published, the 4 recipes rank no more alike than by chance: "
        "rho -0.40 (by chance -1.00 to +1.00, p 0.708); "
        "3 of 4 gains have the same sign (by chance 0 to 4, p 0.300). "
        "One seed at toy ranks them as its other seeds do with rho +1.00. "
        "Of the 4 decided at toy, 3 have the same sign as published."
    )
    assert line(text, "In words", "mAP")[1] == says
    assert line(text, "Agreement", "mAP", "B-standard")[2:6] == ["4", "-0.40", "+0.00 [-1.00, +1.00]", "0.708"]
    assert line(text, "Gains at both scales", "mAP", "+ smooth", "B-standard")[3] == "+7.97" and "Table 8" in text
    assert line(text, "Measured by", "mAP", "published")[2:] == ["detection_net", "published", "—", "—"]
    data = json.loads(files["fidelity.json"].read_text())
    assert data["metrics"][0]["says"] == says and data["metrics"][0]["over_reference"]["ranks"]["rho"] == pytest.approx(-0.4)
    assert says in files["fidelity.html"].read_text()
    print_fidelity(report)
    assert says in capsys.readouterr().out


def test_the_lead_says_where_scales_agree(tmp_path):
    toy, mini = study(tmp_path, "toy"), study(tmp_path, "mini")
    report, files = write_fidelity(str(toy), str(mini))
    assert report.verdict[0] == "At toy and at mini, gains over B-standard rank the recipes alike in mAP (p 0.021)."
    assert line(files["fidelity.md"].read_text(), "Verdicts", "mAP", "better")[2:] == ["3", "0", "0", "0"]
    turned = {r: [100 - value for value in values] for r, values in MAPS.items()}
    report, _ = write_fidelity(str(toy), str(study(tmp_path / "turned", "mini", turned)))
    assert "in reverse order in mAP (p 0.979)" in report.verdict[0]
    few = {r: MAPS[r] for r in ("b_standard", "smooth")}
    report, files = write_fidelity(str(toy), str(study(tmp_path / "few", "mini", few)))
    assert "not at all (too few or equal gains) in mAP" in report.verdict[0]
    assert "1 recipe can be compared, and a rank correlation takes three" in files["fidelity.md"].read_text()


def test_other_tricks_at_one_scale_are_named(tmp_path):
    mini = study(tmp_path, "mini", tricks={"b_standard": [["resnet_b", {}]], "smooth": [["label_smoothing", {"eps": 0.2}]]})
    report, _ = write_fidelity(str(study(tmp_path, "toy")), str(mini))
    assert report.sections[-1].blocks[0].texts[-1] == "Not the same tricks at both scales: + smooth."


def test_the_figure_has_a_point_with_both_intervals_for_each_recipe(tmp_path, monkeypatch):
    drawings = []
    monkeypatch.setattr(scatter, "png", lambda figure: drawings.append(figure) or b"")
    monkeypatch.setattr("tools.engine.reporting.fidelity_report.html", lambda report: "")
    toy, mini = study(tmp_path, "toy"), study(tmp_path, "mini", {r: [2 * v for v in values] for r, values in MAPS.items()})
    write_fidelity(str(toy), str(mini))
    (axes,) = drawings[0].axes
    points = [(float(x[0]), float(y[0])) for x, y in (line.get_data() for line in axes.get_lines()) if len(x) == 1]
    assert sorted(points) == [pytest.approx((2 * gain, gain), abs=1e-3) for gain in (-4.9333, 4.0333, 6.0, 7.9667)]
    lines = [line.get_data() for line in axes.get_lines() if len(line.get_xdata()) == 2]
    assert len(lines) == 2 + 8  # zero lines, and two intervals a recipe
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == (
        "at mini, points over B-standard",
        "at toy, points over B-standard",
        "mAP, rho +1.00",
    )
    assert {text.get_text() for text in axes.texts} >= {"+ smooth", "mixup", "↖ better at toy only", "better at mini only ↘"}


def test_names_are_not_read_as_formulas_or_markup(tmp_path, capsys):
    name = r"$\frac{1}$ [red] <b> & | " + "and so on " * 9
    folder = study(tmp_path, "mini", labels={"smooth": name})
    (folder / "study.json").write_text(
        (folder / "study.json").read_text().replace('"scale": "mini"', f'"scale": {json.dumps(name)}')
    )
    report, files = write_fidelity(str(folder), "published")
    print_fidelity(report)
    assert "<b>" not in files["fidelity.html"].read_text() and name.strip() in capsys.readouterr().out
