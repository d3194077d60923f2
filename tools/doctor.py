"""Looks at this machine and installation, and names the command that mends each thing that is wrong.

  python tools/doctor.py
  python tools/doctor.py --selftest

Versions against constraints.txt, mmcv's operators, devices, threads, bfloat16, disk and data. The self-test computes: NMS and
RoIAlign (on the GPU where there is one) against a plain reference, metrics against known values, a stopped and resumed run
against an undisturbed one, and the transfer certificate.
Exit status 1 if something is wrong.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main


def doctor() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--selftest", action="store_true", help="compute what is known instead; within a minute")
    args = parser.parse_args()
    from tools.engine.doctor.checks import diagnose, render

    if args.selftest:
        from tools.engine.doctor.selftest import selftest

        findings = selftest()
    else:
        findings = diagnose()
    print(render(findings))
    return int(any(finding.mend for finding in findings))


if __name__ == "__main__":
    main(doctor)
