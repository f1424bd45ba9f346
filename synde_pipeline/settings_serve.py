"""The knobs of the server: who answers, what is logged, how much it takes on. `settings` puts them into its tree."""

from typing import Literal

from pydantic import Field

from synde_pipeline.settings_slow import Config

Layers = Literal["router", "dual", "context", "weights", "none"]


class ServingConfig(Config):
    """An OpenAI-compatible server in front of the champion and the memory."""

    upstream_url: str | None = Field(default=None, pattern=r"^https?://[^@/?#\s]+(/[^?#\s]*)?$")
    """An OpenAI-compatible server that writes the answers (`http://127.0.0.1:8001/v1`); None lets the local champion
    write them; `SYNDE_UPSTREAM_URL`."""
    upstream_model: str = ""
    """Name of its model; empty hands on what the client asks for; `SYNDE_UPSTREAM_MODEL`."""
    upstream_key_variable: str = "SYNDE_UPSTREAM_KEY"
    """Environment variable that holds its key."""
    upstream_adapters: bool = False
    """Whether it has our adapters, loaded under the names of `synde export --as adapters` on the pinned base; they are
    asked through its `/completions`, with the very tokens of training (vLLM); `SYNDE_UPSTREAM_ADAPTERS`."""
    layers: Layers = "router"
    """What answers: the router decides for each task, or always the same; `SYNDE_SERVE_LAYERS`."""
    domain: str = Field(default="default", pattern=r"^[a-z0-9][a-z0-9_]{0,40}$")
    """Domain of requests that name none, and whose key names none; `SYNDE_SERVE_DOMAIN`."""
    log: bool = True
    """Whether what was answered lands as a log; `SYNDE_SERVE_LOG`."""
    idle_s: float = Field(default=900.0, gt=0)
    """Seconds without a request after which a trace is over; `SYNDE_SERVE_IDLE_S`."""
    max_body_mb: float = Field(default=4.0, gt=0)
    """Of a request's body."""
    max_tokens: int = Field(default=1024, ge=1)
    """Tokens that an answer of the local champion may have."""
    max_running: int = Field(default=64, ge=1)
    """Answers that the local champion writes at once."""
    kept_tokens: int = Field(default=32768, ge=0)
    """Tokens of finished answers that the local champion keeps read (keys and values, in the model's memory), so that
    the next step of an execution reads only what is new; 0 keeps none."""
    max_waiting: int = Field(default=512, ge=1)
    """Requests in work or waiting, beyond which new ones are told to come later (429)."""
    timeout_s: float = Field(default=300.0, gt=0)
    """Seconds after which a request is given up."""
    file_s: float = Field(default=60.0, gt=0)
    """Seconds between two landing files: what is over waits so long in the journal; `SYNDE_SERVE_FILE_S`."""
    poll_s: float = Field(default=1.0, gt=0)
    """Seconds between two looks at what the champion is, and at traces that are over."""
