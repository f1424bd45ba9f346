"""The picture of the asset graph: every asset right of what it is made from, nothing upon anything else."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.definitions import defs
from synde_pipeline.defs.picture import places
from synde_pipeline_tests.helpers import synde_json


@st.composite
def graphs(draw):
    """Assets in an order in which each is made from some of those before it."""
    names = [f"a{k}" for k in range(draw(st.integers(1, 12)))]
    return {
        name: draw(st.lists(st.sampled_from(names[:k]), unique=True) if k else st.just([]))
        for k, name in enumerate(names)
    }


@given(graphs())
def test_assets_stand_right_of_what_they_are_made_from_and_never_on_each_other(parents):
    at, edges = places(parents)
    assert len(edges) == sum(map(len, parents.values()))
    for (parent, child), path in edges.items():
        assert (path[0], path[-1]) == (parent, child)
        columns = [at[node][0] for node in path]
        assert columns == list(range(columns[0], columns[-1] + 1))
    spots = sorted(at.values())
    assert all(one[0] != other[0] or other[1] - one[1] >= 1 - 1e-9 for one, other in pairwise(spots))


def test_the_command_draws_every_asset_of_the_flow(tmp_path):
    found = synde_json("graph", "--out", str(tmp_path / "new" / "assets.svg"), home=tmp_path)
    drawn = (tmp_path / "new" / "assets.svg").read_text("utf-8")
    assert found == {"picture": str(tmp_path / "new" / "assets.svg")}
    words = {text.strip() for node in ElementTree.fromstring(drawn).iter() for text in node.itertext()}
    graph = defs().resolve_asset_graph()
    for key in graph.toposorted_asset_keys:
        if graph.get(key).group_name != "studies":
            assert set(key.to_user_string().split("_", 1)) <= words
