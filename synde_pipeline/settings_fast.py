"""The knobs of the fast layer: what reads a log, what becomes a memory item, how many are shown, and the notes.

`settings` puts them into one tree with the others and reads them from the environment.
"""

from typing import Literal

from pydantic import Field

from synde_pipeline.settings_slow import Config


class LlmConfig(Config):
    """An OpenAI-compatible endpoint. Its key is read from the environment when it is called, and stored nowhere."""

    base_url: str | None = Field(default=None, pattern=r"^https?://[^@/?#\s]+(/[^?#\s]*)?$")
    """`http://127.0.0.1:8000/v1`, without credentials; None is no endpoint; `SYNDE_LLM_URL`."""
    model: str = ""
    """Name of the model at the endpoint; `SYNDE_LLM_MODEL`."""
    key_variable: str = "SYNDE_LLM_KEY"
    """Environment variable that holds the key."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_output_tokens: int = Field(default=1024, ge=16)
    concurrency: int = Field(default=4, ge=1)
    """Requests in flight at once."""
    attempts: int = Field(default=5, ge=1)
    """Tries of one request: rate limits, server errors and time-outs are tried again with growing pauses."""
    pause_s: float = Field(default=0.5, gt=0)
    """Pause before the second try; it doubles from try to try, and half of it is left to chance. A server's
    `Retry-After` is stronger."""
    timeout_s: float = Field(default=60.0, gt=0)
    is_offline: bool = False
    """No new calls: only answers that are in the cache; `SYNDE_NO_LLM`."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens (prompt and answer) that one run may spend; None is no limit. Answers from the cache cost nothing."""
    max_cost: float | None = Field(default=None, gt=0)
    """Money that one run may spend, in the currency of the prices."""
    price_in: float = Field(default=0.0, ge=0)
    """Price of a million prompt tokens."""
    price_out: float = Field(default=0.0, ge=0)
    """Price of a million answer tokens."""
    price_embedding: float | None = Field(default=None, ge=0)
    """Price of a million embedded tokens; None takes `price_in`."""


class ReflectionConfig(Config):
    """Who reads a trajectory."""

    engine: Literal["rules", "llm"] = "rules"
    """`rules` is offline and deterministic; `llm` asks the endpoint of `LlmConfig`; `SYNDE_REFLECTOR`."""
    judge: Literal["off", "rules", "llm"] = "off"
    """Who judges runs whose outcome the log does not say; `SYNDE_JUDGE`. Off: they stay unknown. `rules` was right in
    .55 of 432 recorded runs, where always saying success would have been right in .58."""
    max_steps: int = Field(default=40, ge=4)
    """Steps of a trajectory that a prompt shows: the first and the last ones of longer runs."""
    second_look: bool = False
    """Whether the model checks its first reflection against the run (ReasoningBank's sequential scaling)."""
    trials: int = Field(default=4, ge=0)
    """Trials of one task, successful and failed, that the model contrasts in one reflection (ReasoningBank's parallel
    scaling); below 2 it is not asked. The rules contrast all trials, without asking."""


class MemoryConfig(Config):
    """What becomes an item, how long it stays, and how many are shown."""

    embedder: str = Field(default="minilm", pattern=r"^(minilm|hashing|st:.+|openai:.+)$")
    """`minilm` is all-MiniLM-L6-v2 (384-d, real); `hashing` a bag of hashed words for fast tests; `st:<path>` a
    sentence-transformers folder; `openai:<model>` the embeddings of the endpoint in `LlmConfig`."""
    min_tasks: int = Field(default=2, ge=1)
    """Distinct tasks that must support an item before it is shown: one task's accident is no lesson."""
    top_k: int = Field(default=3, ge=0)
    """Items shown to the agent; the paper's case study (section 10.3) uses three."""
    max_contrasts: int = Field(default=6, ge=0)
    """Contrast items (successful against failed runs) kept per group of similar tasks."""
    same: float = Field(default=0.75, gt=0, le=1)
    """Cosine of `dedupe_text` to its medoid's from which on an item says the same, unless `memory.distinct` objects."""
    retire: float = Field(default=0.95, gt=0.5, lt=1)
    """Posterior probability, that runs do worse with the item than without, from which on it is retired."""
    max_tokens: int = Field(default=80_000, ge=1)
    """Tokens of the active items of a domain; beyond it the lowest ranked ones are archived."""
    trust: dict[str, float] = Field(default_factory=dict)
    """Source system (the part of `trace_uid` before the colon) -> trust in 0..1. `*` is every other one: 1 unless it is
    given. `served` is all that a server answered: 0 unless it, or `served-<key's name>`, is given. Who can make up
    sources gets round a list of bad ones: name the good ones, and `*`."""
    min_trust: float = Field(default=0.5, ge=0, le=1)
    """Least trust of an active item: the minimum over its sources."""
    guards: bool = True
    """Whether lessons that read like attacks and untrusted sources stay out; off only to measure what guards are
    worth."""
    recall_tokens: int | None = Field(default=None, ge=1)
    """Tokens that the items of one answer may have together; None leaves it to `top_k`."""
    distinct: float = Field(default=0.95, gt=0, le=1)
    """Cosine from which on two items are too alike to be shown together."""


class NotesConfig(Config):
    """The notebook of a domain (In-Memory Learning, seed document; theory notes C)."""

    engine: Literal["rules", "llm"] = "rules"
    minibatch: int = Field(default=8, ge=1)
    """Trajectories of one induction."""
    accumulation: int = Field(default=4, ge=1)
    """Minibatches whose inductions are collected before one revision."""
    momentum: float = Field(default=0.5, ge=0, le=1)
    """Share of the old notes' first words that a revision keeps verbatim."""
    evidence_carry: float = Field(default=0.9, ge=0, le=1)
    """Share of the old notes' counts that a revision carries on; ours, not the paper's. Forgetting a tenth costs
    up to .02 accuracy where nothing changes and wins .3 to .4 where the truth does; with an accumulation of 1 and many
    wrong labels it costs far more (DECISIONS.md, 2026-11-28)."""
    max_words: int = Field(default=140, ge=20)
    """Words that the notes of a domain may have."""
    in_prompt: bool = False
    """Whether recall shows the notebook behind the items, to tasks of the splits `gate` and `report` and to agents that
    serve; from the next time that the notes are published."""
