"""`./dev bench NAME`: measurements on private parts of their own. One file a benchmark; this one finds it."""

import bench_exports
import bench_history
import bench_projector
from console import Failure

BENCHMARKS = {"exports": bench_exports, "history": bench_history, "projector": bench_projector}


def run(arguments):
    name = arguments[0] if arguments else ""
    if name not in BENCHMARKS:
        raise Failure("read the command", f"no benchmark: {name or '(no name)'}", f"one of: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name].run(arguments[1:])
