"""`llm_cache`: every valid answer by the hash of its request. Part of the warehouse: given it, the laws hold."""

from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from synde_pipeline.storage import Warehouse, write_atomically

ARTEFACT = "llm_cache"


class Answer(BaseModel):
    """A valid answer and what it took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    """JSON, as the model wrote it."""
    model: str
    sources: tuple[str, ...]
    calls: int
    """2 where the first answer had to be repaired."""
    tokens_in: int
    tokens_out: int


def read_answer(warehouse: Warehouse, key: str) -> Answer | None:
    """The answer under a key; None where there is none."""
    path = _path(warehouse, key)
    try:
        return Answer.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_answer(warehouse: Warehouse, key: str, answer: Answer) -> None:
    """Keep an answer, whole or not at all."""
    write_atomically(_path(warehouse, key), answer.model_dump_json(indent=1))


def purge_answers(warehouse: Warehouse, uids: Collection[str]) -> int:
    """Remove the answers to prompts that held any of these trajectories; returns how many there were.

    What cannot be read goes too: nobody can tell whose it was, and nobody will use it.
    """
    n = 0
    for path in sorted((warehouse.root / ARTEFACT).glob("*/*.json")):
        answer = read_answer(warehouse, path.stem)
        if answer is None or set(uids) & set(answer.sources):
            path.unlink()
            n += 1
    return n


def _path(warehouse: Warehouse, key: str) -> Path:
    return warehouse.root / ARTEFACT / key[:2] / f"{key}.json"
