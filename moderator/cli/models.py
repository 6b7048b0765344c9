"""`moderator models`: list models, check that one works here, fetch one for use without the network."""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from moderator.cli import models_compare
from moderator.cli.demo import PHOTOGRAPHS
from moderator.cli.output import console, errors, plain, print_json
from moderator.encoders.known import KNOWN, KnownModel
from moderator.image_paths import expand_images
from moderator.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="See which models there are, try one, fetch one.")

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per line, for programs.")]

#: The photograph of the demo that `check` embeds, and the texts that it is compared with.
CHECK_PHOTOGRAPH, CHECK_TEXTS = "cat.jpg", ("a photo of a cat", "a photo of a rocket")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List known models: values of MODERATOR_ENCODER, with figures and their sources.

    Other checkpoints of the same families work, too. Models named openclip: need moderator[openclip], SigLIP's first
    generation moderator[siglip].

    Example:

      moderator models list --json
    """
    if as_json:
        for model in KNOWN:
            print_json(asdict(model))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("MODERATOR_ENCODER", no_wrap=True, width=49)
    for heading, width in (("px", 3), ("dim", 4), ("param", 5), ("top-1", 5)):
        table.add_column(heading, justify="right", no_wrap=True, width=width)
    table.add_column("licence", no_wrap=True, width=8)
    family = ""
    sources: list[str] = []
    for model in KNOWN:
        if model.top1_source is not None and model.top1_source not in sources:
            sources.append(model.top1_source)
        if model.family != family:
            family = model.family
            mark = "" if model.top1_source is None else f" [{sources.index(model.top1_source) + 1}]"
            table.add_row(Text(f"{family}{mark}", "dim"))
        table.add_row(*_row(model))
    console.print(table)
    console.print(
        "px: side of the input; dim: length of an embedding; param: both towers; top-1: zero-shot on ImageNet-1k, "
        "in %; in brackets: where that is from. Licences in short: the model cards have the terms.",
        style="dim",
        highlight=False,
    )
    for number, source in enumerate(sources, start=1):
        console.print(Text(f"[{number}] {source}", "dim"), highlight=False)


@app.command()
def check(
    name: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Such as clip:ID. Default: MODERATOR_ENCODER.")
    ] = None,
    runtimes: Annotated[
        bool,
        typer.Option("--runtimes", help="Compare all runtimes and precisions on this machine's CPU instead."),
    ] = False,
    photographs: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="With --runtimes: pictures or folders of your own; again for more. Default: those of the demo.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Load a model, embed a picture and texts, and measure.

    Lists the prompts of all policies that the model truncates.

    --runtimes shows for each installed runtime and precision its speed, the lowest cosine to float32 over the
    photographs, and the share of decisions of all policies that stay the same. Choose with MODERATOR_RUNTIME and
    MODERATOR_DTYPE, after a comparison on your own pictures.

    Examples:

      moderator models check siglip:google/siglip2-base-patch16-224

      moderator models check --runtimes --photographs ~/uploads
    """
    if runtimes:
        _compare(name or load_settings().encoder, photographs or [PHOTOGRAPHS], as_json)
        return
    if photographs:
        raise typer.BadParameter("only with --runtimes", param_hint="--photographs")
    from PIL import Image

    from moderator.encoders.verify import check_up
    from moderator.engine.engine import Engine  # the model libraries take seconds to load: not for --help
    from moderator.policies.fields import fill

    settings = load_settings()
    start = time.perf_counter()
    engine = Engine(settings.model_copy(update={"encoder": name or settings.encoder}))
    loaded = time.perf_counter() - start
    encoder = engine.encoder
    prompts = {
        fill(template, prompt)
        for policy in engine.catalogue.snapshot.policies.values()
        for category in policy.categories.values()
        for prompt in (*category.unsafe, *category.safe, *policy.safe)
        for template in policy.templates
    }
    with Image.open(PHOTOGRAPHS / CHECK_PHOTOGRAPH) as picture:
        found = check_up(encoder, engine.max_batch, picture.convert("RGB"), CHECK_TEXTS, sorted(prompts))
    if as_json:
        facts = {
            **asdict(encoder.identity), "image_size": encoder.image_size, "dimension": encoder.dimension,
            "scale": encoder.scale, "bias": encoder.bias, "device": encoder.device, "dtype": encoder.dtype,
            "load_seconds": round(loaded, 3), "prompts": len(prompts),
        }  # fmt: skip
        print_json({**facts, **asdict(found)})
        return
    rows = {
        "model": encoder.identity.id,
        "revision": encoder.identity.revision,
        "preprocessing": encoder.identity.preprocessing,
        "image": f"{encoder.image_size} x {encoder.image_size} pixels",
        "embedding": f"{encoder.dimension} numbers; logit = {encoder.scale:.2f} * cosine {encoder.bias:+.2f}",
        "runs on": f"{encoder.device} in {encoder.dtype}",
        "loading": f"{loaded:.1f} s",
        "speed": f"{found.images_per_second_1:.1f} images/s one by one, "
        f"{found.images_per_second_batch:.1f} in batches of {found.batch}",
        "memory": f"{found.memory_mb} MB at most so far",
        CHECK_PHOTOGRAPH: ", ".join(f"{cosine:+.3f} {text!r}" for text, cosine in found.similarities.items()),
        "prompts": f"{len(prompts)}, of which {len(found.truncated)} are not read to the end",
    }
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(Text(key, "bold"), plain(value))
    console.print(table)
    for prompt in found.truncated:
        errors.print(Text("cut: ", "yellow") + plain(prompt))


