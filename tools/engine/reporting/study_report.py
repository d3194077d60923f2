"""Collect the finished runs of a study, and draw and write its report."""

from tools.engine.reporting.formats.terminal import terminal_table
from tools.engine.reporting.image_sheets import draw_pairs, draw_sheets
from tools.engine.reporting.report import write_report
from tools.engine.studies.collect import collect
from tools.engine.studies.graph import rows_of
from tools.engine.studies.study import Study


def report_study(study: Study) -> None:
    """Draw pictures, collect the table, write the report, and print its table and places.

    Raises:
        ValueError: no run has finished, see ``collect``.
    """
    draw_sheets(rows_of(study), print)
    folder = collect(study)
    draw_pairs(folder, print)
    files = write_report(folder)
    terminal_table(folder)
    print(f"{files['report.html']}\n{files['report.md']}")
