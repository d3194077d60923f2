"""Write the report of a study from its table (report.html, .md, .tex, gains.json, figures), without running anything.

  python tools/report.py demo
  python tools/report.py demo-toy --verify
  python tools/report.py --fidelity table8-toy table8-paper
  python tools/report.py --fidelity table8-toy published

The folder of a study, work_dirs/STUDY-SCALE, holds results.csv and study.json, which tools/collect.py writes from the finished
runs. After more runs, collect and report again. Neither torch nor mmengine is needed, so the folder can be copied and reported
elsewhere.

--verify writes nothing. It recomputes every number of results.csv, the variances over test images in study.json, and the
intervals, p and verdicts in gains.json from the per-image results of the runs (ranks.npz, detections.npz, confusion.npz) in
work_dirs/runs/KEY, so copy these too if you copy the folder. It prints each difference with both values and the run, and lists
the runs that cannot be verified because they have no such file. Numbers that are not computed from images, such as seconds, are
compared with the record. The exit status is 1 if anything differs.

--fidelity A B asks whether a small scale says the same of each recipe as a large one. A and B are folders of one study at two
scales; the word published in place of B stands for the published numbers in A's study.json. For each metric that both have, it
compares the gains: their ranks and signs, both with what these would be by chance, and their verdicts. It writes fidelity.md,
.html, .json and .png into A.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main
from tools.engine.study_folder.names import folder_of


def report() -> int:
    args = arguments()
    if args.verify:
        from tools.engine.analysis.verify import verify

        findings = verify(Path(folder_of(args.folder)))
        print("\n".join(findings.lines()))
        return 1 if findings.differ else 0

    pairs = [margin(text) for text in args.margin]
    margins = dict(pairs)
    if len(margins) < len(pairs):
        raise ValueError("--margin has two margins for one metric; give one METRIC=POINTS for each.")
    if args.fidelity:
        from tools.engine.analysis.results import PUBLISHED
        from tools.engine.reporting.fidelity_report import print_fidelity, write_fidelity

        a, b = (name if name == PUBLISHED else folder_of(name) for name in args.fidelity)
        fidelity, files = write_fidelity(a, b, margins)
        print_fidelity(fidelity)
    else:
        from tools.engine.reporting.formats.terminal import terminal_table
        from tools.engine.reporting.report import write_report

        folder = Path(folder_of(args.folder))
        files = write_report(folder, margins)
        terminal_table(folder, margins=margins)
    print("\n".join(map(str, files.values())))
    return 0


def arguments() -> argparse.Namespace:
    """Parse the command line.

    Raises:
        ValueError: two options exclude each other.
    """
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="?", help="a study at a scale: STUDY-SCALE, its folder, or STUDY alone if it has one scale"
    )
    parser.add_argument(
        "--verify", action="store_true", help="write nothing, and recompute every number from the per-image results"
    )
    parser.add_argument(
        "--fidelity",
        nargs=2,
        metavar=("A", "B"),
        help="compare two scales of a study, or one with the word published (default: FOLDER is reported)",
    )
    parser.add_argument(
        "--margin",
        nargs="+",
        default=[],
        metavar="METRIC=POINTS",
        help="difference in points that counts as none, as in mAP=0.5 (default: top1=0.2 mAP=0.3 pixAcc=0.2 mIoU=0.5)",
    )
    args = parser.parse_args()
    if args.fidelity and (args.folder or args.verify):
        other = "--verify" if args.verify else f"the folder {args.folder}"
        raise ValueError(f"--fidelity A B names both folders itself and verifies nothing; leave out {other}.")
    if not args.fidelity and args.folder is None:
        parser.error("the following arguments are required: folder")
    if args.verify and args.margin:
        raise ValueError("--margin changes the verdicts of a report, and --verify writes none; leave one of the two out.")
    return args


def margin(text: str) -> tuple[str, float]:
    """Return a margin as its metric and points: 'mAP=0.5' gives ('mAP', 0.5).

    Raises:
        ValueError: the text is not a metric with a finite number of points, 0 or more.
    """
    name, _, points = text.partition("=")
    try:
        value = float(points)
    except ValueError:
        value = -1.0
    if not (name and 0 <= value < float("inf")):
        raise ValueError(f"--margin is {text!r}; give METRIC=POINTS with 0 points or more, as in mAP=0.5.")
    return name, value


if __name__ == "__main__":
    main(report)
