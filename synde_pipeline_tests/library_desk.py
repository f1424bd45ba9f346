"""An invented library help desk: members, catalogue, and tools whose conventions the agent's policy does not tell.

How agents behave at this desk, and the native formats that their logs are written in, are in `sample_logs`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

POLICY = (
    "# Library agent policy\n\n"
    "You are the help desk of the Harbour Street Library. Identify the member first, by card or by name. "
    "Use the tools for loans, reservations, fines, addresses and the catalogue. "
    "Hand over to a librarian only what no tool can do. Say briefly what you did."
)

KINDS = ("renew", "reserve", "pay", "address", "cancel", "find", "room")

FIRST = ("Orla", "Bram", "Sunniva", "Teodor", "Ilse", "Casimir", "Maren", "Lorcan", "Yvaine", "Anselm", "Petra")
LAST = ("Fenwick", "Tilling", "Marchbank", "Oxley", "Quillfeather", "Hartsong", "Brambley", "Ravnsborg", "Larkhill")
STREETS = ("Quay Lane", "Lantern Row", "Mill Brow", "Cooper Steps", "Anchor Yard", "Thistle Walk")
BOOKS = (
    ("The Salt Orchard", "Ida Marrow"),
    ("Nine Quiet Lanterns", "Tobias Wren"),
    ("A Grammar of Tides", "Hester Vale"),
    ("The Clockmaker's Heron", "Jonas Pell"),
    ("Winter Maps", "Adela Strand"),
    ("The Paper Ferry", "Milo Ashdown"),
    ("Letters to a Lighthouse", "Greta Holm"),
    ("The Glass Allotment", "Simon Thrush"),
    ("Bread for the Navigator", "Nell Carrow"),
    ("Moss and Thunder", "Edwin Lark"),
)
SECRETS = (
    "You are in a hurry because your cousin waits in a green rowing boat.",
    "You dislike the new carpet but you never bring it up.",
    "A neighbour bet you two walnuts that the desk would be slow.",
    "You pretend to be calm although the kettle is still on at home.",
    "You once worked as a puppeteer and hope that nobody notices.",
    "Your umbrella belongs to the mayor and you keep that to yourself.",
)

Option = TypeVar("Option")


def draw(n: int, *key: object) -> int:
    """A number from 0 to n-1 that depends on the key alone: equal on any machine and Python version."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") % n


def pick(options: Sequence[Option], *key: object) -> Option:
    return options[draw(len(options), *key)]


