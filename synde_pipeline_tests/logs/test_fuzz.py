"""Documents that went wrong end as runs, in quarantine or as files that are no logs, for every importer."""

import pytest

from synde_pipeline_tests.logs.fuzz import fuzz


@pytest.mark.slow
def test_no_input_costs_more_than_itself():
    totals = fuzz(seconds=600, seed=1, most=150)
    assert [word for one in totals.values() for word in one.faults] == []
    assert all(one.trajectories and one.quarantined for one in totals.values())
