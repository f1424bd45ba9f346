"""The cache: what is another answer, what goes with a trajectory, and that the key is nowhere."""

import pytest
from pydantic import BaseModel

from synde_pipeline.errors import MissingAnswerError
from synde_pipeline.llm import Llm, Request, purge_answers
from synde_pipeline_tests.llm.colours import KEY, Colour, config, request
from synde_pipeline_tests.llm_server import answers, completion


@pytest.mark.parametrize(
    "change",
    [
        lambda r, c: (Request(r.messages, Colour, ("test:2",)), c),
        lambda r, c: (request("other"), c),
        lambda r, c: (r, c.model_copy(update={"model": "large"})),
        lambda r, c: (r, c.model_copy(update={"temperature": 0.5})),
        lambda r, c: (r, c.model_copy(update={"max_output_tokens": 99})),
    ],
)
def test_another_model_parameter_message_or_source_is_another_answer(server, warehouse, change):
    Llm(warehouse, config(server)).ask(request())
    other, changed = change(request(), config(server))
    assert Llm(warehouse, changed).cached(other) is None
    same = config(server).model_copy(update={"timeout_s": 1, "max_cost": 3, "price_in": 1, "base_url": None})
    assert Llm(warehouse, same).cached(request()) == Colour(name="which?")


def test_rewording_a_docstring_asks_for_nothing_anew_and_properties_may_have_any_name(server, ask_with):
    class Page(BaseModel):
        """Once."""

        title: str
        description: str

    before = Request(request().messages, Page, ("test:1",))
    server.moves.append(answers('{"title": "a", "description": "b"}'))
    ask_with().ask(before)
    schema = server.asked[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"title": {"type": "string"}, "description": {"type": "string"}}
    Page.__doc__ = "Again."
    Page.model_rebuild(force=True)
    assert ask_with().ask(before) == Page(title="a", description="b")
    assert len(server.asked) == 1


def test_without_calls_only_what_is_there_is_answered(server, ask_with):
    ask_with().ask(request("there"))
    llm = ask_with(is_offline=True)
    assert llm.ask(request("there")) == Colour(name="there")
    with pytest.raises(MissingAnswerError, match="switched off"):
        llm.ask(request("new"))
    assert len(server.asked) == 1


def test_an_answer_goes_with_its_trajectories_and_no_others(server, warehouse, ask_with):
    llm = ask_with()
    both = Request(request("both").messages, Colour, ("test:1", "test:2"))
    for one in (request("a"), request("a", "test:2"), both, request("b", "test:3")):
        llm.ask(one)
    assert purge_answers(warehouse, {"test:1", "test:9"}) == 2
    assert llm.cached(request("a")) is None
    assert llm.cached(both) is None
    assert [llm.price(request(*one)).calls for one in (("a", "test:2"), ("b", "test:3"), ("a",))] == [0, 0, 1]


def test_an_answer_that_cannot_be_read_goes_with_any_trajectory(server, warehouse, ask_with):
    ask_with().ask(request("a"))
    (path,) = warehouse.root.rglob("*.json")
    path.write_text(path.read_text()[:-5])
    assert purge_answers(warehouse, {"test:1"}) == 1
    assert not path.exists()


def test_the_key_is_nowhere(server, warehouse, ask_with):
    ask_with().ask(request())
    files = [path.read_bytes() for path in warehouse.root.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in data for data in files)
    assert KEY not in repr(vars(config(server)))


def test_an_unreadable_answer_is_asked_for_again(server, warehouse, ask_with):
    llm = ask_with()
    llm.ask(request())
    (path,) = warehouse.root.rglob("*.json")
    path.write_text(path.read_text()[:20])
    llm.ask(request())
    path.write_text(completion("{}").decode())
    llm.ask(request())
    assert len(server.asked) == 3
