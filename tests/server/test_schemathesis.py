"""The server keeps to its own description, whatever it is sent."""

from collections.abc import Iterator

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance
from server_fixtures import ScriptedEngine, Served, scripted_model, serving

TURNS = [
    {"speaker": speaker, "text": f"{text} {number}"}
    for number in range(8)
    for speaker, text in (
        ("user", "I live in Lisbon and my dog is called Rex"),
        ("model", "That is a fine name for a dog"),
    )
]
EXAMPLES = 5  # of each operation, good ones and bad ones


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = scripted_model(ScriptedEngine(), "context.budget=40", "chat.strategy=memory")
    with serving(model, tmp_path_factory.mktemp("described")) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Served) -> Iterator[httpx2.Client]:
    with server.http() as http:
        yield http


@pytest.fixture(scope="module")
def description(server: Served):
    config = SchemathesisConfig.from_dict({"seed": 1})
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=config)


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_answer_is_described(mode, description, http):
    failures = []
    for operation in (result.ok() for result in description.get_all_operations()):

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=HealthCheck
        )
        def check(case):
            if mode.is_positive and case.path_parameters and not case.path.startswith("/v1/"):
                point_at_what_is_there(case, http)
            # Not all that is wrong with a request can be told from its form: what is too long for the model, say.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        try:
            check()
        except Unsatisfiable:
            assert mode.is_negative  # there is nothing to be wrong in such a request
        except (Exception, FailureGroup) as error:
            failures.append(f"{operation.label}: {error}")
    assert not failures, "\n\n".join(failures)


def point_at_what_is_there(case, http: httpx2.Client) -> None:
    """Ids that are made up lead to 404 alone."""
    made = http.post("/api/conversations", json={"turns": TURNS}).json()["id"]
    messages = http.get(f"/api/conversations/{made}/messages").json()["messages"]
    key = messages[len(case.path) % len(messages)]["key"]
    if case.path.startswith("/api/receipts"):
        answer = http.post(f"/api/conversations/{made}/messages", json={"text": "And now?"}).json()["answer"]
        made = answer["receipt"]
    case.path_parameters |= {
        name: {"id": made, "key": key}.get(name, value) for name, value in case.path_parameters.items()
    }
    if isinstance(case.body, dict) and "key" in case.body:
        case.body["key"] = key
