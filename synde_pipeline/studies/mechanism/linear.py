"""The one case in which the paper's equation is exact: linear self-attention that takes one step of gradient descent.

Von Oswald et al. (arXiv 2212.07677): linear attention can answer a query x as w0 + one step on the squared error of its
examples does. What the context adds is then linear in the query, so one patch serves all queries. All in float64.
"""

from dataclasses import dataclass

import torch

N_IN, N_EXAMPLES, N_QUERIES = 5, 10, 50


@dataclass(frozen=True)
class Linear:
    """Linear self-attention on one task y = w . x, with start weights w0."""

    x: torch.Tensor
    """(examples, in)."""
    y: torch.Tensor
    """(examples,)."""
    w0: torch.Tensor
    """(in,)."""
    eta: float
    """Step size that the attention's value matrix holds."""

    @classmethod
    def of(cls, seed: int, eta: float) -> "Linear":
        """A random task."""
        chance = torch.Generator().manual_seed(seed)
        w, w0 = torch.randn(2, N_IN, generator=chance, dtype=torch.float64)
        x = torch.randn(N_EXAMPLES, N_IN, generator=chance, dtype=torch.float64)
        return cls(x, x @ w, w0, eta)

    def added(self, query: torch.Tensor) -> torch.Tensor:
        """(queries,): what attention adds for queries (queries, in), eta / n * sum_i (y_i - w0 x_i)(x_i . x_q)."""
        values = self.eta / len(self.x) * (self.y - self.x @ self.w0)
        return (query @ self.x.T) @ values

    def added_by(self, rows: slice, query: torch.Tensor) -> torch.Tensor:
        """The same with some of the examples in the context, weighted as in the whole of it."""
        values = self.eta / len(self.x) * (self.y[rows] - self.x[rows] @ self.w0)
        return (query @ self.x[rows].T) @ values

    def gradient_step(self) -> torch.Tensor:
        """(in,): one step of size eta down the gradient of mean (w x - y)^2 / 2 at w0."""
        return self.eta / len(self.x) * (self.y - self.x @ self.w0) @ self.x


def measured(seed: int, eta: float) -> dict[str, float]:
    """Patch of the context against training, by least squares, by the mean, and by a rank-1 LoRA.

    Returns:
        `least_squares`: |patch - gradient step|, with the patch fitted on queries alone; `mean`: the same for the mean
        of the queries' own updates, relative; `aligned`: for a LoRA of one step whose A is the gradient's direction;
        `random_a`: relative, for a LoRA of one step with a random A; `converged`, `converged_relative`: for weights
        trained on the examples to convergence; `additive`: |dW(C1) + dW(C2) - dW(C)| of the halves of the context.
    """
    case, chance = Linear.of(seed, eta), torch.Generator().manual_seed(10**6 + seed)
    queries = torch.randn(N_QUERIES, N_IN, generator=chance, dtype=torch.float64)
    step = case.gradient_step()
    patch = _fitted(queries, case.added(queries))
    mean = (case.added(queries)[:, None] * queries / queries.pow(2).sum(1, keepdim=True)).mean(0)
    a = step / step.norm()
    random_a = torch.randn(N_IN, generator=chance, dtype=torch.float64)
    random_a /= random_a.norm()
    converged = torch.linalg.lstsq(case.x, (case.y - case.x @ case.w0)[:, None]).solution[:, 0]
    middle = N_EXAMPLES // 2
    halves = [_fitted(queries, case.added_by(rows, queries)) for rows in (slice(0, middle), slice(middle, None))]
    size = float(step.norm())
    return {
        "least_squares": float((patch - step).norm()),
        "mean": float((mean - step).norm()) / size,
        # dW = B A and B = 0: the step moves B by -eta * (dL/dW) A^T alone
        "aligned": float((step @ a * a - patch).norm()),
        "random_a": float((step @ random_a * random_a - patch).norm()) / size,
        "converged": float((converged - patch).norm()),
        "converged_relative": float((converged - patch).norm()) / size,
        "additive": float((halves[0] + halves[1] - patch).norm()),
    }


def _fitted(queries: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    return torch.linalg.lstsq(queries, added[:, None]).solution[:, 0]
