import pytest
from celery import Celery
from kombu.utils.url import url_to_parts
from redis.sentinel import SentinelConnectionPool

from moderator.errors import SettingsError
from moderator.queue.connection import SentinelLogin, celery_broker, connect, endpoint
from moderator.settings import Settings

PASSWORD = "p@:/%w"
QUOTED = "p%40%3A%2F%25w"


def client_options(url: str) -> dict[str, object]:
    return connect(url).connection_pool.connection_kwargs


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://db", {"host": "db"}),
        ("redis://db:7000/3", {"host": "db", "port": 7000, "db": 3}),
        ("redis://db?db=4", {"host": "db", "db": 4}),
        (f"redis://:{QUOTED}@db", {"host": "db", "password": PASSWORD}),
        (f"redis://me:{QUOTED}@db", {"username": "me", "password": PASSWORD}),
        ("redis://[::1]:7000/1", {"host": "::1", "port": 7000, "db": 1}),
        ("rediss://db/1", {"host": "db", "db": 1}),
        ("rediss://db?ssl_ca_certs=/ca.pem", {"ssl_ca_certs": "/ca.pem"}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "db": 2}),
        (f"unix://me:{QUOTED}@/run/redis.sock", {"username": "me", "password": PASSWORD}),
    ],
)
def test_connections_of_redis_py(url: str, options: dict[str, object]) -> None:
    found = client_options(url)
    assert {name: found.get(name) for name in options} == options
    assert found["socket_timeout"] > 0
    assert found["health_check_interval"] > 0


def test_a_socket_file_has_no_keepalive() -> None:
    assert "socket_keepalive" not in client_options("unix:///run/redis.sock")
    assert client_options("redis://db")["socket_keepalive"] is True


def test_sentinel() -> None:
    client = connect(f"sentinel://me:{QUOTED}@one:1,two/mymaster/2")
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mymaster"
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == ("me", PASSWORD)
    assert pool.connection_kwargs["db"] == 2
    hosts = [s.connection_pool.connection_kwargs for s in pool.sentinel_manager.sentinels]
    assert [(h["host"], h["port"]) for h in hosts] == [("one", 1), ("two", 26379)]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "db:6379",
        "http://db",
        "redis://db:port",
        "redis://[::1",
        "sentinel://",
        "sentinel://db",
        "sentinel:///mymaster",
        "sentinel://db:port/mymaster",
        "sentinel://db/mymaster/x",
        "sentinel://::1:26379/mymaster",
        "sentinel://[::1/mymaster",
        "sentinel://[db]/mymaster",
        "sentinel://[::1]x/mymaster",
    ],
)
def test_urls_that_cannot_be_read(url: str) -> None:
    for read in (connect, celery_broker):
        with pytest.raises(SettingsError, match="MODERATOR_REDIS_URL: "):
            read(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://db",
        "redis://db:7000/3",
        "redis://db?db=4",
        f"redis://:{QUOTED}@db/1",
        f"redis://m%40%3Ae:{QUOTED}@db:7000/3",
        "redis://db/1?username=me&password=pw",
        "redis://[::1]:7000/1",
        f"rediss://me:{QUOTED}@db:7000/3?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem",
    ],
)
def test_celery_goes_where_redis_py_goes(url: str) -> None:
    broker, options = celery_broker(url), client_options(url)
    app = Celery("test", broker=broker.url, set_as_current=False)
    app.conf.broker_use_ssl = broker.use_ssl
    celery = app.connection()
    assert celery.hostname == options["host"]
    assert celery.port == options.get("port", 6379)
    assert int(celery.virtual_host or 0) == options.get("db", 0)
    assert celery.userid == options.get("username")
    assert celery.password == options.get("password")
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if url.startswith("rediss"):
        assert celery.ssl == tls
    else:
        assert celery.ssl is None


def test_tls_is_checked_unless_told_otherwise() -> None:
    assert celery_broker("rediss://db").use_ssl == {"ssl_cert_reqs": "required"}
    assert celery_broker("redis://db").use_ssl is None


def test_celery_on_a_socket_file() -> None:
    assert celery_broker("unix:///run/redis.sock?db=2").url == "redis+socket:///run/redis.sock?virtual_host=2"
    url = f"redis+socket://me:{QUOTED}@/run/redis.sock?virtual_host=0"
    assert celery_broker(f"unix://me:{QUOTED}@/run/redis.sock").url == url


def test_celery_on_sentinel() -> None:
    broker = celery_broker(f"sentinel://me:{QUOTED}@one:1,two/mymaster/2")
    assert broker.transport_options == {"master_name": "mymaster"}
    app = Celery("test", broker=broker.url, set_as_current=False)
    first, *others = app.connection().alt
    assert first == f"sentinel://me:{QUOTED}@one:1/2"
    assert others == [f"sentinel://me:{QUOTED}@two:26379/2"]
    assert (app.connection().userid, app.connection().password) == ("me", PASSWORD)


ADDRESSES = [("::1", 26379), ("fe80::1%eth0", 7000), ("one", 26379), ("10.0.0.1", 1)]


@pytest.mark.parametrize("zone", ["%", "%25"])
def test_sentinels_on_ipv6(zone: str) -> None:
    url = f"sentinel://me:{QUOTED}@[::1],[fe80::1{zone}eth0]:7000,one,10.0.0.1:1/mymaster/2"
    manager = connect(url).connection_pool.sentinel_manager
    hosts = [s.connection_pool.connection_kwargs for s in manager.sentinels]
    assert [(h["host"], h["port"]) for h in hosts] == ADDRESSES
    assert endpoint(url).hosts == tuple(host for host, _ in ADDRESSES)
    assert endpoint(url).password == PASSWORD

    broker = celery_broker(url)
    connection = Celery("test", broker=broker.url, set_as_current=False).connection()
    found = [url_to_parts(one) for one in connection.alt]
    assert [(one.hostname, one.port) for one in found] == ADDRESSES
    assert {(one.username, one.password, one.path) for one in found} == {("me", PASSWORD, "2")}


def test_the_sentinels_have_a_login_of_their_own() -> None:
    login = SentinelLogin("watch", PASSWORD)
    url = "sentinel://me:other@one,two/mymaster"
    pool = connect(url, sentinels=login).connection_pool
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == ("me", "other")
    for sentinel in pool.sentinel_manager.sentinels:
        options = sentinel.connection_pool.connection_kwargs
        assert (options["username"], options["password"]) == ("watch", PASSWORD)
    options = celery_broker(url, login).transport_options
    assert options["sentinel_kwargs"] == {"username": "watch", "password": PASSWORD}
    assert PASSWORD not in repr(login)
    settings = Settings(redis_sentinel_password=PASSWORD)
    assert SentinelLogin.of(settings) == SentinelLogin(None, PASSWORD)
    assert SentinelLogin.of(Settings()).options == {}
