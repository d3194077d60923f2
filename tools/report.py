"""Writes a study's report from its table, and runs nothing: report.html, report.md, report.tex, figures.

  python tools/report.py work_dirs/demo-toy
  python tools/report.py work_dirs/demo-toy --verify

The folder holds results.csv and study.json, which tools/collect.py makes from the runs that have finished:
collect again after more of them, then report again. Neither torch nor mmengine is needed, so the folder can
be copied and reported elsewhere.

--verify writes nothing. It computes every figure of results.csv again from the per-image results of the runs (ranks.npz,
detections.npz, confusion.npz), found where study.json says: work_dirs/runs/KEY, so copy these too if you copy the folder. It
prints what differs, with both values and the run, and which runs have no such file and so cannot be verified. What no image
gives, as seconds, is compared with the record. Exit status 1 if anything differs.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main


def report() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a study at a scale: work_dirs/STUDY-SCALE")
    parser.add_argument("--verify", action="store_true", help="compute every figure again from the runs' per-image results")
    parser.add_argument(
        "--margin",
        nargs="+",
        default=[],
        metavar="METRIC=POINTS",
        help="within which a difference counts as none, as in mAP=0.5; top1 0.2, mAP 0.3, pixAcc 0.2, mIoU 0.5",
    )
    args = parser.parse_args()
    if args.verify:
        from tools.engine.analysis.verify import verify

        findings = verify(args.folder)
        print("\n".join(findings.lines()))
        return 1 if findings.differ else 0

    from tools.engine.reporting.report import terminal_table, write_report

    margins = dict(map(margin, args.margin))
    written = write_report(args.folder, margins)
    terminal_table(args.folder, margins=margins)
    print("\n".join(map(str, written.values())))
    return 0


def margin(text: str) -> tuple[str, float]:
    """'mAP=0.5' is ('mAP', 0.5).

    Raises:
        ValueError: it is no metric with a number of points, 0 or more.
    """
    name, _, points = text.partition("=")
    try:
        value = float(points)
    except ValueError:
        value = -1.0
    if not (name and 0 <= value < float("inf")):
        raise ValueError(f"--margin takes METRIC=POINTS with 0 points or more, as in mAP=0.5; {text!r} is none.")
    return name, value


if __name__ == "__main__":
    main(report)
