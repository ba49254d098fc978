"""GitHub's published description and examples, from the folder that `PUBLISHED` names.

`nox -s published` installs them (npm `@octokit/openapi` and `@octokit/webhooks-examples`) and runs
what is marked `published`; nothing else looks here.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.github.world import make_repository

ROOT = "urn:github"
collect_ignore_glob = [] if "PUBLISHED" in os.environ else ["test_*.py"]


def modules() -> Path:
    return Path(os.environ["PUBLISHED"]) / "node_modules" / "@octokit"


@dataclass(frozen=True)
class Description:
    """GitHub's OpenAPI description, asked whether something has the shape that it describes."""

    document: dict[str, Any]
    registry: Any

    def answer(self, method: str, path: str, status: int, value: Any) -> None:
        """Hold an answer to its description."""
        answers = self.document["paths"][path][method]["responses"]
        self.hold(answers[str(status)]["content"]["application/json"]["schema"], value)

    def request(self, method: str, path: str, value: Any) -> None:
        """Check a request against its published description."""
        body = self.document["paths"][path][method]["requestBody"]
        self.hold(body["content"]["application/json"]["schema"], value)

    def event(self, name: str, payload: Any) -> None:
        """Hold a webhook's payload to its description."""
        body = self.document["x-webhooks"][name]["post"]["requestBody"]
        self.hold(body["content"]["application/json"]["schema"], payload)

    def component(self, name: str, value: Any) -> None:
        """Hold something to a description that others refer to."""
        self.hold({"$ref": f"#/components/schemas/{name}"}, value)

    def hold(self, schema: dict[str, Any], value: Any) -> None:
        """Fail with every place where a value differs from a schema."""
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match

        absolute = json.loads(json.dumps(schema).replace('"#/', f'"{ROOT}#/'))
        validator = Draft202012Validator(absolute, registry=self.registry)
        errors = list(validator.iter_errors(value))
        told = [f"{each.json_path}: {best_match([each]).message[:300]}" for each in errors]
        assert not told, "\n".join(told)


@pytest.fixture(scope="session")
def description() -> Description:
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    text = (modules() / "openapi" / "generated" / "api.github.com.json").read_text()
    document = _nullable(json.loads(text))
    resource = DRAFT202012.create_resource(document)
    return Description(document, Registry().with_resource(ROOT, resource))


def _nullable(node: Any) -> Any:
    """The description with OpenAPI's `nullable` in the words of JSON Schema."""
    if isinstance(node, list):
        return [_nullable(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {name: _nullable(value) for name, value in node.items()}
    if made.pop("nullable", None) is True:
        return {"anyOf": [made, {"type": "null"}]}
    return made


@pytest.fixture(scope="session")
def examples() -> list[tuple[str, dict[str, Any]]]:
    """Every published example of an event, with the event's name."""
    text = (modules() / "webhooks-examples" / "api.github.com" / "index.json").read_text()
    return [(each["name"], example) for each in json.loads(text) for example in each["examples"]]


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("published") / "hello", a="1", sub__b="2")
