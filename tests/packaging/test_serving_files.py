"""What a server is deployed with: each option, path, limit and figure that the files name exists."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from eml.serving.limits import CPU_BATCH, GPU_BATCH, ServingLimits
from tests.docs.shell import check_command

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "configs" / "serve"
UNIT = SERVE / "eml-serve.service"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def stages() -> dict[str, str]:
    """Return the stages of the Dockerfile by name, without comments and continued lines."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", text, flags=re.MULTILINE)[1:]
    return {name: f"FROM {base}\n{body}" for base, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def instruction(stage: str, word: str) -> str:
    """Return what follows the one instruction of this name in a stage."""
    (rest,) = re.findall(rf"^{word} (.*)$", stages()[stage], re.MULTILINE)
    return str(rest)


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((SERVE / "compose.yaml").read_text(encoding="utf-8")))


def test_the_image_serves_as_no_root_and_asks_itself_for_an_answer() -> None:
    assert list(stages())[-1] == "eml", "it is what is built without a target"
    assert instruction("serve", "FROM") == "python"
    assert instruction("serve", "USER") == "10001"
    assert "/health" in instruction("serve", "HEALTHCHECK")
    assert instruction("serve", "COPY") == "--from=serve-packages /opt/eml /opt/eml"
    words = json.loads(instruction("serve", "ENTRYPOINT")) + json.loads(instruction("serve", "CMD"))
    assert check_command(words).port == int(instruction("serve", "EXPOSE"))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (names,) = re.findall(r"SERVE_EXTRAS=(\S+)", DOCKERFILE)
    assert {"serve", "onnx"} <= set(names.split(",")) <= set(extras)


def test_the_services_of_compose_know_what_they_name() -> None:
    services, secrets = compose()["services"], compose()["secrets"]
    assert services["eml"]["build"]["target"] in stages()
    config = check_command(["eml", "serve", *services["eml"]["command"]])
    ports = services["eml"]["ports"]
    assert ports == [f"127.0.0.1:{config.port}:{config.port}"]
    for service in services.values():
        assert set(service["secrets"]) <= set(secrets)
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith("./") or (SERVE / source).is_file()
    assert f"/run/secrets/{services['eml']['secrets'][0]}" == str(config.keys)


def exposition() -> bytes:
    """Return the figures of a server as it gives them, those with labels that have no value yet included."""
    pytest.importorskip("prometheus_client")
    from eml.serving.answers import EngineFacts
    from eml.serving.metrics import ServingMetrics

    facts = EngineFacts("a", "b", 4, (8, 8), "c", "float32", "torch", "cpu", False, False, False)
    metrics = ServingMetrics(facts, lambda: 0)
    metrics.answered("search", 0.1)
    metrics.request("/v1/search", 200, 0.1)
    return metrics.exposition()[0]


def names_of_figures() -> set[str]:
    """Return the names of all figures of a server."""
    text = exposition().decode()
    return set(re.findall(r"^(\w+)", text, re.MULTILINE))


