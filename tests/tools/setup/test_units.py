"""The systemd units: their contents, their confinement, and their installation."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bassloop.cli import cli
from bassloop.tools.setup import systemd
from bassloop.tools.setup.systemd import RunnerFacts, ServeFacts, runner_unit, serve_unit

if TYPE_CHECKING:
    from pathlib import Path

SERVE = ServeFacts(("/bin/true", "serve"))


def values(unit: str, name: str) -> list[str]:
    """Return the values of a unit's directive, in order."""
    return re.findall(rf"^{name}=(.*)$", unit, re.M)


def test_the_daemon_has_a_watchdog_and_can_only_write_its_state() -> None:
    unit = serve_unit(SERVE)
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "WatchdogSec") == ["30"]
    assert values(unit, "DynamicUser") == ["yes"]
    assert values(unit, "StateDirectory") == ["bass-loop"]
    assert values(unit, "CapabilityBoundingSet") == [""]
    assert values(unit, "PrivateUsers") == ["yes"]


def test_secrets_are_passed_as_credentials(tmp_path: Path) -> None:
    facts = ServeFacts(("x",), credentials=(("METRICS_TOKEN", tmp_path / "METRICS_TOKEN"),))
    assert values(serve_unit(facts), "LoadCredential") == [
        f"METRICS_TOKEN:{tmp_path}/METRICS_TOKEN"
    ]


