"""Settings section for workers: how much a worker does at once, and where it serves metrics and health."""

from pydantic import Field

from moderator.settings.section import Section


class WorkerSettings(Section):
    """How much a worker does at once, and where it serves metrics and health."""

    max_batch: int = Field(
        0,
        ge=0,
        description="Most images in one forward pass; 0 chooses 8 on a CPU, 32 there with OpenVINO, 64 on a GPU.",
    )
    threads: int = Field(
        0, ge=0, description="Images decoded at once, in threads or processes; 0 chooses from the cores."
    )
    model_threads: int = Field(
        0, ge=0, description="CPU threads of the model; 0 leaves it to torch (all cores)."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of `/metrics`, `/ready` and `/live`.")
    metrics_port: int = Field(9464, ge=0, le=65535, description="Port of the same; 0 takes a free one.")
