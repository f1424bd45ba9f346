"""The one error tree. Every message says what was found, what was expected and what to do.

SyndeError
├── InputError          the user's words or files cannot be used           (CLI exit code 2)
├── ImportFormatError   a file is no log format that an importer reads
├── LineageError        an artefact was made from other inputs than these
├── BaseModelError      the base model is missing, or not the pinned one
├── ChatTemplateError   a model's chat template cannot render trajectories as they are
├── EmbedderError       the embedder's package is missing or altered
├── LeaseError          another process holds the training lease
├── RemovalError        a removal is under way, or cannot be done
├── LlmError            a language model did not answer, or not validly
│   ├── LlmBudgetError      the next call could exceed the budget
│   ├── InvalidAnswerError  what the model said cannot be used, repaired or not
│   └── MissingAnswerError  an answer is not in the cache, and new calls are switched off
└── BenchError          a contestant of `synde bench` failed

The command line prints a SyndeError without a traceback; anything else is a bug and keeps its own.
"""


class SyndeError(Exception):
    """Root of all errors that SynDE raises on purpose."""

    def __init__(self, found: str, *, expected: str = "", remedy: str = "") -> None:
        self.found = found
        self.expected = expected
        self.remedy = remedy
        super().__init__(found, expected, remedy)

    def __str__(self) -> str:
        parts = [self.found]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.remedy:
            parts.append(self.remedy)
        return "; ".join(parts)


class InputError(SyndeError, ValueError):
    """The user's words or files cannot be used."""


class ImportFormatError(InputError):
    """A file is in no log format that an importer reads."""


class LineageError(SyndeError):
    """An artefact's recorded inputs are not the ones at hand."""


class BaseModelError(SyndeError):
    """The base model is missing, or it is not the one this warehouse is pinned to."""


class ChatTemplateError(SyndeError):
    """A model's chat template refuses trajectories, or does not keep their contents as they are."""


class EmbedderError(SyndeError):
    """The embedder's package is missing, or its weights are not the published ones."""


class LeaseError(SyndeError):
    """Another living process holds the lease."""


class BenchError(SyndeError):
    """A contestant of `synde bench` failed."""


class RemovalError(SyndeError):
    """A removal is not finished, or cannot be done as asked."""


class LlmError(SyndeError):
    """A language model did not answer, or its answer cannot be used."""


class LlmBudgetError(LlmError):
    """The next call could exceed what may be spent."""


class InvalidAnswerError(LlmError):
    """What the model said cannot be used, not after a repair either."""


class MissingAnswerError(LlmError):
    """An answer is not in the cache, and new calls are switched off."""
