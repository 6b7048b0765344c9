from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from moderator.errors import SettingsError
from moderator.settings import (
    HOOKS,
    SECTIONS,
    ImageSettings,
    QueueSettings,
    Settings,
    default_policies_folder,
    load_settings,
    unknown_variables,
)


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def test_defaults_are_enough() -> None:
    settings = load_settings()
    assert (settings.encoder, settings.device, settings.dtype) == ("embedded", "auto", "auto")
    assert settings.fetch_roots == settings.fetch_networks == ()
    assert settings.webhook_secret is None
    assert settings.policies.is_dir()


def test_arguments_before_environment_before_dotenv_before_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    def value(**arguments: object) -> int:
        return Settings(**arguments).max_batch

    Path("moderator.toml").write_text("max_batch = 1\n")
    assert value() == 1
    Path(".env").write_text("MODERATOR_MAX_BATCH=2\n")
    assert value() == 2
    monkeypatch.setenv("MODERATOR_MAX_BATCH", "3")
    assert value() == 3
    assert value(max_batch=4) == 4


def test_sources_complete_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("moderator.toml").write_text('encoder = "clip:x"\n')
    Path(".env").write_text("MODERATOR_THREADS=7\nOTHER=1\n")
    monkeypatch.setenv("MODERATOR_DEVICE", "cpu")
    settings = load_settings()
    assert (settings.encoder, settings.threads, settings.device) == ("clip:x", 7, "cpu")
    assert load_settings() is settings


@pytest.mark.parametrize(
    ("text", "roots"), [("/a,/b", ("/a", "/b")), (" /a , ,/b c, ", ("/a", "/b c")), ("", ()), ("/a", ("/a",))]
)
def test_comma_separated_folders(monkeypatch: pytest.MonkeyPatch, text: str, roots: tuple[str, ...]) -> None:
    monkeypatch.setenv("MODERATOR_FETCH_ROOTS", text)
    assert load_settings().fetch_roots == tuple(map(Path, roots))


@pytest.mark.parametrize(
    "value", ["Archive", "archive:all", "archive:", "webhooks", "a,a", "a,a:embedding", "a b", "1a", "x" * 33]
)
def test_a_consumer_that_cannot_be_named_so_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MODERATOR_OUTBOX_CONSUMERS", value)
    with pytest.raises(SettingsError, match="MODERATOR_OUTBOX_CONSUMERS"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOOK_FAILURE", "tusd"),
        ("HOOK_FAILURE", "allow"),
        ("HOOK_FAILURE", "tus=allow"),
        ("HOOK_FAILURE", "s3=hold,sns=open"),
        ("IMGPROXY_KEY", "no hex"),
        ("IMGPROXY_SALT", "abc"),
        ("BUCKETS", "s3://uploads"),
        ("BUCKETS", "uploads/cats"),
    ],
)
def test_what_hooks_and_buckets_cannot_be(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MODERATOR_{name}", value)
    with pytest.raises(SettingsError, match=f"MODERATOR_{name}"):
        load_settings()


def test_each_hook_has_a_failure_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATOR_HOOK_FAILURE", "tusd=reject, imgproxy=allow")
    policies = {hook: load_settings().failure_policy(hook).value for hook in HOOKS}
    assert policies == dict.fromkeys(HOOKS, "hold") | {"tusd": "reject", "imgproxy": "allow"}


def test_lists_in_toml() -> None:
    Path("moderator.toml").write_text('fetch_roots = ["/a", "/b"]\nfetch_networks = "10.0.0.0/8, fd00::/8"\n')
    settings = load_settings()
    assert settings.fetch_roots == (Path("/a"), Path("/b"))
    assert settings.fetch_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_BATCH", "many"),
        ("MAX_BATCH", "-1"),
        ("MAX_ATTEMPTS", "0"),
        ("METRICS_PORT", "65536"),
        ("DTYPE", "int4"),
        ("FETCH_NETWORKS", "10.0.0.1/8"),
        ("FETCH_NETWORKS", "example.com"),
        ("JPEG_DRAFT", "perhaps"),
        ("DECODE_TIMEOUT", "0"),
        ("MAX_BYTES", ""),
    ],
)
def test_a_malformed_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MODERATOR_{name}", value)
    with pytest.raises(SettingsError, match=f"MODERATOR_{name}: "):
        load_settings()


def test_all_malformed_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATOR_MAX_BATCH", "x")
    Path("moderator.toml").write_text("threads = -1\n")
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "MODERATOR_MAX_BATCH" in str(error.value)
    assert "MODERATOR_THREADS" in str(error.value)


