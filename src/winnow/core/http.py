"""What clients of services share: answers as they come, and how long one asks to wait."""

import email.utils
import http.client
import time
import urllib.request
from typing import Any


class AsItComes(urllib.request.HTTPErrorProcessor):
    """No answer is an exception, and none is a redirection, with which a key would travel."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


def post(
    url: str, body: bytes, headers: dict[str, str], timeout: float
) -> tuple[int, bytes, str | None]:
    """Send JSON; returns the status (0 for no answer), the answer and its Retry-After."""
    headers = {"Content-Type": "application/json"} | headers
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.build_opener(AsItComes).open(request, timeout=timeout) as answer:
            return answer.status, answer.read(), answer.headers.get("Retry-After")
    except (OSError, http.client.HTTPException):
        return 0, b"", None


def seconds(retry_after: str | None) -> float:
    """What Retry-After says: seconds, or a date; 0 where it says nothing."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
    except ValueError:
        return 0.0