@app.command()
def pull(
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Such as clip:ID, clip:ID@REVISION or openclip:ARCH/TAG.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Fetch a model, so that it loads without the network, and print the name that pins it.

    The files go into the hub library's cache (HF_HOME). Afterwards, HF_HUB_OFFLINE=1 keeps workers from contacting the
    hub at all.

    Example:

      moderator models pull clip:openai/clip-vit-large-patch14
    """
    if errors.is_terminal:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "0"  # here, the hub library's bars show the progress
        os.environ["TQDM_DISABLE"] = "0"
    from moderator.encoders.hub import pull as fetch

    pulled = fetch(name)
    if as_json:
        print_json({**asdict(pulled), "folder": str(pulled.folder)})
        return
    errors.print(
        plain(f"{pulled.files} files, {pulled.bytes / 1e6:.0f} MB, in {pulled.folder}"), soft_wrap=True
    )
    if name.startswith("openclip:"):
        errors.print(
            plain(f"OpenCLIP's tags cannot be pinned; the digest of these weights is {pulled.revision}")
        )
    # Nothing else goes to standard output: MODERATOR_ENCODER=$(moderator models pull ...)
    typer.echo(pulled.name)


def _compare(name: str, photographs: list[Path], as_json: bool) -> None:
    """Print the table of `check --runtimes`."""
    from moderator.embeddings.runtimes import BATCH_SIZES, compare_runtimes

    settings = load_settings()
    files = [Path(file) for file in expand_images([str(path) for path in photographs])]
    with errors.status(f"embedding {len(files)} photographs in each runtime and precision"):
        rows = compare_runtimes(settings.model_copy(update={"encoder": name}), files)
    if as_json:
        for row in rows:
            print_json(asdict(row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("runtime", no_wrap=True)
    table.add_column("dtype", no_wrap=True)
    for size in BATCH_SIZES:
        table.add_column(f"batch {size}", justify="right", no_wrap=True)
    for heading in ("x fp32", "cosine", "equal"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        speeds = [f"{speed:.1f}" for speed in row.speeds.values()]
        nearness = [
            f"{row.best / rows[0].best:.2f}",
            f"{row.cosine:.5f}",
            f"{100 * row.equal_decisions:.2f} %",
        ]
        table.add_row(row.runtime, row.precision, *speeds, *nearness)
    console.print(table)
    console.print(
        "batch: images per second; x fp32: the best of them over torch in float32; cosine: the lowest to float32; "
        f"equal: decisions of {sum(rows[0].decisions.values())}, over {len(files)} pictures and all policies.",
        style="dim",
        highlight=False,
    )


def _row(model: KnownModel) -> list[str]:
    millions = model.parameters
    size = "" if millions is None else f"{millions:.0f}M" if millions < 1000 else f"{millions / 1000:.2f}B"
    top1 = "" if model.top1 is None else f"{model.top1:.1f}"
    return [model.name, str(model.image_size), str(model.dimension), size, top1, model.licence or ""]


app.command()(models_compare.compare)
