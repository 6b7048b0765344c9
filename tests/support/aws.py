"""Amazon's S3, SNS and SQS, as moto serves them: in a thread of this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.tools import needs_extra

REGION = "us-east-1"
#: What boto3 finds in the environment; moto takes any.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
}


class Aws:
    """One server for all services."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.settings = {"s3_endpoint": endpoint, "s3_region": REGION, "s3_path_style": "true"}
        """Settings of ours that lead there."""

    def client(self, service: str) -> Any:
        return needs_extra("boto3", "bucket").client(service, endpoint_url=self.endpoint, region_name=REGION)


@contextmanager
def aws_server() -> Iterator[Aws]:
    """Yield a server, with credentials in the environment of this process and of those that it starts."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        server.start()
        try:
            host, port = server.get_host_and_port()
            yield Aws(f"http://{host}:{port}")
        finally:
            server.stop()
