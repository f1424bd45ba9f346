"""The code world: find out which revision of a repository mends a broken module."""

from synde_pipeline.simulation.worlds.base import Stage, World

CODE = World(
    domain="code",
    place="repository",
    stages=(
        Stage("branch", ("main", "develop"), "switched", "missing"),
        Stage("locate", ("grep", "tree", "blame"), "located", "nothing"),
        Stage("env", ("venv", "conda", "docker"), "active", "absent"),
        Stage("build", ("make", "ninja", "bazel", "meson"), "built", "broken"),
        Stage("bisect", ("pytest", "tox", "nose", "ctest", "unit"), "fixed", "crash"),
        Stage("submit", ("lint", "commit"), "staged", "pointless", is_final=True),
    ),
    needed=("locate", "bisect", "build", "submit", "branch", "env"),
    shows="bisect",
    things=(
        "parser", "lexer", "cache", "socket", "logger", "queue", "mailer", "client",
        "server", "config", "schema", "loader", "driver", "plugin", "encoder", "timer",
    ),
    ask="revision for {thing} in {name}",
)  # fmt: skip
