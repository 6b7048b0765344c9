"""Check the signatures for private blobs: that they can be used, do not end soon, and allow reading alone."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from pydantic import SecretStr

from moderator.errors import SettingsError
from moderator.fetching.shared_access import SETTING, AccessSignature, SharedAccess
from moderator.operations.doctor.findings import Finding, ok, problem, warning

#: Days before its end at which a signature is reported.
WARNED_DAYS = 3
#: A signature that starts at once has a few minutes for clocks that differ.
CLOCK_MINUTES = 15

_CHECK = "secrets.fetch-sas"
_RENEW = f"put a new one into {SETTING} and restart the workers"


def check_signatures(value: SecretStr | None, now: datetime) -> Iterator[Finding]:
    """Yield a finding on each signature of the setting."""
    try:
        signatures = SharedAccess.from_setting(value).signatures
    except SettingsError as error:
        yield problem(_CHECK, f"{error}; the worker does not start", f"correct {SETTING}")
        return
    if not signatures:
        yield ok(_CHECK, f"there is no {SETTING}: blobs are fetched without a signature")
    for signature in signatures:
        yield _check_signature(signature, now)


def _check_signature(signature: AccessSignature, now: datetime) -> Finding:
    name, begins, ends = signature.name, signature.begins, signature.ends
    if ends is not None and ends <= now:
        return problem(_CHECK, f"the signature for {name} ended on {ends:%Y-%m-%d %H:%M} UTC", _RENEW)
    if begins is not None and begins > now + timedelta(minutes=CLOCK_MINUTES):
        message = f"the signature for {name} begins only on {begins:%Y-%m-%d %H:%M} UTC"
        return problem(_CHECK, message, f"check the clock of this machine; or {_RENEW}")
    if signature.place.scheme == "http":
        message = f"the signature for {name} travels unencrypted: whoever sees the network can use it"
        return warning(_CHECK, message, "write https://")
    if signature.rights is not None and signature.rights != "r":
        message = f"the signature for {name} allows more than reading (sp={signature.rights})"
        return warning(_CHECK, message, f"make one with the right r alone; {_RENEW}")
    if ends is not None and ends - now < timedelta(days=WARNED_DAYS):
        message = (
            f"the signature for {name} ends on {ends:%Y-%m-%d %H:%M} UTC, and then its blobs end as `error`"
        )
        return warning(_CHECK, message, _RENEW)
    if ends is None:
        return ok(_CHECK, f"blobs below {name} are fetched with a signature whose end Azure keeps")
    return ok(_CHECK, f"blobs below {name} are fetched with a signature until {ends:%Y-%m-%d %H:%M} UTC")
