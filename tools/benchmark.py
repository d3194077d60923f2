"""Compare the speed of this project with that of the alternative a user would pick, side by side.

  python tools/benchmark.py loader
  python tools/benchmark.py train detect segment --threads 2
  python tools/benchmark.py all --out ours.json

Both sides do equal work, which is checked first, and take turns (ours, rival, ours, rival, ...). The table shows the median,
lowest and highest ratio of their rates; a ratio above 1 means that this project is faster. docs/performance.md explains how to
read it. No benchmark passes or fails, since a ratio depends on the machine. Run nothing else meanwhile.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # import the packages of this tree, even if others are installed

from tools.engine.cli import CommandParser, main
from tools.engine.config.arguments import whole_number

STAGES = {
    "loader": "JPEG files to augmented batches",
    "train": "a training step of the classifier",
    "detect": "a training step of Faster-RCNN, FPN and C4",
    "segment": "a training step of the dilated FCN",
    "metrics": "average precision and mean IoU",
    "startup": "response time of the command line, and what a study adds to a run",
    "growth": "time and memory by numbers of images, pixels, runs and table rows",
}


def parse(args: list[str] | None = None) -> argparse.Namespace:
    stages = "\n".join(f"  {name:9} {text}" for name, text in STAGES.items())
    parser = CommandParser(description=f"{__doc__}\nstages:\n{stages}")
    parser.add_argument("stage", nargs="+", choices=(*STAGES, "all"), metavar="STAGE", help="one of the stages above, or all")
    out = "file to write all measurements to"
    rounds = "number of rounds after two warm-up rounds; 5 give a stable median"
    parser.add_argument("--rounds", type=whole_number(1), default=5, metavar="N", help=rounds)
    parser.add_argument("--threads", type=whole_number(1), metavar="N", help="number of torch threads (default: all cores)")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark.json"), metavar="FILE", help=out)
    return parser.parse_args(args)


def benchmark() -> int:
    args = parse()
    threads = args.threads or len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it when it is loaded, and child processes inherit it
    from tools.benchmarks.rounds import Settings
    from tools.benchmarks.table import run_stages

    stages = list(STAGES) if "all" in args.stage else list(dict.fromkeys(args.stage))
    run_stages(stages, Settings(rounds=args.rounds, threads=threads), args.out)
    return 0


if __name__ == "__main__":
    main(benchmark)
