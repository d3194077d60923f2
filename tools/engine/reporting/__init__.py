"""Build a study's report: the answer first, then tables and figures by subject, as HTML, Markdown and LaTeX."""

__all__ = [
    "breakdown_tables",
    "document",
    "fidelity_report",
    "gain_tables",
    "image_sheets",
    "provenance_tables",
    "report",
    "result_tables",
    "sections",
    "study_report",
]
