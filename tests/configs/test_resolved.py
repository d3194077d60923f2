"""The resolved config of every file in configs/ with every recipe and protocol is the one that is kept as a digest."""

import json

import pytest

from tests.helpers.resolved_digests import KEPT, MACHINES, digests

HOW = "python -m tests.helpers.resolved_digests --dump FILE shows them all; --write keeps those of now"


@pytest.mark.parametrize("machine", MACHINES)
def test_no_resolved_config_has_changed(machine, tmp_path, monkeypatch):
    monkeypatch.delenv("DATA_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)  # a config may choose among the folders of data that exist
    kept, now = json.loads(KEPT.read_text())[machine], digests(machine)
    assert now.keys() == kept.keys(), HOW
    assert {name: value for name, value in now.items() if value != kept[name]} == {}, HOW
