"""All settings, in sections: environment (`MODERATOR_*`), `.env`, or `moderator.toml`.

This is the only place where configuration enters. A component takes its section, or `Settings`, which has the fields of
all sections. The page on settings is generated from here.
"""

from moderator.settings.archive_settings import ArchiveSettings
from moderator.settings.bucket_settings import BucketSettings
from moderator.settings.delivery_settings import DeliverySettings
from moderator.settings.flood_settings import FloodSettings
from moderator.settings.gateway_settings import GatewaySettings
from moderator.settings.hook_settings import HOOKS, FailurePolicy, HookSettings
from moderator.settings.host_settings import HostSettings
from moderator.settings.image_settings import ImageSettings
from moderator.settings.loading import (
    DOTENV_FILE,
    PREFIX,
    SECTIONS,
    TOML_FILE,
    Settings,
    closest,
    load_settings,
    unknown_variables,
)
from moderator.settings.model_settings import ModelSettings
from moderator.settings.object_settings import ObjectSettings
from moderator.settings.policy_settings import (
    PolicySettings,
    default_policies_folder,
)
from moderator.settings.queue_settings import QueueSettings
from moderator.settings.section import Section
from moderator.settings.worker_settings import WorkerSettings

__all__ = [
    "DOTENV_FILE",
    "HOOKS",
    "PREFIX",
    "SECTIONS",
    "TOML_FILE",
    "ArchiveSettings",
    "BucketSettings",
    "DeliverySettings",
    "FailurePolicy",
    "FloodSettings",
    "GatewaySettings",
    "HookSettings",
    "HostSettings",
    "ImageSettings",
    "ModelSettings",
    "ObjectSettings",
    "PolicySettings",
    "QueueSettings",
    "Section",
    "Settings",
    "WorkerSettings",
    "closest",
    "default_policies_folder",
    "load_settings",
    "unknown_variables",
]
