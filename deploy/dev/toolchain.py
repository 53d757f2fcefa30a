"""The tools that a fresh machine lacks: system packages, the Zig compiler, TigerBeetle's server and client library.

TigerBeetle is built from the source that the crate `tigerbeetle-unofficial-sys` ships, with the Zig that PyPI ships,
so nothing is needed beyond the two package registries. The results stay in a cache outside the checkout:

    zig-0.14.1/ziglang/zig            the compiler
    tigerbeetle-0.16.78/tigerbeetle   the server
    tigerbeetle-0.16.78/client/       the C client library, and `zig`, which hands it to the crate's build script
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from glob import glob
from pathlib import Path

from console import ROOT, Failure, note, run_long

TIGERBEETLE = "0.16.78"
TIGERBEETLE_COMMIT = "c3d9b09dc88e94dde9ac915c6e94a4c650332080"
ZIG = "0.14.1"
ZIG_WHEEL_SHA256 = {
    "x86_64": "6eb9d4d759b292c83810dbee2e9e8e3fbfbf01d864e6e9811bae711fd74e1c2f",
    "aarch64": "7994b27f3cbfcedea43f9b7552e38b45857bdf0e9a45065474092dd74e7048cf",
}
POSTGRES_AT_LEAST = 15
MONITORING = ("prometheus", "prometheus-alertmanager")

# The crate's build script calls this as its compiler. What it asks for is built already.
CLIENT_FOR_CARGO = """#!/bin/sh
# Stands in for Zig in the build script of tigerbeetle-unofficial-sys: TigerBeetle's client library is built already.
[ "$1 $2" = "build clients:c" ] || { echo "only 'build clients:c' is expected here, got: $*" >&2; exit 1; }
here=$(dirname "$0")
exec cp -R "$here/lib" "$here/tb_client.h" src/clients/c/
"""


def cache():
    chosen = os.environ.get("OCTOCO_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "octoco"


def log(name):
    return cache() / "logs" / f"{name}.log"


def ensure_all():
    """Everything that building and running needs; quick when it is there."""
    ensure_cargo()
    ensure_packages()
    with locked_cache():
        ensure_tigerbeetle()


def look_for_cargo_at_home():
    """A shell that was open while Rust was installed does not have cargo on its PATH yet."""
    cargo_home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(cargo_home / "bin")])


def reach_own_parts_directly():
    """Where a proxy leads to the world, it would be asked for what runs here as well."""
    for name in ("no_proxy", "NO_PROXY"):
        known = os.environ.get(name, "").strip()
        if known != "*":
            os.environ[name] = ",".join([*filter(None, [known]), "127.0.0.1", "localhost"])


def ensure_cargo():
    if shutil.which("cargo") is None:
        raise Failure("find Rust", "there is no cargo on the PATH", "install Rust: https://rustup.rs")


# -- system packages --------------------------------------------------------------------------------------------------


def ensure_packages():
    ensure_installed(missing_packages)


def ensure_monitoring():
    """Prometheus and Alertmanager, which only `./dev up --monitoring` and `./dev test` need."""
    with services_kept_down(MONITORING, bool(missing_monitoring())):
        ensure_installed(missing_monitoring)


def ensure_browser():
    """Chromium, which only `./dev test` and `./dev browser` need: its program."""
    ensure_installed(lambda: [] if browser() else ["chromium"])
    return browser()


def browser():
    return next(filter(None, map(shutil.which, ("chromium", "google-chrome-stable", "google-chrome"))), None)


def ensure_installed(missing_packages):
    missing = missing_packages()
    if not missing:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        command = "sudo apt-get update && sudo " + " ".join(install)
        raise Failure("find system packages", f"not installed: {', '.join(missing)}", f"run: {command}")
    apt_install(install)
    still_missing = missing_packages()
    if still_missing:
        hint = postgres_hint() if "postgresql" in still_missing else f"apt-get install {' '.join(still_missing)}"
        raise Failure("install system packages", f"still not found: {', '.join(still_missing)}", hint)


def missing_packages():
    need = {
        "postgresql": postgres_bin() is not None,
        "redis-server": shutil.which("redis-server", path=system_path()) is not None,
        "libclang-dev": has_libclang(),
        "build-essential": shutil.which("cc") is not None,
        "python3-pip": zig().exists() or pip() is not None,
    }
    return [package for package, present in need.items() if not present]


def missing_monitoring():
    need = {"prometheus": ("prometheus", "promtool"), "prometheus-alertmanager": ("amtool",)}
    missing = {package for package, programs in need.items() if not all(map(shutil.which, programs))}
    return sorted(missing if alertmanager() else missing | {"prometheus-alertmanager"})


def alertmanager():
    """Debian's name, or the project's own."""
    return shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


@contextmanager
def services_kept_down(names, installs):
    """Debian starts what it installs, unless this file says no (its own `invoke-rc.d`), and again at each boot."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = installs and os.geteuid() == 0 and policy.parent.exists() and not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            policy.unlink()
        if installs and os.geteuid() == 0 and shutil.which("systemctl"):
            subprocess.run(["systemctl", "disable", *names], capture_output=True, check=False)


