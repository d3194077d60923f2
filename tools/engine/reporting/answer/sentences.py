"""Say in plain words what a study has proven, what it has not, and how many more seeds would tell."""

from collections.abc import Sequence
from math import sqrt

from tools.engine.analysis.differences import BY_SEEDS
from tools.engine.analysis.gains import Gain, families, image_variance
from tools.engine.analysis.results import SCRATCH, Column, Results
from tools.engine.analysis.verdicts import ALPHA
from tools.engine.power import seeds_needed
from tools.engine.reporting.answer.wording import columns_of, digits_of, listed, p_text, signed, tricks_apart

CHANCE, MOST = 0.8, 50  # probability with which the named number of seeds tells, and the largest number that is named
SILENT = ("spread below 1 image", "one pretraining")  # remarks that the table has, and a sentence of its own
FEW = 3  # recipes that are named one by one; more are counted


def verdict(results: Results, whole: Sequence[Gain]) -> tuple[str, ...]:
    """Return the sentences of a report's verdict, the headline first.

    If each recipe was pretrained once, they name its weights ("the weights of A beat those of B") and not the recipe.

    Args:
        whole: gains over the reference.
    """
    judged = [gain for gain in whole if gain.verdict]
    if not judged:
        return ("Nothing can be compared yet: no two recipes have a number in the same metric.",)
    speaker = Speaker(results, judged)
    others, control = tricks_apart(judged), [g for g in judged if g.recipe == SCRATCH]
    if not any(gain.diff.kind in BY_SEEDS for gain in judged):
        return speaker.one_seed(others)
    proven = [*speaker.gained(others), *speaker.lost(others), *speaker.equal(others)]
    if not proven:
        proven = [f"{speaker.nobody} is proven better or worse than {speaker.reference()}"]
    if others != control:
        proven += speaker.pretraining(control)
    return tuple(filter(None, [_sentence("; ".join(proven)), speaker.undecided(others), speaker.one_pretraining]))


def weights_only(results: Results, judged: Sequence[Gain]) -> bool:
    """Return True if there is one pretraining of each recipe: published weights and cards, or one seed."""
    tricks = results.study.get("tricks", {})
    recipes = {name for gain in judged for name in (gain.recipe, gain.base)} - {SCRATCH}
    given = all(isinstance(tricks.get(recipe), str) for recipe in recipes)
    return given or not any(gain.diff.kind in BY_SEEDS for gain in judged if gain.diff)


