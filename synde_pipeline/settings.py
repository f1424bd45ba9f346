"""Every knob, with its unit, its default and where the default comes from. Read once from the environment by `load`.

A knob that changes what is learned is part of the lineage of what it changed; paths and machine limits are not.
"""

import json
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from synde_pipeline.errors import InputError
from synde_pipeline.settings_fast import LlmConfig, MemoryConfig, NotesConfig, ReflectionConfig
from synde_pipeline.settings_gate import GateConfig
from synde_pipeline.settings_serve import ServingConfig
from synde_pipeline.settings_slow import (
    PRESETS,
    BufferConfig,
    Config,
    MachineConfig,
    ModelsConfig,
    PretrainConfig,
    TrainingConfig,
)


class PromptConfig(Config):
    """How much of a trajectory one model input holds."""

    window: int = Field(default=1024, ge=256)
    """Context window in tokens, for training and evaluation alike."""
    max_observation: int = Field(default=160, ge=8)
    """Tokens kept of one observation; the middle of a longer one is elided, and the cut is counted."""
    max_action: int = Field(default=160, ge=8)
    """Tokens kept of one action or its reasoning."""
    max_header: int = Field(default=384, ge=16)
    """Tokens kept of task and memory together."""


class EvaluationConfig(Config):
    """Reports: offline replay, or acting in the worlds."""

    min_tasks: int = Field(default=10, ge=2)
    """Tasks below which an arm's numbers are not printed."""
    bootstrap: int = Field(default=2000, ge=100)
    """Resamples of the task-clustered bootstrap."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    seed: int = 0
    ks: tuple[int, ...] = (1,)
    """Numbers of memory items of the table by k, beside none and `memory.top_k`; larger ones are passed over."""
    side_tasks: int = Field(default=24, ge=0)
    """Tasks of each side measurement (another k, places never visited, a cycle's set for retention) and texts of the
    base's own; 0 makes none."""
    retention_sets: int = Field(default=8, ge=1)
    """Earlier cycles' task sets that a model is tried on: the oldest, the newest and some between."""


class SimulationConfig(Config):
    """The embedded worlds: who lives in them, how hard they are, and how much an evaluation tries.

    A warehouse with this group is a laboratory: its cycles are evaluated by acting, not by replaying logs.
    """

    seed: int = Field(default=1, ge=0)
    """Of places, conventions, tasks and sampling."""
    episodes_per_day: int = Field(default=96, ge=1)
    places: int = Field(default=24, ge=2)
    """Sites, repositories and notebooks on the first day: half of them sites, a quarter each of the others."""
    new_places_per_day: int = Field(default=0, ge=0)
    """Places that open on each later day."""
    n_facts: int = Field(default=4, ge=2, le=6)
    """Facts about its place that a task needs."""
    transient_rate: float = Field(default=0.0, ge=0, lt=1)
    decoy_rate: float = Field(default=0.0, ge=0, le=1)
    drift_day: int | None = Field(default=None, ge=2)
    """Day from which on `drift_share` of the conventions are other ones; None leaves them as they are."""
    drift_share: float = Field(default=0.5, gt=0, le=1)
    gate_tasks: int = Field(default=288, ge=2)
    """Tasks of the split `gate` that decide on one cycle: a gain of .08 is shown with 98 % at the tenth cycle, with 96
    tasks 37 % (DECISIONS.md)."""
    report_tasks: int = Field(default=96, ge=2)
    """Tasks of the split `report` that each arm of a cycle's report tries."""


Guard = Literal["namespaces", "limits"]
"""What generated code is run behind; see `studies.benchmarks.sandbox`."""


class BenchmarksConfig(Config):
    """What `synde study benchmarks` measures: other people's files and environments, named by the user."""

    humaneval: Path | None = None
    """`HumanEval.jsonl` or `.jsonl.gz`; `SYNDE_HUMANEVAL`."""
    webarena: Path | None = None
    """WebArena's task configs (`test.raw.json`); `SYNDE_WEBARENA`."""
    swebench: Path | None = None
    """Folder of a SWE-bench report and the trajectories beside it; `SYNDE_SWEBENCH`."""
    environment: str | None = None
    """Name of an entry point in the group `synde.environments`; `SYNDE_ENVIRONMENT`."""
    sandbox: Guard = "namespaces"
    """`limits` runs generated code where this machine permits no namespaces: it bounds resources, and nothing keeps the
    code from your files and the network; `SYNDE_SANDBOX`."""
    max_tasks: int | None = Field(default=None, ge=1)
    """Tasks of each split, the first ones by hash; None takes all; `SYNDE_BENCHMARK_TASKS`."""


class Settings(Config):
    """All knobs of one warehouse."""

    home: Path = Path("data")
    """Holds `warehouse/` and `dagster_home/`; `SYNDE_HOME`."""
    start_day: date = date(2023, 1, 1)
    """First daily partition; `SYNDE_START_DAY`."""
    base_model: str | None = None
    """Hugging Face id or path of the base; None builds a small one from the logs; `SYNDE_BASE_MODEL`."""
    base_revision: str | None = None
    """Revision of a base given by id; `SYNDE_BASE_REVISION`."""
    replay_data: Path | None = None
    """Texts (.jsonl or .txt) that stand for the base's own data in `training.base_replay`; None samples them from the
    base. `SYNDE_REPLAY_DATA`; what counts is their content, not the path."""
    llm: LlmConfig = LlmConfig()
    reflection: ReflectionConfig = ReflectionConfig()
    memory: MemoryConfig = MemoryConfig()
    notes: NotesConfig = NotesConfig()
    prompt: PromptConfig = PromptConfig()
    pretrain: PretrainConfig = PretrainConfig()
    buffer: BufferConfig = BufferConfig()
    training: TrainingConfig = TrainingConfig()
    models: ModelsConfig = ModelsConfig()
    machine: MachineConfig = MachineConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    benchmarks: BenchmarksConfig = BenchmarksConfig()
    gate: GateConfig = GateConfig()
    serving: ServingConfig = ServingConfig()
    simulation: SimulationConfig | None = None
    """Set by `synde demo` and by studies; None for users' logs."""

    @property
    def warehouse(self) -> Path:
        """Folder of all artefacts."""
        return self.home / "warehouse"

    def without_calls(self) -> "Settings":
        """The same knobs, and no new calls of a language model."""
        return self.model_copy(update={"llm": self.llm.model_copy(update={"is_offline": True})})

    @property
    def dagster_home(self) -> Path:
        """Folder of Dagster's history."""
        return self.home / "dagster_home"


# Environment variable -> path of the knob it sets. Everything else is set in code (tests, studies).
ENVIRONMENT = {
    "SYNDE_HOME": ("home",),
    "SYNDE_START_DAY": ("start_day",),
    "SYNDE_MAX_LINE_MB": ("machine", "max_line_mb"),
    "SYNDE_BASE_MODEL": ("base_model",),
    "SYNDE_BASE_REVISION": ("base_revision",),
    "SYNDE_REPLAY_DATA": ("replay_data",),
    "SYNDE_EMBEDDER": ("memory", "embedder"),
    "SYNDE_REFLECTOR": ("reflection", "engine"),
    "SYNDE_LLM_URL": ("llm", "base_url"),
    "SYNDE_JUDGE": ("reflection", "judge"),
    "SYNDE_LLM_MODEL": ("llm", "model"),
    "SYNDE_LLM_MAX_TOKENS": ("llm", "max_tokens"),
    "SYNDE_LLM_MAX_COST": ("llm", "max_cost"),
    "SYNDE_LLM_PRICE_IN": ("llm", "price_in"),
    "SYNDE_LLM_PRICE_OUT": ("llm", "price_out"),
    "SYNDE_LLM_PRICE_EMBEDDING": ("llm", "price_embedding"),
    "SYNDE_NO_LLM": ("llm", "is_offline"),
    "SYNDE_TOP_K": ("memory", "top_k"),
    "SYNDE_WINDOW": ("prompt", "window"),
    "SYNDE_CYCLE_THRESHOLD": ("buffer", "threshold"),
    "SYNDE_PRETRAIN_STEPS": ("pretrain", "max_steps"),
    "SYNDE_TRAINING_EPOCHS": ("training", "epochs"),
    "SYNDE_HUMANEVAL": ("benchmarks", "humaneval"),
    "SYNDE_WEBARENA": ("benchmarks", "webarena"),
    "SYNDE_SWEBENCH": ("benchmarks", "swebench"),
    "SYNDE_ENVIRONMENT": ("benchmarks", "environment"),
    "SYNDE_SANDBOX": ("benchmarks", "sandbox"),
    "SYNDE_BENCHMARK_TASKS": ("benchmarks", "max_tasks"),
    "SYNDE_UPSTREAM_URL": ("serving", "upstream_url"),
    "SYNDE_UPSTREAM_MODEL": ("serving", "upstream_model"),
    "SYNDE_UPSTREAM_ADAPTERS": ("serving", "upstream_adapters"),
    "SYNDE_SERVE_LAYERS": ("serving", "layers"),
    "SYNDE_SERVE_DOMAIN": ("serving", "domain"),
    "SYNDE_SERVE_LOG": ("serving", "log"),
    "SYNDE_SERVE_IDLE_S": ("serving", "idle_s"),
    "SYNDE_SERVE_FILE_S": ("serving", "file_s"),
}


SETTINGS_FILE = "settings.json"
"""File in a home that holds its own settings; the environment is stronger."""


def load(home: Path | None = None) -> Settings:
    """Read the settings from the home's `settings.json`, where there is one, and from the environment.

    Args:
        home: None takes `SYNDE_HOME`.

    Raises:
        InputError: a variable holds a value outside its range, or names an unknown preset; the file cannot be read.
    """
    values = _stored(home or Path(os.environ.get("SYNDE_HOME") or "data"))
    preset = os.environ.get("SYNDE_TRAINING_PRESET")
    if preset:
        if preset not in PRESETS:
            raise InputError(
                f"SYNDE_TRAINING_PRESET is {preset!r}", expected=" or ".join(PRESETS), remedy="set one of these names"
            )
        values["training"] = PRESETS[preset].model_dump()
    for variable, path in ENVIRONMENT.items():
        text = os.environ.get(variable)
        if not text:
            continue
        group = values
        for name in path[:-1]:
            group = group.setdefault(name, {})
        group[path[-1]] = text
    if home is not None:
        values["home"] = home
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = tuple(str(part) for part in first["loc"])
        variable = next((v for v, path in ENVIRONMENT.items() if path == where), ".".join(where))
        raise InputError(
            f"{variable} is {first['input']!r}", expected=first["msg"], remedy="mend or unset the variable"
        ) from error


def with_overrides(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Settings with some values changed; a group of knobs is changed value by value, anything else as a whole.

    Raises:
        InputError: a change names no setting, or is outside its range.
    """
    if not isinstance(changes, Mapping):
        raise InputError(f"the overrides are {changes!r}", expected="settings by name, as in settings.json")
    if not changes:
        return settings
    try:
        return Settings.model_validate(_changed(settings, changes))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"the override {where} is {first['input']!r}", expected=first["msg"]) from error


def _changed(group: BaseModel, changes: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(group)
    for name, value in changes.items():
        held = found.get(name)
        found[name] = _changed(held, value) if isinstance(held, BaseModel) and isinstance(value, Mapping) else value
    return found


def _stored(home: Path) -> dict[str, Any]:
    path = home / SETTINGS_FILE
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
        Settings.model_validate(found)
    except (OSError, ValueError) as error:  # a ValidationError is a ValueError
        raise InputError(
            f"{path} holds no settings ({type(error).__name__})",
            expected="the JSON object that `synde demo` writes",
            remedy="mend or remove the file",
        ) from error
    return found
