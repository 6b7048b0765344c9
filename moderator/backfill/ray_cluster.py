"""Join a Ray cluster, or start Ray on this machine. Needs the extra `ray`."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moderator.errors import ExtraMissing, ModeratorError, brief

#: No reports to Ray's makers, no log lines between ours, no warning on how Ray treats machines without a GPU.
_RAY_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def ray_cluster(failed: Callable[[str], ModeratorError]) -> Iterator[Any]:
    """Join the cluster that `RAY_ADDRESS` names, or start Ray here, until the end of the block; yield the module.

    Args:
        failed: returns the error to raise if Ray fails, from the reason.

    Raises:
        ExtraMissing: Ray is not installed.
        ModeratorError: as `failed` returns it.
    """
    for name, value in _RAY_VARIABLES.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ExtraMissing("--engine ray needs Ray: pip install 'moderator[ray]'") from error
    from ray.exceptions import RayError

    try:
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield ray
    except (RayError, ConnectionError) as error:
        raise failed(brief(error)) from error
    finally:
        ray.shutdown()
