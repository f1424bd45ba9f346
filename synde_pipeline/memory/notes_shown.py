"""Notes in prompts: the notebook of a domain as an item of recall, where `notes.in_prompt` was set when it was written.

Notes are learned from `train` tasks alone and cannot leave one of them out at a bearable price, so only tasks of other
splits and tasks that have no id (an agent that serves) are shown them: there the split keeps law 2.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import date

from synde_pipeline.errors import MissingAnswerError
from synde_pipeline.llm import Llm
from synde_pipeline.memory.notebook import ARTEFACT, notes_of, runs_of, trusted
from synde_pipeline.memory.notes_llm import asking
from synde_pipeline.records import MemoryItem, content_hash, split_of
from synde_pipeline.settings import LlmConfig, MemoryConfig, NotesConfig
from synde_pipeline.storage import Warehouse

_MOST = 256
"""Notebooks that are kept at hand."""


@dataclass(frozen=True)
class ShownNotes:
    """The notebooks of a warehouse as of any day, learned as the published ones were."""

    warehouse: Warehouse
    memory: MemoryConfig
    config: NotesConfig
    llm: LlmConfig
    """Of the published notes, without new calls: a day that the model was not asked about shows no notes."""
    uids: frozenset[str] | None = None
    """Runs that are known; None is all."""
    _read: dict[tuple[str, date], str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, warehouse: Warehouse, memory: MemoryConfig) -> "ShownNotes | None":
        """None where no notes are published, or they are not for prompts."""
        header = warehouse.header(ARTEFACT, "")
        if header is None:
            return None
        config = NotesConfig.model_validate(header.info["rule"]["config"])
        llm = LlmConfig.model_validate({**header.info["rule"]["llm"], "is_offline": True})
        return cls(warehouse, memory, config, llm) if config.in_prompt else None

    def among(self, uids: Collection[str]) -> "ShownNotes":
        """The notebooks as they were when nothing but these runs was known."""
        return replace(self, uids=frozenset(uids), _read={})

    def item(self, domain: str, as_of: date, without_task: str | None) -> MemoryItem | None:
        """The notebook to show for a task; None where there is none, or where it could hold the task's own lesson."""
        if without_task is not None and split_of(without_task) == "train":
            return None
        if (domain, as_of) not in self._read:
            if len(self._read) >= _MOST:
                self._read.clear()
            self._read[domain, as_of] = self._notes(domain, as_of)
        text = self._read[domain, as_of]
        return _item(domain, text) if text else None

    def _notes(self, domain: str, as_of: date) -> str:
        found = [run for run in runs_of(trusted(self.warehouse, as_of, self.memory), as_of) if run.domain == domain]
        runs = [run for run in found if self.uids is None or run.trace_uid in self.uids]
        try:
            return notes_of(runs, self.config, asking(Llm(self.warehouse, self.llm)))
        except MissingAnswerError:
            return ""


def notebook_id(domain: str) -> str:
    """Id of the item that a domain's notebook is shown as."""
    return content_hash([domain, "note", "notebook"])[:16]


def _item(domain: str, text: str) -> MemoryItem:
    return MemoryItem(
        item_id=notebook_id(domain),
        domain=domain,
        kind="note",
        scope="",
        title="Notes on earlier runs",
        description="What runs that succeed and runs that fail have in common.",
        content=" ".join(text.splitlines()),
        supports=(),
    )
