"""`moderator keys`: make, list and revoke the API keys of the gateway."""

from datetime import datetime
from typing import Annotated

import typer

from moderator.cli.output import console, errors, plain, print_json
from moderator.errors import SettingsError
from moderator.gateway import api_keys
from moderator.gateway.api_keys import MAX_KEY_NAME, ApiKey, Scope
from moderator.queue.commands import require_all
from moderator.queue.connection import SentinelLogin, connect
from moderator.queue.executors import RedisExecutor
from moderator.settings import load_settings

app = typer.Typer(
    help="Make, list and revoke the API keys of the gateway.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def make(
    name: Annotated[str, typer.Argument(help="Whose key it is, for lists and messages.")],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            help="What it may do; may be repeated. submit: events and images. read: verdicts. tune: policies. "
            "admin: everything. Default: submit and read."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Requests a second; 0: no bound. Default: MODERATOR_GATEWAY_RATE."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Make a key, and show it once: Redis keeps only its digest.

    Examples:

      moderator keys make shop

      moderator keys make dashboard --scope read --rate 5
    """
    if not name.strip() or len(name) > MAX_KEY_NAME or not name.isprintable():
        raise typer.BadParameter(f"1 to {MAX_KEY_NAME} printable characters", param_hint="NAME")
    scopes = tuple(dict.fromkeys(scope or (Scope.SUBMIT, Scope.READ)))
    key, credentials = api_keys.make_key()
    require_all(_executor().run_each(api_keys.save(credentials, name, scopes, rate)))
    if json:
        print_json({"id": credentials.id, "name": name, "scopes": [*scopes], "rate": rate, "key": key})
        return
    errors.print("this is shown once; give it to its user, who sends it as Authorization: Bearer KEY")
    console.print(key, highlight=False, soft_wrap=True)


@app.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="One key per line, as JSON.")] = False,
) -> None:
    """List the keys, oldest first: id, name, scopes, rate, when they were made and last used.

    Example:

      moderator keys list
    """
    executor = _executor()
    found = require_all(executor.run_each([api_keys.read(id) for id in executor.run(api_keys.ids())]))
    for key in sorted((key for key in found if key is not None), key=lambda key: key.created_at):
        if json:
            print_json(_record(key))
            continue
        rate = "default" if key.rate is None else f"{key.rate:g}/s" if key.rate else "no bound"
        state = f"revoked {_day(key.revoked_at)}" if key.revoked_at else f"used {_day(key.used_at)}"
        scopes = ",".join(key.scopes)
        console.print(
            plain(f"{key.id}  {key.name:20} {scopes:18} {rate:9} made {_day(key.created_at)}  {state}"),
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def revoke(ids: Annotated[list[str], typer.Argument(help="As `list` prints them.")]) -> None:
    """Revoke keys: from now on, requests with them are refused. This cannot be undone.

    Example:

      moderator keys revoke 3f9a0c1d2e4b
    """
    executor = _executor()
    unknown = [id for id in ids if not executor.run(api_keys.revoke(id))]
    for id in ids:
        if id not in unknown:
            console.print(plain(f"{id}: revoked"), highlight=False)
    if unknown:
        raise SettingsError(f"no such key: {', '.join(unknown)}; `moderator keys list` shows them")


def _executor() -> RedisExecutor:
    settings = load_settings()
    return RedisExecutor(connect(settings.redis_url, sentinels=SentinelLogin.of(settings)))


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "never"


def _record(key: ApiKey) -> dict[str, object]:
    moments = {"created_at": key.created_at, "used_at": key.used_at, "revoked_at": key.revoked_at}
    return {
        "id": key.id,
        "name": key.name,
        "scopes": [*key.scopes],
        "rate": key.rate,
        **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
    }
