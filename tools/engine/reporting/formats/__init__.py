"""Print a report as one page of HTML, as Markdown for GitHub, and as LaTeX."""

__all__ = ["html", "latex", "markdown"]
