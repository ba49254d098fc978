"""The checks, one session each; `nox --list` shows them.

`make test` runs `tests`; `make check`, and CI, run all of them. A session that needs a program that isn't
installed says so and is left out.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.stop_on_first_error = False
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
# The tests start hundreds of programs. Without stored bytecode, each one compiles everything that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PROJECT = nox.project.load_toml("pyproject.toml")
TEST = nox.project.dependency_groups(PROJECT, "test")
DOCS = nox.project.dependency_groups(PROJECT, "docs")
LINT = nox.project.dependency_groups(PROJECT, "lint")
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
ELSEWHERE = (
    "openssh",
    "audit",
    "browser",
    "containers",
    "systemd",
    "booted",
    "image",
    "published",
    "mounts",
    "pgbouncer",
    "chaos",
    "slow",
    "outage",
    "attacks",
)
"""Marks of tests that have a session of their own."""

UNMARKED = " and ".join(f"not {name}" for name in ELSEWHERE)

WHOLE_PROGRAMS = (
    "tests/cli/test_interrupts.py",
    "tests/cli/test_keep.py",
    "tests/cli/test_login.py",
    "tests/cli/test_mistakes.py",
    "tests/cli/test_status.py",
    "tests/cli/test_trial_advice.py",
    "tests/cli/test_try.py",
    "tests/cli/test_try_options.py",
    "tests/daemon/test_starting.py",
    "tests/docs",
    "tests/evaluator/test_daemon_dies.py",
    "tests/evaluator/test_evaluators.py",
    "tests/loop",
    "tests/runner/conformance",
    "tests/store/test_crash.py",
    "tests/telemetry/test_traces.py",
    "tests/test_packaging.py",
    "tests/tools/local/test_repl.py",
    "tests/tools/local/test_run.py",
    "tests/tools/lsp/test_server.py",
    "tests/tools/setup/test_doctor.py",
    "tests/tools/test_agent_server.py",
)
"""Tests that start daemons, trials, fork servers and other programs. They take as long as all others together."""

WITHOUT_PROGRAMS = tuple(f"--ignore={path}" for path in WHOLE_PROGRAMS)

OF_THE_PYTHON = (
    "tests/bass",
    "tests/bridge",
    "tests/evaluator",
    "tests/runner/test_command.py",
    "tests/runner/test_ends.py",
    "tests/test_concurrency.py",
    "tests/loop/test_whole_path.py",
    "tests/loop/test_restart.py",
    "tests/web/test_live_feed.py",
    "tests/web/test_runs_page.py",
)
"""Tests of what may differ with the Python: its stacks, event loop, processes, and the Quart that it gets."""

PROBE = """
import trio
from bassloop.runner.container.container_engine import find
found = trio.run(find)
print(found if isinstance(found, str) else "")
"""


def _starts(python: str, version: str) -> bool:
    """Return whether an interpreter runs and has the version of its name; a version manager's shim may not."""
    command = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return False
    return done.stdout.strip() == version


def _other_interpreters() -> list[str]:
    """Return one interpreter for each supported version on this machine, except the one that `tests` uses."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = []
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in SUPPORTED:
        if version == own:
            continue
        on_path = [shutil.which(f"python{version}"), shutil.which("python3")]
        kept = sorted(str(path) for path in managed.glob(f"{version}.*/bin/python"))
        for python in (*on_path, *kept):
            if python and _starts(python, version):
                found.append(python)
                break
    return found


PYTHONS = _other_interpreters()


def _all_processors() -> tuple[str, ...]:
    """Return options of pytest-xdist that keep all processors busy: a third of the tests' time is waiting.

    Each worker begins with a part of the rooms, so that not all of them start daemons at the same time.
    """
    processors = os.cpu_count() or 1
    return ("-n", str(processors + processors // 2), "--dist", "worksteal")


COMMON = Path(".nox/tests")
"""The environment of `tests`, which most sessions use, too: each one of its own takes seconds and 500 MB."""

UP_TO_DATE = COMMON / "up-to-date"


def _install(session: nox.Session, *more: str) -> None:
    session.install("--quiet", "--editable", ".", *TEST, *more)


def _inputs() -> str:
    """Return what an environment is made of; one made of something else is made again."""
    return sys.version + "".join(Path(each).read_text() for each in ("pyproject.toml", __file__))


def _use_common_environment(session: nox.Session) -> None:
    """Use the environment of `tests`; sessions that start together wait for the one that makes it."""
    COMMON.parent.mkdir(exist_ok=True)
    with Path(".nox/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not UP_TO_DATE.exists() or UP_TO_DATE.read_text() != _inputs():
            nox_itself = (sys.executable, "-m", "nox", "--session", "tests", "--install-only")
            session.run(*nox_itself, external=True)
    session.env["PATH"] = os.pathsep.join((str(COMMON.resolve() / "bin"), os.environ["PATH"]))


def _needs(session: nox.Session, *programs: str, debian: str) -> None:
    """Skip the session, and say what to install, if one of the programs is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        session.skip(f"left out: no {', '.join(missing)} here (Debian: apt-get install {debian})")


