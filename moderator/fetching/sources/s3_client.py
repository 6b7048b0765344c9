"""Clients of Amazon's services and of S3-compatible stores, from the settings. Loads boto3, of the extra `bucket`."""

import logging
from typing import Any

from moderator.errors import ExtraMissing, SettingsError, brief
from moderator.settings import Settings

#: Connections kept to the store; more threads than that work, with connections of their own.
CONNECTIONS_MAX = 32

# At level DEBUG it would log signed headers, at level INFO where it found credentials.
for _name in ("boto3", "botocore", "s3transfer", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def s3_client(settings: Settings) -> Any:
    """Return a boto3 client for the object store; see `aws_client`.

    No call is retried: whoever calls knows better how long to wait, and a worker would hold a place meanwhile.
    `MODERATOR_FETCH_TIMEOUT` bounds connecting and each read.
    """
    return aws_client(
        "s3",
        settings,
        endpoint_url=settings.s3_endpoint,
        connect_timeout=settings.fetch_timeout,
        read_timeout=settings.fetch_timeout,
        s3={"addressing_style": "path" if settings.s3_path_style else "auto"},
        # Stores besides AWS know these checksums only in part.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=CONNECTIONS_MAX,
    )


def aws_client(service: str, settings: Settings, endpoint_url: str | None = None, **config: Any) -> Any:
    """Return a boto3 client that makes one try per call. Threads may share it.

    Credentials, and endpoints that are not given, are found as boto3 finds them.

    Args:
        service: boto3's name of it.
        settings: provide the region.
        endpoint_url: where the service is; None: as boto3 is configured.
        config: for botocore's `Config`.

    Raises:
        ExtraMissing: boto3 is not installed.
        SettingsError: the endpoint, the region or boto3's own configuration is invalid.
    """
    try:
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise ExtraMissing("buckets need boto3: pip install 'moderator[bucket]'") from error
    try:
        once = {"mode": "standard", "total_max_attempts": 1}
        chosen = Config(region_name=settings.s3_region, retries=once, **config)
        return Session().client(service, endpoint_url=endpoint_url, config=chosen)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"{service} cannot be set up; check MODERATOR_S3_REGION and MODERATOR_S3_ENDPOINT: {brief(error)}"
        ) from error
