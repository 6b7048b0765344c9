"""Check policies: do they load, can they decide, do the files and packages that they need exist?"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from moderator.encoders.encoder_registry import parse_name
from moderator.errors import EncoderForeign, ModeratorError, PolicyChanged, PolicyError
from moderator.fetching.fetcher import Fetcher
from moderator.identity import Identity
from moderator.operations.doctor.findings import Finding, ok, problem, warning
from moderator.policies.catalogue import Catalogue
from moderator.policies.references import parse_reference
from moderator.policies.requirements import unmet
from moderator.policies.schema import Policy
from moderator.policies.snapshot import Snapshot
from moderator.settings import Settings
from moderator.signals.signal_files import SIGNAL_FILES

_LINT_REMEDY = "run: moderator policy lint"


def examine_policies(settings: Settings, with_model: bool) -> Iterator[Finding]:
    """Yield findings on the policy folder and the encoder.

    Args:
        settings: all settings.
        with_model: load the encoder, compile the policies and read their signals; takes seconds to minutes.
    """
    try:
        catalogue = Catalogue(settings.policies)
    except PolicyError as error:
        yield problem(
            "policies.load", f"no policy can be used: {error}", "set MODERATOR_POLICIES; " + _LINT_REMEDY
        )
        return
    snapshot = catalogue.snapshot
    yield from check_problems(snapshot)
    yield check_default(catalogue, settings.default_policy)
    yield check_encoder_name(settings.encoder)
    if with_model:
        yield from _check_with_model(settings, in_use(snapshot))
    else:
        for policy in in_use(snapshot):
            yield from check_signals(policy, settings)


def in_use(snapshot: Snapshot) -> list[Policy]:
    """Return the versions that decide: active ones and canaries."""
    found = [(s.active, s.canary) for _, s in sorted(snapshot.resolved.items())]
    return [policy for pair in found for policy in pair if policy is not None]


def check_problems(snapshot: Snapshot) -> Iterator[Finding]:
    """Report problems in the folder. A broken draft is a warning; anything else keeps a policy from deciding."""
    drafts = {str(error) for key, error in snapshot.broken.items() if key not in snapshot.releases}
    for error in snapshot.problems:
        if isinstance(error, PolicyChanged):
            remedy = "restore the file from git; a change is the next version"
            yield problem("policies.released", str(error), remedy)
        elif str(error) in drafts:
            yield warning("policies.load", f"a draft cannot be used: {error}", _LINT_REMEDY)
        else:
            yield problem("policies.load", str(error), _LINT_REMEDY)
    for stray in snapshot.strays:
        yield warning("policies.load", str(stray), _LINT_REMEDY)
    if not snapshot.problems:
        count, released = len(snapshot.policies), len(snapshot.releases)
        yield ok(
            "policies.load", f"{count} versions load; {released} are released, and none of these was changed"
        )


def check_default(catalogue: Catalogue, reference: str) -> Finding:
    """Check that events that name no policy get one."""
    try:
        name, version = parse_reference(reference)
        decides = catalogue.get(name) if version is None else catalogue.released(name, version)
    except PolicyError as error:
        message = f"events that name no policy cannot be judged, and the worker does not start: {error}"
        return problem("policies.default", message, "set MODERATOR_DEFAULT_POLICY, or activate a version")
    return ok("policies.default", f"{decides.reference} decides where an event names no policy")


def check_encoder_name(name: str) -> Finding:
    """Check that the encoder exists, as far as possible without loading it."""
    remedy = "set MODERATOR_ENCODER; `moderator models list` shows what there is"
    try:
        _, model = parse_name(name)
    except ModeratorError as error:
        return problem("policies.encoder", str(error), remedy)
    folder = Path(model)
    if folder.is_absolute() and "/" not in name.partition(":")[0] and not folder.exists():
        return problem("policies.encoder", f"MODERATOR_ENCODER={name}: there is no such folder", remedy)
    if name == "embedded":
        message = "the embedded encoder knows ImageNet's 1,000 kinds of things and no more"
        return warning("policies.encoder", message, "in production, set MODERATOR_ENCODER to a CLIP model")
    return ok("policies.encoder", f"{name} is an encoder; `--model` loads it")


def check_signals(policy: Policy, settings: Settings) -> Iterator[Finding]:
    """Check that the packages and files of a policy's signals exist; does not run the model."""
    faults = dict(unmet(policy, (settings.policies, settings.cache / SIGNAL_FILES)))
    for n, spec in enumerate(policy.signals):
        if n in faults:
            yield _broken_signal(policy, spec.name, faults[n])
        else:
            yield ok("policies.signals", f"the signal {spec.name} of {policy.reference} has what it needs")


def _broken_signal(policy: Policy, name: str, error: ModeratorError) -> Finding:
    message = (
        f"the signal {name} of {policy.reference} cannot be read, so each of its events is an error: {error}"
    )
    return problem(
        "policies.signals", message, f"fix that, and run: moderator signals check {policy.reference}"
    )


def _check_with_model(settings: Settings, policies: list[Policy]) -> Iterator[Finding]:
    from moderator.engine.engine import Engine  # loads the model libraries

    try:
        Fetcher.from_settings(settings).close()
        engine = Engine(settings)
    except ModeratorError as error:
        yield _does_not_start(error)
        return
    try:
        engine.warm_up()
        model = f"{settings.encoder} on {engine.encoder.device} in {engine.encoder.dtype}"
        for unusable in engine.catalogue.snapshot.unusable.values():
            if isinstance(unusable, EncoderForeign):
                yield problem(
                    "policies.thresholds", str(unusable), "set MODERATOR_ENCODER, or measure them again"
                )
            else:
                yield problem("policies.model", f"with {model}: {unusable}", _LINT_REMEDY)
        if not engine.catalogue.snapshot.unusable:
            yield ok("policies.model", f"{model} compiles all policies that are in use")
        yield from check_thresholds(policies, engine.encoder.identity)
        for policy in policies:
            for name, fault in engine.signals.check(policy).items():
                if fault is not None:
                    yield _broken_signal(policy, name, fault)
                else:
                    yield ok("policies.signals", f"the signal {name} of {policy.reference} works")
    except ModeratorError as error:
        yield _does_not_start(error)
    finally:
        engine.close()


def check_thresholds(policies: Iterable[Policy], encoder: Identity) -> Iterator[Finding]:
    """Report on which encoder the thresholds of policies that decide were measured."""
    for policy in policies:
        if not policy.encoders:
            message = f"the thresholds of {policy.reference} name no encoder: `policy tune` measures them on this one"
            yield ok("policies.thresholds", message)
        elif policy.categories_on(encoder) is not None:
            yield ok(
                "policies.thresholds", f"the thresholds of {policy.reference} were measured on {encoder}"
            )


def _does_not_start(error: ModeratorError) -> Finding:
    message = f"the worker does not start: {type(error).__name__}: {error}"
    return problem("policies.model", message, "fix that; `moderator models check` tries the encoder alone")
