"""`notes`: the notebook of each domain, a pure fold of its runs in canonical order, as of a day.

A run is what it called and met, in words; its label is how it ended. Words of users and replies of tools take no part,
so nothing that somebody wrote into a log can become a sentence.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from synde_pipeline.errors import InputError
from synde_pipeline.llm import Llm, Price, rule_of
from synde_pipeline.memory.edits import quarantined_sources
from synde_pipeline.memory.notes import Example, Learner, RuleLearner
from synde_pipeline.memory.notes_llm import AskFor, LlmLearner, Pricing
from synde_pipeline.memory.notes_text import Wording, n_words
from synde_pipeline.memory.sources import distrust, source_of
from synde_pipeline.records import Reflection, content_hash, place_of, split_of
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.reflection.daily import load_reflections
from synde_pipeline.settings import MemoryConfig, NotesConfig, Settings
from synde_pipeline.storage import Header, Warehouse

ARTEFACT = "notes"
WORDING = Wording("Runs that", whole="Runs in general", labels=("succeed", "fail"))
ENDS = {"success": "succeed", "failure": "fail"}
"""Outcome -> label; other outcomes teach nothing."""
MIN_TASKS = 2
"""Tasks of one window that a new sentence rests on."""


def runs_of(
    reflections: Iterable[tuple[date, Reflection]], as_of: date, *, without_task: str | None = None
) -> list[Reflection]:
    """What notes as of a day may know: runs of `train` tasks that ended one way or the other, in canonical order.

    Args:
        reflections: the day that holds each, any order; of a uid that two days hold (one of them is stale) the one
            known first counts, then that of the earlier day, as in the memory's ledger.
        as_of: later effective days are not seen.
        without_task: task that the notes must know nothing of.
    """
    runs: dict[str, Reflection] = {}
    for _, run in sorted(reflections, key=lambda held: (held[1].effective_day, held[1].trace_uid, held[0])):
        if run.effective_day <= as_of and split_of(run.task_id) == "train":
            runs.setdefault(run.trace_uid, run)
    return [run for run in runs.values() if run.outcome in ENDS and run.task_id != without_task]


def example_of(run: Reflection, weight: float = 1) -> Example:
    """A run in words."""
    said = [f"end in {run.path[-1]}" if run.path else "call no tool"]
    said += [f"call {tool}" for tool in run.path[:-1]]
    said.append("meet a tool error" if run.n_tool_errors else "meet no tool error")
    if run.n_repeated_failures:
        said.append("repeat a failed call")
    if place := place_of(run.scope):
        said.append(f"happen at {place}")
    return Example(frozenset(filter(WORDING.can_say, said)), ENDS[run.outcome], weight)


def notes_of(runs: Sequence[Reflection], config: NotesConfig, ask_for: AskFor | None = None) -> str:
    """Read the runs of one domain, in order, into notes; the last, unfinished window is read too.

    Several trials of a task weigh as much as one: what counts is tasks.

    Raises:
        InputError: a language model should learn, and there is none to ask.
    """
    trials = Counter(run.task_id for run in runs)
    examples = [example_of(run, 1 / trials[run.task_id]) for run in runs]
    size, notes = config.minibatch * config.accumulation, ""
    for start in range(0, len(examples), size):
        learner = _learner(config, [run.trace_uid for run in runs[: start + size]], ask_for)
        notes = learner.learn(notes, list(_parts(examples[start : start + size], config.minibatch)))
    return notes


def _learner(config: NotesConfig, uids: Sequence[str], ask_for: AskFor | None) -> Learner:
    """Who learns; a prompt about a window rests on the runs up to it, so later runs leave its answer valid."""
    if config.engine == "rules":
        return RuleLearner(WORDING, config, MIN_TASKS)
    if ask_for is None:
        raise InputError("notes.engine is llm", expected="a language model to ask", remedy="set it to rules")
    return LlmLearner(WORDING, config, ask_for(uids))


def _parts(items: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


# -- the artefact ---------------------------------------------------------------------------------------------------


def notebook(
    warehouse: Warehouse,
    domain: str,
    as_of: date,
    settings: Settings,
    *,
    without_task: str | None = None,
    ask_for: AskFor | None = None,
) -> str:
    """A domain's notes as of any day, from the reflections in the warehouse."""
    runs = runs_of(trusted(warehouse, as_of, settings.memory), as_of, without_task=without_task)
    return notes_of([run for run in runs if run.domain == domain], settings.notes, ask_for)


