"""Draw a finished run's predictions on test images beside the ground truth, or those of two runs side by side.

  python tools/show.py KEY
  python tools/show.py KEY --num 24 --out sheet.png
  python tools/show.py KEY_A KEY_B

The pictures of one run go to pictures.png in its folder, those of two to beside_KEY_B.png in the folder of the first. The
images are spaced evenly over the test data and are the same each time. tools/study.py draws the first seed of each recipe, and
for each task the reference beside the recipe that gained most. The report shows these pictures; write it again
(tools/collect.py, tools/report.py) after drawing others.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main
from tools.engine.config.arguments import whole_number


def show() -> None:
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="one finished run, or two of one task, each by its folder, its key or the beginning of its key",
    )
    parser.add_argument("--num", type=whole_number(1), default=12, metavar="N", help="number of images")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="PNG file to write (default: a file in the folder of the first run)"
    )
    args = parser.parse_args()

    from tools.engine.reporting.image_sheets import show

    print(show(args.runs, args.num, args.out))


if __name__ == "__main__":
    main(show)
