"""Collect the finished runs of a study into work_dirs/STUDY-SCALE/results.csv, one unrounded value per row.

  python tools/collect.py demo --scale toy --seeds 3

tools/study.py run does this at its end. What earlier calls with other recipes, tasks or seeds collected stays in the table. Rows
whose run the study would run otherwise today (another config, other data, another RESULT_VERSION) are dropped and named.
"""

import sys
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main
from tools.engine.studies.arguments import add_study_arguments, set_environment, study_of


def collect() -> None:
    parser = CommandParser(description=__doc__)
    add_study_arguments(parser)
    args = parser.parse_args()
    set_environment(args)

    from tools.engine.studies.collect import collect

    print(collect(study_of(args), say=partial(print, file=sys.stderr)) / "results.csv")


if __name__ == "__main__":
    main(collect)
