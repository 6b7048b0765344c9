"""Settings section for buckets: which ones events may name objects of, and how their S3-compatible store is reached."""

from pydantic import Field, field_validator

from moderator.settings.section import CommaSeparated, Section


class BucketSettings(Section):
    """Which buckets events may name objects of, and how their S3-compatible store is reached (extra `bucket`)."""

    buckets: CommaSeparated[str] = Field(
        (), description="Buckets whose objects events may name by `key`, comma-separated. None: no keys."
    )
    s3_endpoint: str | None = Field(
        None, description="URL of an S3-compatible store such as MinIO. None: AWS, as boto3 is configured."
    )
    s3_region: str | None = Field(None, description="Region of the buckets. None: as boto3 is configured.")
    s3_path_style: bool = Field(
        False,
        description="Put the bucket into the path of requests, not the host name: most stores besides AWS need it.",
    )

    @field_validator("buckets")
    @classmethod
    def _check_buckets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if "/" in name or ":" in name:
                raise ValueError(f"{name!r} is no bucket; give names alone, without s3://, keys or prefixes")
        return value
