"""The checks as test classes, so that pytest reports each by name. pytest is imported when a test runs, not before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.testing.dense import Input
from graphlrp.testing.mapping import CHECKS, Conformance
from graphlrp.testing.report import Row
from graphlrp.testing.rule import RULE_CHECKS, RuleConformance


def mapping_suite(mapping: type[Mapping], inputs: Sequence[Input], **options: Any) -> type:
    """Make a test class of the checks of a mapping.

    In a test module, ``TestMaxout = mapping_suite(Maxout, inputs=[(6,)])``. Checks that do not apply are skipped, with the
    reason. The arguments are those of ``check_mapping``.
    """
    return _suite(mapping.__name__, CHECKS, cache(lambda: Conformance(mapping, inputs, **options)), Conformance)


def rule_suite(rule: Rule, **options: Any) -> type:
    """Make a test class of the checks of a rule.

    In a test module, ``TestMagnitude = rule_suite(Magnitude())``. Checks that do not apply are skipped, with the reason. The
    arguments are those of ``check_rule``.
    """
    return _suite(type(rule).__name__, RULE_CHECKS, cache(lambda: RuleConformance(rule, **options)), RuleConformance)


def _suite(name: str, checks: Sequence[str], conformance: Callable[[], Conformance | RuleConformance], kind: type) -> type:
    """The tests of a class share one conformance, which is made when the first of them runs."""

    def test(check: str) -> Callable[[object], None]:
        def run(self: object) -> None:
            report(conformance().row(check))

        run.__doc__ = getattr(kind, check).__doc__
        return run

    return type(f"Test{name}", (), {"__doc__": f"Conformance of {name}.", **{f"test_{c}": test(c) for c in checks}})


def report(row: Row) -> None:
    """Skip the test that runs if the check does not apply."""
    if row.passed:
        return
    import pytest

    pytest.skip(row.reason)