def test_only_a_low_port_needs_a_capability() -> None:
    unit = serve_unit(ServeFacts(("x",), low_port=True))
    assert values(unit, "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]
    assert values(unit, "PrivateUsers") == []


def test_a_command_is_quoted_so_that_systemd_runs_it() -> None:
    """https://www.freedesktop.org/software/systemd/man/systemd.service.html#Command%20lines"""
    unit = runner_unit(RunnerFacts(("/opt/a b/bassloop", "runner", "me@x", '--only=$a/"%b"')))
    assert values(unit, "ExecStart") == [r'"/opt/a b/bassloop" runner me@x "--only=$$a/\"%%b\""']


def test_each_permission_that_containers_need_has_its_reason() -> None:
    unit = runner_unit(RunnerFacts(("x",)))
    for name, why in systemd.RUNNER_NEEDS.items():
        assert f"#   {name}: {why}" in unit
        for directive in name.split(", "):
            assert not values(unit, directive)


def test_without_containers_a_runner_gains_no_privileges() -> None:
    assert values(runner_unit(RunnerFacts(("x",), containers=False)), "NoNewPrivileges") == ["yes"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose systemctl writes down what it is told; its folders are in `tmp_path`."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(tmp_path / "none.env"))
    monkeypatch.setattr(systemd, "ETC", tmp_path / "etc")
    monkeypatch.setattr(systemd, "SYSTEM_UNITS", tmp_path / "system")
    monkeypatch.setattr(systemd, "refuse_home", lambda: None)
    return tmp_path


def systemctl_calls(machine: Path) -> list[str]:
    """Return the arguments that systemctl was called with."""
    path = machine / "told"
    return path.read_text().splitlines() if path.exists() else []


def done(*arguments: str, fails: bool = False) -> str:
    """Run a command, and return its output."""
    result = CliRunner().invoke(cli, ["service", *arguments])
    assert result.exit_code == (1 if fails else 0), result.output
    return result.output


def test_the_daemon_is_installed_with_the_secrets_that_are_there(machine: Path) -> None:
    credentials = machine / "etc" / "credentials"
    credentials.mkdir(parents=True)
    (credentials / "GITHUB_APP_PRIVATE_KEY").write_text("PEM")
    (machine / "etc" / "settings.env").write_text("LISTEN=0.0.0.0:443\nDRAIN_SECONDS=10\n")
    said = done("install", "serve", "--group", "ssl-cert")
    unit = (machine / "system" / "bass-loop.service").read_text()
    assert values(unit, "LoadCredential") == [
        f"GITHUB_APP_PRIVATE_KEY:{credentials}/GITHUB_APP_PRIVATE_KEY"
    ]
    assert values(unit, "SupplementaryGroups") == ["ssl-cert"]
    assert values(unit, "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]
    assert values(unit, "TimeoutStopSec") == ["40"]
    assert systemctl_calls(machine) == [
        "daemon-reload",
        "enable bass-loop.service",
        "restart bass-loop.service",
    ]
    assert "GITHUB_APP_PRIVATE_KEY is handed over" in said


def test_a_first_install_leaves_settings_to_be_filled_in(machine: Path) -> None:
    said = done("install", "serve")
    settings = machine / "etc" / "settings.env"
    assert f"{settings} has to be filled in" in said
    assert settings.stat().st_mode & 0o777 == 0o600
    assert (machine / "etc" / "credentials").stat().st_mode & 0o777 == 0o700


def test_a_missing_credential_is_reported(machine: Path) -> None:
    (machine / "etc" / "credentials").mkdir(parents=True)
    (machine / "etc" / "credentials" / "app.pem").write_text("PEM")
    assert "there is no setting app.pem" in done("install", "serve", fails=True)


def test_print_shows_the_units_and_changes_nothing(machine: Path) -> None:
    assert done("install", "serve", "--print").startswith("[Unit]\n")
    assert done("install", "runner", "--print", "me@loop.example.com").startswith("[Unit]\n")
    assert not systemctl_calls(machine)
    assert not (machine / "etc").exists()


def test_a_runner_is_installed_for_its_user_and_removed(machine: Path) -> None:
    done("install", "runner", "me@loop.example.com", "--only", "octocat/*", "--driver", "host")
    path = machine / "config" / "systemd" / "user" / "bass-loop-runner.service"
    unit = path.read_text()
    [command] = values(unit, "ExecStart")
    assert command.endswith('runner me@loop.example.com --only "octocat/*" --driver host')
    assert values(unit, "NoNewPrivileges") == ["yes"]
    done("uninstall", "runner")
    assert not path.exists()
    assert systemctl_calls(machine) == [
        "--user daemon-reload",
        "--user enable bass-loop-runner.service",
        "--user restart bass-loop-runner.service",
        "--user disable --now bass-loop-runner.service",
        "--user daemon-reload",
        "--user reset-failed bass-loop-runner.service",
    ]
    assert not [each for each in (machine / "config").rglob("*") if not each.is_dir()]


def test_a_runner_that_could_not_run_is_not_installed(machine: Path) -> None:
    result = CliRunner().invoke(cli, ["service", "install", "runner", "me@x", "--driver", "magic"])
    assert result.exit_code == 2
    assert "'magic' is not one of" in result.output
    assert not systemctl_calls(machine)


def test_a_program_in_a_home_folder_is_refused_with_the_fix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.executable", "/home/me/.local/bin/python")
    said = done("install", "serve", fails=True)
    assert "in somebody's home" in said
    assert "PIPX_HOME=/opt/pipx" in said


def test_a_unit_that_systemd_refuses_is_removed_again(machine: Path) -> None:
    program = machine / "bin" / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {machine}/told\ncase "$1" in restart) echo no >&2; exit 1;; esac\n'
    )
    path = machine / "system" / "bass-loop.service"
    said = done("install", "serve", fails=True)
    assert "systemctl restart bass-loop.service: no" in said
    assert f"{path} is as it was before" in said
    assert not path.exists()
    assert f"{machine / 'etc'}, which was made for its settings, stays" in said
    assert systemctl_calls(machine)[-3:] == [
        "disable --now bass-loop.service",
        "reset-failed bass-loop.service",
        "daemon-reload",
    ]
    path.write_text("an older unit")
    assert "which was made" not in done("install", "serve", fails=True)
    assert path.read_text() == "an older unit"
    assert systemctl_calls(machine)[-2:] == ["daemon-reload", "restart bass-loop.service"]


@pytest.mark.parametrize("step", ["daemon-reload", "enable", "restart"])
def test_an_interrupted_installation_leaves_nothing(
    machine: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run = systemd._run
    interrupted: list[str] = []

    def interrupt(*arguments: str) -> subprocess.CompletedProcess[str]:
        if step in arguments and not interrupted:
            interrupted.append(step)
            raise KeyboardInterrupt
        return run(*arguments)

    monkeypatch.setattr(systemd, "_run", interrupt)
    path = machine / "system" / "bass-loop.service"
    with pytest.raises(KeyboardInterrupt):
        systemd.install(path, "[Unit]\n")
    assert list(path.parent.iterdir()) == []
    assert systemctl_calls(machine)[-1] == "daemon-reload"


def test_remains_of_a_unit_without_a_file_are_removed(machine: Path) -> None:
    path = machine / "system" / "bass-loop.service"
    link = path.parent / "multi-user.target.wants" / path.name
    link.parent.mkdir(parents=True)
    link.symlink_to(path)
    assert f"{path} is removed" in done("uninstall", "serve")
    assert not link.is_symlink()
    assert f"there is no {path}" in done("uninstall", "serve", fails=True)


def test_without_systemd_the_alternative_is_shown(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "--print shows the unit" in done("install", "serve", fails=True)


def exposure(unit: str, tmp_path: Path) -> float:
    """Return systemd's exposure score of a unit, of 10."""
    path = tmp_path / "bass-loop.service"
    path.write_text(unit)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    return float(found[1])


@pytest.mark.systemd
def test_systemd_rates_the_daemons_exposure_as_low(tmp_path: Path) -> None:
    assert exposure(serve_unit(SERVE), tmp_path) <= 1.5
    assert exposure(serve_unit(ServeFacts(("/bin/true",), low_port=True)), tmp_path) <= 1.5


@pytest.mark.systemd
@pytest.mark.parametrize("unit", [serve_unit(SERVE), runner_unit(RunnerFacts(("/bin/true",)))])
def test_systemd_understands_every_line(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "bass-loop.service"
    path.write_text(re.sub(r"^Documentation=.*\n", "", unit, flags=re.M))
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
