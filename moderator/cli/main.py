"""`moderator`: the app that all commands hang on, and the one place where errors become messages."""

import sys

import typer
from redis.exceptions import RedisError

from moderator.cli import (
    bench,
    check,
    classify,
    dead_letters,
    demo,
    doctor,
    embed,
    models,
    policy,
    probe,
    search,
    signals,
    similarity,
    spool,
    submit,
    verdicts,
    webhooks,
    worker,
)
from moderator.cli.output import errors
from moderator.errors import EncoderUnknown, LabelsInvalid, ModeratorError, PolicyNotFound, SettingsError

#: Errors of usage: what was asked for does not exist or cannot be understood.
USAGE_ERRORS = (SettingsError, PolicyNotFound, EncoderUnknown, LabelsInvalid)

app = typer.Typer(
    name="moderator",
    help="Image moderation that you run yourself: policies in words, a verdict for every upload.\n\n"
    "Try it on pictures of your own:\n\n"
    "  moderator check cat.jpg --policy marketplace\n\n"
    "See the whole service at work, with a server of its own:\n\n"
    "  moderator demo\n\n"
    "Settings come from MODERATOR_* variables, .env or moderator.toml.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("check")(check.check)
app.command("classify")(classify.classify)
app.command("similarity")(similarity.similarity)
app.command("embed")(embed.embed)
app.command("search")(search.search)
app.command("demo")(demo.demo)
app.command("worker")(worker.worker)
app.command("submit")(submit.submit)
app.command("doctor")(doctor.doctor)
app.add_typer(probe.app, name="probe")
app.add_typer(bench.app, name="bench")
app.add_typer(verdicts.app, name="verdicts")
app.add_typer(spool.app, name="spool")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(policy.app, name="policy")
app.add_typer(models.app, name="models")
app.add_typer(signals.app, name="signals")


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except ModeratorError as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, USAGE_ERRORS) else 1)
    except RedisError as error:
        errors.print(
            f"error: Redis does not answer ({error}); start it, or set MODERATOR_REDIS_URL. If it runs, it may hang, "
            "or the network on the way may drop what is sent",
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, e.g. `head`, has seen enough
        sys.stderr.close()
        sys.exit(141)
