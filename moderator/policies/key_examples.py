"""Examples and ranges of the keys of policy files, for messages and for the page on these keys."""

from moderator.policies.calibration_schema import MAX_OFFSET, MAX_SLOPE, MIN_SLOPE
from moderator.policies.category_schema import MAX_VIEW_ALLOWANCE
from moderator.policies.dsa_schema import STATEMENT_EXAMPLES
from moderator.policies.fields import MAX_VERSION
from moderator.policies.view_options import MAX_VIEWS
from moderator.verdicts import CategorySeverity

#: What to write where a key is missing or holds something of the wrong kind.
EXAMPLES = {
    "name": "name: marketplace",
    "version": "version: 1",
    "description": "description: What is not allowed here",
    "templates": 'templates: ["a photo of {}"]',
    "safe": "safe: [a plate of food, a landscape]",
    "categories": "categories: and below it, indented, one key for each category",
    "unsafe": "unsafe: [a gun, a rifle]",
    "rule": "rule: softmax-sum",
    "midpoint": "midpoint: 0.35",
    "view_allowance": "view_allowance: 0.25",
    "when": "when: smoking and minor",
    "probe": "probe: {signal: weapons-probe, weight: 0.5}",
    "weight": "weight: 0.5",
    "calibration": "calibration: {kind: platt, slope: 1.2, offset: -0.5}",
    "slope": "slope: 1.2",
    "offset": "offset: -0.5",
    "points": "points: [[0, 0], [0.4, 0.1], [1, 1]]",
    "severity": f"severity: {CategorySeverity.HIGH}",
    "message": "message: Pictures of weapons are not allowed here.",
    "flood": "flood: off",
    "encoders": "encoders: and below it '- {id: ..., revision: ..., preprocessing: ..., categories: ...}'",
    "id": "id: and the encoder that `moderator models check` shows",
    "revision": "revision: and the revision that `moderator models check` shows",
    "preprocessing": "preprocessing: and what `moderator models check` shows",
    "review": "review: 0.45",
    "block": "block: 0.8",
    "signals": "signals: and below it '- {name: known-bad, kind: hash-list, file: lists/bad.pdq, sha256: ...}'",
    "signal": "signal: known-bad",
    "kind": "kind: hash-list",
    "file": "file: lists/bad.pdq",
    "sha256": "sha256: and the 64 hexadecimal digits that `sha256sum` says",
    "views": "views: {most: 10, turned: true}",
    "most": "most: 10",
    "turned": "turned: true",
    "active": "active: 1",
    "shadow": "shadow: [2]",
    "canary": "canary: {version: 2, percent: 10}",
    "percent": "percent: 10",
    **STATEMENT_EXAMPLES,
}

_THRESHOLD = "a threshold is a number above 0 and at most 1"
RANGES = {
    "most": f"the number of views is a whole number from 1 to {MAX_VIEWS}",
    "midpoint": "a midpoint is a number above 0 and below 1",
    "view_allowance": f"an allowance is a number from 0 to {MAX_VIEW_ALLOWANCE:g}",
    "weight": "a weight is a number above 0 and below 1",
    "slope": f"a slope is a number from {MIN_SLOPE:g} to {MAX_SLOPE:g}",
    "offset": f"an offset is a number from {-MAX_OFFSET:g} to {MAX_OFFSET:g}",
    "points": "a score is a number from 0 to 1",
    "review": _THRESHOLD,
    "block": _THRESHOLD,
    "percent": "a percentage is a number from 0 to 100",
    "version": f"a version is a whole number from 1 to {MAX_VERSION}",
    "active": f"a version is a whole number from 1 to {MAX_VERSION}",
    "shadow": f"a version is a whole number from 1 to {MAX_VERSION}",
}
