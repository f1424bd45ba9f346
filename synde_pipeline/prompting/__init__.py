"""The one place that turns task, memory, state and history into model input; training, evaluation and serving call it.

`parts` holds what every layout shares, `markers` the layout of our own markers, `template` a model's chat template
taken apart, `chat` the layout made with it, `encoder` the choice between the two.
"""

from synde_pipeline.prompting.encoder import PromptEncoder
from synde_pipeline.prompting.parts import (
    ACT,
    ARGS,
    AVOID,
    CONTROLS,
    END,
    LEARNED,
    MEMORY,
    PAD,
    SEE,
    TASK,
    THINK,
    Said,
    StepSpan,
    Turn,
    Window,
)

__all__ = [
    "ACT",
    "ARGS",
    "AVOID",
    "CONTROLS",
    "END",
    "LEARNED",
    "MEMORY",
    "PAD",
    "SEE",
    "TASK",
    "THINK",
    "PromptEncoder",
    "Said",
    "StepSpan",
    "Turn",
    "Window",
]
