r"""Print the resolved MMEngine config that tools/train.py would run, and change nothing.

  python tools/print_config.py configs/classification/resnet50_toy.py \
      --tricks resnet_d cosine --cfg-options batch=32
  python tools/print_config.py configs/detection/faster_rcnn_fpn_toy.py \
      --backbone KEY > detector.py
  MMDET=$(python -c "import mmdet; print(mmdet.__path__[0])")
  python $MMDET/.mim/tools/train.py detector.py

It takes the options of tools/train.py. MMEngine, and so the tools of mmdet and mmseg, can run the printed config if this project
can be imported: paths of cards are absolute, and data is found through the variable DATA_ROOT.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main
from tools.engine.config.arguments import add_run_arguments, resolved_of
from tools.engine.openmmlab_flags import PRINT, add_counterparts


def print_config() -> None:
    parser = CommandParser(description=__doc__)
    add_run_arguments(parser)
    add_counterparts(parser, PRINT)
    args = parser.parse_args()

    from tools.engine.config.dumped import printed_text

    print(printed_text(resolved_of(args)), end="")


if __name__ == "__main__":
    main(print_config)
