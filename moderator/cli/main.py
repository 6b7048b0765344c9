"""`moderator`: the app that holds all commands, and the one place where errors become messages."""

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module, metadata
from platform import python_version
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from moderator.errors import (
    EncoderUnknown,
    LabelsInvalid,
    ModeratorError,
    NoImages,
    PolicyNotFound,
    SettingsError,
)

# Silence the libraries' progress bars; this project shows its own, on terminals only. Must be set before the
# libraries load; a user's own values are kept.
for _name, _value in {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}.items():
    os.environ.setdefault(_name, _value)

#: Usage errors: the named thing does not exist, or the input cannot be understood.
USAGE_ERRORS = (SettingsError, PolicyNotFound, EncoderUnknown, LabelsInvalid, NoImages)

#: The commands, each with its line in `moderator --help`. A command is loaded when it is used.
COMMANDS = {
    "check": "Judge images by a policy, here and now, without a queue.",
    "classify": "Zero-shot classification: the most probable of some labels for each image, best first.",
    "similarity": "How much each image resembles each text: cosine, logit, and softmax over the texts.",
    "embed": "Embed any number of images into a Parquet file, for search and analysis.",
    "search": "Find the images that a text describes best, or that resemble an image.",
    "demo": "Run the whole service on a folder of images, then stop it.",
    "worker": "Serve the queue: take events from Redis, judge them, publish verdicts.",
    "gateway": "Serve HTTP: events and images in, verdicts out.",
    "keys": "Make, list and revoke the API keys of the gateway.",
    "deliver": "Deliver verdicts to webhooks and to the other consumers of the outbox.",
    "submit": "Put images on the queue; a worker judges them.",
    "backfill": "Judge any number of images, and write the verdicts into a folder of Parquet files.",
    "doctor": "Examine this installation: Redis, secrets, policies, and the machine.",
    "probe": "Train a linear probe on labelled images, measure it, use it.",
    "bench": "Measure the encoder on labelled images.",
    "verdicts": "Read published verdicts, and revise them.",
    "archive": "See, export, retain and erase what the archive holds.",
    "replay": "Judge an archived verdict again, and explain it.",
    "spool": "See and deliver events that were spooled while Redis was away.",
    "hooks": "Read what object stores report from a queue of theirs.",
    "webhooks": "See what webhooks answered, deliver to them again, test and enable them.",
    "dead-letters": "See events and deliveries that failed for good, and try them again.",
    "policy": "Write, check, compare, measure, release, try and roll back policies.",
    "models": "See which models there are, try one, fetch one.",
    "signals": "List and check further scorers for policies, and get the files that they read.",
}


class _Loaded(Mapping[str, Any]):
    """The commands by name, each loaded when it is looked up."""

    def __init__(self) -> None:
        self._commands: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._commands:
            self._commands[name] = _load(name)
        return self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Group(TyperGroup):
    """Lists all commands without loading any."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast(Any, _Loaded())

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # typer would exit with 1, as after a failure
            raise _ReaderGone from error


class _ReaderGone(Exception):
    """The reader of the output, such as `head`, has closed it."""


def _load(name: str) -> Any:
    if name not in COMMANDS:
        raise KeyError(name)
    module_name = name.replace("-", "_")
    module = import_module(f"moderator.cli.{module_name}")
    parent = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, callback=lambda: None)
    if hasattr(module, "app"):
        parent.add_typer(module.app, name=name)
    else:
        parent.command(name)(getattr(module, module_name))
    return cast(Any, typer.main.get_command(parent)).commands[name]


app = typer.Typer(
    name="moderator",
    cls=_Group,
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


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    typer.echo(f"moderator {_version('moderator')}")
    typer.echo(f"Python {python_version()}")
    typer.echo(f"torch {_version('torch')}")
    raise typer.Exit


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the versions that run here, and exit.",
        ),
    ] = False,
) -> None:
    """Take the options that may stand before a command."""


def main() -> None:
    """Run the command line and turn errors into messages and exit codes."""
    for stream in (sys.stdout, sys.stderr):
        # File names need not fit the terminal's encoding, nor be valid text at all.
        cast(Any, stream).reconfigure(errors="replace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except ModeratorError as error:
        _fail(str(error), 2 if isinstance(error, USAGE_ERRORS) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except (_ReaderGone, BrokenPipeError):
        _discard_output()
        sys.exit(141)
    except SystemExit as end:
        if end.code == 130:
            # Interrupted: do not wait for threads that are waiting for a host or a picture.
            os._exit(130)
        raise
    except OSError as error:
        if error.filename is None:
            _discard_output()
        _fail(_explain(error), 1)
    except Exception as error:
        if not _is_of_redis(error):
            raise
        _fail(
            f"Redis does not answer ({error}); start it, or set MODERATOR_REDIS_URL. If it runs, it may hang, "
            "or the network on the way may drop what is sent",
            1,
        )


def _fail(message: str, code: int) -> None:
    from moderator.cli.output import errors

    errors.print(f"error: {message}", style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(code)


def _explain(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename}: {reason}; check that it is there, and that this user may use it"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{reason}: what was to be written is cut off; make room, or write elsewhere"
    return f"the system refuses: {reason}"


def _discard_output() -> None:
    """Discard further writes to standard output, which would fail again at exit."""
    with suppress(OSError, ValueError):  # not a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_of_redis(error: Exception) -> bool:
    redis = sys.modules.get("redis.exceptions")
    return redis is not None and isinstance(error, redis.RedisError)
