"""The OpenAPI document and the doors say the same: schemathesis asks as a stranger, and as who has every right.

What else any test of the sealed door gets for an answer is held against the document in test_api.py.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckContext, CheckFunction
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response

from onekey.app import App, create_app
from onekey.settings import Settings
from onekey.web import api
from onekey.web.models import FIELDS
from tests.conftest import Clock
from tests.sealing import API, Container, Door, begin, put, seal, spell, store

SHORT = 6
"""What is this short may well be in an answer by chance."""


class Later:
    """An application that there is only when the tests run; schemathesis wants one when they are collected."""

    app: App | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """As WSGI has it."""
        assert self.app is not None
        return self.app(environ, start_response)


LATER = Later()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    """An application with no settings."""
    folder = tmp_path_factory.mktemp("openapi")
    LATER.app = create_app(Settings.read({"CONTENT_DIR": str(folder), "MIN_FREE_SPACE": "0"}), Clock())
    return LATER.app


@pytest.fixture(scope="module")
def told(app: App) -> Any:
    """The document, as it is served."""
    answer = Door(app).ask("GET", "/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    return answer.json


def values(what: object, name: str) -> Iterator[Any]:
    """All values of a field, however deep."""
    if isinstance(what, Mapping):
        yield from (value for key, value in what.items() if key == name)
    for inner in what.values() if isinstance(what, Mapping) else what if isinstance(what, list) else ():
        yield from values(inner, name)


def operations(told: Any) -> dict[tuple[str, str], Any]:
    """Every operation, by method and path."""
    return {(method.upper(), path): what for path, found in told["paths"].items() for method, what in found.items()}


# The document.


def test_it_is_openapi_3_1(told: Any) -> None:
    assert told["openapi"].startswith("3.1.")
    assert {"openapi", "info", "paths", "components"} <= told.keys()


def test_every_route_is_in_it_and_no_other(told: Any) -> None:
    assert set(operations(told)) == {(route.method, API + route.rule) for route in api.ROUTES}


def test_every_route_of_the_application_is_in_it(app: App, told: Any) -> None:
    routed = {
        (method, schemathesis_path(rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(API) and rule.endpoint not in {"api.unknown", "api.openapi"}
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routed == set(operations(told))


def schemathesis_path(rule: str) -> str:
    """A rule of Flask, as OpenAPI spells it."""
    return rule.replace("<blob:id>", "{id}").replace("<part:number>", "{number}")


def test_every_operation_has_a_name_of_its_own_and_a_summary(told: Any) -> None:
    named = [operation["operationId"] for operation in operations(told).values()]
    assert len(set(named)) == len(named)
    assert all(operation["summary"].endswith(".") for operation in operations(told).values())


def test_every_reference_leads_somewhere(told: Any) -> None:
    for reference in values(told, "$ref"):
        where = told
        for step in reference.removeprefix("#/").split("/"):
            where = where[step]
        assert where


def test_every_schema_is_one(told: Any) -> None:
    for name, schema in told["components"]["schemas"].items():
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})
        assert jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", "components": told["components"]})


def test_every_field_of_every_model_has_an_example_that_is_one(told: Any) -> None:
    for name, schema in told["components"]["schemas"].items():
        for field, wanted in schema["properties"].items():
            check = jsonschema_rs.validator_for({**wanted, "components": told["components"]})
            examples = [example for found in values(wanted, "examples") for example in found]
            kind = wanted.get("type") or [one.get("type") for one in wanted.get("anyOf", [])]
            assert examples or kind in {"boolean", "array"}, (name, field)
            assert [example for example in examples if not check.is_valid(example)] == []


def test_every_right_that_an_operation_asks_for_is_described(told: Any) -> None:
    asked = {name for operation in operations(told).values() for right in operation["security"] for name in right}
    assert asked == told["components"]["securitySchemes"].keys() == {"knock", "access", "owner"}


def test_every_error_is_a_problem(told: Any) -> None:
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert {status: answer["content"] for status, answer in told["components"]["responses"].items()} == dict.fromkeys(
        told["components"]["responses"], problem
    )


def test_no_model_takes_what_it_does_not_know(told: Any) -> None:
    assert [schema for schema in told["components"]["schemas"].values() if schema["additionalProperties"]] == []


def test_what_each_field_of_a_body_has_to_be_is_said_in_words(told: Any) -> None:
    bodies = ("NewUpload", "Finish", "NamedPart", "Change")
    assert {name for body in bodies for name in told["components"]["schemas"][body]["properties"]} == set(FIELDS)


def test_it_names_no_other_origin(told: Any) -> None:
    assert "servers" not in told
    assert "://" not in json.dumps(told)


def test_it_is_the_same_on_every_server(told: Any, make_app: Any) -> None:
    app = make_app(UPLOAD_SECRET="secret", MAX_EXPIRY="1d", PUBLIC_URL="https://files.example")
    assert Door(app).ask("GET", "/openapi.json").json == told


# The doors.

WELL = ["2xx", 304, 400, 403, 404, 409, 413, 416, 422, 429]
"""What may become of a request that is right by the document: of the rest only the server can tell."""
ANY_BEARER = {name: {"bearer": spell(bytes(size))} for name, size in {"knock": 16, "access": 32, "owner": 24}.items()}
CONFIG = SchemathesisConfig.from_dict(
    {
        "auth": {"openapi": ANY_BEARER},
        "checks": {
            "ignored_auth": {"enabled": False},  # it wants 401; that a stranger gets 404 is shown in test_api.py
            "positive_data_acceptance": {"expected-statuses": WELL},
            "negative_data_rejection": {"expected-statuses": [400, 403, 404, 405, 409, 413, 422, 429]},
            "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx"]},
        },
    }
)
schema = schemathesis.openapi.from_dict(json.loads(json.dumps(api.described())), config=CONFIG)
schema.app = LATER
by_the_document = partial(
    settings,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def texts(what: object) -> Iterator[str]:
    """Every text in what was sent, names of fields included."""
    if isinstance(what, Mapping):
        for name, value in what.items():
            yield from (str(name), *texts(value))
    elif isinstance(what, list):
        for one in what:
            yield from texts(one)
    elif isinstance(what, str):
        yield what


def says_nothing_of_what_was_sent(ctx: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """A refusal is {error, message} and no more, and nothing in it comes from the request."""
    if response.status_code >= 400 and response.status_code != 416:
        assert response.json().keys() == {"error", "message"}
        fields = (case.headers, case.path_parameters, case.query)
        sent = [*texts(case.body), *(str(value) for named in fields for value in (named or {}).values())]
        words = {text for text in sent if len(text) > SHORT and text not in FIELDS}
        assert [text for text in words if text in response.text] == []
    return None


def check(case: Case[Any], headers: Mapping[str, str] | None = None) -> int:
    """Ask, and hold the answer against the document; gives its status."""
    checks: list[CheckFunction] = [says_nothing_of_what_was_sent]
    response = case.call_and_validate(headers=dict(headers or {}), additional_checks=checks)
    return int(response.status_code)


@schema.parametrize()
@by_the_document(max_examples=60)
def test_a_stranger_is_answered_as_the_document_says(app: App, case: Case[Any]) -> None:
    check(case)


def is_right(case: Case[Any], *but: ParameterLocation) -> bool:
    """Whether schemathesis means a request to be right by the document, some of it aside."""
    assert case.meta is not None
    wrong = {where for where, drawn in case.meta.components.items() if drawn.mode is GenerationMode.NEGATIVE}
    return wrong <= {*but}


class Rights:
    """Who has every right: shares and uploads of its own, of which a request may ask what it likes."""

    def __init__(self, app: App) -> None:
        self.app, self.door = app, Door(app)
        self.seen: dict[str, set[int]] = {}
        self._lasting = [store(self.door, seal(**terms)) for terms in ({}, {"password": "pass"}, {"opens": 1000})]

    def ask(self, case: Case[Any], turn: int) -> None:
        """Ask for a share of ours what a case asks, and hold the answer against the document."""
        operation = case.operation.definition.raw["operationId"]
        headers: dict[str, str] = {}
        if is_right(case, ParameterLocation.BODY):
            container = getattr(self, f"_for_{operation}", self._share)(case, turn)
            headers = self._shown(case, container)
            if "id" in case.path_parameters:
                case.path_parameters["id"] = container.id
        self.seen.setdefault(operation, set()).add(check(case, headers))

    def _shown(self, case: Case[Any], container: Container) -> dict[str, str]:
        rights = [name for right in case.operation.definition.raw["security"] for name in right]
        shown = {
            "owner": container.by_owner,
            "knock": container.by_knock,
            "access": container.by_access(self._lease(container)),
        }
        return shown[rights[0]] if rights else {}

    def _lease(self, container: Container) -> str | None:
        if not container.terms.get("opens"):
            return None
        lease = self.door.ask("POST", f"{container.share}/open", container.by_access()).json["lease"]
        return str(lease)

    def _share(self, case: Case[Any], turn: int) -> Container:
        return self._lasting[turn % len(self._lasting)]

    def _fresh(self, case: Case[Any], turn: int) -> Container:
        return store(self._client(turn), seal(b"x"))

    def _begun(self, case: Case[Any], turn: int) -> Container:
        door, container = self._client(turn), seal()
        assert begin(door, container).status == 201
        for number in range(len(container.parts)):
            put(door, container, number)
        return container

    def _client(self, turn: int) -> Door:
        return Door(self.app, f"10.0.{turn // 64}.1")  # one client may have so many unfinished uploads only

    def _for_begin_upload(self, case: Case[Any], turn: int) -> Container:
        container = seal(b"")
        body: Any = case.body
        if turn % 2 and is_right(case):  # one that schemathesis could not draw
            body["header"] = spell(container.header)
        return container

    def _for_finish_upload(self, case: Case[Any], turn: int) -> Container:
        container = self._begun(case, turn)
        body: Any = case.body
        if turn % 2 and is_right(case):
            body["parts"] = container.finish["parts"]
        return container

    _for_look_at_upload = _for_put_part = _for_give_up_upload = _begun
    _for_change_own = _for_delete_own = _fresh


@pytest.fixture(scope="module")
def rights(app: App) -> Iterator[Rights]:
    """Who has every right; every route that was asked has to have done once what it is for."""
    asking = Rights(app)
    yield asking
    done = {route.view.__name__: route.status for route in api.ROUTES}
    assert {name: done[name] for name, seen in asking.seen.items() if done[name] not in seen} == {}


TURNS = itertools.count()


@schema.parametrize()
@by_the_document(max_examples=40)
def test_who_has_every_right_is_answered_as_the_document_says(rights: Rights, case: Case[Any]) -> None:
    rights.ask(case, next(TURNS))
