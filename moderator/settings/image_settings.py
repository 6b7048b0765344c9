"""Settings section for images: where they may come from, how large they may be, and how they are decoded."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from moderator.settings.section import CommaSeparated, Section


class ImageSettings(Section):
    """Where images may come from, how large they may be, and how they are decoded."""

    fetch_roots: CommaSeparated[Path] = Field(
        (), description="Folders that events may name paths under, comma-separated. None: no paths."
    )
    fetch_networks: CommaSeparated[IPv4Network | IPv6Network] = Field(
        (),
        description="Private networks that URLs may reach, comma-separated CIDR. None: public addresses only.",
    )
    fetch_hosts: CommaSeparated[str] = Field(
        (),
        description="The only hosts that image URLs may name, comma-separated; `*.example.org` for those below it. "
        "None: all.",
    )
    fetch_sas: SecretStr | None = Field(
        None,
        description="Shared access signatures (SAS) for private containers of Azure Blob Storage, separated by blanks: "
        "`https://ACCOUNT.blob.core.windows.net/CONTAINER?SIGNATURE`. Workers add it to URLs of blobs therein (see "
        "`docs/hooks/azure.md`). None: public containers only.",
    )
    fetch_timeout: float = Field(10.0, gt=0, description="Seconds for a whole download, redirects included.")
    max_bytes: int = Field(25_000_000, gt=0, description="Largest encoded image.")
    max_pixels: int = Field(80_000_000, gt=0, description="Most pixels of a frame, and of all frames judged.")
    max_frames: int = Field(
        16,
        ge=1,
        description="Frames of an animation that are judged at most: those that the others resemble. If a frame "
        "resembles none of them, the decision is `review` at least.",
    )
    views: int = Field(
        10,
        ge=1,
        le=64,
        description="Most views of one picture that are judged: the whole, and parts that a viewer sees as pictures of "
        "their own. 1: the whole alone. A policy may ask for fewer.",
    )
    decode: Literal["processes", "threads"] = Field(
        "processes",
        description="Where the worker decodes: in confined `processes`, which a hostile image may crash, hang or take "
        "over without harm to the worker, or in its own `threads`.",
    )
    decode_timeout: float = Field(10.0, gt=0, description="Seconds for decoding one image.")
    decode_memory: int = Field(
        2_000_000_000, gt=0, description="Bytes of address space of one decoding process."
    )
    jpeg_draft: bool = Field(
        True, description="Decode large JPEGs at a reduced size of at least twice the model's input: faster."
    )
