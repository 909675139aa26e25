"""The OpenAPI document of the console's API, made of the forms that check requests and the views that answer. Pure.

Format: https://spec.openapis.org/oas/v3.1.1.
"""

import html
import re
from typing import Any, Final, NamedTuple

from antiphon.runtime.console import (
    actions,
    api,
    comparing,
    office,
    overview,
    overview_views,
    questions,
    task_list,
    views,
    waterfall,
    work,
)
from antiphon.runtime.console.asking import Nothing
from antiphon.runtime.gateways.http.views import TaskView
from antiphon.runtime.version import VERSION
from antiphon.schemas.message import Value

SCHEMAS: Final = "#/components/schemas/"
Json = dict[str, Any]


class Operation(NamedTuple):
    """One request: its query or body form, and what comes back: a view, or a media type."""

    method: str
    path: str
    summary: str
    form: type[Value]
    answer: type[Value] | str


EVENTS: Final = "text/event-stream"
OPERATIONS: Final = (
    Operation("get", "/api/session", "Where one is, and how to act", Nothing, office.SessionView),
    Operation("get", "/api/runs", "Runs, the newest first", api.RunsQuery, views.RunsView),
    Operation("get", "/api/runs/{run}", "One run with rows, logs and spending", api.RunQuery, views.RunDetail),
    Operation("get", "/api/runs/{run}/waterfall", "Spans as columns", waterfall.PageQuery, "application/octet-stream"),
    Operation("get", "/api/runs/{run}/links", "What continues what", Nothing, waterfall.LinksView),
    Operation("get", "/api/runs/{run}/spending", "A long run's spending", Nothing, waterfall.RunSpendingView),
    Operation("get", "/api/traces/{trace}", "The run of a trace", Nothing, views.TraceView),
    Operation("get", "/api/spans/{span}", "One span whole", Nothing, views.SpanView),
    Operation("get", "/api/findings", "What the logging agent says", api.FindingsQuery, views.FindingsView),
    Operation(
        "get",
        "/api/calibration",
        "Savings as predicted and as measured",
        overview.CalibrationQuery,
        overview_views.CalibrationView,
    ),
    Operation("get", "/api/spending", "Where time and tokens went", api.SpendingQuery, views.SpendingsView),
    Operation("get", "/api/agents", "Who is alive, with schemas", Nothing, views.DirectoryView),
    Operation("get", "/api/health", "How complete the record is", Nothing, views.HealthView),
    Operation("get", "/api/series", "Work over time", overview.SeriesQuery, overview_views.SeriesView),
    Operation("get", "/api/topology", "Who spoke to whom", overview.WindowQuery, overview_views.TopologyView),
    Operation("get", "/api/messages", "Messages as they came", overview.MessagesQuery, overview_views.MessagesView),
    Operation("get", "/api/models", "How model instances did", overview.WindowQuery, overview_views.ModelsView),
    Operation("get", "/api/compare", "Two runs side by side", comparing.CompareQuery, comparing.DifferenceView),
    Operation("post", "/api/compare", "Two cohorts, with intervals", comparing.Cohorts, comparing.ContrastView),
    Operation("get", "/api/cohort", "What a cohort has in it", comparing.CohortQuery, comparing.CohortView),
    Operation("get", "/api/tasks", "Tasks, the newest first", task_list.TasksQuery, task_list.TasksView),
    Operation("get", "/api/tasks/{task}", "One task", Nothing, TaskView),
    Operation("get", "/api/dead", "Dead letters", work.LettersQuery, work.LettersView),
    Operation("get", "/api/approvals", "Questions to people", work.ApprovalsQuery, work.ApprovalsView),
    Operation("get", "/api/policies", "Stored policies", Nothing, work.PoliciesView),
    Operation("get", "/api/audit", "What was done here", actions.ActsQuery, actions.ActsView),
    Operation("post", "/api/sql", "One SELECT over the store", questions.SqlQuery, questions.TableView),
    Operation("post", "/api/whatif", "Recorded runs, changed", questions.Whatif, questions.WhatifView),
    *(
        Operation("post", f"/api/actions/{name}", action.form.__doc__ or "", action.form, actions.Done)
        for name, action in actions.ACTIONS.items()
    ),
    Operation("get", "/api/events", "News, as server-sent events", Nothing, EVENTS),
    Operation("get", "/api/tasks/{task}/events", "What a task shows, as server-sent events", Nothing, EVENTS),
    Operation("get", "/metrics", "For Prometheus", Nothing, "text/plain"),
)


def document() -> Json:
    """Every operation with its schemas."""
    schemas: Json = {
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["type", "message"],
                    "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
                }
            },
        }
    }
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Antiphon console", "version": VERSION},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def page() -> str:
    """The same for people, without a script: one line for each operation."""
    rows = "".join(
        f"<tr><td>{each.method.upper()}<td><code>{html.escape(each.path)}</code><td>{html.escape(each.summary)}"
        f"<td>{html.escape(', '.join(each.form.model_fields))}"
        for each in OPERATIONS
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Antiphon console API</title>'
        '<h1>Antiphon console API</h1><p><a href="/api/openapi.json">OpenAPI document</a></p>'
        f"<table><tr><th>Method<th>Path<th>What<th>Parameters{rows}</table></html>"
    )


def _operation(operation: Operation, schemas: Json) -> Json:
    found: Json = {
        "summary": operation.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", operation.path)
        ],
        "responses": {
            "200": {"description": "what was asked for", "content": _content(operation.answer, schemas)},
            "default": {
                "description": "why not; the message says what to do",
                "content": {"application/json": {"schema": {"$ref": f"{SCHEMAS}Error"}}},
            },
        },
    }
    if operation.method == "post":
        body = _place(operation.form, schemas, "validation")
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    else:
        found["parameters"] += _parameters(operation.form)
    return found


def _parameters(form: type[Value]) -> list[Json]:
    schema = form.model_json_schema()
    given = schema.get("$defs", {})
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _inlined(part, given)}
        for name, part in schema["properties"].items()
    ] if form.model_fields else []  # fmt: skip


def _inlined(part: Any, given: Json) -> Any:
    if isinstance(part, list):
        return [_inlined(each, given) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return given[part["$ref"].rpartition("/")[2]]
    # a parameter that is not given is absent: null would be the text "null"
    options = [each for each in part.get("anyOf", ()) if each != {"type": "null"}]
    if len(options) == 1:
        rest = {key: each for key, each in part.items() if key not in ("anyOf", "default")}
        return _inlined({**rest, **options[0]}, given)
    return {key: _inlined(each, given) for key, each in part.items()}


def _content(answer: type[Value] | str, schemas: Json) -> Json:
    if isinstance(answer, str):
        return {answer: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": _place(answer, schemas, "serialization")}}


def _place(model: type[Value], schemas: Json, mode: Any) -> Json:
    schema = model.model_json_schema(mode=mode, ref_template=SCHEMAS + "{model}", by_alias=True)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return {"$ref": f"{SCHEMAS}{model.__name__}"}
