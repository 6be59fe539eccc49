"""What Prometheus is told."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families
from server_fixtures import ScriptedEngine, Served, scripted_model, serving


@pytest.fixture
def server(tmp_path):
    with serving(scripted_model(ScriptedEngine()), tmp_path) as server:
        yield server


def values(server: Served) -> dict[str, float]:
    """By name and labels."""
    with server.http() as http:
        families = list(text_string_to_metric_families(http.get("/metrics").text))
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_replies_and_tokens_are_counted(server):
    ask = {"messages": [{"role": "user", "content": "a secret one"}]}
    with server.http() as http:
        http.post("/v1/chat/completions", json=ask)
        http.post("/v1/chat/completions", json={**ask, "messages": []})
    numbers = values(server)
    chat = "('route', '/v1/chat/completions')"
    assert numbers[f"gistchat_requests_total[('method', 'POST'), {chat}, ('status', '200')]"] == 1
    assert numbers[f"gistchat_requests_total[('method', 'POST'), {chat}, ('status', '400')]"] == 1
    assert numbers["gistchat_replies_total[('ended', 'length')]"] == 1
    assert numbers["gistchat_tokens_total[('kind', 'written')]"] == 5
    assert numbers["gistchat_tokens_total[('kind', 'read')]"] == 7
    assert numbers["gistchat_first_piece_seconds_count[]"] == 1
    assert numbers["gistchat_replies_running[]"] == numbers["gistchat_replies_waiting[]"] == 0
    assert numbers["gistchat_conversations_open[]"] == 1
    assert numbers["process_resident_memory_bytes[]"] > 0


def test_no_caller_makes_a_label(server):
    with server.http() as http:
        for number in range(20):
            http.get(f"/secret{number}")
            http.get(f"/v1/models/secret{number}")
            http.request(f"SECRET{number}", "/health")
            http.get("/health", headers={"Host": f"secret{number}"})
        http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "secret"}]})
    told = values(server)
    assert "secret" not in str(told).lower()
    routes = {match[1] for name in told if (match := re.search(r"'route', '([^']*)'", name))}
    assert routes <= {"/health", "/metrics", "/v1/models/{id:path}", "/v1/chat/completions", "other"}