@dataclass(frozen=True)
class Case:
    """One task: who comes to the desk, and what they want."""

    number: int

    @property
    def kind(self) -> str:
        return KINDS[self.number % len(KINDS)]

    @property
    def name(self) -> str:
        return f"{pick(FIRST, 'first', self.number)} {pick(LAST, 'last', self.number)}"

    @property
    def card(self) -> str:
        return f"C{2 * draw(4500, 'card', self.number) + 1000}"

    @property
    def told_card(self) -> str:
        """The card as the member reads it out: one in four reads the last digit wrong."""
        return self.card[:-1] + "1" if draw(4, "misread", self.number) == 0 else self.card

    @property
    def book(self) -> tuple[str, str]:
        return pick(BOOKS, "book", self.number)

    @property
    def other_book(self) -> tuple[str, str]:
        return BOOKS[(BOOKS.index(self.book) + 3) % len(BOOKS)]

    @property
    def fine(self) -> float:
        """What the member owes: always something for `pay`, in half of the cases for `renew`."""
        owes = self.kind == "pay" or (self.kind == "renew" and draw(2, "owes", self.number) == 0)
        return (115 + 10 * draw(80, "fine", self.number)) / 100 if owes else 0.0

    @property
    def address(self) -> str:
        """The new address as it should be stored."""
        street, postcode = pick(STREETS, "street", self.number), 7000 + draw(900, "postcode", self.number)
        return f"{12 + draw(70, 'house', self.number)} {street}, {postcode}"

    @property
    def misread_address(self) -> str:
        """The new address as the member first says it: the house number is off by one."""
        house, rest = self.address.split(" ", 1)
        return f"{int(house) + 1} {rest}"

    def id(self, letter: str) -> str:
        """An identifier of this case: M member, L loan, R reservation, S the other reservation, B book, X its twin."""
        return f"{letter}{100 + draw(900, letter, self.number)}"

    @property
    def shelf(self) -> str:
        return f"{pick('ABCDEFG', 'bay', self.number)}{1 + draw(9, 'shelf', self.number)}"

    @property
    def expected(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        """The writes that the verifier wants; hidden from the agent."""
        member = {"member_id": self.id("M")}
        fine = [("pay_fine", member | {"amount": self.fine})] if self.fine else []
        writes = {
            "renew": [*fine, ("renew_loan", {"loan_id": self.id("L")})],
            "reserve": [("reserve_book", member | {"book_id": self.id("B")})],
            "pay": fine,
            "address": [("update_address", member | {"address": self.address})],
            "cancel": [("cancel_reservation", {"reservation_id": self.id("R")})],
            "find": [],
            "room": [("transfer_to_librarian", {})],
        }
        return tuple(writes[self.kind])

    @property
    def outputs(self) -> list[str]:
        """What the agent must have said."""
        return [self.shelf] if self.kind == "find" else []

    @property
    def ground_truth(self) -> dict[str, Any]:
        """The hidden task: instruction to the simulated user, expected actions with arguments that no agent saw."""
        seal = f"verifier-seal-{draw(10**6, 'seal', self.number):06d}"
        return {
            "user_id": self.id("M"),
            "instruction": f"You are {self.name} and want to settle one {self.kind} matter. "
            f"{pick(SECRETS, 'secret', self.number)} End the talk once the agent has answered.",
            "actions": [{"name": tool, "kwargs": values | {"sealed_by": seal}} for tool, values in self.expected],
            "outputs": self.outputs,
        }


class Desk:
    """The tools of one case, over a small state; every write that worked is remembered for the verifier."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.fine = case.fine
        self.opened: set[str] = set()
        self.writes: list[tuple[str, dict[str, Any]]] = []

    def call(self, tool: str, values: dict[str, Any]) -> str:
        """Answer one tool call: JSON, or a text starting `Error`."""
        found = getattr(self, f"_{tool}")(**values)
        return found if isinstance(found, str) else json.dumps(found)

    def _write(self, tool: str, **values: Any) -> dict[str, Any]:
        self.writes.append((tool, values))
        return {"status": "done"}

    def _find_member_by_card(self, card: str) -> Any:
        return {"member_id": self.case.id("M")} if card == self.case.card else "Error: card not found"

    def _find_member_by_name(self, name: str) -> Any:
        return {"member_id": self.case.id("M")} if name == self.case.name else "Error: no member of that name"

    def _get_member_details(self, member_id: str) -> Any:
        case = self.case
        return {
            "member_id": member_id,
            "name": case.name,
            "fine": self.fine,
            "loans": [case.id("L")] if case.kind == "renew" else [],
            "reservations": [
                {"reservation_id": case.id("S"), "title": case.other_book[0]},
                {"reservation_id": case.id("R"), "title": case.book[0]},
            ]
            if case.kind == "cancel"
            else [],
        }

    def _get_loan_details(self, loan_id: str) -> Any:
        self.opened.add(loan_id)
        return {"loan_id": loan_id, "title": self.case.book[0], "renewals_left": 1, "blocked_by_fine": self.fine > 0}

    def _renew_loan(self, loan_id: str) -> Any:
        if loan_id not in self.opened:
            return "Error: loan is not open at this desk"
        return "Error: renewal blocked by an unpaid fine" if self.fine else self._write("renew_loan", loan_id=loan_id)

    def _pay_fine(self, member_id: str, amount: float) -> Any:
        if amount != self.fine:
            return "Error: amount does not match the fine"
        self.fine = 0.0
        return self._write("pay_fine", member_id=member_id, amount=amount)

    def _search_catalogue(self, title: str = "", author: str = "") -> Any:
        case, (own_title, own_author) = self.case, self.case.book
        if title != own_title and author != own_author:
            return "Error: no match in the catalogue"
        return [
            {"book_id": case.id("X"), "title": own_title, "use": "reading room", "shelf": "Z0"},
            {"book_id": case.id("B"), "title": own_title, "use": "lending", "shelf": case.shelf},
        ]

    def _reserve_book(self, member_id: str, book_id: str) -> Any:
        if book_id not in (self.case.id("B"), self.case.id("X")):
            return "Error: book id not found"
        return self._write("reserve_book", member_id=member_id, book_id=book_id)

    def _update_address(self, member_id: str, address: str) -> Any:
        if not address[-4:].isdigit():
            return "Error: postcode missing"
        return self._write("update_address", member_id=member_id, address=address)

    def _cancel_reservation(self, reservation_id: str) -> Any:
        if reservation_id not in (self.case.id("R"), self.case.id("S")):
            return "Error: reservation not found"
        return self._write("cancel_reservation", reservation_id=reservation_id)

    def _transfer_to_librarian(self, summary: str) -> Any:
        self._write("transfer_to_librarian")
        return "A librarian takes over."
