"""The commands of the laboratory: `synde demo` and `synde pretrain`. `cli` puts them among the others."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from synde_pipeline.cli_words import AsJson, print_json
from synde_pipeline.errors import InputError
from synde_pipeline.settings import BufferConfig, SimulationConfig, load

_ALL_ARMS = ("none", "context", "weights", "dual")  # evaluation.arms.ARMS, which is too heavy to import here


def demo(
    days: Annotated[int, typer.Option(min=1, help="Simulated days in all.")] = 5,
    episodes_per_day: Annotated[int, typer.Option(min=1, help="Tasks that the agent gets each day.")] = 96,
    seed: Annotated[str, typer.Option(help="Seeds of places, tasks and sampling; several with commas.")] = "1",
    arms: Annotated[str, typer.Option(help="Arms of the curve and of the last table.")] = ",".join(_ALL_ARMS),
    places: Annotated[int, typer.Option(min=2, help="Sites, repositories and notebooks on the first day.")] = 24,
    new_places: Annotated[int, typer.Option(min=0, help="Places that open on each later day.")] = 0,
    facts: Annotated[int, typer.Option(min=2, max=6, help="Facts about its place that a task needs.")] = 4,
    transient_rate: Annotated[float, typer.Option(min=0, max=0.9, help="Right actions that time out once.")] = 0.0,
    decoy_rate: Annotated[float, typer.Option(min=0, max=1, help="Wrong options that show a value.")] = 0.0,
    drift_day: Annotated[int | None, typer.Option(min=2, help="Day from which on half the conventions differ.")] = None,
    top_k: Annotated[int, typer.Option(min=0, help="Memory items shown to the agent.")] = 3,
    threshold: Annotated[int, typer.Option(min=1, help="Waiting examples of a domain that start a cycle.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Watch an agent learn: it acts in small worlds, its logs go through the pipeline, and it acts better.

    Each simulated day the agent works with the memory and the champion of the day before; its logs land, the day is
    materialised through Dagster, due cycles train, the gate decides. Each row shows the day's own tasks and, after the
    day, the four arms on tasks that no day hands out. It ends with the learning curve and the arms on places that the
    agent knows and on new ones. Interrupt it and go on with the same command; a finished one changes nothing. Other
    options live in another folder below SYNDE_HOME/demo.

    JSON keys: seeds [home, days_lived_now, days, measured, page, picture, state].
    """
    from synde_pipeline.defs.run import run
    from synde_pipeline.simulation.demo import closing, defaults, laboratory, live, over_seeds

    chosen = _names(arms, _ALL_ARMS, "--arms")
    say = (lambda _: None) if as_json else tqdm.write
    outcomes = []
    for number in _numbers(seed):
        config = SimulationConfig(
            seed=number,
            episodes_per_day=episodes_per_day,
            places=places,
            new_places_per_day=new_places,
            n_facts=facts,
            transient_rate=transient_rate,
            decoy_rate=decoy_rate,
            drift_day=drift_day,
        )
        plain = defaults(number)
        chosen_settings = {
            "simulation": config,
            "memory": plain.memory.model_copy(update={"top_k": top_k}),
            "buffer": BufferConfig(threshold=threshold),
        }
        settings = laboratory(load().home / "demo", plain.model_copy(update=chosen_settings))
        say(f"\nseed {number}: {settings.home}")
        outcomes.append(live(settings, days, chosen, partial(run, settings), say))
        say(closing(outcomes[-1], chosen))
    if as_json:
        print_json({"seeds": [outcome.for_json() for outcome in outcomes]})
    elif len(outcomes) > 1:
        say(over_seeds(outcomes, chosen))


def pretrain(
    out: Annotated[Path, typer.Option(help="Folder for the model, its tokenizer and its card.")] = Path(
        "data/pretrained"
    ),
    seed: Annotated[int, typer.Option(help="Of weights and corpus.")] = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="Two minutes: the loss must fall; no gates.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the embedded base model of the worlds anew, from nothing, on one CPU core (less than an hour).

    Interrupt it and go on with the same command: a checkpoint lies in OUT. At the end the model must pass its gates by
    acting on names it never saw; the card says what was measured, also where a gate is missed. To use a base that is
    not the shipped one, set SYNDE_BASE_MODEL. The base for imported logs is another one: see `synde base`.

    JSON keys: out, parameters, tokens, first_loss, last_loss, cpu_s, wall_s, gates [gate, success, se, n, passed].
    """
    from synde_pipeline.simulation.card import make_base

    facts = make_base(out, seed=seed, smoke=smoke, say=lambda text: print(text, file=sys.stderr))
    if as_json:
        print(json.dumps(facts))
    if smoke and not facts["last_loss"] < facts["first_loss"]:
        raise typer.Exit(1)


def _numbers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
        if min(found) < 0:
            raise ValueError
    except ValueError:
        raise InputError(f"--seed is {text!r}", expected="whole numbers from 0, for example 1,2,3") from None
    return list(dict.fromkeys(found))


def _names(text: str, known: Sequence[str], option: str) -> list[str]:
    found = [part.strip() for part in text.split(",")]
    if not found or set(found) - set(known):
        raise InputError(f"{option} is {text!r}", expected=f"some of {', '.join(known)}")
    return [name for name in known if name in found]
