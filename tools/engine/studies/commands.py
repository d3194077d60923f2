"""Return the command line that runs a node of a study."""

import sys

from backbones.common.project import ROOT
from tools.engine.config import find_config
from tools.engine.studies.node import Node

SCRIPT = ROOT / "tools/train.py"
EXPECT = "--expect-key"


def command(node: Node) -> list[str]:
    """Return the command line of a node, as a person would type it; it uses torchrun for several processes."""
    from classification.tricks import format_trick

    processes = node.options.processes
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    line = [sys.executable, *launch, str(SCRIPT), str(find_config(node.config))]
    line += ["--launcher", "pytorch"] if processes > 1 else []
    options = node.options
    line += ["--seed", str(options.seed), "--work-dir", str(node.folder), EXPECT, node.key]
    if options.protocol:
        line += ["--protocol", options.protocol]
    if options.lr_factor is not None:
        line += ["--lr-factor", f"{options.lr_factor:g}"]
    if options.hold_out:
        line.append("--hold-out")
    if options.vis:
        line += ["--vis", *options.vis]
    if options.overrides:
        line += ["--cfg-options", *(f"{key}={value}" for key, value in options.overrides.items())]
    if node.pretrain:
        if options.tricks:
            line += ["--tricks", *map(format_trick, options.tricks)]
        return line
    return [*line, "--backbone", options.backbone]
