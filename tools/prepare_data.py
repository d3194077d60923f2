"""Makes the data of scale toy: an ImageNet-style folder, a VOCdevkit and an ADEChallengeData2016 of one made world.

  python tools/prepare_data.py toy            # under DATA_ROOT/toy (data/toy), about 20 s and 25 MB
  python tools/prepare_data.py toy --seed 1 --out elsewhere/toy

The same seed gives the same bytes. A world that is there already is kept.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main


def prepare() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="toy")
    toy = commands.add_parser("toy", help="the made data of scale toy")
    toy.add_argument("--seed", type=int, default=0, help="of the world; 0")
    toy.add_argument("--out", type=Path, default=Path(os.environ.get("DATA_ROOT", "data")) / "toy", help="DATA_ROOT/toy")
    args = parser.parse_args()

    from tools.engine.toy_world import make_toy

    made = make_toy(args.out, args.seed, progress=lambda done, total: print(f"\r{done}/{total} images", end="", flush=True))
    state = "was there already" if made["reused"] else f"made in {made['seconds']:.0f} s"
    print(f"\r{args.out}: {state}, {made['bytes'] / 1e6:.0f} MB, {len(made['classes'])} classes")


if __name__ == "__main__":
    main(prepare)
