"""The embedded base model's tokenizer: one piece a world's word, two a place's name, bytes for everything else."""

from typing import Any

from synde_pipeline.prompting import AVOID, CONTROLS, PAD
from synde_pipeline.simulation.worlds.base import FIRSTS, SECONDS
from synde_pipeline.simulation.worlds.registry import words

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role in ('system', 'user') and loop.first -%}<|task|>{{ message.content }}"
    "{%- elif message.role == 'system' -%}<|memory|>{{ message.content }}"
    "{%- elif message.role == 'assistant' -%}<|think|>{{ message.content }}<|end|>"
    "{%- else -%}<|see|>{{ message.content }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|think|>{%- endif -%}"
)
"""Task first, then memory (a second system message), then observations and turns, as `prompting` lays them out."""

_PRINTABLE = [chr(code) for code in range(32, 127)]


def build_tokenizer() -> Any:
    """A fast Hugging Face tokenizer over fixed pieces; every UTF-8 text round-trips.

    The pieces are given, not learned: all score alike, so the shortest split wins (Viterbi), a name is always its two
    syllables, and what no piece covers becomes its bytes. A literal `<|act|>` in a text is spelled in characters: the
    control tokens are no pieces.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    whole = [piece for piece in pieces() if len(piece) > 1]
    vocabulary = [(PAD, 0.0)] + [(f"<0x{byte:02X}>", -30.0) for byte in range(256)]
    vocabulary += [(char, -10.0) for char in _PRINTABLE] + [(piece, -5.0) for piece in whole]
    tokenizer = Tokenizer(models.Unigram(vocabulary, 0, True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])  # type: ignore[assignment]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in (PAD, *CONTROLS, AVOID)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=CONTROLS[-1],
        additional_special_tokens=[*CONTROLS, AVOID],
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def pieces() -> list[str]:
    """Texts that are one token: words, words with the blank behind them, syllables, and the two halves of a value.

    A blank belongs to the word before it, so that a name or a tool is the same token wherever it stands.
    """
    texts = words()
    numbers = [f"{k}" for k in range(10, 100)] + [f".{k}" for k in range(10, 100)]
    joints = [": ", " on ", " in ", " from ", "of ", "for ", ", "]
    every = [*texts, *(f"{text} " for text in texts), *FIRSTS, *SECONDS, *numbers, *joints]
    return list(dict.fromkeys(every))