def apt_install(install):
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    title = "installing " + ", ".join(install[4:])
    try:
        run_long(title, install, log("apt"), usually="a minute", env=env)
    except Failure:  # most often the package lists are missing or old
        run_long("apt-get update", ["apt-get", "update"], log("apt-update"), env=env)
        run_long(title, install, log("apt"), usually="a minute", env=env)


def postgres_hint():
    return (
        f"PostgreSQL must be {POSTGRES_AT_LEAST} or newer; on an older distribution:\n"
        "sudo apt-get install -y postgresql-common && sudo /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y "
        "&& sudo apt-get install -y postgresql-17"
    )


def system_path():
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def postgres_bin():
    """The folder with the newest PostgreSQL's programs, or None."""
    found = {}
    for folder in map(Path, glob("/usr/lib/postgresql/*/bin")):
        version = folder.parent.name
        if (folder / "postgres").exists() and version.isdigit() and int(version) >= POSTGRES_AT_LEAST:
            found[int(version)] = folder
    return found[max(found)] if found else None


def has_libclang():
    if os.environ.get("LIBCLANG_PATH"):
        return True
    places = ("/usr/lib/llvm-*/lib", "/usr/lib/*-linux-gnu", "/usr/lib", "/usr/lib64", "/usr/local/lib")
    return any(glob(f"{place}/{name}") for place in places for name in ("libclang.so*", "libclang-[0-9]*.so*"))


# -- Zig --------------------------------------------------------------------------------------------------------------


def zig():
    return cache() / f"zig-{ZIG}" / "ziglang" / "zig"


def pip():
    """How to call pip here, or None."""
    candidates = ([sys.executable, "-m", "pip"], ["/usr/bin/python3", "-m", "pip"], ["pip3"])
    for command in candidates:
        try:
            if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            continue
    return None


def ensure_zig():
    if zig().exists():
        return
    machine = platform.machine()
    if machine not in ZIG_WHEEL_SHA256:
        raise Failure("get Zig", f"no Zig is known for {machine}", "use an x86_64 or aarch64 machine")
    download = fresh_folder(cache() / "zig-download")
    requirement = download / "requirements.txt"
    requirement.write_text(f"ziglang=={ZIG} --hash=sha256:{ZIG_WHEEL_SHA256[machine]}\n")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", requirement, "-d", download]
    run_long(f"downloading Zig {ZIG}", [*pip(), "download", *options], log("zig"), usually="a minute")
    unpack_wheel(next(download.glob("*.whl")), zig().parents[1])
    shutil.rmtree(download)