def test_prometheus_asks_for_figures_that_there_are() -> None:
    scrape = yaml.safe_load((SERVE / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = scrape["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["eml:8000"]
    assert Path(job["authorization"]["credentials_file"]).name in compose()["services"]["prometheus"]["secrets"]
    (file,) = scrape["rule_files"]
    rules = yaml.safe_load((SERVE / file).read_text(encoding="utf-8"))["groups"][0]["rules"]
    used = {name for rule in rules for name in re.findall(r"\beml_\w+", rule["expr"])}
    assert len(used) >= 4
    assert used <= names_of_figures()
    for rule in rules:
        assert set(re.findall(r'kind=~"([^"]*)"', rule["expr"])) <= {"embeddings|search|classify"}


ALERTS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "EmlDoesNotAnswer": ("10m", {'up{job="eml"}': "0x60"}, {'up{job="eml"}': "1 0 1x58"}),
    "EmlRefusesForWantOfRoom": (
        "20m",
        {
            'eml_serve_refused_requests_total{reason="queue-full"}': "0+20x60",
            'eml_serve_refused_requests_total{reason="deadline"}': "0+20x60",
        },
        {
            'eml_serve_refused_requests_total{reason="queue-full"}': "0+10x60",
            'eml_serve_refused_requests_total{reason="wrong-key"}': "0+900x60",
        },
    ),
    "EmlIsSlow": (
        "30m",
        {
            'eml_serve_request_duration_seconds_bucket{kind="search",le="1.0"}': "0+90x60",
            'eml_serve_request_duration_seconds_bucket{kind="search",le="5.0"}': "0+100x60",
            'eml_serve_request_duration_seconds_bucket{kind="search",le="+Inf"}': "0+100x60",
        },
        {
            'eml_serve_request_duration_seconds_bucket{kind="search",le="1.0"}': "0+100x60",
            'eml_serve_request_duration_seconds_bucket{kind="search",le="+Inf"}': "0+100x60",
            'eml_serve_request_duration_seconds_bucket{kind="index_add",le="1.0"}': "0x60",
            'eml_serve_request_duration_seconds_bucket{kind="index_add",le="+Inf"}': "0+100x60",
        },
    ),
    "EmlFails": (
        "20m",
        {'eml_serve_requests_total{kind="search",status="500"}': "0+4x60"},
        {
            'eml_serve_requests_total{kind="search",status="500"}': "0+1x60",
            'eml_serve_requests_total{kind="search",status="404"}': "0+100x60",
        },
    ),
    "EmlKnowsFewerImages": (
        "3h",
        {"eml_serve_unknown_images_total": "0+6x240", "eml_serve_classified_images_total": "0+10x240"},
        {"eml_serve_unknown_images_total": "0x240", "eml_serve_classified_images_total": "0x240"},
    ),
}
"""Alert → when to look, figures by the minute with which it comes, and those with which it does not."""


@pytest.mark.wide
@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool is installed")
def test_each_alert_comes_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    rules = {
        rule["alert"]: rule
        for rule in yaml.safe_load((SERVE / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    }
    assert set(rules) == set(ALERTS)
    cases = []
    for name, (time, bad, good) in ALERTS.items():
        labels = {"job": "eml"} if name == "EmlDoesNotAnswer" else {}
        found = {"exp_labels": labels, "exp_annotations": rules[name]["annotations"]}
        for figures, alerts in ((bad, [found]), (good, [])):
            series = [{"series": series, "values": values} for series, values in figures.items()]
            check = {"eval_time": time, "alertname": name, "exp_alerts": alerts}
            cases.append({"interval": "1m", "input_series": series, "alert_rule_test": [check]})
    file = tmp_path / "alerts_test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(SERVE / "alerts.yml")], "tests": cases}), encoding="utf-8")
    tested = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.wide
@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool is installed")
def test_prometheus_understands_its_files_and_the_figures() -> None:
    checks: list[tuple[list[str], bytes | None]] = [
        (["config", "--syntax-only", str(SERVE / "prometheus.yml")], None),
        (["rules", str(SERVE / "alerts.yml")], None),
        (["metrics"], exposition()),
    ]
    for words, text in checks:
        checked = subprocess.run(["promtool", "check", *words], input=text, capture_output=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_unit_starts_the_command_without_rights() -> None:
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "eml"
    assert check_command(["eml", *words]).host == "127.0.0.1"
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "ProtectHome", "RestrictNamespaces"):
        assert service[name] == "yes"
    assert (service["ProtectSystem"], service["CapabilityBoundingSet"]) == ("strict", "")


@pytest.mark.wide
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze is installed")
def test_systemd_understands_the_unit() -> None:
    shown = subprocess.run(["systemd-analyze", "verify", UNIT], capture_output=True, text=True)
    lines = [line for line in shown.stderr.splitlines() if line.startswith("eml-serve") or UNIT.name in line]
    assert all("is not executable" in line for line in lines), lines
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", UNIT]
    rated = subprocess.run(command, capture_output=True, text=True)
    assert rated.returncode == 0, rated.stdout[-200:]


def test_the_proxy_lets_through_what_the_server_takes() -> None:
    text = (SERVE / "nginx.conf").read_text(encoding="utf-8")
    (size,) = re.findall(r"client_max_body_size (\d+)m;", text)
    assert ServingLimits().body_bytes <= int(size) * 2**20 <= 1.1 * ServingLimits().body_bytes
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert int(seconds) >= ServingLimits().seconds
    assert text.count("{") == text.count("}")
    assert f"server 127.0.0.1:{check_command(['eml', 'serve', 'shop.index']).port};" in text


def test_the_table_of_limits_is_that_of_the_command() -> None:
    from eml.commands.serve import ServeConfig

    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^## Limits\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    fields, limits = ServeConfig.model_fields, ServingLimits()
    names = []
    for options, defaults in re.findall(r"^\| (`.*?) \| (\d.*?) \|", table, re.MULTILINE):
        own = re.findall(r"`(?:--)?([\w-]+)`", options)
        names += own
        values = [fields[name.replace("-", "_")].default if name != "k" else limits.k for name in own]
        assert [float(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", defaults)] == values
    assert {"items", "body-mb", "image-mb", "megapixels", "queue", "seconds", "wait-ms", "k"} <= set(names)
    assert (
        f"| `--batch` | by the device: {CPU_BATCH} images of the network at once on a CPU, {GPU_BATCH} on a GPU |"
        in table
    )
