# SPDX-License-Identifier: Apache-2.0
"""The only task runner: `nox` does all that CI does, `nox -s NAME` one session.

Tests run against a wheel, built from the source distribution in a folder of its own.
The checkout has no compiled extension and must not be imported instead, nor may
objects of an earlier build be linked again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from zipfile import ZipFile

import nox

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
OLDEST, NEWEST = PYTHONS[0], PYTHONS[-1]
ASAN_EXIT_CODE = 99
# The tests wait for processes more than they compute.
IN_PARALLEL = ["--numprocesses=2", "--dist=worksteal", "-m", "not leak"]
# What is deployed beside a service has a session, and requirements, of its own.
TESTS = ROOT / "tests"
DEPLOY_TESTS = TESTS / "deploy"

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = [
    "lint",
    "typing",
    "tests",
    "tests-without-extension",
    "asan",
    "leaks",
    "deploy",
]

# pyenv's shims answer only for versions that are switched on; its folders always do.
_pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
os.environ["PATH"] = os.pathsep.join(
    [
        *(
            str(folder)
            for version in PYTHONS
            for folder in sorted(_pyenv.glob(f"versions/{version}.*/bin"))
        ),
        os.environ["PATH"],
    ]
)


@nox.session(python=NEWEST)
def lint(session: nox.Session) -> None:
    """Ruff, clang-format and clang-tidy."""
    session.install(*_group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    sources = sorted(str(path) for path in ROOT.glob("otel_memory/heap/**/*.[ch]"))
    session.run("clang-format", "--dry-run", "--Werror", *sources)
    session.run(
        "clang-tidy",
        "--quiet",
        *(source for source in sources if source.endswith(".c")),
        "--",
        "-std=c11",
        '-DOTEL_MEMORY_VERSION="0"',
        "-isystem",
        _sysconfig(session, "get_path('include')"),
    )


@nox.session(python=OLDEST)
def typing(session: nox.Session) -> None:
    """Mypy on the package; mypy and pyright on the public names' use."""
    # Not required: nothing here runs the extension, its .pyi file is read.
    session.install(".[cli]", *_group("typing"))
    session.run("mypy")
    session.run("pyright", "--pythonpath", _python(session))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests, with the extension."""
    _install_wheel(session, _group("tests"))
    _pytest(session, *IN_PARALLEL)


@nox.session(python=NEWEST, name="tests-without-extension")
def tests_without_extension(session: nox.Session) -> None:
    """The tests that need no extension, on a wheel built without a compiler."""
    _install_wheel(session, _group("tests"), extension=False)
    _pytest(session, *IN_PARALLEL, extension=False)


@nox.session(python="3.12")
def coverage(session: nox.Session) -> None:
    """Branch coverage of the Python files."""
    data = Path(session.create_tmp()).resolve() / "coverage"
    _install_wheel(session, [*_group("tests"), *_group("coverage")])
    environment = {"COVERAGE_FILE": str(data)}
    for old in data.parent.glob("coverage*"):
        old.unlink()
    configuration = f"--rcfile={ROOT / 'pyproject.toml'}"
    _pytest(
        session,
        runner=["coverage", "run", configuration, "-m", "pytest"],
        environment=environment,
    )
    # Where [tool.coverage.paths] finds the sources and the settings.
    session.chdir(ROOT)
    session.run("coverage", "combine", "--quiet", env=environment)
    session.run("coverage", "report", env=environment)


@nox.session(python=NEWEST)
def asan(session: nox.Session) -> None:
    """The extension's tests under the address and undefined-behaviour sanitizers."""
    _install_wheel(
        session, _group("tests"), {"OTEL_MEMORY_SANITIZE": "address,undefined"}
    )
    # libstdc++ beside it, for ASan looks up C++'s throw when it is loaded.
    preload = [_gcc_file(session, name) for name in ("libasan.so", "libstdc++.so")]
    environment = {
        "LD_PRELOAD": " ".join(preload),
        # The interpreter itself leaves memory behind at its end.
        "ASAN_OPTIONS": f"detect_leaks=0:exitcode={ASAN_EXIT_CODE}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:exitcode={ASAN_EXIT_CODE}",
    }
    # A sanitizer that does not find this overflow finds nothing.
    planted = (
        "from otel_memory.heap import _core\n"
        "assert _core.SANITIZED\n"
        "_core.plant_overflow(8)\n"
    )
    session.run(
        "python", "-c", planted, env=environment, success_codes=[ASAN_EXIT_CODE]
    )
    chosen = "extension and not exact and not leak"
    _pytest(session, "--capture=no", "-m", chosen, environment=environment)


@nox.session(python=NEWEST)
def leaks(session: nox.Session) -> None:
    """Every function of the extension in a loop, while the memory is watched."""
    _install_wheel(session, _group("tests"))
    _pytest(session, "-m", "leak")


