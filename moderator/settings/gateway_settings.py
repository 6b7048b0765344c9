"""Settings section for the HTTP gateway: where it listens, who may use it, and how much it takes at once."""

from pydantic import Field

from moderator.settings.section import CommaSeparated, Section


class GatewaySettings(Section):
    """Where `moderator gateway` listens, who may use it, and how much it takes at once."""

    gateway_host: str = Field("127.0.0.1", description="Address on which the gateway listens.")
    gateway_port: int = Field(8080, ge=0, le=65535, description="Port of the same; 0 takes a free one.")
    gateway_anonymous: bool = Field(
        False,
        description="Serve requests without an API key. Only for a gateway that nobody else can reach.",
    )
    gateway_rate: float = Field(
        100.0,
        ge=0,
        description="Requests a second for each API key that has no rate of its own, and for all requests without a "
        "key together; 0: no bound. Twice as many may come at once after a pause.",
    )
    gateway_wait: float = Field(
        30.0, ge=0, le=3600, description="Most seconds that a request waits for a verdict (`?wait=`)."
    )
    gateway_body_timeout: float = Field(
        60.0, gt=0, description="Seconds in which the body of a request must arrive."
    )
    gateway_body_bytes: int = Field(
        256_000_000,
        gt=0,
        description="Most bytes of request bodies held at once; above it, requests are refused for a moment. The "
        "gateway takes about five times as much memory.",
    )
    gateway_streams: int = Field(
        100, ge=0, description="Most streams of verdicts (server-sent events) open at once."
    )
    gateway_cors: CommaSeparated[str] = Field(
        (),
        description="Origins whose pages may call the gateway from a browser, comma-separated, such as "
        "`https://admin.example.org`. None: none.",
    )
