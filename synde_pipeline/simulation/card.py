"""The embedded base as a folder to ship: training it, measuring its gates, and the card that says what came out."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from synde_pipeline.simulation.gates import Measured, measure_gates
from synde_pipeline.simulation.pretrain import CHECKPOINT, FACTS, SMOKE, Recipe, Trainer
from synde_pipeline.storage import read_json

_HEAD = """\
---
language: en
library_name: transformers
tags: [llama, simulation]
---

# The embedded base model of SynDE

A Llama of {parameters:,} parameters for the three small worlds of SynDE (web, code, math), trained from nothing by
`synde pretrain` on texts that a scripted expert wrote in those worlds. Every training sequence draws the places'
conventions anew, so the weights hold no fact about any place: the model can look facts up in its context, try what is
left, and copy values. A quarter of all names of places was never seen in training; the gates use those only.

It is a laboratory animal. It speaks the worlds' grammar and nothing else, though its tokenizer takes any UTF-8 text.

## Gates

Success by acting, judged by the environment, sampling temperature 1, errors clustered by place:

"""


def make_base(out: Path, *, seed: int, smoke: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Train (or go on training), measure the gates, and write model, tokenizer, card and facts into `out`.

    Args:
        out: folder; the checkpoint of an unfinished training lies there too.
        seed: of weights and corpus.
        smoke: two minutes only, without gates.
        say: told what happens, in lines for people.

    Raises:
        InputError: `out` holds the checkpoint of another recipe.
    """
    recipe = replace(SMOKE if smoke else Recipe(), seed=seed)
    known = read_json(out / FACTS) if (out / FACTS).exists() else {}
    if known.get("recipe") == asdict(recipe):
        say(f"{out} holds this model already; name another folder, or another seed, for one more")
        return {"out": str(out), **known}
    trainer = Trainer(recipe, out)
    if trainer.progress.chunk:
        say(f"going on after chunk {trainer.progress.chunk} of {recipe.chunks}")
    done = trainer.train()
    measured = [] if smoke else measure_gates(trainer.model, trainer.tokenizer)
    facts = {
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "tokens": done.tokens,
        "first_loss": round(sum(done.losses[:5]) / 5, 4),
        "last_loss": round(sum(done.losses[-5:]) / 5, 4),
        "cpu_s": round(done.cpu_s),
        "wall_s": round(done.wall_s),
        "recipe": asdict(recipe),
        "gates": [one.facts() for one in measured],
    }
    trainer.write(out, card(facts, measured), facts)
    (out / CHECKPOINT).unlink(missing_ok=True)
    for one in measured:
        say(one.line())
    say(f"loss {facts['first_loss']} -> {facts['last_loss']} in {facts['cpu_s']} CPU s; {out}")
    return {"out": str(out), **facts}


def card(facts: dict[str, Any], measured: list[Measured]) -> str:
    """The model card, all numbers from `facts` and `measured`."""
    gates = "".join(f"* {one.line()}\n" for one in measured) or "Not measured: a smoke run.\n"
    recipe = "".join(f"| {name} | {value} |\n" for name, value in facts["recipe"].items())
    return (
        _HEAD.format(parameters=facts["parameters"]) + gates + "\n## Training\n\n"
        f"{facts['tokens']:,} tokens, {facts['cpu_s']} CPU seconds and {facts['wall_s']} seconds by the clock on one "
        f"core;\nmean loss of the last chunks {facts['last_loss']} nats a target, of the first "
        f"{facts['first_loss']}.\n\n| recipe | |\n|---|---|\n{recipe}"
    )
