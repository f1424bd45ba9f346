"""The ideal reader: memory is all that it has, so what memory says is what its success shows."""

from synde_pipeline.settings import MemoryConfig, SimulationConfig
from synde_pipeline.studies.drift_reader import lived

MEMORY = MemoryConfig(embedder="hashing", min_tasks=1)


def config(**values) -> SimulationConfig:
    return SimulationConfig(seed=3, episodes_per_day=24, places=4, **values)


def test_success_grows_with_memory_falls_when_conventions_change_and_comes_back():
    first, *_, last, changed, after, end = lived(config(drift_day=4), MEMORY, n_days=6)
    assert first < last
    assert changed < last
    assert changed < after <= end
    assert end > 0.9


def test_the_same_seed_lives_the_same_days_until_conventions_change():
    assert lived(config(), MEMORY, n_days=2) == lived(config(drift_day=3), MEMORY, n_days=2)
