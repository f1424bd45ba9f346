"""Computing the head, and in the last layer the attention's output matrix and the MLP, at predicting positions alone.

Nothing reads what the last layer says elsewhere: there its additions are left out.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from synde_pipeline.base_model import attention_outputs, mlp_names

_LAYER = re.compile(r"(?P<layers>.*?)\.(?P<number>\d+)\.")


class TargetRows:
    """Hooks that cut rows out in front of a module and put its output back between zeros behind it.

    Attributes:
        rows: (targets,), int64: flat positions that predict targets; None while all positions are wanted.
        names: the modules inside, which see these rows alone.
    """

    def __init__(self, model: Any, targets: Sequence[str]) -> None:
        self.rows: Any = None
        self._shape: Any = None
        self._head = model.get_output_embeddings()
        modules = dict(model.named_modules())
        spans = _last_spans(modules, targets)
        self._spans = [(modules[first], modules[last]) for first, last in spans]
        self.names = frozenset(name for name in modules for ends in spans if any(_within(name, end) for end in ends))

    @contextmanager
    def hooked(self, *, last_layer: bool) -> Iterator[None]:
        """Hooks on the head, and on the last layer if wanted."""
        handles = [self._head.register_forward_pre_hook(self._head_input)]
        for first, last in self._spans if last_layer else ():
            handles.append(first.register_forward_pre_hook(self._cut))
            handles.append(last.register_forward_hook(self._put_back))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _head_input(self, _: Any, args: tuple[Any, ...]) -> Any:
        # Cutting in front of the head leaves what some families do behind it (scaling, soft caps) in place.
        return None if self.rows is None else (args[0].flatten(0, -2)[self.rows][None], *args[1:])

    def _cut(self, _: Any, args: tuple[Any, ...]) -> Any:
        if self.rows is None:
            return None
        self._shape = args[0].shape
        return (args[0].flatten(0, -2)[self.rows][None], *args[1:])

    def _put_back(self, _: Any, args: tuple[Any, ...], output: Any) -> Any:
        if self.rows is None:
            return None
        whole = output.new_zeros(self._shape[:-1].numel(), output.shape[-1])
        return whole.index_copy(0, self.rows, output.flatten(0, -2)).view(*self._shape[:-1], -1)


def layer_names(targets: Sequence[str]) -> list[str]:
    """The decoder layers that hold targets, in the model's order."""
    found = [_LAYER.match(name) for name in targets]
    return list(dict.fromkeys(f"{match['layers']}.{match['number']}" for match in found if match))


def _within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + ".")


def _last_spans(modules: dict[str, Any], targets: Sequence[str]) -> list[tuple[str, str]]:
    """First and last module of each stretch of the last layer that works token by token."""
    layer = _LAYER.match(targets[-1])
    if layer is None or int(layer["number"]) != len(modules[layer["layers"]]) - 1:
        return []
    last = f"{layer['layers']}.{layer['number']}"
    mlp = [name for name in mlp_names(modules) if _within(name, last)]
    outputs = [name for name in attention_outputs(modules) if _within(name, last)]
    parents = {name.rsplit(".", 1)[0] for name in mlp}
    whole = [(parent, parent) for parent in parents - {last}]
    return [*(whole or [(mlp[0], mlp[-1])]), *((name, name) for name in outputs)]
