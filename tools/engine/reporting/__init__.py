"""Build the tables, figures and pages of a study's report: HTML, Markdown, LaTeX."""

__all__ = [
    "breakdown_tables",
    "document",
    "fidelity_report",
    "figures",
    "gain_tables",
    "image_sheets",
    "plotting",
    "provenance_tables",
    "report",
    "result_tables",
    "scatter",
    "transfer_figure",
]
