"""Derive a consistent state of a policy folder from its files and, where they are broken, from the previous state."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from moderator.errors import PolicyChanged, PolicyError, PolicyNotFound, PolicyUnreleased, PolicyUnusable
from moderator.policies.folder import Listing, missing_releases, strays
from moderator.policies.loader import POINTER_FILE, Pointers, Problem
from moderator.policies.pointer_schema import Pointer
from moderator.policies.pointers import read_pointers
from moderator.policies.releases import Releases, read_releases, verify
from moderator.policies.schema import Policy

T = TypeVar("T")


@dataclass(frozen=True)
class ResolvedPolicy:
    """The versions that one policy's pointer resolves to."""

    pointer: Pointer
    active: Policy
    shadows: tuple[Policy, ...] = ()
    canary: Policy | None = None


@dataclass(frozen=True)
class Snapshot:
    """One consistent state of the folder."""

    policies: Mapping[tuple[str, int], Policy] = field(default_factory=dict)
    broken: Mapping[tuple[str, int], PolicyError] = field(default_factory=dict)
    """Versions whose file is currently unusable. `policies` may still hold them as they last worked."""
    releases: Releases = field(default_factory=dict)
    pointers: Pointers = field(default_factory=dict)
    resolved: Mapping[str, ResolvedPolicy] = field(default_factory=dict)
    unusable: Mapping[tuple[str, int], PolicyUnusable] = field(default_factory=dict)
    """Versions that a pointer names and that do not compile here. They never decide; as shadows, they fail."""
    problems: tuple[PolicyError, ...] = ()
    strays: tuple[Problem, ...] = ()
    """Files in the folder that are not read."""


#: Raises an error to keep a version that a pointer names from going live.
Admit = Callable[[Policy], object]


def attempt(load: Callable[[Path], T], path: Path) -> T | PolicyError:
    """Return what `load` returns, or the error that it raises."""
    try:
        return load(path)
    except PolicyError as error:
        return error


def derive(
    folder: Path,
    listing: Listing,
    parsed: Mapping[Path, Policy | PolicyError],
    before: Snapshot,
    admit: Admit = lambda policy: None,
) -> Snapshot:
    """Return the next state, from the parsed files and, where they are broken, from the previous state."""
    problems: list[PolicyError] = list(listing.problems)
    releases = attempt(read_releases, folder)
    if isinstance(releases, PolicyError):
        problems.append(releases)
        releases = before.releases

    policies: dict[tuple[str, int], Policy] = {}
    broken: dict[tuple[str, int], PolicyError] = {}
    for path, result in parsed.items():
        error = _usable(result, releases)
        if error is None:
            assert isinstance(result, Policy)
            policies[result.name, result.version] = result
            continue
        problems.append(error)
        if re.fullmatch(r"[1-9][0-9]{0,5}", path.stem):
            key = path.parent.name, int(path.stem)
            broken[key] = error
            last = before.policies.get(key)
            if last is not None and _usable(last, releases) is None:
                policies[key] = last
    problems += missing_releases(folder, releases, {*policies, *broken})

    pointers = attempt(read_pointers, folder)
    if pointers == {} and before.pointers and not os.path.exists(folder / POINTER_FILE):
        pointers = PolicyNotFound(
            f"{folder / POINTER_FILE} is gone; restore it. Its last content stays in force"
        )
    if isinstance(pointers, PolicyError):
        problems.append(pointers)
        pointers = before.pointers

    resolved: dict[str, ResolvedPolicy] = {}
    unusable: dict[tuple[str, int], PolicyUnusable] = {}
    for name, pointer in pointers.items():
        current, faults, of_shadows = _resolve(
            folder, name, pointer, policies, broken, releases, admit, unusable
        )
        problems += (*faults, *of_shadows)
        if faults and name in before.resolved:
            current = before.resolved[name]
        if current is not None:
            resolved[name] = current
    return Snapshot(
        policies=policies,
        broken=broken,
        releases=releases,
        pointers=pointers,
        resolved=resolved,
        unusable=unusable,
        problems=tuple(problems),
        strays=strays(folder, listing, policies.values()),
    )


def _usable(result: Policy | PolicyError, releases: Releases) -> PolicyError | None:
    """Return why a parsed file cannot be used, or None if it can."""
    if isinstance(result, PolicyError):
        return result
    try:
        verify(result, releases)
    except PolicyChanged as error:
        return error
    return None


def _resolve(
    folder: Path,
    name: str,
    pointer: Pointer,
    policies: Mapping[tuple[str, int], Policy],
    broken: Mapping[tuple[str, int], PolicyError],
    releases: Releases,
    admit: Admit,
    unusable: dict[tuple[str, int], PolicyUnusable],
) -> tuple[ResolvedPolicy | None, list[PolicyError], list[PolicyError]]:
    """Return the usable part of a pointer, the problems with the rest, and the shadows that do not compile.

    The first is None if the active version cannot be used. Versions that are not admitted are added to `unusable`.
    """
    faults: list[PolicyError] = []
    of_shadows: list[PolicyError] = []

    def target(version: int, role: str) -> Policy | None:
        policy = policies.get((name, version))
        where = f"{folder / POINTER_FILE}: {name}.{role}: {name}@{version}"
        if policy is None:
            reason = (
                "has a broken file (see its own problem)" if (name, version) in broken else "does not exist"
            )
            faults.append(PolicyNotFound(f"{where} {reason}; correct the file or name another version"))
        elif (name, version) not in releases:
            remedy = f"run 'moderator policy release {name}@{version}' or name another version"
            faults.append(
                PolicyUnreleased(f"{where} is not released, and only released versions decide; {remedy}")
            )
            return None
        else:
            try:
                admit(policy)
            except PolicyUnusable as error:
                unusable[name, version] = error
                if role != "shadow":
                    faults.append(PolicyUnusable(f"{where} cannot be used, and does not go live: {error}"))
                    return None
                # A shadow decides nothing: verdicts report its failure, and the rest of the pointer stays usable.
                of_shadows.append(PolicyUnusable(f"{where} cannot be used: {error}"))
        return policy

    active = target(pointer.active, "active")
    shadows = [target(version, "shadow") for version in pointer.shadow]
    canary = target(pointer.canary.version, "canary") if pointer.canary else None
    if active is None:
        return None, faults, of_shadows
    resolved = ResolvedPolicy(pointer, active, tuple(p for p in shadows if p is not None), canary)
    return resolved, faults, of_shadows
