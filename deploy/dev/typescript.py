"""A step of `./dev test`: a TypeScript client is made from the OpenAPI document, and code that uses it compiles.

The generator and the compiler are pinned in `typescript/package-lock.json` and stay in the cache.
"""

import shutil
import subprocess

import service
import toolchain
from console import ROOT

HOME = ROOT / "deploy" / "dev" / "typescript"


def in_test(run):
    home, problem = toolchain.from_npm("typescript", HOME)
    if problem:
        return run.skip("typescript", problem)
    work = toolchain.fresh_folder(ROOT / ".dev" / "test" / "typescript")
    for name in ("client.ts", "tsconfig.json"):
        shutil.copy(HOME / name, work)
    (work / "node_modules").symlink_to(home / "node_modules")
    (work / "package.json").write_text('{"type": "module"}\n')
    octoco = service.target_directory() / "debug" / "octoco"
    document = subprocess.run([octoco, "openapi"], capture_output=True, text=True, check=False)
    if document.returncode != 0:
        return run.fail("typescript", document.stderr)
    (work / "openapi.json").write_text(document.stdout)
    programs = home / "node_modules" / ".bin"
    generate = [programs / "openapi-typescript", work / "openapi.json", "--output", work / "schema.d.ts"]
    if not run.step("typescript client", *map(str, generate)):
        return False
    return run.step("typescript compiles", str(programs / "tsc"), "--project", str(work))
