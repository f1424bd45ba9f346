"""Jobs that contestants of the tests run: they note what was asked of them, work, hold memory, chatter or fail."""

import os
import sys
import time
from pathlib import Path


def noting(words):
    """Writes a line for every call, so that a test sees who ran when."""
    journal = Path(words["journal"])

    def note(what):
        with journal.open("a", encoding="utf-8") as file:
            file.write(f"{words['name']} {what} {os.getpid()}\n")

    note("prepared")
    return lambda: note("ran") or {"name": words["name"]}, lambda: note("tidied")


def spinning(words):
    """Uses CPU time, in itself or in a child, until the clock of CPU time says enough."""
    code = f"import time\nwhile time.process_time() < {words['seconds']}: pass"

    def run():
        if words.get("in_child"):
            os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-S", "-c", code])
        else:
            end = time.process_time() + words["seconds"]
            while time.process_time() < end:
                pass
        return {}

    return run, lambda: None


def holding(words):
    """Holds memory for the length of a round, after having held more while it prepared."""
    len(b"x" * (words["prepare_mb"] * 10**6))

    def run():
        return {"held": len(b"x" * (words["mb"] * 10**6))}

    return run, lambda: None


def chattering(words):
    """Prints where its answers go."""
    sys.stdout.write(words["text"])

    def run():
        os.write(1, b"a library's progress bar\n")
        return {"said": words["text"]}

    return run, lambda: None


def failing(words):
    """Fails in its second round, or at once."""
    if words["at_once"]:
        import no_such_package  # noqa: F401

    rounds = []

    def run():
        rounds.append(1)
        if len(rounds) > 1:
            raise RuntimeError("out of luck")
        return {}

    return run, lambda: None