def trusted(warehouse: Warehouse, as_of: date, config: MemoryConfig) -> Iterator[tuple[date, Reflection]]:
    """Reflections up to a day, and the days that hold them, but for sources not trusted or shut out by a person."""
    out = quarantined_sources(warehouse, as_of)
    for key in warehouse.keys(REFLECTIONS):
        if key <= str(as_of):
            day = date.fromisoformat(key)
            for run in load_reflections(warehouse, day):
                if not distrust(source_of(run.trace_uid), out, config):
                    yield day, run


def publish_notes(warehouse: Warehouse, settings: Settings, ask_for: AskFor | None = None) -> Header:
    """Write the notes of every domain, as of the last day: Markdown and JSON. Unchanged reflections cost nothing.

    Raises:
        InputError: a language model should learn, and there is none to ask.
    """
    config = settings.notes
    inputs, rule = _made_from(warehouse, settings)
    known = warehouse.header(ARTEFACT, "")
    if known is not None and known.inputs == inputs and known.info["rule"] == rule:
        return known
    pages = {
        domain: page_of(domain, runs, notes_of(runs, config, ask_for))
        for domain, runs in _by_domain(warehouse, settings).items()
    }

    def write(folder: Path) -> None:
        for domain, page in pages.items():
            (folder / f"{domain}.json").write_text(json.dumps(page, indent=1, ensure_ascii=False), "utf-8")
            (folder / f"{domain}.md").write_text(markdown(page), "utf-8")

    def describe(_: Path) -> Header:
        counts = {"domains": len(pages), "sentences": sum(len(page["sentences"]) for page in pages.values())}
        hashed = content_hash({"pages": pages, "rule": rule})
        info = {"rule": rule, "domains": list(pages)}
        return Header(artefact=ARTEFACT, key="", content_hash=hashed, inputs=inputs, counts=counts, info=info)

    return warehouse.publish_folder(ARTEFACT, "", write, describe)


def price_of_notes(warehouse: Warehouse, settings: Settings, llm: Llm) -> Price:
    """What the notes of every domain would cost at most by new calls."""
    price = Price()
    for runs in _by_domain(warehouse, settings).values() if settings.notes.engine == "llm" else ():
        pricing = Pricing(llm, settings.notes)
        notes_of(runs, settings.notes, pricing.ask_for)
        price += pricing.price
    return price


def _made_from(warehouse: Warehouse, settings: Settings) -> tuple[dict[str, str], dict[str, Any]]:
    """The inputs of the notes, and the settings that they follow."""
    headers = {key: header for key in warehouse.keys(REFLECTIONS) if (header := warehouse.header(REFLECTIONS, key))}
    return {REFLECTIONS: content_hash({key: header.content_hash for key, header in headers.items()})}, {
        "config": settings.notes.model_dump(mode="json"),
        "trust": settings.memory.model_dump(mode="json", include={"trust", "min_trust", "guards"}),
        "quarantined": sorted(quarantined_sources(warehouse, date.max)),
        "llm": rule_of(settings.llm) if settings.notes.engine == "llm" else {},
    }


def _by_domain(warehouse: Warehouse, settings: Settings) -> dict[str, list[Reflection]]:
    """All runs that the notes may know, in canonical order."""
    domains: dict[str, list[Reflection]] = {}
    for run in runs_of(trusted(warehouse, date.max, settings.memory), date.max):
        domains.setdefault(run.domain, []).append(run)
    return dict(sorted(domains.items()))


def page_of(domain: str, runs: Sequence[Reflection], notes: str) -> dict[str, Any]:
    """Notes as a JSON value: what they rest on, and each sentence taken apart."""
    rules = [WORDING.read(line) for line in notes.splitlines()]
    return {
        "domain": domain,
        "as_of": str(max(run.effective_day for run in runs)),
        "n_runs": len(runs),
        "n_tasks": len({run.task_id for run in runs}),
        "n_words": n_words(notes),
        "sentences": [
            {"text": line, **({} if not rule else asdict(rule[0]))}
            for line, rule in zip(notes.splitlines(), rules, strict=True)
        ],
    }


def markdown(page: dict[str, Any]) -> str:
    """Notes as people read them."""
    lines = [f"# Notes: {page['domain']}", ""]
    about = f"As of {page['as_of']}: {page['n_runs']} runs of {page['n_tasks']} tasks."
    lines += [f"{about} In brackets: tasks; older ones may count less.", ""]
    lines += [f"- {_escaped(sentence['text'])}" for sentence in page["sentences"]] or ["Nothing yet."]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", text)
