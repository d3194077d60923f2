"""Simulate how often verdicts are wrong. ``python -m tests.helpers.verdict_rates`` prints the tables of docs/verdicts.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from tests.helpers.two_scales import random_sides
from tools.engine.analysis.differences import difference
from tools.engine.analysis.fidelity import agreement
from tools.engine.analysis.rank_correlation import correlation_of_gains
from tools.engine.analysis.verdicts import ALPHA, FEWEST_PAIRS, holm

SIMULATIONS = 10_000
PAGES, DOZEN = 2000, 12  # simulated pages, and the recipes that each compares with its reference


@dataclass(frozen=True)
class Truth:
    """Describe recipes by the scores of their runs, which are normal, in units of the deviation between seeds.

    Args:
        gain: of the first recipe over the reference; all others are equal to the reference.
        common: share of the variance between seeds that a seed has in all recipes, such as by its data order; 0..1.
        teacher: deviation of the luck of the first recipe's only teacher.
        images: variance of a difference over test images, in shares of that over seeds without a common effect.
        wide: deviation between seeds of the reference, where the other recipes have 1; the common effect excluded.
    """

    gain: float = 0.0
    common: float = 0.0
    teacher: float = 0.0
    images: float = 0.0
    wide: float = 1.0

    def scores(self, simulations: int, recipes: int, n: int) -> np.ndarray:
        """Draw float64 (simulations, 1 + recipes, n): the reference, then the recipes, with ``n`` seeds each."""
        rng = np.random.default_rng(n)
        own = rng.normal(0, np.sqrt(1 - self.common), (simulations, 1 + recipes, n))
        own[:, 0] *= self.wide
        scores = own + rng.normal(0, np.sqrt(self.common), (simulations, 1, n))
        scores += rng.normal(0, np.sqrt(self.images / n), (simulations, 1 + recipes, 1))
        scores[:, 1] += self.gain + rng.normal(0, self.teacher, (simulations, 1))
        return scores

    def variance(self, n: int) -> float | None:
        """Return the variance of a difference over test images; None without."""
        return self.images * 2 / n or None


@dataclass(frozen=True)
class Rates:
    """Hold shares of simulations: intervals that hold the truth, and differences that are found (p below 0.05)."""

    coverage: float
    detected: float


def rates(n: int, truth: Truth, paired: bool, simulations: int = SIMULATIONS) -> Rates:
    """Simulate comparisons of a recipe with the reference, ``n`` seeds each, by pairs or by Welch's interval."""
    images = truth.variance(n)
    diffs = [difference(a, b, images, paired=paired) for b, a in truth.scores(simulations, 1, n).tolist()]
    inside = [low <= truth.gain <= high for low, high in (diff.interval for diff in diffs)]
    return Rates(float(np.mean(inside)), float(np.mean([diff.p < ALPHA for diff in diffs])))


def found_on_pages(n: int, truth: Truth, paired: bool, pages: int = PAGES) -> tuple[float, float]:
    """Simulate pages that compare a dozen recipes with a reference, with p adjusted by Holm's method in one family.

    Return the share of pages on which the first recipe is found to differ, and the share on which any recipe is.
    """
    images, found = truth.variance(n), []
    for base, *recipes in truth.scores(pages, DOZEN, n).tolist():
        ps = holm([difference(recipe, base, images, paired=paired).p for recipe in recipes])
        found.append([p < ALPHA for p in ps])
    return float(np.mean([page[0] for page in found])), float(np.mean([any(page) for page in found]))


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


def print_verdicts() -> None:
    """Print the tables of the section 'How often it is wrong'."""
    names = {True: "pairs", False: "Welch"}
    print(f"{SIMULATIONS} simulations a line: coverage of 95 %, false verdicts, and found gains of 3 deviations")
    for n, common, paired in product((2, 3, 4, 5), (0.0, 0.5, 0.8), (False, True)):
        null, real = (rates(n, Truth(gain, common), paired) for gain in (0.0, 3.0))
        print(f"n={n} common={common} {names[paired]} {null.coverage:.3f} {null.detected:.3f} {real.detected:.3f}", flush=True)
    print(f"{PAGES} pages of a dozen comparisons: pages of equal recipes with a false verdict, found gains of 6 deviations")
    for n, common, paired in product((2, 3, 4, 5), (0.0, 0.5, 0.8), (False, True)):
        (_, false), (found, _) = (found_on_pages(n, Truth(gain, common), paired) for gain in (0.0, 6.0))
        print(f"n={n} common={common} {names[paired]} {false:.3f} {found:.3f}", flush=True)
    print("With a variance over test images of so many times that over seeds: coverage, pages with a false verdict")
    for n, common, images in product((2, 3, 4, 5), (0.0, 0.8), (1 / 16, 1 / 4, 1.0, 4.0)):
        truth, paired = Truth(common=common, images=images), n >= FEWEST_PAIRS
        shares = f"{rates(n, truth, paired).coverage:.3f} {found_on_pages(n, truth, paired)[1]:.3f}"
        print(f"n={n} common={common} images={images:g} {names[paired]} {shares}", flush=True)
    print("A reference with another deviation between seeds than the recipes: false verdicts, pages with a false verdict")
    for n, wide in product((2, 3), (1 / 3, 1 / 2, 2.0, 3.0)):
        shares = f"{rates(n, Truth(wide=wide), False).detected:.3f} {found_on_pages(n, Truth(wide=wide), False)[1]:.3f}"
        print(f"n={n} deviation={wide:.2f} Welch {shares}", flush=True)
    for n, teacher in product((3, 5), (0.0, 0.5, 1.0)):
        false = rates(n, Truth(teacher=teacher), n >= FEWEST_PAIRS).detected
        print(f"teacher's luck {teacher} of a seed's, n={n}: false verdicts {false:.3f}", flush=True)


def main() -> None:
    print_verdicts()
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
