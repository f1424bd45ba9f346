"""A server that names the colour that it is asked for, and clients of it."""

import json

import pytest

from synde_pipeline.llm import Llm
from synde_pipeline_tests.llm.colours import KEY, config
from synde_pipeline_tests.llm_server import serving


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("SYNDE_LLM_KEY", KEY)
    with serving(lambda body: json.dumps({"name": body["messages"][1]["content"]})) as found:
        yield found


@pytest.fixture
def ask_with(server, warehouse):
    """A client of these settings, after the server was told its next moves."""
    return lambda *moves, **values: (server.moves.extend(moves), Llm(warehouse, config(server, **values)))[1]
