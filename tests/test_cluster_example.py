"""The example of three nodes says what the settings mean, and each of its files what the others say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from bassloop.addresses import is_in, parse_address
from bassloop.settings_reader import NAMES, load_settings
from bassloop.store.blobs.blobs import BucketAddress

CLUSTER = Path(__file__).parents[1] / "examples" / "cluster"
NODES = ("loop-1", "loop-2", "loop-3")


def secrets(folder: Path) -> dict[str, str]:
    subprocess.run(["sh", CLUSTER / "make-secrets.sh", folder], check=True)
    return {path.name: path.read_text() for path in folder.iterdir()}


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CLUSTER / "compose.yaml").read_text())
    return found


def unit(name: str) -> list[tuple[str, str]]:
    """The directives of a unit."""
    lines = (CLUSTER / "systemd" / name).read_text().splitlines()
    return [
        (name, value) for name, equals, value in (each.partition("=") for each in lines) if equals
    ]


def servers(proxy: str) -> dict[str, str]:
    """The nodes in a section of HAProxy's configuration, and where they listen."""
    text = (CLUSTER / "haproxy.cfg").read_text()
    section = text[text.index(f"listen {proxy}\n") :].partition("\nlisten ")[0]
    return dict(re.findall(r'^ +server (\S+) "(\S+)"$', section, re.M))


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in NAMES & os.environ.keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(tmp_path / "none"))
    return monkeypatch


def check_node(name: str, number: int, address: str, balancer: str, s3: str) -> None:
    """Check the settings in the environment against what the balancer does."""
    settings = load_settings()
    assert settings.node_name == name
    assert settings.database_url is not None
    assert settings.blobs_url is not None
    assert BucketAddress.parse(settings.blobs_url).endpoint == s3
    assert settings.secret("aws_access_key_id")
    assert settings.secret("ssh_host_key")
    assert settings.secret("session_secret")
    for proxies in (settings.trusted_proxies, settings.ssh_proxies):
        assert is_in(balancer, proxies)
        assert not is_in(address, proxies) or address == balancer
    for listened, proxy in ((settings.listen, "pages"), (settings.ssh_addr, "runners")):
        host, port = parse_address(listened)
        assert host in ("0.0.0.0", address)
        assert servers(proxy)[name] == f"${{LOOP_{number}}}:{port}"
        if proxy == "pages" and host == "0.0.0.0":
            assert settings.node_address == f"http://{address}:{port}", "the others find it there"


@pytest.mark.parametrize(("number", "name"), list(enumerate(NODES, 1)))
def test_the_containers_match_the_settings_and_the_balancer(
    number: int, name: str, tmp_path: Path, clean: pytest.MonkeyPatch
) -> None:
    services = compose()["services"]
    made = secrets(tmp_path / "secrets")
    assert set(compose()["secrets"]) == set(made)
    given = dict(services[name]["environment"])
    assert given.pop("CREDENTIALS_DIRECTORY") == "/run/secrets"
    assert set(given) <= NAMES
    assert set(services[name]["secrets"]) <= NAMES
    (tmp_path / "run").mkdir()
    for secret in services[name]["secrets"]:
        shutil.copy(tmp_path / "secrets" / secret, tmp_path / "run")
    clean.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "run"))
    for variable, value in given.items():
        clean.setenv(variable, value)
    address = services[name]["networks"]["cluster"]["ipv4_address"]
    balancer = services["haproxy"]
    assert balancer["environment"][f"LOOP_{number}"] == address
    s3 = " ".join(services["s3"]["command"])
    check_node(
        name,
        number,
        address,
        balancer["networks"]["cluster"]["ipv4_address"],
        f"http://s3:{re.findall(r'--port :([0-9]+)', s3)[0]}",
    )
    password = made["POSTGRES_PASSWORD"]
    user = services["postgres"]["environment"]["POSTGRES_USER"]
    assert made["DATABASE_URL"] == f"postgresql://{user}:{password}@postgres/{user}"


@pytest.mark.parametrize(("number", "name"), list(enumerate(NODES, 1)))
def test_the_units_match_the_settings_and_the_balancer(
    number: int, name: str, tmp_path: Path, clean: pytest.MonkeyPatch
) -> None:
    made = secrets(tmp_path / "credentials")
    directives = unit("bass-loop@.service")
    loaded = [value.split(":", 1)[0] for key, value in directives if key == "LoadCredential"]
    assert set(loaded) == set(made) - {"POSTGRES_PASSWORD"} <= NAMES
    given = dict(dotenv_values(CLUSTER / "systemd" / "settings.env"))
    given |= dict(value.split("=", 1) for key, value in directives if key == "Environment")
    assert set(given) <= NAMES
    for variable, value in given.items():
        clean.setenv(variable, str(value).replace("%i", str(number)))
    clean.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    haproxy = dict(value.split("=", 1) for _, value in unit("haproxy.conf"))
    start = dict(unit("bass-loop-s3.service"))["ExecStart"]
    [s3] = re.findall(r"--port (\S+)", start)
    check_node(name, number, haproxy[f"LOOP_{number}"], "127.0.0.1", f"http://{s3}")


@pytest.mark.systemd
@pytest.mark.parametrize("name", ["bass-loop@.service", "bass-loop-s3.service"])
def test_systemd_understands_every_line_of_the_units(name: str, tmp_path: Path) -> None:
    text = (CLUSTER / "systemd" / name).read_text()
    path = tmp_path / name.replace("@", "@1")
    path.write_text(text.replace("/usr/local/bin/bassloop", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_balancer_passes_on_the_addresses_of_runners_and_visitors() -> None:
    text = (CLUSTER / "haproxy.cfg").read_text()
    pages, _, runners = text.partition("listen runners")
    assert "option forwardfor" in pages
    assert "send-proxy-v2" in runners
    assert "send-proxy" not in pages
    assert list(servers("pages")) == list(servers("runners")) == list(NODES)
    [checked] = re.findall(r"default-server port (\d+)", runners)
    assert all(each.endswith(f":{checked}") for each in servers("pages").values())
    bound = set(re.findall(r'bind "\$\{ADDRESS\}:(\d+)"', text))
    balancer = compose()["services"]["haproxy"]
    assert bound == {each.split(":")[0] for each in balancer["ports"]}
    assert balancer["environment"]["ADDRESS"] == "", "a container has its own addresses"


def test_the_balancer_and_the_nodes_of_one_machine_listen_on_different_addresses() -> None:
    balancer = dict(value.split("=", 1) for _, value in unit("haproxy.conf"))
    addresses = list(balancer.values())
    assert sorted(balancer) == ["ADDRESS", "LOOP_1", "LOOP_2", "LOOP_3"]
    assert all(addresses), "all addresses of the machine would take the nodes' port for runners"
    assert len(set(addresses)) == len(addresses)


def test_the_instructions_install_files_that_exist() -> None:
    readme = (CLUSTER / "README.md").read_text()
    for path in CLUSTER.rglob("*"):
        if path.is_file() and path.name not in ("README.md", "compose.yaml"):
            assert path.name in readme, path
    for name in re.findall(r"(?<![/\w])systemd/[\w.@-]+", readme):
        assert (CLUSTER / name).exists()
    for link in re.findall(r"\]\((\.\./[^)#]+)", readme):
        assert (CLUSTER / link).exists()
