"""Conformance kit: whether a mapping and a rule of one's own keep their contracts.

``check_mapping`` and ``check_rule`` run all checks and return a report; ``mapping_suite`` and ``rule_suite`` make test classes
of them for pytest. ``graphlrp.testing.dense`` has the oracles: dense z_ij, textbook rules, numeric derivatives.
"""

from graphlrp.testing.dense import Dense
from graphlrp.testing.mapping import LINEAR_RULES, check_mapping
from graphlrp.testing.report import ConformanceError, Report, Row
from graphlrp.testing.rule import PROBLEMS, Problem, check_rule
from graphlrp.testing.suite import mapping_suite, rule_suite

__all__ = [
    "LINEAR_RULES",
    "PROBLEMS",
    "ConformanceError",
    "Dense",
    "Problem",
    "Report",
    "Row",
    "check_mapping",
    "check_rule",
    "mapping_suite",
    "rule_suite",
]
