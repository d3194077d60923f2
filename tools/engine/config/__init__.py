"""Config file + options -> the complete config that runs, and its key."""

from tools.engine.config.fingerprint import data_fingerprint
from tools.engine.config.loading import find_config, load, untrusted_notice
from tools.engine.config.resolving import Options, Resolved, processes_of, refuse_ineffective, resolve, resolve_run
from tools.engine.config.run_key import RunKey
from tools.engine.config.tasks import having, part_of, task_of

__all__ = [
    "Options",
    "Resolved",
    "RunKey",
    "data_fingerprint",
    "find_config",
    "having",
    "load",
    "part_of",
    "processes_of",
    "refuse_ineffective",
    "resolve",
    "resolve_run",
    "task_of",
    "untrusted_notice",
]
