"""A cache that a long-running process can keep: what has lain there longest goes first."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from threading import RLock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Key -> value, made once while it stays; in any thread.

    Args:
        most: weight of all that it may hold; the newest value stays whatever it weighs.
        weigh: weight of a value.
    """

    def __init__(self, most: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._most, self._weigh = most, weigh
        self._values: OrderedDict[K, V] = OrderedDict()
        self._weight = 0
        self._lock = RLock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key; made where it is not there."""
        with self._lock:
            if key not in self._values:
                self.put(key, make())
            return self._values[key]

    def peek(self, key: K) -> V | None:
        """The value of a key that is there."""
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value."""
        with self._lock:
            if key in self._values:
                self._weight -= self._weigh(self._values.pop(key))
            self._values[key] = value
            self._weight += self._weigh(value)
            while self._weight > self._most and len(self._values) > 1:
                self._weight -= self._weigh(self._values.popitem(last=False)[1])

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._values))

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)
