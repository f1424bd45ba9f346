"""HTML pages: one frame for all of them (`page.html.j2`), every value escaped. What a page says is in its own template.

A page is one file: no script, nothing from outside, and a policy in its head that forbids both.
"""

from typing import Any


def render(template: str, **values: Any) -> str:
    """Fill a template; text from logs comes out escaped.

    Args:
        template: path inside the package, such as `evaluation/report.html.j2`; it extends `page.html.j2`.
        values: what the template names. Only drawings of our own are passed through `safe` there.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("synde_pipeline", ".")
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**values)
