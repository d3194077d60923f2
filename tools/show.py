"""Draws what a finished run made of its test data, beside the truth, as one sheet of pictures.

  python tools/show.py work_dirs/runs/KEY              # writes work_dirs/runs/KEY/pictures.png
  python tools/show.py KEY --num 24 --out sheet.png

The images are spread evenly over the test data, the same ones each time. A study draws the first seed of each recipe by itself,
and its report shows the sheets: write it again (tools/collect.py, tools/report.py) after drawing others.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main


def show() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run, or its key")
    parser.add_argument("--num", type=int, default=12, help="how many images, as study run draws; 12")
    parser.add_argument("--out", type=Path, metavar="FILE", help="RUN/pictures.png")
    args = parser.parse_args()

    from tools.engine.show import show

    print(show(args.run, args.num, args.out))


if __name__ == "__main__":
    main(show)
