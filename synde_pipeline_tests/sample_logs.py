"""Native logs of the invented library help desk; `python -m synde_pipeline_tests.sample_logs` writes those committed.

Scripted agents of varying care work at `library_desk`; no model, no clock and no recorded log goes in.
"""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from synde_pipeline_tests.library_desk import POLICY, Case, Desk, draw, pick

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "data" / "samples" / "tau-bench-library.json"
TAU = ROOT / "synde_pipeline_tests" / "fixtures" / "tau-library.json"
TAU2 = ROOT / "synde_pipeline_tests" / "fixtures" / "tau2-library.json"

SLIPS = ("none", "none", "none", "none", "none", "stubborn", "stubborn", "careless", "mended", "mended")
"""How an agent strays from the desk's conventions: not at all; it repeats what failed, skips a check, or recovers."""

WISHES = {
    "renew": ("Hello, I want to keep {title} a little longer.", "Good morning, please extend my loan of {title}."),
    "reserve": ("Hi, please put {title} aside for me.", "Hello, I would like to reserve {title} by {author}."),
    "pay": ("Hello, I want to pay what I owe, about {about}.", "Hi, I think I have a fine of some {about} to settle."),
    "address": ("Hello, I have moved to {moved}.", "Good day, my new address is {moved}."),
    "cancel": ("Hi, I no longer need the reserved copy of {title}.", "Hello, drop my reservation of {title}, please."),
    "find": ("Hello, where do I find {garbled} by {author}?", "Hi, on which shelf is {garbled}? {author} wrote it."),
    "room": ("Hello, can I book the reading room for my choir?", "Hi, my club needs the small hall one evening."),
}


