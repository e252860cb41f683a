"""One GET over wasi:http, blocking: this runtime has no sockets for `urllib` to use."""

from typing import Tuple
from urllib.parse import urlsplit

from componentize_py_types import Err, Ok
from wit_world.imports import outgoing_handler
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    ErrorCode,
    Fields,
    IncomingBody,
    OutgoingRequest,
    RequestOptions,
    Scheme_Http,
    Scheme_Https,
)


class RequestFailed(Exception):
    """The request got no answer. `code` says why, as the host gave it."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(type(code).__name__)
        self.code = code


def get(url: str, timeout_ms: int) -> Tuple[int, bytes]:
    """Status and body of the answer."""
    parts = urlsplit(url)
    request = OutgoingRequest(Fields())
    request.set_scheme(Scheme_Https() if parts.scheme == "https" else Scheme_Http())
    request.set_authority(parts.netloc)
    request.set_path_with_query(parts.path + ("?" + parts.query if parts.query else ""))
    options = RequestOptions()
    for limit in (options.set_connect_timeout, options.set_first_byte_timeout, options.set_between_bytes_timeout):
        limit(timeout_ms * 1_000_000)
    try:
        future = outgoing_handler.handle(request, options)
    except Err as error:
        raise RequestFailed(error.value) from None
    with future.subscribe() as answered:
        answered.block()
    match future.get():
        case Ok(Ok(response)):
            pass
        case Ok(Err(code)):
            raise RequestFailed(code)
        case _:
            raise AssertionError("an answer is taken once")
    body = response.consume()
    received = bytearray()
    with body.stream() as stream:
        while True:
            try:
                received += stream.blocking_read(64 * 1024)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    break
                raise
    IncomingBody.finish(body)
    return response.status(), bytes(received)
