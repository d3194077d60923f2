"""Simulate how often verdicts are wrong. ``python -m tests.helpers.verdict_rates`` prints the tables of docs/verdicts.md.

Runs of a recipe with seed s score m + seed effect + common effect of s + luck of a teacher: all normal, in units of the
deviation between seeds. The common effect is what a seed does to both sides, such as its data order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from tests.helpers.two_scales import random_sides
from tools.engine.analysis.differences import difference
from tools.engine.analysis.fidelity import agreement
from tools.engine.analysis.rank_correlation import correlation_of_gains

SIMULATIONS = 10_000


@dataclass(frozen=True)
class Rates:
    """Hold shares of simulations: intervals that hold the truth, and differences that are found (p below 0.05)."""

    coverage: float
    detected: float


def rates(n: int, common: float, paired: bool, gain: float = 0.0, teacher: float = 0.0, simulations: int = SIMULATIONS) -> Rates:
    """Simulate comparisons of two recipes with ``n`` seeds each; the six parameters describe one experiment.

    Args:
        common: share of the variance between seeds that both sides have in common, 0..1.
        paired: compare by pairs.
        gain: true difference, in deviations between seeds.
        teacher: deviation of the luck of one side's only teacher, in deviations between seeds.
    """
    rng = np.random.default_rng(n)
    shared = rng.normal(0, np.sqrt(common), (simulations, 1, n))
    sides = shared + rng.normal(0, np.sqrt(1 - common), (simulations, 2, n))
    sides[:, 0] += gain + rng.normal(0, teacher, (simulations, 1))
    diffs = [difference(a, b, paired=paired) for a, b in sides.tolist()]
    inside = [low <= gain <= high for low, high in (diff.interval for diff in diffs)]
    return Rates(float(np.mean(inside)), float(np.mean([diff.p < 0.05 for diff in diffs])))


def lucky_recipes(studies: int, recipes: int, seeds: int, shared: float) -> Iterator[dict[str, dict[str, tuple[float, float]]]]:
    """Yield the pretrainings of studies in which all recipes are equal.

    A transfer scores ``shared`` times the luck of its pretraining plus luck of its own, which is as large.
    """
    rng = np.random.default_rng(0)
    luck, other = rng.normal(size=(2, studies, recipes, seeds))
    for study in np.stack([luck, shared * luck + other], axis=-1).tolist():
        yield {f"r{i}": {str(seed): tuple(run) for seed, run in enumerate(runs)} for i, runs in enumerate(study)}


def false_alarms(studies: Iterator[dict], steps: str = "reference") -> tuple[float, float, float]:
    """Return the share of studies with a p below 0.05, the mean rho, and the mean of what it would be by chance."""
    correlations = []
    for study in studies:
        names = list(study)
        bases = names if steps == "parent" else [names[0]] * len(names)
        correlations.append(correlation_of_gains(study, list(zip(names[1:], bases, strict=False))))
    ps, rhos, means = zip(*((c.chance.p, c.rho, c.chance.mean) for c in correlations), strict=True)
    return float(np.mean(np.array(ps) < 0.05)), float(np.mean(rhos)), float(np.mean(means))


def found_alike(recipes: int, spread: float, steps: bool = False, studies: int = 2000) -> tuple[float, float, float]:
    """Return the mean rho of two scales, three seeds against one run, and the shares of p below 0.05 of ranks and of signs."""
    found = [agreement(*sides) for sides in random_sides(studies, recipes, 3, spread, steps)]
    ranks, signs = ([part.p < 0.05 for part in parts] for parts in ([f.ranks.chance for f in found], [f.chance for f in found]))
    return float(np.mean([f.ranks.rho for f in found])), float(np.mean(ranks)), float(np.mean(signs))


def main() -> None:
    print(f"{SIMULATIONS} simulations a line: coverage of 95 %, false verdicts, and found gains of 3 deviations")
    for n in (2, 3, 5):
        for common in (0.0, 0.5, 0.8):
            for paired in (True, False):
                null, real = rates(n, common, paired), rates(n, common, paired, gain=3.0)
                name = "paired" if paired else "Welch "
                print(f"n={n} common={common} {name} {null.coverage:.3f} {null.detected:.3f} {real.detected:.3f}")
    for n in (3, 5):
        for teacher in (0.0, 0.5, 1.0):
            parts = [rates(n, 0.0, paired, teacher=teacher).detected for paired in (True, False)]
            print(f"teacher's luck {teacher} of a seed's, n={n}: false verdicts paired {parts[0]:.3f}, Welch {parts[1]:.3f}")
    for shared in (0.0, 0.5, 1.0):
        for steps in ("reference", "parent"):
            alarms, rho, chance = false_alarms(lucky_recipes(2000, 7, 3, shared), steps)
            figures = f"rho {rho:+.2f}, by chance {chance:+.2f}, false alarms {alarms:.3f}"
            print(f"7 equal recipes, 3 seeds, {shared} of the luck reaches the transfer, gains over the {steps}: {figures}")
    for recipes, spread, steps in [*product((5, 7, 12), (0.0, 1.0, 3.0), (False,)), (7, 0.0, True)]:
        rho, ranks, signs = found_alike(recipes, spread, steps)
        name = f"two scales, {recipes} recipes, true spread {spread}, over {'parents' if steps else 'the reference'}"
        print(f"{name}: rho {rho:+.2f}, p below 0.05 by ranks {ranks:.3f}, by signs {signs:.3f}")


if __name__ == "__main__":
    main()
