"""Check this machine and installation, and report problems and how to fix them.

  python tools/doctor.py
  python tools/doctor.py --selftest

The checks cover versions against constraints.txt, mmcv's operators, devices, threads, bfloat16, disk and data. The self-test
compares NMS and RoIAlign (on the GPU if there is one) with a plain reference, metrics with known values, a stopped and resumed
run with an uninterrupted one, and verifies the transfer certificate.
The exit status is 1 if there is a problem.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main


def doctor() -> int:
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "--selftest",
        action="store_true",
        help="compute what has a known result instead of the checks, which takes less than a minute",
    )
    args = parser.parse_args()
    from tools.engine.doctor.checks import diagnose, render

    if args.selftest:
        from tools.engine.doctor.selftest import selftest

        findings = selftest()
    else:
        findings = diagnose()
    print(render(findings))
    return int(any(finding.fix for finding in findings))


if __name__ == "__main__":
    main(doctor)