def _pytest(
    session: nox.Session, mark: str, *options: str, env: dict[str, str | None] | None = None
) -> None:
    """Run the tests that have a mark. Only files with the mark are collected, unless the arguments name some."""
    paths = [
        str(path)
        for path in sorted(Path("tests").rglob("test_*.py"))
        if f"pytest.mark.{mark}" in path.read_text(encoding="utf-8")
    ]
    if any(Path(argument.partition("::")[0]).exists() for argument in session.posargs):
        paths = []
    program = "pytest" if session.python is not False else str(COMMON.resolve() / "bin/pytest")
    command = (program, "-q", *options, "-m", mark, *paths, *session.posargs)
    session.run(*command, env=env, external=session.python is False)


def _pytest_all(session: nox.Session, marks: str, *paths: str) -> None:
    """Run tests with the common environment, on all processors."""
    program = str(COMMON.resolve() / "bin/pytest")
    session.run(program, "-q", *_all_processors(), "-m", marks, *paths, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """What needs Python and Git only, on one Python; with arguments, all of that, even programs and PostgreSQL."""
    UP_TO_DATE.unlink(missing_ok=True)
    _install(session)
    UP_TO_DATE.write_text(_inputs())
    if session.posargs:
        session.run("pytest", "-q", *_all_processors(), "-m", UNMARKED, *session.posargs)
    else:
        mark = f"not postgresql and {UNMARKED}"
        session.run("pytest", "-q", *_all_processors(), "-m", mark, *WITHOUT_PROGRAMS)


@nox.session(python=False)
def programs(session: nox.Session) -> None:
    """Daemons, trials and other programs, as people run them."""
    _use_common_environment(session)
    _pytest_all(session, UNMARKED, *(session.posargs or WHOLE_PROGRAMS))


@nox.session(python=False)
def postgresql(session: nox.Session) -> None:
    """A store in PostgreSQL, of which a server is installed and started for the tests."""
    _use_common_environment(session)
    mark = f"postgresql and {UNMARKED}"
    _pytest_all(session, mark, *(session.posargs or WITHOUT_PROGRAMS))


@nox.session(python=PYTHONS)
def pythons(session: nox.Session) -> None:
    """What depends on the Python, on each other supported one that is here."""
    _install(session)
    command = ("pytest", "-q", "-n", "auto", "--hypothesis-profile=brief", "-m", UNMARKED)
    session.run(*command, *OF_THE_PYTHON, *session.posargs)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """The share of lines and branches that the tests execute, and that it doesn't shrink."""
    _install(session, "pytest-cov>=6")
    session.run(
        *("pytest", "-q", "-n", "auto", "-m", UNMARKED, "--cov", "--cov-report=term:skip-covered"),
        *session.posargs,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Style, strict types, and the one direction that imports may take."""
    _install(session, *LINT, "nox")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports", env={"PYTHONPATH": "src"})


@nox.session(python=False)
def openssh(session: nox.Session) -> None:
    """The stock OpenSSH client in front of the gateway."""
    _needs(session, "ssh", debian="openssh-client")
    _use_common_environment(session)
    _pytest(session, "openssh")


@nox.session
def audit(session: nox.Session) -> None:
    """The gateway's cryptography, as ssh-audit sees it."""
    _install(session, "ssh-audit>=3.3")
    _pytest(session, "audit")


@nox.session
def browser(session: nox.Session) -> None:
    """The pages in a real Chromium."""
    _browser(session, "chromium", "chromium", "chromium-browser", "google-chrome")


@nox.session
def firefox(session: nox.Session) -> None:
    """The pages in a real Firefox, as Mozilla and distributions build it."""
    _browser(session, "firefox", "firefox-esr", "firefox")


def _browser(session: nox.Session, kind: str, *programs: str) -> None:
    found = next(filter(None, map(shutil.which, programs)), None)
    if found is None:
        session.skip(f"left out: there is no {kind} here (Debian: apt-get install {programs[0]})")
    # Firefox's channel is undocumented: 1.65 uses commands of WebDriver BiDi that Firefox 153 doesn't have.
    _install(session, "playwright>=1.57,<1.65", "axe-playwright-python>=0.1.4")
    _pytest(session, "browser", "-n", "2", env={"BROWSER": f"{kind}={found}"})


@nox.session(python=False)
def containers(session: nox.Session) -> None:
    """Thunks in real containers and sandboxes, of a base image made here and a registry on loopback."""
    packages = "podman runc slirp4netns passt bubblewrap busybox-static openssl docker-registry"
    programs = ("podman", "busybox", "openssl", "bwrap", "slirp4netns", "pasta", "perl")
    _needs(session, *programs, debian=packages)
    _use_common_environment(session)
    python = str(COMMON / "bin/python")
    reason = str(session.run(python, "-c", PROBE, silent=True, external=True)).strip()
    if reason:
        session.skip(f"left out: {reason}")
    _pytest(session, "containers")


@nox.session(python=False)
def systemd(session: nox.Session) -> None:
    """systemd's opinion of the units, and what the daemon asks of the kernel under them."""
    _needs(session, "systemd-analyze", "strace", debian="systemd strace")
    _use_common_environment(session)
    _pytest(session, "systemd")


CAN_BOOT = """
set -e
mount -t cgroup2 none /mnt
mkdir /mnt/bassloop-probe
rmdir /mnt/bassloop-probe
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/all
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/all
"""


@nox.session(python=False)
def booted(session: nox.Session) -> None:
    """Both units under a systemd that is booted for them: start, kill, hang, restart, drain, upgrade."""
    _needs(session, "unshare", "nsenter", "systemctl", "journalctl", debian="systemd util-linux")
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--net"]
    if subprocess.run([*namespaces, "sh", "-c", CAN_BOOT], capture_output=True).returncode:
        session.skip("left out: systemd can't be booted here (it takes root, and cgroups)")
    if any(Path.cwd().is_relative_to(hidden) for hidden in ("/tmp", "/var/tmp")):  # noqa: S108
        session.skip("left out: this checkout is in /tmp, and the unit has a /tmp of its own")
    _use_common_environment(session)
    _pytest(session, "booted")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site, in build/docs; a broken link is an error."""
    session.install("--quiet", "--editable", ".", *DOCS)
    session.run("mkdocs", "build", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})
    session.log("open build/docs/index.html in a browser")


@nox.session(python=False)
def disk(session: nox.Session) -> None:
    """A disk that fills up under a daemon: a small file system in memory, mounted for the test."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True).returncode:
        session.skip("left out: nothing may be mounted here (it takes root)")
    _use_common_environment(session)
    _pytest(session, "mounts")


IN_CHROOT = """
set -eu
cd "$1"
for each in dev proc sys; do mount --rbind "/$each" "$each"; done
# The machine's way to the network: its resolver, its certificates, its settings of pip and proxies.
for each in resolv.conf pip.conf ssl/certs/ca-certificates.crt; do
    test ! -e "/etc/$each" || cp --dereference "/etc/$each" "etc/$each"
done
kept=$(env | grep -E '^(PIP_[A-Z_]+|SSL_CERT_[A-Z]+|[a-z]+_proxy|[A-Z]+_PROXY)=[^ ]*$' || true)
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 $kept \\
    chroot . make -C /root/bassloop "$2"
"""


@nox.session(default=False, python=False)
def bare(session: nox.Session) -> None:
    """`make demo` in Debian with only what the README names: `-- sid test` for a suite, and the tests."""
    _needs(session, "debootstrap", "unshare", debian="debootstrap util-linux")
    if os.geteuid() != 0:
        session.skip("left out: it takes root")
    named = re.search("apt install (.*)", Path("README.md").read_text())
    assert named is not None
    packages = ",".join([*named[1].split(), "ca-certificates"])
    targets = [each for each in session.posargs if each in ("demo", "test")]
    suites = [each for each in session.posargs if each not in targets]
    for suite in suites or ("bookworm", "trixie", "sid"):
        root = Path(".nox", "bare", suite).resolve()
        if not (root / "usr" / "bin" / "make").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.parent.mkdir(parents=True, exist_ok=True)
            what = ["--variant=minbase", f"--include={packages}", suite, str(root)]
            session.run("debootstrap", *what, external=True, silent=True)
        clone = root / "root" / "bassloop"
        shutil.rmtree(clone, ignore_errors=True)
        session.run("git", "clone", "--quiet", ".", str(clone), external=True)
        for target in targets or ["demo"]:
            command = ["unshare", "--mount", "sh", "-c", IN_CHROOT, "sh", str(root), target]
            session.run(*command, external=True)


@nox.session(default=False, python=False)
def image(session: nox.Session) -> None:
    """The container, built and run with Podman: of IMAGE_BASE, or the base that it names."""
    _needs(session, "podman", debian="podman")
    _use_common_environment(session)
    _pytest(session, "image")


@nox.session(python=False)
def published(session: nox.Session) -> None:
    """The client and the stand-in, compared with what GitHub publishes of its API and its webhooks."""
    _needs(session, "npm", debian="npm")
    _use_common_environment(session)
    where = Path(session.create_tmp())
    packages = ("@octokit/openapi@23.0.2", "@octokit/webhooks-examples@7.6.1")
    session.run("npm", "install", "--silent", "--prefix", str(where), *packages, external=True)
    _pytest(session, "published", env={"PUBLISHED": str(where)})


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """The wheel and the source distribution, in dist/, and whether an index would take them."""
    session.install("--quiet", ".", "build>=1.2", "twine>=6")
    shutil.rmtree("dist", ignore_errors=True)
    _share(session, Path("build/share"))
    session.run("python", "-m", "build", "--installer", "uv" if shutil.which("uv") else "pip")
    session.run("twine", "check", "--strict", *map(str, Path("dist").iterdir()))
    shutil.rmtree("build/share")  # what is built later would have these pages, and not its own


COMPLETIONS = {
    "bash": "bash-completion/completions/bassloop",
    "fish": "fish/vendor_completions.d/bassloop.fish",
    "zsh": "zsh/site-functions/_bassloop",
}


def _share(session: nox.Session, where: Path, program: str = "bassloop") -> None:
    """Write the manual pages and the completions to a folder such as /usr/share."""
    shutil.rmtree(where, ignore_errors=True)
    session.run(program, "man", "--out", str(where / "man/man1"), silent=True, external=True)
    for shell, name in COMPLETIONS.items():
        script = session.run(program, "completion", shell, silent=True, external=True)
        (where / name).parent.mkdir(parents=True)
        (where / name).write_text(str(script))


@nox.session(default=False)
def deb(session: nox.Session) -> None:
    """A Debian package in dist/, for this Debian's own Python."""
    _needs(session, "dpkg-deb", "dpkg", debian="dpkg")
    session.install("--quiet", "uv>=0.5")
    version = PROJECT["project"]["version"]
    root = Path(session.create_tmp()).resolve() / "deb"
    shutil.rmtree(root, ignore_errors=True)
    place = root / "opt/bassloop"
    session.run("uv", "venv", "--quiet", "--python", "/usr/bin/python3", str(place))
    python = place / "bin/python"
    session.run("uv", "pip", "install", "--quiet", "--python", str(python), ".")
    _share(session, root / "usr/share", str(place / "bin/bassloop"))
    for origin in place.rglob("bassloop-*.dist-info/direct_url.json"):
        origin.unlink()  # it names the folder that this was built in
    # The programs of the environment say where it is; they have to say where it will be.
    for script in (place / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            content = script.read_bytes().replace(bytes(place), b"/opt/bassloop")
            script.write_bytes(content)
    compiling = ("-m", "compileall", "-q", "-f", "-s", str(root), "-p", "/")
    session.run(str(python), *compiling, str(place / "lib"), external=True, success_codes=[0, 1])
    (root / "usr/bin").mkdir()
    (root / "usr/bin/bassloop").symlink_to("/opt/bassloop/bin/bassloop")
    licence = root / "usr/share/doc/bassloop/copyright"
    licence.parent.mkdir(parents=True)
    shutil.copyfile("LICENSE", licence)
    ask = (
        "import sys; print('%d.%d' % sys.version_info[:2], '%d.%d' % (3, sys.version_info[1] + 1))"
    )
    own, next_ = str(session.run(str(python), "-c", ask, silent=True, external=True)).split()
    machine = str(session.run("dpkg", "--print-architecture", silent=True, external=True)).strip()
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(f"""\
Package: bassloop
Version: {version}
Architecture: {machine}
Maintainer: The Bass Loop maintainers <maintainers@bassloop.invalid>
Depends: python3 (>= {own}), python3 (<< {next_}), git
Recommends: podman | docker.io, bubblewrap, slirp4netns | passt
Section: devel
Priority: optional
Description: {PROJECT["project"]["description"]}
""")
    Path("dist").mkdir(exist_ok=True)
    package = f"dist/bassloop_{version}_{machine}.deb"
    building = ("dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), package)
    session.run(*building, external=True)


@nox.session(python=False)
def attacks(session: nox.Session) -> None:
    """Attacks on a daemon in a process of its own, while others go on using it."""
    _use_common_environment(session)
    _pytest(session, "attacks", "-n", "2")


@nox.session(python=False)
def outage(session: nox.Session) -> None:
    """A backlog that GitHub's real limits make, under a daemon that is killed again and again."""
    _use_common_environment(session)
    _pytest(session, "outage", "-s")


@nox.session(python=False)
def pgbouncer(session: nox.Session) -> None:
    """A store behind PgBouncer in transaction mode."""
    _needs(session, "pgbouncer", debian="pgbouncer")
    _use_common_environment(session)
    _pytest(session, "pgbouncer")


@nox.session(python=False)
def chaos(session: nox.Session) -> None:
    """A minute of lost nodes in a cluster behind HAProxy; CHAOS_SECONDS=1800 makes it half an hour."""
    _needs(session, "haproxy", debian="haproxy")
    _use_common_environment(session)
    _pytest(session, "chaos", "-s", "--show-capture=no", "--timeout=7200")


@nox.session(default=False, python=False)
def slow(session: nox.Session) -> None:
    """What takes minutes: fuzzing, soak, and the tests of properties with many more examples."""
    _use_common_environment(session)
    _pytest(session, "slow", "--timeout=1800")
    program = str(COMMON.resolve() / "bin/pytest")
    thorough = ("-q", *_all_processors(), "--hypothesis-profile=thorough", "--timeout=1800")
    mark = f"hypothesis and {UNMARKED}"
    session.run(program, *thorough, "-m", mark, *session.posargs, external=True)


@nox.session(default=False)
def proto(session: nox.Session) -> None:
    """Generate the modules of bassloop.wire from the .proto files beside them."""
    session.install("grpcio-tools==1.74.0", "grpclib==0.4.9")
    wire = Path("src/bassloop/wire")
    with session.chdir("src"):
        sources = [f"bassloop/wire/{name}.proto" for name in ("bass", "progrock", "runtime")]
        out = ["-I", ".", "--python_out=.", "--pyi_out=.", "--grpclib_python_out=."]
        session.run("python", "-m", "grpc_tools.protoc", *out, *sources)
    for empty in ("bass_grpc.py", "progrock_grpc.py"):
        (wire / empty).unlink(missing_ok=True)