@nox.session(python="3.12")
def deploy(session: nox.Session) -> None:
    """Dashboards, alert rules and configurations, by what Debian has of Prometheus."""
    _install_wheel(session, _group("deploy"))
    settings = f"--config-file={ROOT / 'pyproject.toml'}"
    session.run("mypy", settings, "--python-version=3.12", str(ROOT / "deploy"))
    session.run("python", str(ROOT / "deploy/grafana/build.py"), "--check")
    session.run("python", str(ROOT / "deploy/rules/build.py"), "--check")
    workers = ["--numprocesses=2", "--dist=worksteal"]
    _pytest(session, *workers, "-m", "not stack", paths=[DEPLOY_TESTS])


@nox.session(python="3.12")
def stack(session: nox.Session) -> None:
    """The example under traffic, to the webhook; builds its parts with Go, for long."""
    environment = {"OTEL_MEMORY_STACK": _built_with_go(session)}
    _install_wheel(session, _group("deploy"))
    _pytest(session, "-m", "stack", paths=[DEPLOY_TESTS], environment=environment)


@nox.session(python="3.12")
def pictures(session: nox.Session) -> None:
    """Draw the dashboards over a run of the shop, which takes an hour and a half."""
    programs = _built_with_go(session, "prometheus")
    _install_wheel(session, _group("deploy"))
    arguments = session.posargs or ["--run", "90"]
    script = str(ROOT / "deploy/grafana/pictures/draw.py")
    path = os.pathsep.join([programs, *session.bin_paths, os.environ["PATH"]])
    session.run("python", script, *arguments, env={"PATH": path})


@nox.session(python=NEWEST)
def bench(session: nox.Session) -> None:
    """Benchmarks: `nox -s bench -- benchmarks/NAME.py ARGUMENTS`."""
    if not session.posargs:
        names = sorted(
            str(p.relative_to(ROOT)) for p in ROOT.glob("benchmarks/[!_]*.py")
        )
        session.error(f"name one after --: {', '.join(names)}")
    _install_wheel(session, [*_group("tests"), *_group("bench")])
    script, *arguments = session.posargs
    session.run("python", str(Path(script).resolve()), *arguments)


def _group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def _built_with_go(session: nox.Session, *names: str) -> str:
    """Build what Debian lacks, all of it or only these; give the folder."""
    folder = str(Path(session.cache_dir).resolve() / "stack")
    script = str(DEPLOY_TESTS / "stack" / "build.sh")
    session.run("sh", script, folder, *names, external=True)
    return folder


def _python(session: nox.Session) -> str:
    return str(Path(session.bin) / "python")


def _gcc_file(session: nox.Session, name: str) -> str:
    path = session.run(
        "gcc", f"-print-file-name={name}", external=True, silent=True, log=False
    )
    return str(path).strip()


def _sysconfig(session: nox.Session, expression: str) -> str:
    """What the session's interpreter says of itself."""
    code = f"import sysconfig; print(sysconfig.{expression})"
    return str(session.run("python", "-c", code, silent=True, log=False)).strip()


def _install_wheel(
    session: nox.Session,
    requirements: list[str],
    environment: dict[str, str] | None = None,
    *,
    extension: bool = True,
) -> None:
    """Build the wheel in a fresh folder, look into it, and install it."""
    session.install("build[uv]")
    folder = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    # CFLAGS takes the place of the interpreter's own flags, which users get.
    compiler = {
        "OTEL_MEMORY_REQUIRE_EXTENSION": "1",
        "CFLAGS": _sysconfig(session, "get_config_var('CFLAGS')") + " -Werror",
    }
    session.run(
        *("python", "-m", "build", "--installer=uv", f"--outdir={folder}", str(ROOT)),
        env={**(compiler if extension else {"CC": "false"}), **(environment or {})},
        silent=True,
    )
    (wheel,) = folder.glob("*.whl")
    _check_contents(session, wheel, extension=extension)
    session.install(f"otel-memory[cli] @ {wheel.as_uri()}", *requirements)
    # The current folder may be on the path, so the package must not be in it.
    session.chdir(ROOT / "tests")


def _check_contents(session: nox.Session, wheel: Path, *, extension: bool) -> None:
    names = ZipFile(wheel).namelist()
    compiled = [name for name in names if name.endswith(".so")]
    if bool(compiled) != extension:
        session.error(f"compiled files in {wheel.name}: {compiled}")
    odd = [
        name
        for name in names
        if name.endswith((".c", ".h")) or not name.startswith("otel_memory")
    ]
    if odd or "otel_memory/py.typed" not in names:
        session.error(f"{wheel.name} holds {odd}, or lacks py.typed")


def _pytest(
    session: nox.Session,
    *arguments: str,
    runner: list[str] | None = None,
    environment: dict[str, str] | None = None,
    extension: bool = True,
    paths: list[Path] | None = None,
) -> None:
    """Run pytest on what is installed."""
    everything = [f"--ignore={DEPLOY_TESTS}", str(TESTS)]
    session.run(
        *(runner or ["pytest"]),
        f"--config-file={ROOT / 'pyproject.toml'}",
        f"--rootdir={ROOT}",
        *(arguments or ("-m", "not leak")),
        *(session.posargs or (map(str, paths) if paths else everything)),
        env={
            "OTEL_MEMORY_TEST_INSTALLED": "1",
            "OTEL_MEMORY_TEST_EXTENSION": "present" if extension else "absent",
            "COLUMNS": "88",
            **(environment or {}),
        },
    )
