"""List the runs of work_dirs/runs, show what is known of one, or remove those that nobody needs.

  python tools/runs.py list
  python tools/runs.py list --task detection --state done
  python tools/runs.py show KEY
  python tools/runs.py rm KEY KEY
  python tools/runs.py rm --failed
  python tools/runs.py rm --unused

A key may be shortened as long as one run alone begins so. rm asks before it removes anything. It removes the runs that are named,
or all of a kind:

--failed: the last start of the run ended with an error, and it never finished. The same command would try it again.

--unused: the run finished, no study in work_dirs names it in its results.csv or study.json, and no other run that is kept rests
on its card, as its backbone or its teacher. A study names its runs once it was collected, which tools/study.py run does at its
end; so this is refused while any run is going on, and an interrupted study should be collected first (tools/collect.py). Runs
that were stopped halfway are never unused.

A run that was removed is trained again when a study asks for it.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from backbones.common.project import RUNS, SCALES, find_run, run_keys
from tools.engine.cli import CommandParser, main
from tools.engine.config import having
from tools.engine.runs.facts import STATES, RunFacts, all_runs, first_figure, read_run, runs_on, tables_by_run, unused_runs
from tools.engine.runs.lines import in_columns, width
from tools.engine.runs.removal import confirm, consequences, named_runs, refuse_while_running, remove

HEAD = ("key", "state", "metric", "age", "run")


def parse() -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|show|rm", title="commands")
    text = "list the runs, the last one to change first"
    listing = commands.add_parser("list", help=text, description=f"{text[0].upper()}{text[1:]}.")
    listing.add_argument("--task", choices=having("task").split(", "), help="only runs of this task (default: all)")
    listing.add_argument("--scale", choices=SCALES, help="only runs of this scale (default: all)")
    listing.add_argument("--state", choices=STATES, help="only runs in this state (default: all)")
    listing.add_argument("--unused", action="store_true", help="only those that `rm --unused` would remove")
    text = "show what is known of a run"
    showing = commands.add_parser("show", help=text, description=f"{text[0].upper()}{text[1:]}.")
    run_help = "a run, by its key, the beginning of its key, or its folder"
    showing.add_argument("run", metavar="KEY", help=run_help).completer = run_keys
    text = "remove runs, after asking"
    removing = commands.add_parser("rm", help=text, description=f"{text[0].upper()}{text[1:]}; see runs.py --help.")
    removing.add_argument("runs", nargs="*", metavar="KEY", help=run_help).completer = run_keys
    removing.add_argument("--failed", action="store_true", help="remove the runs that failed")
    removing.add_argument("--unused", action="store_true", help="remove the finished runs that nothing uses")
    removing.add_argument("--yes", action="store_true", help="remove without asking")
    return parser.parse_args()


def runs() -> int:
    args = parse()
    if args.command == "list":
        return list_runs(args)
    return show_run(find_run(args.run)) if args.command == "show" else remove_runs(args)


def list_runs(args: argparse.Namespace) -> int:
    """Print a line for each run that the options ask for, and totals."""
    everything = all_runs()
    chosen = unused_runs(everything) if args.unused else everything
    wanted = {"task": args.task, "scale": args.scale}
    chosen = [run for run in chosen if all(value in (None, run.fact(name)) for name, value in wanted.items())]
    chosen = [run for run in chosen if args.state in (None, run.kind)]
    print_runs(chosen)
    none = f"None of the {len(everything)} runs in {RUNS} fits these options." if everything else f"No runs yet in {RUNS}."
    print(totals(chosen) if chosen else none)
    return 0


def print_runs(chosen: list[RunFacts]) -> None:
    """Print a line for each run."""
    rows = [(run.key, run.state, first_figure(run.record), run.age, run.name) for run in chosen]
    if rows:
        print("\n".join(in_columns(rows, HEAD, width())))


def totals(chosen: list[RunFacts]) -> str:
    """Return the number of runs in each state, and their size on disk."""
    counts = Counter(run.kind for run in chosen)
    states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return f"{len(chosen)} run{'s' if len(chosen) > 1 else ''} ({states}), {sum(run.size for run in chosen) / 1e9:.2f} GB."


def show_run(folder: Path) -> int:
    """Print what is known of a run, one fact a line."""
    everything = all_runs()
    elsewhere = read_run(folder, tables_by_run().get(folder.name))
    run = next((run for run in everything if run.folder.samefile(folder)), elsewhere)
    record, others = run.record, [other.key for other in runs_on(run, everything)]
    protocol = record.get("protocol") or run.config.get("protocol") or {}
    facts = {
        "run": run.name,
        "key": run.key,
        "folder": folder,
        "state": run.fault or f"{run.state}, {run.age} ago",
        "metrics": ", ".join(f"{name} {value:.2f}" for name, value in record.get("metrics", {}).items()),
        "tricks": " ".join(name for name, _ in run.fact("tricks") or ()),
        "protocol": protocol.get("name") if isinstance(protocol, dict) else "",
        "rests on": run.upstream,
        "card": folder / "card" if (folder / "card").is_dir() else "",
        "used by": ", ".join(others),
        "tables": ", ".join(run.tables),
        "seconds": f"{record['seconds']['total']:.0f}" if "total" in record.get("seconds", {}) else "",
        "machine": ", ".join(f"{name} {value}" for name, value in record.get("machine", {}).items()),
        "remarks": " ".join(record.get("remarks", [])),
        "size": f"{run.size / 1e6:.0f} MB",
        "again": f"python tools/train.py {folder / 'config.py'}" if (folder / "config.py").is_file() else "",
    }
    for name, value in facts.items():
        if value:
            print(f"{name:9} {value}")
    return 0


def remove_runs(args: argparse.Namespace) -> int:
    """Remove the runs that the options name, after a question; return 1 if the answer is no.

    Raises:
        ValueError: nothing is named, a run does not exist or is being run, or nobody can be asked.
    """
    if not (args.runs or args.failed or args.unused):
        raise ValueError("Say what to remove: the keys of runs, --failed or --unused.")
    everything = all_runs()
    chosen = {run.key: run for run in named_runs(args.runs, everything)}
    if args.failed:
        chosen |= {run.key: run for run in everything if run.kind == "failed"}
    if args.unused:
        refuse_while_running(everything)
        chosen |= {run.key: run for run in unused_runs(everything)}
    if not chosen:
        print("There is nothing to remove.")
        return 0
    warnings = consequences(list(chosen.values()), everything)
    print_runs(list(chosen.values()))
    print("\n".join([*warnings, totals(list(chosen.values()))]))
    if not confirm(f"Remove {'this run' if len(chosen) == 1 else f'these {len(chosen)} runs'}?", args.yes):
        print("Nothing was removed.")
        return 1
    for run in chosen.values():
        remove(run)
    print(f"Removed {len(chosen)} run{'s' if len(chosen) > 1 else ''}.")
    return 0


if __name__ == "__main__":
    main(runs)
