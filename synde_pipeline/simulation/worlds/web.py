"""The web world (synde.txt section 10): find the price of a product on a shop's site."""

from synde_pipeline.simulation.worlds.base import Stage, World

WEB = World(
    domain="web",
    place="site",
    stages=(
        Stage("login", ("guest", "member"), "welcome", "denied"),
        Stage("nav", ("search", "browse", "sitemap"), "open", "empty"),
        Stage("locale", ("eu", "us", "uk"), "set", "ignored"),
        Stage("unblock", ("reload", "accept", "wait", "scroll"), "clear", "blocked"),
        Stage("extract", (".price", "#cost", ".amount", ".sale", "@data"), "found", "null"),
        Stage("finish", ("verify", "report"), "ready", "needless", is_final=True),
    ),
    needed=("nav", "extract", "unblock", "finish", "login", "locale"),
    shows="extract",
    things=(
        "lamp", "phone", "chair", "kettle", "camera", "jacket", "router", "watch",
        "tent", "guitar", "drill", "helmet", "blender", "mirror", "scooter", "novel",
    ),
    ask="price of {thing} on {name}",
)  # fmt: skip
