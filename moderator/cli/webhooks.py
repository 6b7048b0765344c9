"""`moderator webhooks`: list webhooks that are disabled because they answered 410 Gone, and enable them again."""

from typing import Annotated

import typer

from moderator.cli.output import console, plain, print_json
from moderator.client import Client
from moderator.queue.disabled_webhooks import DisabledWebhooks

app = typer.Typer(
    help="See which webhooks get no more deliveries, and enable them again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="One webhook per line, as JSON.")] = False,
) -> None:
    """List webhooks that answered 410 Gone, latest first. Their deliveries become dead letters.

    Example:

      moderator webhooks list
    """
    for url, since in DisabledWebhooks(Client().redis):
        if json:
            print_json({"url": url, "disabled_at": since.isoformat()})
        else:
            console.print(f"{since:%Y-%m-%d %H:%M:%S} ", plain(url), highlight=False, soft_wrap=True)


@app.command()
def enable(urls: Annotated[list[str], typer.Argument(help="As `list` prints them.")]) -> None:
    """Enable webhooks again. For missed verdicts: `moderator dead-letters replay --all --error WebhookDisabled`.

    Example:

      moderator webhooks enable https://example.org/hook
    """
    disabled = DisabledWebhooks(Client().redis)
    for url in urls:
        done = disabled.remove(url)
        console.print(
            plain(f"{url}: {'enabled' if done else 'was not disabled'}"), highlight=False, soft_wrap=True
        )
