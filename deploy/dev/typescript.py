"""A step of `./dev test`: a TypeScript client is made from the OpenAPI document, and code that uses it compiles.

The generator and the compiler are pinned in `typescript/package-lock.json` and stay in the cache.
"""

import hashlib
import os
import shutil
import subprocess

import toolchain
from console import ROOT, Failure, heading, run_long

HOME = ROOT / "deploy" / "dev" / "typescript"
DOCUMENT = ["cargo", "run", "--quiet", "--locked", "-p", "octoco", "--bin", "octoco", "--", "openapi"]


def in_test(run):
    problem = "npm missing" if shutil.which("npm") is None else install()
    if problem:
        heading("typescript")
        return run.note("typescript", f"skipped: {problem}")
    work = toolchain.fresh_folder(ROOT / ".dev" / "test" / "typescript")
    for name in ("client.ts", "tsconfig.json"):
        shutil.copy(HOME / name, work)
    (work / "node_modules").symlink_to(home() / "node_modules")
    (work / "package.json").write_text('{"type": "module"}\n')
    try:
        write_document(work / "openapi.json")
    except Failure as failure:
        return run.fail("typescript", f"{failure.step}: {failure.cause}")
    programs = home() / "node_modules" / ".bin"
    generate = [programs / "openapi-typescript", work / "openapi.json", "--output", work / "schema.d.ts"]
    if run.step("typescript client", *map(str, generate)):
        run.step("typescript compiles", str(programs / "tsc"), "--project", str(work))


def home():
    lock = hashlib.sha256((HOME / "package-lock.json").read_bytes()).hexdigest()[:12]
    return toolchain.cache() / f"typescript-{lock}"


def install():
    """Puts the pinned packages into the cache; their scripts are not run. None, or why they cannot be had here."""
    with toolchain.locked_cache():
        if home().exists():
            return None
        new = toolchain.fresh_folder(home().with_name(home().name + ".new"))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HOME / name, new)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            log = toolchain.log("typescript")
            run_long("installing TypeScript", command, log, usually="half a minute, once", cwd=new)
        except Failure:
            return "npm cannot install it"
        toolchain.put_in_place(new, home())
    return None


def write_document(file):
    env = {**os.environ, **toolchain.cargo_env()}
    answer = subprocess.run(DOCUMENT, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise Failure("print the OpenAPI document", answer.stderr, " ".join(DOCUMENT))
    file.write_text(answer.stdout)
