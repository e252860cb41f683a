"""A provider of `windlass:contracts/health` in Python: asks once and holds the answer to what is expected."""

import json
import time
from typing import Any, List, Tuple

from componentize_py_types import Err
from http_get import RequestFailed, get
from wit_world import exports
from wit_world.exports.health import Report, Target
from wit_world.imports.outcome import Failure


class Health(exports.Health):
    def check(self, input: Target) -> Report:
        began = time.monotonic()
        try:
            status, body = get(input.url, input.timeout or 10_000)
        except RequestFailed as failed:
            raise failure("connect-failed", f"no answer: {failed}", retryable=True) from None
        round_trip = (time.monotonic() - began) * 1000
        good = status in input.status if input.status else 200 <= status < 300
        if not good:
            raise failure("unexpected-status", f"the answer has status {status}", retryable=status >= 500)
        try:
            answer = json.loads(body)
        except ValueError:
            raise failure("not-json", "the answer is not JSON", retryable=False) from None
        missed = misses(answer, input.expect)
        if missed:
            raise failure("unhealthy", "; ".join(missed), retryable=True, detail=missed)
        latency = look_up(answer, "latency_ms")
        version = look_up(answer, "version")
        return Report(
            status_code=status,
            latency_ms=float(latency) if isinstance(latency, (int, float)) else round_trip,
            round_trip_ms=round_trip,
            version=version if isinstance(version, str) else None,
            body=json.dumps(answer),
        )


def misses(answer: Any, expect: List[Tuple[str, str]]) -> List[str]:
    """What is not as expected; equality only."""
    found = ((path, json.loads(wanted), look_up(answer, path)) for path, wanted in expect)
    return [f"{path} is {json.dumps(seen)}, not {json.dumps(wanted)}" for path, wanted, seen in found if seen != wanted]


def look_up(value: Any, path: str) -> Any:
    """What is at a dotted path, or None."""
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def failure(code: str, message: str, retryable: bool, detail: Any = None) -> Err:
    text = None if detail is None else json.dumps(detail)
    return Err(Failure(code=code, message=message, detail=text, retryable=retryable, retry_after=None))