class Speaker:
    """Name the recipes of a study in sentences, or their weights if each was pretrained once."""

    def __init__(self, results: Results, judged: Sequence[Gain]):
        self.results = results
        self.columns = columns_of(results, judged)
        self.weights = weights_only(results, judged)
        given = [t for t in results.study.get("tricks", {}).values() if isinstance(t, str)]
        self.unit = "fine-tuning" if self.weights and given else "seed"
        self.nobody = "None of the weights" if self.weights else "No recipe"
        self.one_pretraining = (
            "This speaks of these weights, not of how they were trained: there is one pretraining of each."
            if self.weights
            else ""
        )

    def name(self, recipe: str) -> str:
        """Return the subject of a sentence."""
        label = self.results.label(recipe)
        return f"the weights of {label}" if self.weights and recipe != SCRATCH else label

    def reference(self) -> str:
        """Return the reference as the object of a sentence on recipes or weights."""
        label = self.results.label(self.results.reference)
        return f"those of {label}" if self.weights and self.results.reference != SCRATCH else label

    def verb(self, singular: str, plural: str, recipe: str) -> str:
        """Return the form of a verb for a recipe or its weights."""
        return plural if self.weights and recipe != SCRATCH else singular

    def amounts(self, gains: Sequence[Gain], remarks: dict[Column, str] | None = None) -> str:
        """Return '11.7 points of top-1 (p 0.050) and 14.1 of mAP (p 0.028)'."""
        texts = []
        for i, gain in enumerate(gains):
            digits = digits_of(self.results, gain.column)
            unit = "points of" if i == 0 else "of"
            facts = [p_text(gain.p)] if gain.p is not None else []
            facts += [remark for remark in gain.remarks if remark not in SILENT]
            facts += [remarks[gain.column]] if remarks and gain.column in remarks else []
            brackets = f" ({', '.join(facts)})" if facts else ""
            texts.append(f"{abs(gain.diff.mean):.{digits}f} {unit} {self.results.heading(gain.column)}{brackets}")
        return listed(texts)

    def gained(self, gains: Sequence[Gain]) -> list[str]:
        """Return a clause for each recipe that has the largest proven gain of a column."""
        clauses = []
        counts: dict[Column, str] = {}
        leaders: dict[str, list[Gain]] = {}
        for column in self.columns:
            better = [g for g in gains if g.column == column and g.verdict == "better"]
            if better:
                best = max(better, key=lambda g: g.diff.mean)
                leaders.setdefault(best.recipe, []).append(best)
                if len(better) > 1:
                    counts[column] = f"the most of {len(better)} that do"
        for recipe, of_recipe in leaders.items():
            everywhere = " in every task: by" if 1 < len(self.columns) == len(of_recipe) else " by"
            beats = self.verb("beats", "beat", recipe)
            clauses.append(f"{self.name(recipe)} {beats} {self.reference()}{everywhere} {self.amounts(of_recipe, counts)}")
        return clauses

    def lost(self, gains: Sequence[Gain]) -> list[str]:
        """Return a clause for each recipe that has the largest proven loss of a column."""
        losers: dict[str, list[Gain]] = {}
        for column in self.columns:
            if worse := [g for g in gains if g.column == column and g.verdict == "worse"]:
                last = min(worse, key=lambda g: g.diff.mean)
                losers.setdefault(last.recipe, []).append(last)
        return [
            f"{self.name(recipe)} {self.verb('falls', 'fall', recipe)} behind {self.reference()} by {self.amounts(of_recipe)}"
            for recipe, of_recipe in losers.items()
        ]

    def equal(self, gains: Sequence[Gain]) -> list[str]:
        """Return a clause for each column with recipes that equal the reference within the margin."""
        clauses = []
        for column in self.columns:
            if same := [g for g in gains if g.column == column and g.verdict == "equivalent"]:
                names = listed([self.name(g.recipe) for g in same]) if len(same) <= FEW else f"{len(same)} recipes"
                verb = "equals" if len(same) == 1 and not self.weights else "equal"
                within = f"within {same[0].margin:g} points of {self.results.heading(column)}"
                clauses.append(f"{names} {verb} {self.reference()} {within}")
        return clauses

    def pretraining(self, control: Sequence[Gain]) -> list[str]:
        """Return a clause on what the reference has over scratch, where that is proven."""
        reference = self.results.reference
        clauses = []
        if worse := [gain for gain in control if gain.verdict == "worse"]:
            beats = self.verb("beats", "beat", reference)
            clauses.append(f"{self.name(reference)} {beats} {self.results.label(SCRATCH)} by {self.amounts(worse)}")
        if better := [gain for gain in control if gain.verdict == "better"]:
            clauses.append(f"{self.results.label(SCRATCH)} beats {self.reference()} by {self.amounts(better)}")
        return clauses

    def undecided(self, gains: Sequence[Gain]) -> str:
        """Return what is undecided, and how many more seeds would tell the largest difference of each column."""
        clauses = []
        for column in self.columns:
            of_column = [g for g in gains if g.column == column]
            if open_gains := [g for g in of_column if g.verdict == "undecided"]:
                largest = max(open_gains, key=lambda g: abs(g.diff.mean))
                name = f"{self.results.label(largest.recipe)} {signed(largest.diff.mean, digits_of(self.results, column))}"
                what = name if len(open_gains) == 1 else f"largest: {name}"
                heading = self.results.heading(column)
                clauses.append(f"{_count(open_gains, of_column)} in {heading} ({what}; {self.more_seeds(largest)} would tell)")
        if not clauses:
            return f"Every comparison with {self.name(self.results.reference)} is decided."
        first, *others = clauses
        first = first.replace(" in ", " difference in " if first.startswith("the") else " differences in ", 1)
        told = "Each number is for a chance of 80 %, if the difference is as large as it looks."
        return f"Unproven: {listed([first, *others])}. {told}"

    def more_seeds(self, gain: Gain) -> str:
        """Return '3 more seeds', the number that would prove a gain as large as the one seen."""
        if any("diverged" in remark for remark in gain.remarks):
            return f"only {self.unit}s that do not diverge"
        have, needed = min(gain.diff.n_a, gain.diff.n_b), seeds_to_tell(self.results, gain)
        if needed is None:
            return f"no number of {self.unit}s, but more test images,"
        if needed > MOST:
            return f"more than {MOST} {self.unit}s"
        more = max(needed - have, 1)
        return f"{more} more {self.unit}{'' if more == 1 else 's'}"

    def one_seed(self, gains: Sequence[Gain]) -> tuple[str, ...]:
        """Return the sentences of a study with one seed, in which nothing can be proven."""
        columns = columns_of(self.results, gains)
        best = [max((g for g in gains if g.column == column), key=lambda g: g.diff.mean) for column in columns]
        groups: dict[tuple[str, bool], list[Gain]] = {}
        for gain in best:
            groups.setdefault((gain.recipe, gain.diff.mean < 0), []).append(gain)
        seen = [
            f"{self.name(recipe)} {self.verb('lies', 'lie', recipe)} {'below' if below else 'above'} {self.reference()} by "
            f"{self._plain(of_recipe)}"
            for (recipe, below), of_recipe in groups.items()
        ]
        return (
            _sentence(f"{'; '.join(seen)}, but one {self.unit} of each proves nothing"),
            f"A single run cannot tell a gain from noise: three {self.unit}s of each show large gains, five are better.",
            self.one_pretraining,
        )

    def _plain(self, gains: Sequence[Gain]) -> str:
        """Return the amounts of gains without a p."""
        texts = [
            f"{abs(g.diff.mean):.{digits_of(self.results, g.column)}f} {'points of' if i == 0 else 'of'} "
            f"{self.results.heading(g.column)}"
            for i, g in enumerate(gains)
        ]
        return listed(texts)


