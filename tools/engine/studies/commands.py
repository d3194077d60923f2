"""Say on which command line a run of a study is made."""

import sys

from backbones.common.project import ROOT
from tools.engine.config import find_config
from tools.engine.studies.node import Node

SCRIPT = ROOT / "tools/train.py"


def command(node: Node, processes: int = 1) -> list[str]:
    """The command line of a node, as a person would type it; by torchrun for several processes."""
    from classification.tricks import format_trick

    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    words = [sys.executable, *launch, str(SCRIPT), str(find_config(node.config))]
    words += ["--launcher", "pytorch"] if processes > 1 else []
    options = node.options
    words += ["--seed", str(options.seed), "--work-dir", str(node.folder), "--resume"]
    if options.protocol:
        words += ["--protocol", options.protocol]
    if options.lr_factor is not None:
        words += ["--lr-factor", f"{options.lr_factor:g}"]
    if options.hold_out:
        words.append("--hold-out")
    if options.vis:
        words += ["--vis", *options.vis]
    if options.overrides:
        words += ["--cfg-options", *(f"{key}={value}" for key, value in options.overrides.items())]
    if node.pretrain:
        return words + (["--tricks", *map(format_trick, options.tricks)] if options.tricks else [])
    return [*words, "--backbone", options.backbone]
