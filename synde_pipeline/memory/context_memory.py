"""`ContextMemory`: what an agent's own code needs of the memory: add a lesson, recall some, look back to a day.

memory = ContextMemory("data")
memory.add("Ask for the member's name first.", domain="library", title="Who is calling")
memory.recall("Please renew my loan.", domain="library")
memory.as_of(date(2025, 1, 14)).items()
"""

import os
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from synde_pipeline.memory.editor import apply_edits, checked_domain, every_item, find_item, item_id_of, today
from synde_pipeline.memory.edits import adding, lesson_of
from synde_pipeline.memory.live import LiveMemory
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.records import Kind, MemoryItem
from synde_pipeline.settings import Settings, load
from synde_pipeline.storage import Warehouse


@dataclass(frozen=True)
class MemoryView:
    """The memory as it was known on a day; nothing can be changed in it."""

    memory: Memory = field(repr=False)
    day: date

    def recall(self, task: str, domain: str, *, scope: str = "", k: int | None = None) -> list[MemoryItem]:
        """The items to show an agent before a task, best first.

        Args:
            task: as the agent sees it.
            domain: only items of this domain.
            scope: where the task is (`site:zormek`); what holds elsewhere is left out.
            k: how many; None takes the settings'.
        """
        return self.memory.recall(task, domain=domain, as_of=self.day, scope=scope, top_k=k)

    def items(self, domain: str | None = None, *, inactive: bool = False) -> list[MemoryItem]:
        """All active items, of one domain or of all; with `inactive` the others too."""
        bank = self.memory.bank(self.day)
        found = every_item(bank) if inactive else bank.items
        return [item for item in found if domain in (None, item.domain)]


class ContextMemory:
    """The memory of a warehouse.

    Args:
        home: a folder, its settings, or a warehouse; None takes the environment's (`SYNDE_HOME`).
    """

    def __init__(self, home: str | os.PathLike[str] | Settings | Warehouse | None = None) -> None:
        if isinstance(home, Warehouse):
            home = home.root.parent
        self.settings = home if isinstance(home, Settings) else load(Path(home) if home is not None else None)
        """Settings of the warehouse."""
        self.warehouse = Warehouse(self.settings.warehouse)
        """Where the memory lies."""
        self._live = LiveMemory(self.warehouse, self.settings.memory)

    def add(
        self, content: str, *, domain: str, title: str, description: str = "", kind: Kind = "strategy", scope: str = ""
    ) -> MemoryItem:
        """Add a lesson on a person's word: active at once, known from today on, undone by `synde memory retire`.

        Raises:
            InputError: title or content is empty, or too long, or the name of the domain or scope is none.
        """
        lesson = lesson_of(kind=kind, scope=scope, title=title, description=description, content=content)
        apply_edits(self.warehouse, self.settings, [adding(lesson, checked_domain(domain))])
        return find_item(self._live.current().bank(today()), item_id_of(lesson, domain))

    def recall(
        self, task: str, domain: str, *, scope: str = "", as_of: date | None = None, k: int | None = None
    ) -> list[MemoryItem]:
        """The items to show an agent before a task, best first, as known on a day, by default today."""
        return self.as_of(as_of).recall(task, domain, scope=scope, k=k)

    def items(self, domain: str | None = None, *, inactive: bool = False) -> list[MemoryItem]:
        """All active items as known today; with `inactive` the others too."""
        return self.as_of().items(domain, inactive=inactive)

    def as_of(self, day: date | None = None) -> MemoryView:
        """The memory as it was known on a day, by default today."""
        return MemoryView(self._live.current(), day or today())
