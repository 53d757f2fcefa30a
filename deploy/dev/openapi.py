"""A step of `./dev test`: four readers of OpenAPI documents, each of another maker, find nothing wrong with ours.

Two validators of npm's, one of Python's, and a generator whose client imports. What they are is pinned in `openapi/`
and stays in the cache.
"""

import os
import subprocess
import sys

import service
import toolchain
from console import ROOT

HOME = ROOT / "deploy" / "dev" / "openapi"
IMPORT_ALL = """
import importlib, pkgutil, sys
import octoco_client
names = [module.name for module in pkgutil.walk_packages(octoco_client.__path__, "octoco_client.")]
for name in names:
    importlib.import_module(name)
print(f"{len(names)} modules of the generated client import")
"""


def in_test(run):
    work = toolchain.fresh_folder(ROOT / ".dev" / "test" / "openapi")
    octoco = service.target_directory() / "debug" / "octoco"
    document = subprocess.run([octoco, "openapi"], capture_output=True, text=True, check=False)
    if document.returncode != 0:
        return run.fail("openapi", document.stderr)
    (work / "openapi.json").write_text(document.stdout)
    validate_with_npm(run, work)
    validate_with_python(run, work)
    return None


def validate_with_npm(run, work):
    home, problem = toolchain.from_npm("openapi-npm", HOME)
    if problem:
        return run.skip("openapi: redocly, spectral", problem)
    programs = home / "node_modules" / ".bin"
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    redocly = [str(programs / "redocly"), "lint", str(work / "openapi.json"), "--config", str(HOME / "redocly.yaml")]
    run.step("openapi: redocly", *redocly, env=quiet)
    rules = ["--ruleset", str(HOME / "spectral.yaml"), "--fail-severity", "error"]
    return run.step("openapi: spectral", str(programs / "spectral"), "lint", str(work / "openapi.json"), *rules)


def validate_with_python(run, work):
    home, problem = toolchain.from_pypi("openapi", HOME / "requirements.txt", python=(3, 11))
    if problem:
        return run.skip("openapi: python", problem)
    env = {"PYTHONPATH": str(home), "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    validator = [sys.executable, "-m", "openapi_spec_validator", str(work / "openapi.json")]
    run.step("openapi: spec-validator", *validator, env=env)
    config = ["--config", str(HOME / "python-client.yaml")]
    options = ["--path", str(work / "openapi.json"), "--meta", "none", "--fail-on-warning", *config]
    command = [str(home / "bin" / "openapi-python-client"), "generate", *options, "--output-path"]
    if run.step("openapi: python client", *command, str(work / "octoco_client"), env=env):
        imports = {**env, "PYTHONPATH": f"{home}{os.pathsep}{work}"}
        run.step("openapi: python imports", sys.executable, "-c", IMPORT_ALL, env=imports)
    return None
