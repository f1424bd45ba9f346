"""Training examples: the paper's schema, contrastive weights read with care, `train` tasks only."""

import pyarrow as pa
from hypothesis import given

from synde_pipeline.records import split_of
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import PRESETS, TrainingConfig
from synde_pipeline.training.examples import EXAMPLES, examples_of, turns_of
from synde_pipeline_tests.helpers import called, step, trajectories, trajectory
from synde_pipeline_tests.memory.test_curate import BAD, GOOD, TRAIN

CONFIG = TrainingConfig()


def examples(item):
    return examples_of(item, reflect(item), CONFIG)


def test_the_schema_is_the_papers():
    (first, *_) = examples(trajectory(task=TRAIN[0], steps=called(*GOOD)))
    assert first["context"] == {"task": f"please do {TRAIN[0]}", "state": {"observation": ""}, "history": []}
    assert first["target"]["action"] == 'find {"c":"1"}'
    names = {field.name: {sub.name for sub in field.type} for field in EXAMPLES}
    assert names["context"] == {"task", "state", "history"}
    assert names["target"] >= {"action", "reasoning", "confidence"}
    assert names["metadata"] >= {"outcome", "trajectory_id", "step_index", "contrastive_weight"}


@given(trajectories())
def test_examples_fit_the_columns_and_give_back_the_steps(item):
    rows = examples(item)
    assert pa.Table.from_pylist(rows, schema=EXAMPLES).to_pylist() == rows
    if rows:
        assert split_of(item.task_id) == "train"
        kept = [step for step, row in zip(item.steps, rows, strict=True) if row["metadata"]["signal"] != "repaired"]
        turns = turns_of(reversed(rows))
        assert [(t.tool, t.arguments) for t in turns] == [(s.tool, s.arguments) for s in kept]
        assert all(turn.weight >= 0 for turn in turns)


def test_a_failed_run_teaches_to_avoid_the_step_where_it_turned_and_to_imitate_the_progress_before_it():
    rows = examples(trajectory(task=TRAIN[0], outcome="failure", steps=called(*BAD)))
    assert [(row["metadata"]["signal"], row["metadata"]["contrastive_weight"]) for row in rows] == [
        ("imitate", 1.0),
        ("avoid", 2.0),
    ]
    unjudged = trajectory(task=TRAIN[0], outcome="failure", steps=called(("find", {}, "m1", None), BAD[1]))
    assert [row["metadata"]["signal"] for row in examples(unjudged)] == ["context", "avoid"]


def test_a_step_that_failed_inside_a_successful_run_is_context_not_a_target():
    rows = examples(trajectory(task=TRAIN[0], steps=called(*BAD, ("pay", {}, "ok", True))))
    assert [row["metadata"]["signal"] for row in rows] == ["imitate", "context", "imitate"]


def test_partial_success_weighs_more_than_success():
    rows = examples(trajectory(task=TRAIN[0], outcome="partial", reward=0.5, steps=called(*GOOD)))
    assert {row["metadata"]["contrastive_weight"] for row in rows} == {1.5}


def test_confidence_is_the_logged_one_else_the_reflections_and_says_which():
    steps = (step(0, confidence=0.3), step(1))
    rows = examples(trajectory(task=TRAIN[0], steps=steps))
    assert [(row["target"]["confidence"], row["target"]["confidence_source"]) for row in rows] == [
        (0.3, "logged"),
        (0.9, "reflection"),
    ]


def test_unlabelled_runs_and_held_out_tasks_train_nothing():
    assert examples(trajectory(task=TRAIN[0], outcome="unknown", steps=called(*GOOD))) == []
    held_out = next(f"t{k}" for k in range(100) if split_of(f"test:library:t{k}") != "train")
    assert examples(trajectory(task=held_out, steps=called(*GOOD))) == []


def test_the_papers_preset_is_the_papers_configuration():
    paper = PRESETS["paper"]
    assert (paper.rank, paper.alpha, paper.dropout, paper.learning_rate, paper.batch_size, paper.epochs) == (
        1,
        16,
        0.1,
        1e-4,
        32,
        1,
    )
