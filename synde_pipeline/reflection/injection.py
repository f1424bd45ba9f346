"""Whether a text reads like an attack on whoever reads it later."""


def why_suspect(text: str) -> str:
    """Why a text may be an attack; empty for what reads like any other."""
    return ""