@pytest.mark.parametrize(("file", "content"), [("moderator.toml", b"max_batch ="), (".env", b"A=\xff\xfe")])
def test_a_file_that_cannot_be_read(file: str, content: bytes) -> None:
    Path(file).write_bytes(content)
    with pytest.raises(SettingsError, match=r"moderator\.toml or \.env cannot be read"):
        load_settings()


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("webhook_secrt", "did you mean 'webhook_secret'?"),
        ("FETCH_HOSTS", "did you mean 'fetch_hosts'?"),
        ("colour", "remove it"),
    ],
)
def test_an_unknown_key_in_the_file_is_an_error_that_names_the_closest(key: str, hint: str) -> None:
    Path("moderator.toml").write_text(f'{key} = "hunter2"\nthreads = 2\n')
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert f"'{key}' is no setting; {hint}" in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_table_in_the_file_is_an_unknown_key() -> None:
    Path("moderator.toml").write_text("[moderator]\nthreads = 2\n")
    with pytest.raises(SettingsError, match="'moderator' is no setting"):
        load_settings()


def test_unknown_variables_are_told_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(unknown_variables()) == []
    monkeypatch.setenv("MODERATOR_WEBHOOKS_HOSTS", "example.org")
    monkeypatch.setenv("moderator_device", "cpu")
    Path(".env").write_text("MODERATOR_THREDS=7\nOTHER=1\n")
    assert load_settings().device == "cpu"
    assert list(unknown_variables()) == [
        ("MODERATOR_THREDS", "did you mean 'MODERATOR_THREADS'?"),
        ("MODERATOR_WEBHOOKS_HOSTS", "did you mean 'MODERATOR_WEBHOOK_HOSTS'?"),
    ]


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATOR_WEBHOOK_SECRET", "whsec_c2VjcmV0")
    monkeypatch.setenv("MODERATOR_REDIS_URL", "redis://:hunter2@db:6379/0")
    settings = load_settings()
    for shown in (repr(settings), str(settings)):
        assert "c2VjcmV0" not in shown
        assert "hunter2" not in shown
    assert settings.webhook_secret.get_secret_value() == "whsec_c2VjcmV0"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().max_batch = 3


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_each_setting_is_in_one_section() -> None:
    names = [name for section in SECTIONS for name in section.model_fields]
    assert names == list(Settings.model_fields)
    assert sorted(names) == sorted(set(names))
    for section in SECTIONS:
        assert str(section.__doc__).endswith("."), section


def test_a_section_stands_alone_and_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATOR_QUEUE_LIMIT", "7")
    assert QueueSettings().queue_limit == 100_000
    assert QueueSettings(stream_length=10).most_in_stream == 30
    assert ImageSettings(fetch_hosts="a.example, b.example").fetch_hosts == ("a.example", "b.example")
    with pytest.raises(ValueError, match="frozen"):
        QueueSettings().queue_limit = 3
    assert isinstance(load_settings(), QueueSettings)


def test_several_malformed_values_are_named_in_the_order_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OUTBOX_LIMIT", "MAX_BATCH", "QUEUE_LIMIT"):
        monkeypatch.setenv(f"MODERATOR_{name}", "many")
    with pytest.raises(SettingsError) as error:
        load_settings()
    why = "Input should be a valid integer, unable to parse string as an integer"
    assert str(error.value).splitlines() == [
        "settings are not valid:",
        f"  MODERATOR_QUEUE_LIMIT: {why}",
        f"  MODERATOR_MAX_BATCH: {why}",
        f"  MODERATOR_OUTBOX_LIMIT: {why}",
    ]


def test_policies_of_the_working_folder_come_first() -> None:
    bundled = default_policies_folder()
    assert (bundled / "active.yaml").is_file()
    Path("policies").mkdir()
    assert default_policies_folder() == Path("policies")


def test_retention_is_in_days_by_decision() -> None:
    days = Settings(archive_keep="allow=30, *=365, error=7").archive_days  # type: ignore[arg-type]
    assert days == {"allow": 30, "review": 365, "block": 365, "error": 7}
    assert Settings(archive_keep="block=1").archive_days == {"block": 1}  # type: ignore[arg-type]
    assert Settings().archive_days == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"archive_keep": "allow"},
        {"archive_keep": "allow=0"},
        {"archive_keep": "allow=-1"},
        {"archive_keep": "allow=99999"},
        {"archive_keep": "perhaps=3"},
        {"archive_keep": "allow=1,allow=2"},
        {"archive_url": "archive.sqlite3"},
        {"archive_url": "sqlite://"},
        {"archive_url": "mysql://host/db"},
    ],
)
def test_an_archive_setting_that_cannot_be_meant_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_the_password_of_the_archive_is_not_shown() -> None:
    assert "hunter2" not in repr(Settings(archive_url="postgresql://u:hunter2@host/db"))
