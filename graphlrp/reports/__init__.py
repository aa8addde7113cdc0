"""Reports: explanations, rules, evaluations and analyses on one page of HTML that needs nothing else.

``Report`` collects results and writes the page. ``maps`` makes pictures whose colours can be changed afterwards, ``summary`` the
numbers of an explanation, ``truth`` says whether the model is right; every other module makes the section of one kind of result,
for the template of the same name.
"""

from graphlrp.reports.report import Report
from graphlrp.reports.summary import Summary, summaries
from graphlrp.reports.truth import Decision, decisions

__all__ = ["Decision", "Report", "Summary", "decisions", "summaries"]
