"""The commands of serving: `synde serve` and `synde key`. `cli` puts them among the others."""

from typing import Annotated, Any

import typer

from synde_pipeline.cli_words import AsJson, check_port, print_json
from synde_pipeline.settings import load
from synde_pipeline.tables import text_table

key = typer.Typer(no_args_is_help=True, help="API keys of `synde serve`: made here, shown once, kept as hashes.")


def serve(
    host: Annotated[str, typer.Option(help="Address to bind; others than the loopback need keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8000,
    upstream: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server that writes the answers, for example vLLM.")
    ] = None,
    upstream_model: Annotated[str | None, typer.Option(help="Its model; left out: the client's.")] = None,
    upstream_adapters: Annotated[
        bool, typer.Option("--upstream-adapters", help="It has our adapters, under the names of `synde export`.")
    ] = False,
    layers: Annotated[
        str | None, typer.Option(help="router (decides for each task), dual, context, weights or none.")
    ] = None,
    no_log: Annotated[bool, typer.Option("--no-log", help="Keep no logs of what was answered.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell each answer on stderr: trace, layers, reason, tokens, time.")
    ] = False,
) -> None:
    """Answer OpenAI clients with the champion and the memory, and log every execution.

    Point a client at http://127.0.0.1:8000/v1 and ask for the model `synde`. Headers of a request: x-synde-domain and
    x-synde-scope say where its task is, x-synde-trace joins requests of one execution (else equal beginnings do),
    x-synde-task names the task. Headers of an answer: x-synde-layers and x-synde-reason say what the router decided,
    x-synde-memory which items were shown. POST /feedback {"id", "outcome"} says what became of it; POST /recall
    {"task"} asks memory; GET /metrics is for Prometheus.

    What was answered lands as logs of the source `served` (with a key: `served-NAME`). Such logs are not learned from
    until the settings trust it: {"memory": {"trust": {"served": 1}}} in settings.json of SYNDE_HOME.
    """
    import logging
    import signal

    from synde_pipeline.lease import lease
    from synde_pipeline.serving.running import app_of, server_of
    from synde_pipeline.settings import Settings

    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("synde.serving").setLevel(logging.INFO if verbose else logging.WARNING)
    settings = load()
    given: dict[str, Any] = {"upstream_url": upstream, "upstream_model": upstream_model, "layers": layers}
    given = {name: value for name, value in given.items() if value is not None} | ({"log": False} if no_log else {})
    given |= {"upstream_adapters": True} if upstream_adapters else {}
    values = settings.model_dump()
    values["serving"] |= given
    settings = _checked(Settings, values)
    check_port(host, port)
    with lease(settings.warehouse, "serving", timeout_s=0.0):
        app = app_of(settings, host)
        # The server ends by itself, gracefully, and raises what ended it once more: that has done its work by then.
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: None)
        print(f"http://{host}:{port}/v1 (model: synde). Ctrl-C stops it.", flush=True)
        server = server_of(app, host, port)
        server.run()
        if not server.started:  # it has said why
            raise typer.Exit(1)


def _checked(form: Any, values: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from synde_pipeline.errors import InputError

    try:
        return form.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][-1]).replace("_url", "").replace("_", "-")
        raise InputError(f"--{name} is {first['input']!r}", expected=first["msg"]) from error


@key.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Who uses it: its logs are of the source `served-NAME`.")],
    domain: Annotated[str | None, typer.Option(help="Of requests that name none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: it is shown this once. JSON keys: name, domain, key."""
    from synde_pipeline.serving.keys import add_key

    secret = add_key(load().home, name, domain)
    if as_json:
        print_json({"name": name, "domain": domain, "key": secret})
    else:
        print(secret)


@key.command("list")
def show(as_json: AsJson = False) -> None:
    """List the keys' names. JSON keys: keys [name, domain, source, created]."""
    from synde_pipeline.serving.keys import read_keys

    rows = [
        {"name": one.name, "domain": one.domain or "", "source": one.source, "created": f"{one.created:%Y-%m-%d}"}
        for one in read_keys(load().home)
    ]
    if as_json:
        print_json({"keys": rows})
    elif rows:
        print(text_table([list(row.values()) for row in rows], list(rows[0])))
    else:
        print("no keys: on the loopback none is needed")


@key.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Of the key.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say whether there is one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a key open nothing any more, at once. JSON keys: key, removed."""
    from synde_pipeline.serving.keys import remove_key

    remove_key(load().home, name, dry_run=dry_run)
    if as_json:
        print_json({"key": name, "removed": not dry_run})
    else:
        print(f"{name} would open nothing any more" if dry_run else f"removed {name}")


def fit_router(as_json: AsJson = False) -> None:
    """Find out where weights alone, or memory alone, are as good as both, and let `synde serve` decide by it.

    The champion's layers are tried apart and together on held-out `gate` tasks: by replaying successful runs, in a
    laboratory by acting. Where nothing is shown the router uses both. A new champion has to be fitted anew. JSON keys:
    domains {domain: {model, known, novel, n, units, margin}}.
    """
    from synde_pipeline.lease import lease
    from synde_pipeline.models.limits import write_limits
    from synde_pipeline.storage import Warehouse

    settings = load()
    warehouse = Warehouse(settings.warehouse)
    with lease(warehouse.root, "training", log=lambda text: typer.echo(text, err=True)):
        found = _fitted(settings)
        write_limits(warehouse, found)
    if as_json:
        print_json({"domains": {domain: one.model_dump() for domain, one in found.items()}})
        return
    if not found:
        print("no domain is served by a bank of adapters: there is nothing to route to")
    for domain, one in found.items():
        known = "nowhere shown to be enough" if one.known is None else f"enough from {one.known:.2f} on"
        novel = "nowhere shown to be enough" if one.novel is None else f"enough below {one.novel:.2f}"
        print(f"{domain}: weights alone {known}, memory alone {novel} ({one.n} gate tasks, {one.units} independent)")


def _fitted(settings: Any) -> Any:
    if settings.simulation is None:
        from synde_pipeline.evaluation.fit_router import fit_by_replay

        return fit_by_replay(settings)
    from synde_pipeline.simulation.fit_router import fit_by_acting
    from synde_pipeline.simulation.lab import Lab
    from synde_pipeline.storage import Warehouse

    return fit_by_acting(Lab(Warehouse(settings.warehouse), settings))