def unpack_wheel(wheel, target):
    unpacked = fresh_folder(target.with_name(target.name + ".new"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    (unpacked / "ziglang" / "zig").chmod(0o755)  # zipfile forgets the mode
    put_in_place(unpacked, target)


# -- TigerBeetle ------------------------------------------------------------------------------------------------------


def tigerbeetle():
    """The server binary: ours, or one of the same version on the PATH."""
    ours = tigerbeetle_home() / "tigerbeetle"
    on_path = shutil.which("tigerbeetle")
    if ours.exists() or on_path is None:
        return ours
    version = subprocess.run([on_path, "version"], capture_output=True, text=True, check=False).stdout
    return Path(on_path) if TIGERBEETLE in version else ours


def tigerbeetle_home():
    return cache() / f"tigerbeetle-{TIGERBEETLE}"


def client_for_cargo():
    return tigerbeetle_home() / "client" / "zig"


def ensure_tigerbeetle():
    need_client, need_server = not client_for_cargo().exists(), not tigerbeetle().exists()
    if not (need_client or need_server):
        return
    ensure_zig()
    source = copy_of_source()
    if need_client:
        build_client(source)
    if need_server:
        run_zig("building TigerBeetle's server", source, [], usually="2 to 4 min, once")
        put_in_place(source / "zig-out" / "bin" / "tigerbeetle", tigerbeetle_home() / "tigerbeetle")
    shutil.rmtree(source.parent)


def build_client(source):
    run_zig("building TigerBeetle's client library", source, ["clients:c"], usually="1 to 2 min, once")
    built, client = source / "src" / "clients" / "c", fresh_folder(source.parent / "client")
    shutil.copytree(built / "lib", client / "lib")
    shutil.copy(built / "tb_client.h", client)
    (client / "zig").write_text(CLIENT_FOR_CARGO)
    (client / "zig").chmod(0o755)
    put_in_place(client, tigerbeetle_home() / "client")


def copy_of_source():
    """A copy of the TigerBeetle source from the crate that Cargo.lock pins."""
    run_long("fetching the Rust crates", ["cargo", "fetch", "--locked"], log("cargo-fetch"), usually="a minute, once")
    query = ["cargo", "metadata", "--format-version=1", "--locked", "--offline"]
    metadata = json.loads(subprocess.run(query, cwd=ROOT, capture_output=True, check=True).stdout)
    crate = next(p for p in metadata["packages"] if p["name"] == "tigerbeetle-unofficial-sys")
    if not crate["version"].endswith(f"+{TIGERBEETLE}"):
        cause = f"Cargo.lock pins {crate['version']}, this script knows {TIGERBEETLE}"
        raise Failure("build TigerBeetle", cause, "correct the versions in deploy/dev/toolchain.py")
    copy = fresh_folder(cache() / "tigerbeetle-build") / "source"
    shutil.copytree(Path(crate["manifest_path"]).parent / "tigerbeetle", copy)
    only_this_platform(copy / "build.zig")
    return copy


def only_this_platform(build_script):
    """One client instead of seven, which saves minutes; if the line is another one day, all seven are built."""
    text = build_script.read_text()
    ours = f'const all: []const Platform = &.{{.@"{platform.machine()}-linux-gnu.2.27"}};'
    build_script.write_text(text.replace("const all: []const Platform = std.enums.values(Platform);", ours))


def run_zig(title, source, target, usually):
    release = [f"-Dconfig-release={TIGERBEETLE}", f"-Dconfig-release-client-min={TIGERBEETLE}"]
    command = [zig(), "build", *target, "-Drelease", *release, f"-Dgit-commit={TIGERBEETLE_COMMIT}"]
    env = {name: value for name, value in os.environ.items() if name != "CI"}  # CI changes what is built
    env["ZIG_LOCAL_CACHE_DIR"] = env["ZIG_GLOBAL_CACHE_DIR"] = str(source.parent / "zig-cache")
    run_long(title, command, log("tigerbeetle"), usually=usually, env=env, cwd=source)


# -- cargo ------------------------------------------------------------------------------------------------------------


def cargo_env():
    """What every cargo build of this workspace needs; queries are checked against the committed `.sqlx`."""
    return {"ZIG_PATH": str(client_for_cargo()), "TB_CLIENT_DEBUG": "false", "SQLX_OFFLINE": "true"}


# -- pinned packages --------------------------------------------------------------------------------------------------


def from_pypi(name, requirements, python=(3, 9)):
    """Pinned packages in the cache: their folder, and why they cannot be had here."""
    version = sys.version_info[:2]
    if version < python:
        return None, f"it needs Python {python[0]}.{python[1]}"
    options = ["--disable-pip-version-check", "--only-binary=:all:", "--require-hashes", "-r", requirements]

    def install(new):
        return [sys.executable, "-m", "pip", "install", *options, "--target", new]

    return pinned(f"{name}-py{version[0]}{version[1]}", requirements, install)


def from_npm(name, folder):
    """What the `package-lock.json` of a folder pins, likewise. The packages' scripts are not run."""
    if shutil.which("npm") is None:
        return None, "npm missing"

    def install(new):
        for file in ("package.json", "package-lock.json"):
            shutil.copy(folder / file, new)
        return ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]

    return pinned(name, folder / "package-lock.json", install)


def pinned(name, lock_file, install):
    """A folder that a command has filled, once for each content of a lock file; and why it cannot be had here."""
    home = cache() / f"{name}-{hashlib.sha256(lock_file.read_bytes()).hexdigest()[:12]}"
    with locked_cache():
        if not home.exists():
            new = fresh_folder(home.with_name(f"{home.name}.new"))
            try:
                run_long(f"installing {name}", install(new), log(name), usually="half a minute, once", cwd=new)
            except Failure:
                return None, "it cannot be installed here"
            put_in_place(new, home)
    return home, None


# -- files ------------------------------------------------------------------------------------------------------------


@contextmanager
def locked_cache():
    """One `./dev` at a time fills the cache, whatever checkout it runs in."""
    cache().mkdir(parents=True, exist_ok=True)
    with open(cache() / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another ./dev is filling {cache()}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fresh_folder(path):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def put_in_place(new, target):
    """Moves a finished result to its final name, so that the name never holds half a result."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    new.replace(target)
