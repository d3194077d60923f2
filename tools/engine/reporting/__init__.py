"""Tables, figures and pages of a study: HTML, Markdown, LaTeX."""

__all__ = [
    "breakdown_tables",
    "document",
    "figures",
    "image_sheets",
    "plotting",
    "provenance_tables",
    "report",
    "result_tables",
    "transfer_figure",
]
