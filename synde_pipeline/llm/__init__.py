"""Client of OpenAI-compatible endpoints: structured answers, a cache in the warehouse, a budget, retries.

`requests` says what is asked and what it can cost at most, `cache` keeps answers, `budget` stops before too much is
spent, `endpoint` makes one try over HTTP, `trying` the next ones, `client` puts them together. What is asked, and why,
belongs to the stages.
"""

from synde_pipeline.llm.budget import Budget, Price, Usage
from synde_pipeline.llm.cache import ARTEFACT, Answer, purge_answers
from synde_pipeline.llm.client import Llm
from synde_pipeline.llm.requests import Message, Request, rule_of

__all__ = ["ARTEFACT", "Answer", "Budget", "Llm", "Message", "Price", "Request", "Usage", "purge_answers", "rule_of"]
