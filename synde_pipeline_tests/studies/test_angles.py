"""Angles between adapters, against closed forms; sums of adapters, against dense products."""

import numpy as np
import pytest
import torch

from synde_pipeline.studies.angles import cosines, overlap, random_cosine, stacked
from synde_pipeline.training.lora import AdapterWeights


def adapter(seed, rank=1, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, 12, generator=generator)
    b = torch.randn(7, rank, generator=generator)
    return AdapterWeights(scale, {"m": (a, b)})


def test_a_subspace_has_no_angle_to_itself_whatever_its_basis():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3, 20))
    assert cosines(rows, rng.standard_normal((3, 3)) @ rows) == pytest.approx([1, 1, 1])


def test_known_angles_come_back():
    first, second = np.eye(6)[:2], np.zeros((2, 6))
    second[0, 0], second[0, 2] = np.cos(0.3), np.sin(0.3)
    second[1, 3] = 1
    assert cosines(first, second) == pytest.approx([np.cos(0.3), 0])


@pytest.mark.parametrize("dim", [64, 192])
def test_random_vectors_meet_at_the_closed_form(dim):
    assert random_cosine(dim) == pytest.approx((2 / (np.pi * dim)) ** 0.5, rel=0.12)


def test_an_overlap_is_the_cosine_of_the_vectors_at_rank_one():
    first, second = adapter(1), adapter(2)
    found = overlap(("domains", "x", "y"), first, second)
    (a1, b1), (a2, b2) = first.matrices["m"], second.matrices["m"]
    assert found.a == pytest.approx(abs(float(torch.cosine_similarity(a1, a2))), abs=1e-5)
    assert found.b == pytest.approx(abs(float(torch.cosine_similarity(b1.T, b2.T))), abs=1e-5)


def test_a_stacked_adapter_is_the_sum():
    parts = [adapter(1), adapter(2, rank=2, scale=0.5)]
    one = stacked(parts)
    a, b = one.matrices["m"]
    wanted = sum(part.scale * (part.matrices["m"][1] @ part.matrices["m"][0]) for part in parts)
    assert torch.allclose(one.scale * (b @ a), wanted, atol=1e-5)
