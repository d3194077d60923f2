"""Looks at this machine and installation, and names the command that mends each thing that is wrong.

  python tools/doctor.py

Versions against constraints.txt, mmcv's operators, devices, threads, bfloat16, disk and data.
Exit status 1 if something is wrong.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main


def doctor() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from tools.engine.doctor import diagnose, render

    findings = diagnose()
    print(render(findings))
    return int(any(finding.mend for finding in findings))


if __name__ == "__main__":
    main(doctor)
