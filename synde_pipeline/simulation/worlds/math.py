"""The math world: compute a quantity in a notebook."""

from synde_pipeline.simulation.worlds.base import Stage, World

MATH = World(
    domain="math",
    place="notebook",
    stages=(
        Stage("kernel", ("python", "julia"), "running", "dead"),
        Stage("cell", ("index", "outline", "tail"), "shown", "hidden"),
        Stage("units", ("metric", "atomic", "natural"), "scaled", "mismatch"),
        Stage("load", ("csv", "sql", "json", "hdf"), "loaded", "corrupt"),
        Stage("solve", ("newton", "simplex", "euler", "gauss", "secant"), "solved", "diverged"),
        Stage("conclude", ("check", "state"), "sound", "trivial", is_final=True),
    ),
    needed=("cell", "solve", "load", "conclude", "kernel", "units"),
    shows="solve",
    things=(
        "mass", "speed", "charge", "energy", "torque", "volume", "density", "flux",
        "yield", "drift", "entropy", "pressure", "angle", "period", "power", "current",
    ),
    ask="value of {thing} from {name}",
)  # fmt: skip
