"""Times ours against what a user would pick instead, side by side, and says by how much it is faster.

  python tools/benchmark.py loader
  python tools/benchmark.py train detect segment --threads 2
  python tools/benchmark.py all --out ours.json

The stages take turns (ours, rival, ours, rival, ...) on equal work, which is checked first; the table shows the median ratio of
their rates with the least and the largest, more than 1 where ours is faster. docs/performance.md says what to make of them.
Nothing passes or fails: a ratio is a fact of this machine. Leave it alone meanwhile.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main

STAGES = {
    "loader": "JPEG files to augmented batches",
    "train": "a training step of the classifier",
    "detect": "a training step of Faster-RCNN, FPN and C4",
    "segment": "a training step of the dilated FCN",
    "metrics": "average precision and mean IoU",
    "startup": "the answers of the command line, and what a run of a study costs beside its training",
    "growth": "seconds and memory against images, sizes, nodes of a study and rows of a table",
}


def parse(args: list[str] | None = None) -> argparse.Namespace:
    stages = "\n".join(f"  {name:9} {text}" for name, text in STAGES.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nstages:\n{stages}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", nargs="+", choices=(*STAGES, "all"), metavar="STAGE", help="one of the above, or all")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after two warm-ups; 5")
    parser.add_argument("--threads", type=int, help="of torch; all cores")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark.json"), metavar="FILE", help="all that was seen")
    return parser.parse_args(args)


def benchmark() -> int:
    args = parse()
    threads = args.threads or len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is loaded, and by processes that are started
    from tools.benchmarks.rounds import Settings
    from tools.benchmarks.table import run_stages

    if args.rounds < 1:
        raise ValueError(f"--rounds is {args.rounds}; give 5 or more.")
    stages = list(STAGES) if "all" in args.stage else list(dict.fromkeys(args.stage))
    run_stages(stages, Settings(rounds=args.rounds, threads=threads), args.out)
    return 0


if __name__ == "__main__":
    main(benchmark)
