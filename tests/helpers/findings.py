"""Sort the findings of a dataset check."""

from collections.abc import Iterable

from backbones.common.dataset_checks import Finding


def texts_by_level(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """Return the texts of the findings by level, and check that each is one line that starts with its level."""
    texts: dict[str, list[str]] = {"WRONG": [], "note": [], "info": []}
    for finding in findings:
        assert "\n" not in str(finding) and str(finding).startswith(finding.level)
        texts[finding.level].append(finding.text)
    return texts
