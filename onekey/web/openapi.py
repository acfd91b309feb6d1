"""Routes of a JSON API, said once: what Flask routes, what the models check, and what the OpenAPI document says.

No library does this for us: those that were tried read the whole of a streamed answer, echo what a client sent, or know
no binary bodies. The schemas are pydantic's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from flask import Blueprint, Response, current_app, jsonify, request
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter

from onekey.errors import BadRequest, NotFound, Unprocessable
from onekey.web import forms
from onekey.web.models import FIELDS, Problem, pattern

OCTETS: Final = "application/octet-stream"
_REF: Final = "#/components/schemas/{model}"
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PATH: Final = {
    "id": {"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "A blob id."},
    "number": {"type": "integer", "minimum": 0, "maximum": 999_999, "description": "The number of a part, from 0."},
}
_CONVERTERS: Final = {"id": "blob:id", "number": "part:number"}
_BODY: Final = 1 << 16


class BlobId(BaseConverter):
    """32 hexadecimal digits."""

    regex = "[0-9a-f]{32}"


class PartNumber(BaseConverter):
    """A number without leading zeros."""

    regex = "0|[1-9][0-9]{0,5}"

    def to_python(self, value: str) -> int:
        """The number."""
        return int(value)


CONVERTERS: Final[Mapping[str, type[BaseConverter]]] = {"blob": BlobId, "part": PartNumber}
"""What an application's url_map has to know."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header of a request, as the document tells of it; `size` is that of the bytes that it spells."""

    name: str
    what: str
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation. `body` and `answer` are a model, OCTETS, or None."""

    method: str
    rule: str
    view: Callable[..., Response]
    body: type[BaseModel] | str | None = None
    status: int = 200
    answer: type[BaseModel] | str | None = None
    others: Mapping[int, str] = field(default_factory=dict)
    fails: Sequence[int] = ()
    rights: Sequence[str] = ()
    headers: Sequence[Header] = ()


def read(model: type[BaseModel], most: int = _BODY) -> BaseModel:
    """The body of a request, of at most so many bytes, checked.

    Raises Unprocessable, which names a field of ours and nothing that was sent; BadRequest for what is no JSON; and
    what Body does.
    """
    if request.mimetype != "application/json":
        raise BadRequest("The body has to be JSON, and to say so: Content-Type: application/json.")
    sent = b"".join(forms.Body(request, most, "The body is too large."))
    try:
        return model.model_validate_json(sent)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        raise BadRequest("The body is not JSON.")
    raise Unprocessable(_sentence(first["type"], first["loc"]))


def _sentence(kind: str, where: tuple[int | str, ...]) -> str:
    named = [part for part in where if part in FIELDS]
    if kind == "extra_forbidden" or not named:
        return "The body is not an object with the fields that this takes, and no others."
    name = str(named[-1])
    return f"The field {name} is missing." if kind == "missing" else f"The field {name} has to be {FIELDS[name]}"


def blueprint(name: str, prefix: str, routes: Sequence[Route], describe: Callable[[], dict[str, Any]]) -> Blueprint:
    """The routes, and their description at `openapi.json`; whatever else lies under the prefix is not there."""
    api = Blueprint(name, __name__, url_prefix=prefix)
    for route in routes:
        rule = route.rule
        for variable, converter in _CONVERTERS.items():
            rule = rule.replace(f"{{{variable}}}", f"<{converter}>")
        view, methods = _door(route), [route.method]
        api.add_url_rule(rule, route.view.__name__, view, provide_automatic_options=False, methods=methods)
    api.add_url_rule("/openapi.json", "openapi", lambda: jsonify(describe()))
    # Else an upload to a wrong address would be taken by the direct door, which knows no wrong ones.
    # It answers OPTIONS too: Flask's own answer would be that every address takes what this rule takes.
    api.add_url_rule("/<anytext:rest>", "unknown", lambda rest: _unknown(f"{name}."), methods=[*_METHODS, "OPTIONS"])
    return api


def _door(route: Route) -> Callable[..., Response]:
    if not isinstance(route.body, type):
        return route.view
    model = route.body

    def door(**given: Any) -> Response:
        return route.view(**given, body=partial(read, model))

    return door


def _unknown(ours: str) -> Response:
    """Raises MethodNotAllowed where the address is one of ours and the method is not, else NotFound; says of ours what
    they take."""
    adapter, allowed = current_app.create_url_adapter(request), list[str]()
    assert adapter is not None
    for method in _METHODS:
        try:
            endpoint = adapter.match(method=method)[0]
        except HTTPException:
            continue
        if endpoint.startswith(ours) and endpoint != f"{ours}unknown":
            allowed.append(method)
    if allowed and request.method == "OPTIONS":
        return Response(status=204, headers={"Allow": ", ".join(allowed)})
    if allowed:
        raise MethodNotAllowed(allowed)
    raise NotFound()


# The document.


def document(
    routes: Sequence[Route],
    *,
    prefix: str,
    info: Mapping[str, str],
    rights: Mapping[str, Any],
    failures: Mapping[int, str],
) -> dict[str, Any]:
    """The OpenAPI 3.1 document of all routes. `failures` says of each status of an error what it means."""
    taken = {(route.body, "validation") for route in routes if isinstance(route.body, type)}
    given = {(route.answer, "serialization") for route in routes if isinstance(route.answer, type)}
    models: Any = sorted({*taken, *given, (Problem, "serialization")}, key=lambda pair: str(pair[0].__name__))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(prefix + route.rule, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": dict(info),
        "paths": paths,
        "components": {
            "schemas": models_json_schema(models, ref_template=_REF)[1]["$defs"],
            "responses": {str(status): _failure(text) for status, text in failures.items()},
            "securitySchemes": dict(rights),
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {str(route.status): {"description": "Done.", **_content(route.answer)}}
    responses |= {str(status): {"description": text} for status, text in route.others.items()}
    responses |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in route.fails}
    found: dict[str, Any] = {
        "operationId": route.view.__name__,
        "summary": (route.view.__doc__ or "").partition("\n")[0],
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": schema}
                for name, schema in _PATH.items()
                if f"{{{name}}}" in route.rule
            ),
            *(_parameter(header) for header in route.headers),
        ],
        "responses": responses,
        "security": [{name: [] for name in route.rights}] if route.rights else [],
    }
    if route.body is not None:
        found["requestBody"] = {"required": route.body != OCTETS, **_content(route.body)}
    return found


def _content(what: type[BaseModel] | str | None) -> dict[str, Any]:
    if what is None:
        return {}
    if isinstance(what, str):
        return {"content": {what: {"schema": {}}}}  # no JSON, so there is nothing to say of its shape
    return {"content": {"application/json": {"schema": {"$ref": _REF.format(model=what.__name__)}}}}


def _parameter(header: Header) -> dict[str, Any]:
    schema = {"type": "string"} | ({"pattern": pattern(header.size)} if header.size else {})
    return {"name": header.name, "in": "header", "required": False, "description": header.what, "schema": schema}


def _failure(text: str) -> dict[str, Any]:
    return {"description": text, **_content(Problem)}
