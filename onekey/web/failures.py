"""Errors, said in HTTP: one table from class to status, one form of answer."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, jsonify, render_template
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from onekey import errors
from onekey.logs import log, place
from onekey.web.policy import answer_kind, request_id

STATUS: Final[Mapping[type[errors.OnekeyError], int]] = {
    errors.BadRequest: 400,
    errors.Forbidden: 403,
    errors.PasswordNeeded: 401,
    errors.NotFound: 404,
    errors.TooSlow: 408,
    errors.Taken: 409,
    errors.NotOpen: 409,
    errors.TooLarge: 413,
    errors.Unprocessable: 422,
    errors.TooMany: 429,
    errors.ContainerError: 500,
    errors.OnekeyError: 500,
    errors.Busy: 503,
    errors.NoRoom: 507,
}
_BROKEN: Final = "Something went wrong on this server. It is not your fault."
_TITLES: Final = {401: "A password is needed"}
_HTTP: Final = {
    400: "This request cannot be understood.",
    404: str(errors.NotFound()),
    405: "This address does not do that.",
    413: "This is more than the server takes.",
}


def install(app: Flask) -> None:
    """Make the application answer every error in the one form."""
    app.register_error_handler(errors.OnekeyError, _refused)
    app.register_error_handler(HTTPException, _from_werkzeug)
    app.register_error_handler(Exception, _broken)


def status_of(error: errors.OnekeyError) -> int:
    """The status of an error: that of the nearest class in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _refused(error: errors.OnekeyError) -> Response:
    status = status_of(error)
    if status == 500:
        _tell(error)
        return answer(500, "damaged", "This share is damaged on the server, and nothing of it can be sent.")
    response = answer(status, _code(type(error).__name__), str(error))
    if isinstance(error, errors.TooMany | errors.Busy):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _from_werkzeug(error: HTTPException) -> Response:
    """Werkzeug's descriptions may hold what was sent, so the words are ours."""
    status = error.code or 500
    if error.response is not None or 300 <= status < 400:
        return Response(status=status, headers={"Location": getattr(error, "new_url", "/")})
    message = _HTTP.get(status, f"{HTTPStatus(status).phrase}.")
    response = answer(status, _code(type(error).__name__), message)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _broken(error: Exception) -> Response:
    _tell(error)
    return answer(500, "internal", _BROKEN)


def _tell(error: BaseException) -> None:
    log.error("A request failed: %s. Request %s.", place(error), request_id())


def _code(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")


def answer(status: int, code: str, message: str) -> Response:
    """An error as JSON `{error, message}`, as a page or as a sentence, as the client asks."""
    kind, name = answer_kind(), request_id() if status >= 500 else None
    if kind == "application/json":
        response = jsonify(error=code, message=message)
    elif kind == "text/html":
        title = _TITLES.get(status, HTTPStatus(status).phrase)
        response = Response(render_template("error.html", status=status, title=title, message=message, request_id=name))
    else:
        response = Response(f"{message}\n", mimetype="text/plain")
    response.status_code = status
    response.headers["Vary"] = "Accept"
    if name:
        response.headers["X-Onekey-Request"] = name
    return response
