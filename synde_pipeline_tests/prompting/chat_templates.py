"""Chat templates of our own in the style of the families that are around, and a small tokenizer for each."""

from dataclasses import dataclass
from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Family:
    """A template, its control tokens, and what a test must know of how it writes."""

    template: str
    special: tuple[str, ...]
    end_of_turn: str
    around_reasoning: tuple[str, str] = ("", "\n\n")
    marks: tuple[str, ...] = ()
    """Added tokens that are not special, as thinking models have them."""
    has_system: bool = True
    is_stable: bool = True


CHATML = Family(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
)
HEADERS = Family(  # trims, and prints the date
    "{{ bos_token }}{% if messages[0].role != 'system' %}{{ raise_exception('who am I') }}{% endif %}"
    "{% for m in messages %}<|head|>{{ m.role }}<|body|>\n\n"
    "{% if loop.first %}Today is {{ strftime_now('%d %b %Y') if strftime_now is defined else 'unknown' }}.\n{% endif %}"
    "{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|head|>assistant<|body|>\n\n{% endif %}",
    ("<|begin|>", "<|head|>", "<|body|>", "<|eot|>"),
    "<|eot|>",
)
INST = Family(  # strict alternation, no system turn, blanks around
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must take turns') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} </s>{% endif %}{% endfor %}",
    ("<s>", "</s>"),
    " </s>",
    around_reasoning=(" ", "\n\n"),
    has_system=False,
)
TURNS = Family(  # no system turn, another name for the assistant, trims
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "{% for m in messages %}<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}</turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}",
    ("<bos>", "<turn>", "</turn>"),
    "</turn>",
    has_system=False,
)
LATE_SYSTEM = Family(  # shows the system turn with the last user turn
    "{{ bos_token }}{% set ns = namespace(s='', last=0) %}{% for m in messages %}"
    "{% if m.role == 'system' %}{% set ns.s = m.content ~ '\\n' %}{% endif %}"
    "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ ns.s if loop.index0 == ns.last }}{{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %}{{ m.content }}</s>{% endif %}{% endfor %}",
    ("<s>", "</s>", "[INST]", "[/INST]"),
    "</s>",
    has_system=False,
)
THINKING = Family(  # earlier turns lose their reasoning, the last one always has a place for it
    "{% set ns = namespace(last=0) %}{% for m in messages %}"
    "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.index0 > ns.last %}"
    "<think>\n{{ (m.reasoning_content or '').strip('\\n') }}\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
    around_reasoning=("<think>\n", "\n</think>\n\n"),
    marks=("<think>", "</think>"),
    is_stable=False,
)
KEEPS_THINKING = Family(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>{{ m.reasoning_content }}"
    "</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
    around_reasoning=("<think>", "</think>"),
    marks=("<think>", "</think>"),
)
PLAIN = Family(  # no control token at all: the line break ends a turn
    "{% for m in messages %}## {{ m.role }}\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}## assistant\n{% endif %}",
    (),
    "\n",
)

FAMILIES = {
    "chatml": CHATML,
    "headers": HEADERS,
    "inst": INST,
    "turns": TURNS,
    "late_system": LATE_SYSTEM,
    "thinking": THINKING,
    "keeps_thinking": KEEPS_THINKING,
    "plain": PLAIN,
}

_LOOP = "{% for m in messages %}<|im_start|>{{ m.role }}\n%s<|im_end|>\n{% endfor %}"
_OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
UNUSABLE = {
    "shouts": _LOOP.replace("%s", "{{ m.content | upper }}") + _OPEN,
    "escapes": _LOOP.replace("%s", "{{ m.content | tojson }}") + _OPEN,
    "escapes for a page": _LOOP.replace("%s", "{{ m.content | escape }}") + _OPEN,
    "repeats": _LOOP.replace("%s", "{{ m.content }}{{ m.content }}") + _OPEN,
    "joins lines": _LOOP.replace("%s", "{{ m.content.split() | join(' ') }}") + _OPEN,
    "shortens": _LOOP.replace("%s", "{{ m.content[:8] }}") + _OPEN,
    "forgets": _LOOP.replace("%s", "{{ m.content if loop.last }}") + _OPEN,
    "refuses": "{{ raise_exception('not today') }}",
    "is broken": "{% for m in messages %}",
    "always opens a thought and never shows one": _LOOP.replace("%s", "{{ m.content }}")
    + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
    "says too much": "many words " * 400 + _LOOP.replace("%s", "{{ m.content }}") + _OPEN,
}


@cache
def chat_tokenizer(name: str = "chatml") -> PreTrainedTokenizerFast:
    """Byte-level BPE with a family's control tokens and template and no marker of ours; no more tokens than `tiny`."""
    family = FAMILIES.get(name, CHATML)
    words = "user system assistant library: please renew my loan find_member get_loan reply error card not found done"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([words] * 3, trainer)
    bpe.add_special_tokens([AddedToken(text, normalized=False) for text in family.special])
    bpe.add_tokens([AddedToken(text, normalized=False) for text in family.marks])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=family.special[0] if family.special else None,
        eos_token=family.end_of_turn.strip() or None,
        additional_special_tokens=list(family.special),
        clean_up_tokenization_spaces=False,
        chat_template=UNUSABLE.get(name) or family.template,
    )
