"""What these tests ask for: a colour."""

from pydantic import BaseModel, ConfigDict

from synde_pipeline.llm import Message, Request
from synde_pipeline.settings import LlmConfig
from synde_pipeline_tests.llm_server import Server

KEY = "wx-9f8e7d6c5b4a-secret"
GOOD = '{"name": "red"}'


class Colour(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str


def request(text: str = "which?", uid: str = "test:1") -> Request[Colour]:
    return Request((Message("system", "You name colours."), Message("user", text)), Colour, (uid,))


def config(server: Server, **values) -> LlmConfig:
    return LlmConfig(**({"base_url": server.url, "model": "small", "pause_s": 0.001, "timeout_s": 5} | values))
