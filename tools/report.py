"""Writes a study's report from its table, and runs nothing: report.html, report.md, report.tex, gains.png.

  python tools/report.py work_dirs/demo-toy

The folder holds results.csv and study.json, which tools/collect.py makes from the runs that have finished:
collect again after more of them, then report again. Neither torch nor mmengine is needed, so the folder can
be copied and reported elsewhere.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main


def report() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a study at a scale: work_dirs/STUDY-SCALE")
    args = parser.parse_args()

    from tools.engine.report import terminal_table, write_report

    written = write_report(args.folder)
    terminal_table(args.folder)
    print("\n".join(map(str, written.values())))


if __name__ == "__main__":
    main(report)
