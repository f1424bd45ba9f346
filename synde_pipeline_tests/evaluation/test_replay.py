"""Offline replay against a slow, independent computation; tasks that were learned from are refused."""

from datetime import timedelta

import pytest
import torch

from synde_pipeline.errors import LineageError
from synde_pipeline.evaluation.replay_eval import Replayer
from synde_pipeline.evaluation.tasks import check_no_leak, evaluation_set
from synde_pipeline.prompting import ACT, ARGS, END, SEE, TASK, PromptEncoder
from synde_pipeline.settings import PromptConfig
from synde_pipeline_tests.helpers import DAY, called, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD, REPORT, TRAIN
from synde_pipeline_tests.models_for_tests import FAMILIES, tiny, tokenizer
from synde_pipeline_tests.prompting.chat_templates import chat_tokenizer

TOOLS = ("find", "loan", "renew", "reply")
ITEM = trajectory(task=REPORT[0], steps=called(*GOOD, ("reply", "all done", "", None)))


def encode(text: str) -> list[int]:
    return tokenizer()(text, add_special_tokens=False)["input_ids"]


def by_hand(model) -> tuple[float, int, int]:
    """Sum of nats, tokens and top-1 hits, each step and each candidate name with a forward pass of its own."""
    prompt, nats, n_tokens, hits = encode(f"{TASK}library: {ITEM.task}"), 0.0, 0, 0
    for one in ITEM.steps:
        prompt = prompt + (encode(SEE) + encode(one.state) if one.state else []) + encode(ACT)
        scores = {name: score(model, prompt, encode(name) + encode(ARGS)) for name in TOOLS}
        action = encode(one.tool) + encode(ARGS) + encode(one.arguments) + encode(END)
        nats -= score(model, prompt, action)
        n_tokens += len(action)
        hits += max(scores, key=scores.__getitem__) == one.tool
        prompt = prompt + action
    return nats, n_tokens, hits


def score(model, prompt: list[int], text: list[int]) -> float:
    with torch.no_grad():
        log_p = model(torch.tensor([prompt + text])).logits[0].double().log_softmax(-1)
    return sum(float(log_p[len(prompt) + k - 1, token]) for k, token in enumerate(text))


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2"])
def test_replay_equals_a_forward_pass_for_every_step_and_name(family):
    model = tiny(family, seed=3)
    (found,) = Replayer(model, PromptEncoder(tokenizer(), PromptConfig()), TOOLS, None).replay([ITEM], "test")
    nats, n_tokens, hits = by_hand(model)
    assert found.nll == pytest.approx(nats, rel=1e-4)
    assert (found.n_tokens, found.n_tool_top1, found.n_steps) == (n_tokens, hits, 4)


def chat_by_hand(model, name: str) -> tuple[float, int, int]:
    """The same for a chat template, each step's prompt rendered by the template itself."""
    tokens, nats, n_tokens, hits = chat_tokenizer(name), 0.0, 0, 0

    def ids(text: str) -> list[int]:
        return tokens(text, add_special_tokens=False)["input_ids"]

    system = tokens.decode(PromptEncoder(tokens, PromptConfig()).prompt("library", "", []).ids).split("\n")[1]
    chat = [{"role": "system", "content": system.removesuffix("<|im_end|>")}]
    for one in ITEM.steps:
        head = "" if one.index else f"library: {ITEM.task}\n\n"
        chat.append({"role": "user", "content": f"{head}{one.state}".strip()})
        prompt = ids(tokens.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
        prompt += ids("<think>\n\n</think>\n\n") if name == "thinking" else []
        scores = {tool: score(model, prompt, ids(f"{tool}\n")) for tool in TOOLS}
        action = ids(f"{one.tool}\n") + ids(f"{one.arguments}<|im_end|>")
        nats -= score(model, prompt, action)
        n_tokens += len(action)
        hits += max(scores, key=scores.__getitem__) == one.tool
        chat.append({"role": "assistant", "content": f"{one.tool}\n{one.arguments}"})
    return nats, n_tokens, hits


@pytest.mark.parametrize("name", ["chatml", "thinking"])
def test_replay_of_a_chat_base_equals_a_forward_pass_for_every_step_and_name(name):
    model = tiny("llama", seed=3)
    encoder = PromptEncoder(chat_tokenizer(name), PromptConfig())
    assert encoder.layout == "chat"
    (found,) = Replayer(model, encoder, TOOLS, None).replay([ITEM], "test")
    nats, n_tokens, hits = chat_by_hand(model, name)
    assert found.nll == pytest.approx(nats, rel=1e-4)
    assert (found.n_tokens, found.n_tool_top1, found.n_steps) == (n_tokens, hits, 4)


def test_a_tool_never_seen_before_cannot_rank_first():
    encoder = PromptEncoder(tokenizer(), PromptConfig())
    (found,) = Replayer(tiny(), encoder, ("other",), None).replay([ITEM], "test")
    assert found.n_tool_top1 == 0


def test_trials_of_one_task_are_one_row():
    encoder = PromptEncoder(tokenizer(), PromptConfig())
    other = ITEM.model_copy(update={"trace_uid": "test:2"})
    once = Replayer(tiny(), encoder, TOOLS, None).replay([ITEM], "test")
    (twice,) = Replayer(tiny(), encoder, TOOLS, None).replay([other, ITEM], "test")
    assert twice.n_steps == 2 * once[0].n_steps
    assert twice.nll == pytest.approx(2 * once[0].nll)


def report_run(k: int, day, outcome: str = "success"):
    return trajectory(f"test:{k}-{day}", task=REPORT[k], day=day, outcome=outcome, steps=called(*GOOD))


def test_later_days_make_a_time_split_and_none_makes_all_days_with_the_word_for_it():
    old, new = report_run(0, DAY), report_run(1, DAY + timedelta(3))
    split = evaluation_set([old, new], "library", DAY)
    assert (split.trajectories, split.is_time_split) == ((new,), True)
    whole = evaluation_set([old, new], "library", DAY + timedelta(3))
    assert (whole.trajectories, whole.is_time_split) == ((old, new), False)


def test_only_successful_runs_of_report_tasks_are_replayed_and_tools_come_from_train_tasks():
    train = trajectory("test:train", task=TRAIN[0], steps=called(("think", {}, "", True)))
    failed = report_run(0, DAY, "failure")
    chosen = evaluation_set([train, failed, report_run(1, DAY)], "library", DAY)
    assert chosen.task_ids == [f"test:library:{REPORT[1]}"]
    assert chosen.tools == ("think",)


def test_a_task_on_both_sides_fails():
    assert check_no_leak(["a", "b"], ["c"]) == 2
    with pytest.raises(LineageError, match="1 evaluated tasks were learned from, such as b"):
        check_no_leak(["a", "b"], ["b", "c"])