class Talk:
    """One conversation in the making, as OpenAI-style messages."""

    def __init__(self, case: Case, trial: int) -> None:
        self.case, self.trial, self.desk = case, trial, Desk(case)
        title, author = case.book
        values = {
            "title": title,
            "author": author,
            "garbled": title.split()[-1] + " Stories",
            "moved": case.misread_address,
            "about": int(case.fine),
        }
        wish = pick(WISHES[case.kind], "wish", case.number, trial).format(**values)
        self.garbled = values["garbled"]
        self.messages: list[dict[str, Any]] = [
            {"role": "system", "content": POLICY},
            {"role": "user", "content": wish},
        ]

    def say(self, text: str, answer: str = "Thank you, goodbye.") -> None:
        """The agent says something, and the member answers."""
        self.messages += [{"role": "assistant", "content": text}, {"role": "user", "content": answer}]

    def call(self, tool: str, note: str | None = None, **values: Any) -> str:
        """The agent calls a tool, sometimes thinking aloud, and sees what comes back."""
        call_id = f"call_{self.case.number}_{self.trial}_{len(self.messages)}"
        function = {"name": tool, "arguments": json.dumps(values)}
        thought = note if draw(2, "note", call_id) else None
        result = self.desk.call(tool, values)
        self.messages += [
            {
                "role": "assistant",
                "content": thought,
                "tool_calls": [{"id": call_id, "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": call_id, "name": tool, "content": result},
        ]
        return result

    def insist(self, tool: str, **values: Any) -> None:
        """Make a call that has just failed again, unchanged, and give up."""
        self.call(tool, "Perhaps it works this time.", **values)
        self.call("transfer_to_librarian", summary=f"{tool} does not work")
        self.say("I could not do it; a librarian will call you.", "That is a pity.")

    def identify(self, slip: str) -> str | None:
        """Ask for the card and find the member; a card that is not found is mended by the name."""
        self.say("Gladly. Which card and name may I look up?", f"Card {self.case.told_card}, {self.case.name}.")
        if self.call("find_member_by_card", card=self.case.told_card).startswith("Error"):
            if slip == "stubborn":
                return self.insist("find_member_by_card", card=self.case.told_card)
            self.call("find_member_by_name", "The card is unknown, so I try the name.", name=self.case.name)
        return self.case.id("M")

    @property
    def reward(self) -> float:
        """What the verifier says: the expected writes and nothing else, and the expected words."""
        said = " ".join(m["content"] or "" for m in self.messages if m["role"] == "assistant")
        done = tuple(self.desk.writes) == self.case.expected
        return float(done and all(word in said for word in self.case.outputs))


def _renew(talk: Talk, member: str, slip: str) -> None:
    talk.call("get_member_details", member_id=member)
    loan = {"loan_id": talk.case.id("L")}
    if slip != "none":
        talk.call("renew_loan", **loan)
        if slip == "stubborn":
            return talk.insist("renew_loan", **loan)
        if slip == "careless":
            return talk.say("I have noted your wish to keep the book.")
    talk.call("get_loan_details", "I open the loan before I renew it.", **loan)
    if talk.case.fine:
        talk.call("pay_fine", "The fine comes first.", member_id=member, amount=talk.case.fine)
    talk.call("renew_loan", **loan)
    return talk.say("Your loan is renewed.")


def _reserve(talk: Talk, member: str, slip: str) -> None:
    title = talk.case.book[0]
    if slip in ("stubborn", "mended"):
        talk.call("reserve_book", member_id=member, book_id=title)
        if slip == "stubborn":
            return talk.insist("reserve_book", member_id=member, book_id=title)
    talk.call("search_catalogue", "The catalogue knows the id.", title=title)
    copy = talk.case.id("X" if slip == "careless" else "B")
    talk.call("reserve_book", member_id=member, book_id=copy)
    return talk.say("A copy is reserved for you.")


def _pay(talk: Talk, member: str, slip: str) -> None:
    if slip != "none":
        about = float(int(talk.case.fine))
        talk.call("pay_fine", member_id=member, amount=about)
        if slip == "stubborn":
            return talk.insist("pay_fine", member_id=member, amount=about)
        if slip == "careless":
            return talk.say("Your payment is on its way.")
    talk.call("get_member_details", "I need the exact fine.", member_id=member)
    talk.call("pay_fine", member_id=member, amount=talk.case.fine)
    return talk.say(f"You paid {talk.case.fine:.2f}; nothing is left to pay.")


def _address(talk: Talk, member: str, slip: str) -> None:
    short = talk.case.misread_address.split(",")[0]
    if slip in ("stubborn", "mended"):
        talk.call("update_address", member_id=member, address=short)
        if slip == "stubborn":
            return talk.insist("update_address", member_id=member, address=short)
    stored = talk.case.misread_address
    if slip != "careless":
        talk.say(f"May I read it back: {stored}?", f"Oh, it must be {talk.case.address}.")
        stored = talk.case.address
    talk.call("update_address", member_id=member, address=stored)
    return talk.say(f"Your post now goes to {stored}.")


def _cancel(talk: Talk, member: str, slip: str) -> None:
    title = talk.case.book[0]
    if slip in ("stubborn", "mended"):
        talk.call("cancel_reservation", reservation_id=title)
        if slip == "stubborn":
            return talk.insist("cancel_reservation", reservation_id=title)
    talk.call("get_member_details", "The details list the reservations.", member_id=member)
    talk.call("cancel_reservation", reservation_id=talk.case.id("S" if slip == "careless" else "R"))
    return talk.say("The reservation is cancelled.")


def _find(talk: Talk, member: str, slip: str) -> None:
    talk.call("search_catalogue", title=talk.garbled)
    if slip == "stubborn":
        return talk.insist("search_catalogue", title=talk.garbled)
    if slip == "careless":
        return talk.say("I am afraid we do not own that book.", "Are you sure? Well, goodbye.")
    talk.call("search_catalogue", "The title may be wrong, the author is surer.", author=talk.case.book[1])
    return talk.say(f"{talk.case.book[0]} stands on shelf {talk.case.shelf}.")


def _room(talk: Talk, member: str, slip: str) -> None:
    talk.call("get_member_details", member_id=member)
    if slip in ("stubborn", "careless"):
        return talk.say("We do not let rooms from this desk.", "Then I will ask elsewhere.")
    talk.call("transfer_to_librarian", "No tool books a room.", summary="wants to book a room")
    return talk.say("A librarian will arrange the room with you.")


AGENT: dict[str, Callable[[Talk, str, str], None]] = {
    "renew": _renew,
    "reserve": _reserve,
    "pay": _pay,
    "address": _address,
    "cancel": _cancel,
    "find": _find,
    "room": _room,
}


def play(number: int, trial: int, seed: str = "sample") -> Talk:
    """Let the scripted agent of one trial work on one task."""
    talk = Talk(Case(number), trial)
    slip = pick(SLIPS, seed, number, trial)
    if member := talk.identify(slip):
        AGENT[talk.case.kind](talk, member, slip)
    return talk


def tau_trial(number: int, trial: int, seed: str = "sample") -> dict[str, Any]:
    """One trial in tau-bench v1's format."""
    talk = play(number, trial, seed)
    info = {"task": talk.case.ground_truth, "source": "user", "reward_info": {"reward": talk.reward}}
    return {"task_id": number, "reward": talk.reward, "info": info, "traj": talk.messages, "trial": trial}


def tau_sample(n_tasks: int = 90, n_trials: int = 2) -> list[dict[str, Any]]:
    """The trials of the committed sample, in task order."""
    return [tau_trial(number, trial) for number in range(n_tasks) for trial in range(n_trials)]


def tau_fixture() -> list[dict[str, Any]]:
    """A dozen trials with the format's oddities: no reward_info, an empty traj, no reward, extra keys."""
    rows = [tau_trial(200 + k // 2, k % 2, "fixture") for k in range(12)]
    rows[3]["info"]["reward_info"] = None
    rows[4]["traj"] = []
    rows[5]["reward"] = None
    for message in rows[6]["traj"]:
        message |= {"refusal": None} if message["role"] == "assistant" else {}
    rows[7]["records"] = {}
    return rows


def _tau2_message(message: dict[str, Any], at: datetime, turn: int) -> dict[str, Any]:
    shape = {"role": message["role"], "content": message["content"], "turn_idx": turn, "timestamp": at.isoformat()}
    if message["role"] == "tool":
        failed = message["content"].startswith("Error")
        return shape | {"id": message["tool_call_id"], "requestor": "assistant", "error": failed}
    calls = [
        {
            "id": call["id"],
            "name": call["function"]["name"],
            "arguments": json.loads(call["function"]["arguments"]),
            "requestor": "assistant",
        }
        for call in message.get("tool_calls", ())
    ]
    return shape | {"tool_calls": calls or None}


def _in_parallel(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fold the look at the loan into the message before it: one message with two calls, two results after it."""
    at = next(k for k, m in enumerate(messages) if "get_loan_details" in str(m.get("tool_calls")))
    both = messages[at - 2] | {"tool_calls": messages[at - 2]["tool_calls"] + messages[at]["tool_calls"]}
    return [*messages[: at - 2], both, messages[at - 1], *messages[at + 1 :]]


def _simulation(k: int) -> dict[str, Any]:
    talk = play(300 + k, 0, "tau2")
    start = datetime.fromisoformat(f"2025-03-0{3 + k % 3}T09:{10 + k}:00")
    spoken = [{"role": "assistant", "content": "Welcome to the Harbour Street Library."}, *talk.messages[1:]]
    if k == 4:
        spoken = spoken[:2]  # the run ended before the agent could act
    if k == 1:
        spoken = _in_parallel(spoken)
    messages = [_tau2_message(message, start + timedelta(seconds=5 * n), n) for n, message in enumerate(spoken)]
    return {
        "id": f"library-run-{k:02d}",
        "task_id": str(talk.case.number),
        "trial": 0,
        "start_time": start.isoformat(),
        "end_time": (start + timedelta(seconds=5 * len(messages))).isoformat(),
        "termination_reason": "user_stop",
        "reward_info": None if k == 6 else {"reward": 0.0 if k == 4 else talk.reward, "reward_basis": ["DB"]},
        "messages": messages,
    }


def tau2_fixture(n: int = 12) -> dict[str, Any]:
    """A tau2-bench file over three days, with the hidden scenarios that such files carry."""
    tasks = []
    for k in range(n):
        truth = Case(300 + k).ground_truth
        actions = [{"name": action["name"], "arguments": action["kwargs"]} for action in truth["actions"]]
        scenario = {"instructions": {"task_instructions": truth["instruction"], "domain": "library"}}
        tasks.append({"id": str(300 + k), "user_scenario": scenario, "evaluation_criteria": {"actions": actions}})
    environment = {"domain_name": "library", "policy": POLICY, "tool_defs": None}
    info = {"num_trials": 1, "agent_info": {"llm": "scripted-desk-agent"}, "environment_info": environment}
    return {"info": info, "tasks": tasks, "simulations": [_simulation(k) for k in range(n)]}


def as_lines(rows: list[Any]) -> str:
    """A JSON array, one element a line, so that a change of one trial is one line of a diff."""
    return "[\n" + ",\n".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows) + "\n]\n"


def files() -> dict[Path, str]:
    """The committed files and what they must hold."""
    tau2 = tau2_fixture()
    rows = ",\n".join(f"{json.dumps(name)}: {as_lines(tau2[name]).strip()}" for name in ("tasks", "simulations"))
    tau2_text = f'{{"info": {json.dumps(tau2["info"])},\n{rows}}}\n'
    return {SAMPLE: as_lines(tau_sample()), TAU: as_lines(tau_fixture()), TAU2: tau2_text}


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
