"""Errors as OpenAI's API has them: {"error": {"message", "type", "param", "code"}}, whatever went wrong."""

import http
import logging
import traceback
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gistchat.errors import LONGEST_MESSAGE, UserError, first_line
from gistchat.store.conversation_store import NoSuchConversation
from gistchat.store.database import StoreUnavailable

log = logging.getLogger("gistchat.server")
LONGEST_PARAM = 200  # characters: a path in a request may be as long as its keys are
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """What every refusal looks like."""

    error: ErrorDetail


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: that it may answer so."""
    return {status: {"model": ErrorBody, "description": http.HTTPStatus(status).phrase} for status in statuses}


class ApiError(HTTPException):
    """A refusal, with its status.

    Attributes:
        param: the field of the request that it is about.
        code: for programs, such as "model_not_found".
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.param, self.code = param, code

    def body(self) -> dict[str, Any]:
        return error_body(self.status_code, self.detail, self.param, self.code)

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status_code, self.headers)


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def as_api_error(error: BaseException) -> ApiError:
    """What a client is told of any error; of a defect only that there was one, which is logged without its message.

    A message may quote what people said, so only the kind of a defect and its place in the code are written down.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UserError):
        return _of_user_error(error)
    places = traceback.extract_tb(error.__traceback__)
    log.error(
        "%s at %s", type(error).__name__, " < ".join(f"{place.name}:{place.lineno}" for place in reversed(places[-8:]))
    )
    return ApiError(500, "the server failed at this; its log says where", code="internal_error")


def _of_user_error(error: UserError) -> ApiError:
    message = first_line(error, LONGEST_MESSAGE)
    if isinstance(error, StoreUnavailable):
        return ApiError(503, message, code="store_unavailable", headers={"Retry-After": "5"})
    if isinstance(error, NoSuchConversation):
        return ApiError(404, message, code="conversation_not_found")
    return ApiError(400, message)


def install(app: FastAPI) -> None:
    """Have the app answer every error so."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(UserError, _of_any)


async def _of_any(request: Request, error: Exception) -> Response:
    return as_api_error(error).response()


async def _of_http(request: Request, error: HTTPException) -> Response:
    if isinstance(error, ApiError):
        return error.response()
    if error.status_code == 405 and request.method == "OPTIONS":  # no CORS: a browser's question has no other answer
        return Response(status_code=204, headers={"Allow": f"{(error.headers or {}).get('Allow', '')}, OPTIONS"})
    message = {404: f"no such address: {request.url.path[:200]}"}.get(error.status_code, str(error.detail))
    code = {404: "unknown_url", 405: "method_not_allowed", 413: "request_too_large"}.get(error.status_code)
    return ApiError(error.status_code, message, code=code, headers=error.headers).response()


async def _of_validation(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    place, message = param_of(first["loc"]), first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"unknown field: {place}", place, "unknown_parameter").response()
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first['ctx']['error']}", code="invalid_json").response()
    if not place:
        return ApiError(400, f"the body must be a JSON object, sent as application/json: {message}").response()
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_type"
    return ApiError(400, f"{place}: {message}", place, code).response()


def param_of(location: tuple[str | int, ...]) -> str:
    """The name of a place in a request, as OpenAI writes it: messages[0].content."""
    path = ""
    for part in location[1:] if location and location[0] in ("body", "query", "path", "header") else location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")[:LONGEST_PARAM]
