"""The Dockerfile, the compose file and the monitoring next to it, read as files without Docker."""

import json
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from app.serving.settings import PREFIX, Settings
from tests.support.repository import ROOT
from tests.support.server_process import clean_environment, free_port

PORT = Settings.model_fields["port"].default
VARIANTS = ("api", "api-gpu")


@pytest.fixture(scope="module")
def image():
    """The arguments of the Dockerfile's instructions, by the name of the instruction."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    instructions: dict[str, list[str]] = {}
    for line in filter(None, lines):
        name, arguments = line.split(maxsplit=1)
        instructions.setdefault(name, []).append(arguments)
    return instructions


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


def test_image_runs_as_a_numeric_user_other_than_root(image):
    user, group = image["USER"][-1].split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_image_listens_on_every_address_and_the_default_port(image):
    environment = dict(entry.split("=", 1) for entry in shlex.split(image["ENV"][0]))
    assert environment["DOPPELKOPF_HOST"] == "0.0.0.0"  # noqa: S104  inside a container
    assert image["EXPOSE"] == [str(PORT)]
    assert {name for name in environment if name.startswith(PREFIX)} == {"DOPPELKOPF_HOST"}


def test_image_installs_locked_versions_and_the_default_checkpoint(image):
    files = "/tmp/source/requirements"  # noqa: S108  inside the build
    installs = re.findall(r"pip install --root-user-action=ignore (.*?)\s+&& ", image["RUN"][0])
    assert [" ".join(install.split()) for install in installs] == [
        f"--require-hashes --requirement {files}/bootstrap.txt",
        f"--constraint {files}/lock.txt --requirement /tmp/direct.txt",
    ]
    assert "--no-deps" in image["RUN"][1]
    assert f"--build-constraint {files}/lock.txt /tmp/source" in image["RUN"][1]
    assert image["COPY"] == [f"{Settings.model_fields['model'].default} model_store/demo"]
    assert json.loads(image["ENTRYPOINT"][0]) == ["doppelkopf"]
    assert json.loads(image["CMD"][0]) == ["serve"]


@pytest.mark.parametrize("extras", ["", "ray", "ray train"])
def test_image_installs_the_extras_of_the_build_argument(image, extras, tmp_path):
    """Runs the build step that lists dependencies in a shell."""
    assert image["ARG"] == ["EXTRAS="]
    (step,) = re.findall(r"&& (python .*?) > /tmp/direct.txt\s+&& ", image["RUN"][0])
    for name in ("pyproject.toml", "requirements"):
        assert f"source={name},target=/tmp/source/{name} " in image["RUN"][0]
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        ["/bin/sh", "-c", step.replace("/tmp/source", str(tmp_path))],  # noqa: S108
        env={"EXTRAS": extras, "PATH": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [project["optional-dependencies"][extra] for extra in extras.split()]
    assert done.stdout.splitlines() == sum(wanted, project["dependencies"])


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_healthcheck_follows_readiness(image, status, code):
    requested = []

    class ReadinessHandler(BaseHTTPRequestHandler):
        def do_GET(self):
            requested.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), ReadinessHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert run_healthcheck(image, server.server_port).returncode == code
        thread.join()
    assert requested == ["/health/ready"]


def test_healthcheck_fails_if_nothing_listens(image):
    assert run_healthcheck(image, free_port()).returncode != 0


def run_healthcheck(image, port):
    command = json.loads(image["HEALTHCHECK"][0].split("CMD", 1)[1])
    assert command[0] == "python"
    # The check must not use a proxy of the environment.
    environment = clean_environment(port=str(port)) | {"http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, *command[1:]], env=environment, capture_output=True, timeout=20
    )


def test_build_context_excludes_everything_not_named():
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(rule for rule in rules if not rule.startswith("#")) == "*"


@pytest.mark.parametrize("name", VARIANTS)
def test_checkpoints_are_mounted_read_only_at_the_model_store(services, image, name):
    assert services[name]["volumes"] == [f"./model_store:{image['WORKDIR'][0]}/model_store:ro"]


@pytest.mark.parametrize("name", VARIANTS)
def test_containers_have_least_privilege(services, name):
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108  inside the container


@pytest.mark.parametrize("name", VARIANTS)
def test_containers_restart_and_outlast_the_grace_period(services, name):
    assert services[name]["restart"] == "unless-stopped"
    grace = int(services[name]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["grace_seconds"].default


@pytest.mark.parametrize("name", VARIANTS)
def test_compose_passes_known_settings_only(services, name):
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    assert services[name]["environment"].keys() <= known


def test_only_the_gpu_profile_reserves_a_card(services):
    reserved = services["api-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert services["api-gpu"]["profiles"] == ["gpu"]
    assert services["api-gpu"]["environment"]["DOPPELKOPF_DEVICE"] == "cuda"
    assert services["api"]["environment"]["DOPPELKOPF_DEVICE"] == "cpu"
    for name in services.keys() - {"api-gpu"}:
        assert not services[name].keys() & {"profiles", "deploy"}


def test_both_variants_can_run_on_one_host(services):
    published = [services[name]["ports"][0] for name in services]
    host, container = zip(*(port.rsplit(":", 1) for port in published), strict=True)
    assert len(set(host)) == len(host)
    assert container == (str(PORT), str(PORT), "9090", "3000")
    assert published[0] == f"${{DOPPELKOPF_PORT:-{PORT}}}:{PORT}"


def test_prometheus_scrapes_both_variants(services):
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert set(discovery["names"]) == set(VARIANTS)
    assert (discovery["type"], discovery["port"]) == ("A", PORT)
    assert job.get("metrics_path", "/metrics") == "/metrics"
    mounted = services["prometheus"]["volumes"]
    for name in ("prometheus.yml", *config["rule_files"]):
        assert f"./deploy/{name}:/etc/prometheus/{name}:ro" in mounted
    assert "healthcheck" in services["prometheus"]


def test_grafana_shows_a_read_only_dashboard_on_localhost(services):
    grafana = services["grafana"]
    environment = grafana["environment"]
    mounted = dict(volume.split(":", 1) for volume in grafana["volumes"])
    assert all(place.endswith(":ro") for place in mounted.values())
    assert all((ROOT / file).is_file() for file in mounted)
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounted["./deploy/grafana/doppelkopf.json"] == f"{home}:ro"
    provider = yaml.safe_load((ROOT / "deploy/grafana/provider.yml").read_text(encoding="utf-8"))
    (dashboards,) = provider["providers"]
    assert dashboards["options"]["path"] == str(Path(home).parent)
    assert dashboards["allowUiUpdates"] is False
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert grafana["ports"] == ["127.0.0.1:3000:3000"]
    assert grafana["read_only"] is True
    assert "healthcheck" in grafana


def test_grafana_datasource_is_the_prometheus_service(services):
    file = ROOT / "deploy/grafana/datasource.yml"
    (source,) = yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]
    port = services["prometheus"]["ports"][0].rsplit(":", 1)[1]
    assert source["url"] == f"http://prometheus:{port}"
