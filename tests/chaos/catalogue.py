"""All faults, in the order of the table."""

from tests.chaos.disk_faults import RedisFullDisk, SpoolFullDisk
from tests.chaos.fault import Fault
from tests.chaos.gateway_faults import GatewayKill, GatewayWithoutRedis
from tests.chaos.image_faults import HangingDecoder, NanModel, PoisonImage
from tests.chaos.ledger_faults import ParallelReplay, SlowWorker
from tests.chaos.model_faults import ModelBroken
from tests.chaos.queue_faults import HostileList, SharedRedis
from tests.chaos.redis_faults import (
    RedisCrash,
    RedisCrashEverysec,
    RedisFullMemory,
    RedisHangs,
    RedisOutage,
    RedisOutageSpool,
    RedisPowerLoss,
    RedisRestart,
)
from tests.chaos.replica_faults import Failover, FailoverBehind
from tests.chaos.webhook_faults import WebhookDown
from tests.chaos.worker_faults import Signals, WorkerKill, WorkerMemory, WorkerStop

FAULTS: dict[str, type[Fault]] = {
    fault.name: fault
    for fault in (
        WorkerKill,
        WorkerStop,
        Signals,
        WorkerMemory,
        SlowWorker,
        ParallelReplay,
        HostileList,
        SharedRedis,
        RedisCrash,
        RedisCrashEverysec,
        RedisPowerLoss,
        RedisRestart,
        RedisOutage,
        RedisOutageSpool,
        RedisHangs,
        RedisFullMemory,
        RedisFullDisk,
        SpoolFullDisk,
        Failover,
        FailoverBehind,
        PoisonImage,
        HangingDecoder,
        NanModel,
        ModelBroken,
        WebhookDown,
        GatewayKill,
        GatewayWithoutRedis,
    )
}
