"""The compose files hold what we rely on: nothing lost, nothing open, nothing writable, nothing floating."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from moderator.queue.connection import endpoint
from moderator.settings import Settings

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    return loaded


COMPOSE = load("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: Those of ours: one image, with a user of its own.
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("moderator:")}
each_service = pytest.mark.parametrize("name", sorted(SERVICES))
#: ${NAME}, ${NAME:-default}
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def resolved(text: str, **environment: str) -> str:
    """A value as compose reads it where the environment sets these variables alone."""
    return VARIABLE.sub(lambda match: environment.get(match[1]) or match[2] or "", text)


def test_there_is_each_service() -> None:
    assert {"worker", "gateway", "deliver"} == OURS
    assert set(SERVICES) - OURS == {"redis", "prometheus", "grafana"}


@each_service
def test_a_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    if name not in OURS:  # our image names its own user
        assert int(service["user"].split(":")[0]) > 0


@each_service
def test_a_service_comes_back_and_cannot_eat_the_machine(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped", "a broker restart can end a worker"
    limits = service["deploy"]["resources"]["limits"]
    assert float(resolved(limits["cpus"])) > 0
    assert re.fullmatch(r"\d+[mg]", resolved(limits["memory"]))
    assert isinstance(limits["pids"], int)
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


@each_service
def test_a_service_has_a_health_check(name: str) -> None:
    if name in OURS - {"gateway"}:
        assert "HEALTHCHECK" in (DOCKER / "Dockerfile").read_text()
        assert "healthcheck" not in SERVICES[name], "the image's own would be hidden"
    else:
        assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@each_service
def test_an_image_is_pinned(name: str) -> None:
    repository, _, tag = SERVICES[name]["image"].partition(":")
    assert repository
    assert re.match(r"v?\d+\.\d+", tag)


@each_service
def test_ports_are_published_on_loopback_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", resolved(port))


@each_service
def test_mounts_exist_and_binds_are_read_only(name: str) -> None:
    for mount in SERVICES[name]["volumes"]:
        if mount["type"] == "bind":
            assert mount["read_only"] is True
            assert (DOCKER / resolved(mount["source"])).is_dir(), mount["source"]
        else:
            assert mount["source"] in COMPOSE["volumes"]


@each_service
def test_dependencies_and_networks_exist(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert how == {"condition": "service_healthy"}
    assert set(SERVICES[name]["networks"]) <= set(COMPOSE["networks"])


def test_what_watches_cannot_reach_the_queue() -> None:
    reaches_redis = {
        name for name, s in SERVICES.items() if set(s["networks"]) & set(SERVICES["redis"]["networks"])
    }
    assert reaches_redis == {"redis"} | OURS


@pytest.mark.parametrize(
    ("name", "volume"),
    [
        ("worker", "/var/cache/moderator"),
        ("gateway", "/var/lib/moderator-archive"),
        ("deliver", "/var/lib/moderator-archive"),
    ],
)
def test_a_service_of_ours_writes_to_its_volume_and_its_tmp_alone(name: str, volume: str) -> None:
    service = SERVICES[name]
    writable = [mount["target"] for mount in service["volumes"] if not mount.get("read_only")]
    assert writable == [volume]
    (tmp,) = service["tmpfs"]
    target, _, options = tmp.partition(":")
    assert target == "/tmp"
    assert {"noexec", "nosuid", "nodev"} <= set(options.split(","))
    assert re.search(r"\bsize=\d+m\b", options)
    dockerfile = (DOCKER / "Dockerfile").read_text()
    (made,) = re.findall(r"install -d -o (\d+) -g (\d+) (.+)", dockerfile)
    user, group = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.M)[-1]
    assert made[:2] == (user, group), "a fresh volume takes the owner of the folder that it covers"
    assert set(writable) < set(made[2].split())


def test_only_what_delivers_has_the_secrets_of_receivers() -> None:
    assert {name for name in OURS if "MODERATOR_WEBHOOK_SECRET" in SERVICES[name]["environment"]} == {
        "deliver"
    }
    for name in OURS:
        assert SERVICES[name]["environment"]["MODERATOR_DELIVER"] == "apart"


def test_the_password_of_redis_stands_on_no_command_line() -> None:
    redis = SERVICES["redis"]
    assert not [word for word in redis["command"] if "PASSWORD" in word]
    assert redis["configs"] == [{"source": "redis", "target": "/run/redis.conf"}]
    assert redis["command"][redis["command"].index("--include") + 1] == "/run/redis.conf"
    content = COMPOSE["configs"]["redis"]["content"]
    assert resolved(content) == 'requirepass ""'
    assert resolved(content, REDIS_PASSWORD="a-b_9") == 'requirepass "a-b_9"'
    assert redis["environment"] == {"REDISCLI_AUTH": "${REDIS_PASSWORD:-}"}


def test_redis_loses_and_evicts_nothing() -> None:
    command = SERVICES["redis"]["command"]
    assert command[0] == "redis-server"
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    assert SERVICES["redis"]["volumes"][0]["target"] == "/data"
    maxmemory = int(resolved(options["--maxmemory"]).removesuffix("mb"))
    limit = int(resolved(SERVICES["redis"]["deploy"]["resources"]["limits"]["memory"]).removesuffix("g"))
    assert limit * 1024 >= 2 * maxmemory, "rewriting the append-only file forks"


@pytest.mark.parametrize(
    ("file", "name"), [("compose.gpu.yaml", "worker"), *(("compose.yaml", name) for name in sorted(OURS))]
)
def test_a_service_of_ours_is_set_by_settings_that_exist(file: str, name: str) -> None:
    environment = load(file)["services"][name]["environment"]
    names = {name for name in environment if name.startswith("MODERATOR_")}
    assert names
    assert {name.removeprefix("MODERATOR_").lower() for name in names} <= set(Settings.model_fields)


def test_the_worker_s_values_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES["worker"]["environment"]
    for name, value in environment.items():
        if value is not None:
            monkeypatch.setenv(name, resolved(value))
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    targets = {mount["target"] for mount in SERVICES["worker"]["volumes"]}
    assert str(settings.policies) in targets
    assert {str(root) for root in settings.fetch_roots} <= targets
    assert settings.redis_url == "redis://:@redis:6379/0"
    assert endpoint(settings.redis_url).password is None
    monkeypatch.setenv(
        "MODERATOR_REDIS_URL", resolved(environment["MODERATOR_REDIS_URL"], REDIS_PASSWORD="a-b_9")
    )
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert endpoint(settings.redis_url).password == "a-b_9"


def test_the_image_is_the_version_of_the_project_and_workers_can_be_scaled() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"moderator:{version}"}
    worker = SERVICES["worker"]
    assert not {"ports", "container_name"} & set(worker), "a second worker would collide"
    build = worker["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).is_file()


def test_the_worker_has_time_to_finish_what_is_in_flight() -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    fields = Settings.model_fields
    assert grace >= fields["fetch_timeout"].default + fields["decode_timeout"].default


def test_prometheus_scrapes_what_is_ours() -> None:
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "moderator")
    ports = {name: found["port"] for found in job["dns_sd_configs"] for name in found["names"]}
    assert set(ports) == OURS
    assert ports["worker"] == ports["deliver"] == Settings.model_fields["metrics_port"].default
    assert str(ports["gateway"]) in SERVICES["gateway"]["command"]
    for name in OURS:
        assert set(SERVICES[name]["networks"]) & set(SERVICES["prometheus"]["networks"])
    mounted = {mount["target"] for mount in SERVICES["prometheus"]["volumes"]}
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]
    assert {"/etc/prometheus", "/prometheus"} <= mounted
    for file in config["rule_files"]:
        assert (DOCKER / "prometheus" / file).is_file()


def test_grafana_finds_prometheus_and_the_dashboards_and_lets_nobody_edit() -> None:
    provisioning = DOCKER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards/moderation.yaml").read_text())["providers"]
    mounted = {mount["target"] for mount in SERVICES["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounted
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_the_gpu_override_changes_the_worker_alone_and_asks_for_a_gpu() -> None:
    services = load("compose.gpu.yaml")["services"]
    assert set(services) == {"worker"}
    (device,) = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert services["worker"]["environment"]["MODERATOR_DEVICE"] == "cuda"
