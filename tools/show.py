"""Draws what a finished run made of its test data, beside the truth, as one sheet of pictures; of two runs, side by side.

  python tools/show.py work_dirs/runs/KEY              # writes work_dirs/runs/KEY/pictures.png
  python tools/show.py KEY --num 24 --out sheet.png
  python tools/show.py KEY_A KEY_B                     # writes work_dirs/runs/KEY_A/beside_KEY_B.png

The images are spread evenly over the test data, the same ones each time. A study draws the first seed of each recipe by itself,
and for each task the reference beside the recipe that gained most; its report shows the sheets: write it again
(tools/collect.py, tools/report.py) after drawing others.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main


def show() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a finished run, or its key; one, or two of a task")
    parser.add_argument("--num", type=int, default=12, help="how many images, as study run draws; 12")
    parser.add_argument("--out", type=Path, metavar="FILE", help="instead of the file in the folder of the (first) run")
    args = parser.parse_args()

    from tools.engine.reporting.image_sheets import show

    print(show(args.runs, args.num, args.out))


if __name__ == "__main__":
    main(show)