def seeds_to_tell(results: Results, gain: Gain) -> int | None:
    """Return how many seeds a side would prove a gain as large as the one seen, with the probability ``CHANCE``.

    The spread is that of the gain's own interval. p is compared with 0.05 divided by the number of comparisons of the task, as
    Holm's method does for the smallest. Return None where more seeds do not suffice, since the test images vary too much.
    """
    diff = gain.diff
    variance = image_variance(results, gain.recipe, gain.base, gain.column)
    images = 0.0
    if variance:
        images = variance.paired if diff.paired and variance.paired is not None else variance.common
    n = 2 / (1 / diff.n_a + 1 / diff.n_b)
    std = sqrt(max(diff.error**2 - images, 1e-12) * n / 2)
    comparison = frozenset((gain.recipe, gain.base)), gain.column
    count = next((len(family) for family in families(results) if comparison in family), 1)
    return seeds_needed(max(abs(diff.mean), 1e-6), std, CHANCE, ALPHA / count, sqrt(images))


def _count(some: Sequence[Gain], every: Sequence[Gain]) -> str:
    """Return how many of a column's gains these are: 'the only', 'both', 'all 6' or '2 of 6'."""
    if len(some) < len(every):
        return f"{len(some)} of {len(every)}"
    return {1: "the only", 2: "both"}.get(len(some), f"all {len(some)}")


def _sentence(text: str) -> str:
    """Return a clause as a sentence; the name of a recipe keeps its letters."""
    return f"{text[:1].upper()}{text[1:]}." if text.startswith("the weights of") else f"{text}."
