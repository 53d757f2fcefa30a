"""What `./dev bench` has measured: a line for each case, a table, JSON, and a plot as SVG."""

import json
import math
import os
import platform
import re
import subprocess
from html import escape

import parts
from console import ROOT, heading, note, shown
from toolchain import TIGERBEETLE

COLUMNS = ("conns", "a second", "p50 ms", "p99 ms", "503", "of row lock", "of insert", "ms Revio")
WIDTH, HEIGHT = 920, 520
LEFT, RIGHT, TOP, BOTTOM = 80, 220, 50, 60  # margins of the plot
DRAWN = {"withdrawals": "#1463ff", "hot": "#d9480f", "zipf": "#9c36b5", "deposits": "#2b8a3e", "reserve": "#0b7285"}
BESIDE = {"row lock": "#868e96", "insert": "#212529"}


def machine():
    words = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    with open("/proc/cpuinfo") as cpus, open("/proc/meminfo") as memory:
        model = re.search(r"model name\s*: (.*)", cpus.read())
        gigabytes = round(int(memory.readline().split()[1]) / 1e6)
    return {
        "commit": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "processor": model[1] if model else platform.machine(),
        "memory_gb": gigabytes,
        "kernel": platform.release(),
        "postgresql": parts.postgres_tool("postgres", "--version").stdout.strip(),
        "tigerbeetle": TIGERBEETLE,
        "load_after": round(os.getloadavg()[0], 1),
    }


def line(one):
    """Of one case, as soon as it is known."""
    figures = f"{one['per_second']:>9,.0f}/s   p50 {one['p50_ms']:.1f}   p99 {one['p99_ms']:.1f} ms"
    away = f"   {one['turned_away']:,} turned away" if one["turned_away"] else ""
    return f"{title(one):<20}{one['connections']:>6} at once {figures}{away}{effect(one)}"


def title(one):
    return one["case"] + (", open" if one["open_loop"] else "")


def effect(one):
    if not one["effect"]:
        return ""
    of = one["effect"]
    return f"   booked {of['per_second']:,.0f}/s, after p50 {of['p50_ms']:.0f}   p99 {of['p99_ms']:.0f} ms"


def show(report):
    heading("Figures")
    alone, best = report["alone"], {name: max(figures.values()) for name, figures in report["alone"].items()}
    note(json.dumps(report["machine"]))
    note(f"{'':<20}" + "".join(f"{column:>12}" for column in COLUMNS))
    for one in report["service"]:
        lock = one["per_second"] / (alone["row lock"].get(one["connections"]) or best["row lock"])
        shares = (f"{lock:.2f}x", f"{one['per_second'] / alone['insert'][16]:.2f}x", one["costs"]["revio_ms"] or "")
        first = (one["connections"], f"{one['per_second']:,.0f}", f"{one['p50_ms']:.1f}", f"{one['p99_ms']:.1f}")
        words = "".join(f"{figure:>12}" for figure in (*first, one["turned_away"] or "", *shares))
        note(f"{title(one):<20}{words}{effect(one)}")
        note(f"{'':<20}   {spent(one)}; {costs(one)}")
    kept(report)
    note("Ratios of one run count, never absolutes (docs/performance.md).")


def spent(one):
    """Milliseconds a call and megabytes, by process."""
    of = one["processor_ms"]
    return ", ".join(f"{name} {of[name]} ms, {one['resident_mb'][name]} MB" for name in of)


def costs(one):
    return ", ".join(
        f"{value:g} {name.replace('_', ' ')}" for name, value in one["costs"].items() if name != "revio_ms"
    )


def kept(report):
    """Of the peak, when there are more than there is room for."""
    peaks = [one["per_second"] for one in report["service"] if one["case"] == "withdrawals"]
    for one in report["service"]:
        if one["case"] == "overload" and peaks:
            share = one["turned_away"] / max(1, one["turned_away"] + one["good"])
            note(f"overload: {one['per_second'] / max(peaks):.2f}x of the peak, {share:.0%} answered 503, nothing else")


def write(path, report):
    plot = path.with_suffix(".svg")
    plot.write_text(svg(report))
    path.with_suffix(".json").write_text(json.dumps(report, indent=1))
    note(f"written: {shown(path.with_suffix('.json'))}, {shown(plot)}")


# -- the plot ---------------------------------------------------------------------------------------------------------


def svg(report):
    """A second over callers, both by powers; the service's lines are full, what it is compared with is dashed."""
    lines = [(name, colour, points(report, name), "") for name, colour in DRAWN.items()]
    lines += [
        (f"{name}, pgbench", colour, sorted(report["alone"][name].items()), "6 4") for name, colour in BESIDE.items()
    ]
    lines = [line for line in lines if line[2]]
    place = Place([point for _, _, of, _ in lines for point in of])
    machine = report["machine"]
    what = f"{machine['commit']}, {machine['cores']} cores, {machine['processor']}, {machine['postgresql']}"
    drawn = [f'<text x="{LEFT}" y="24" font-size="15">A second, by callers at once</text>']
    drawn += [f'<text x="{LEFT}" y="{HEIGHT - 12}" font-size="11" fill="#495057">{escape(what)}</text>']
    drawn += place.axes()
    ends = spread([place.y(of[-1][1]) for _, _, of, _ in lines])
    for (name, colour, of, dash), end in zip(lines, ends):
        corners = " ".join(f"{place.x(n):.1f},{place.y(rate):.1f}" for n, rate in of)
        stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        drawn.append(f'<polyline points="{corners}" {stroke}/>')
        drawn += [f'<circle cx="{place.x(n):.1f}" cy="{place.y(rate):.1f}" r="3" fill="{colour}"/>' for n, rate in of]
        label = f"{name} {max(rate for _, rate in of):,.0f}"
        drawn.append(
            f'<text x="{WIDTH - RIGHT + 12}" y="{end:.1f}" font-size="12" fill="{colour}">{escape(label)}</text>'
        )
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *drawn, "</svg>\n"])


def points(report, case):
    of = [one for one in report["service"] if one["case"] == case and not one["open_loop"]]
    return sorted((one["connections"], one["per_second"]) for one in of)


def spread(heights):
    """Labels that would lie on each other, moved apart."""
    moved, last = dict.fromkeys(range(len(heights)), 0.0), 0.0
    for index in sorted(range(len(heights)), key=lambda index: heights[index]):
        last = moved[index] = max(heights[index] + 4, last + 15)
    return list(moved.values())


class Place:
    """Where a point lies: both axes are logarithmic."""

    def __init__(self, all_points):
        callers, rates = zip(*all_points) if all_points else ((1,), (1,))
        self.callers = sorted(set(callers))
        self.low, self.high = math.log10(max(1, min(rates))) // 1, math.log10(max(10, *rates)) // 1 + 1
        self.most = max(1.0, math.log2(max(callers)))

    def x(self, callers):
        return LEFT + math.log2(callers) / self.most * (WIDTH - LEFT - RIGHT)

    def y(self, rate):
        share = (math.log10(max(1, rate)) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def axes(self):
        for power in range(int(self.low), int(self.high) + 1):
            y = self.y(10**power)
            yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dee2e6"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" font-size="12" text-anchor="end">{10**power:,}</text>'
        for callers in self.callers:
            x, y = self.x(callers), HEIGHT - BOTTOM + 18
            yield f'<text x="{x:.1f}" y="{y}" font-size="12" text-anchor="middle">{callers}</text>'
