# SPDX-License-Identifier: Apache-2.0
"""How often the verdict is right: memory curves of known cause, and a table of rates.

Each curve is a process of 8 hours (a day, for a whole daily swing) whose parameters
are drawn at random from the ranges below. The verdict is asked for every 5 minutes,
as the watcher does, until it says `leaking`.

    python benchmarks/leak_shapes.py                      the ranges below
    python benchmarks/leak_shapes.py --held-out           ranges drawn at random
    python benchmarks/leak_shapes.py --pictures docs/images

The rule was written with the first, and seeds below 1,000,000. The second draws the
ranges themselves anew for every 20 curves, with other noise, other sampling and
other sizes, and seeds from 1,000,000: what it prints was not used to choose anything.
Figures need no more than the standard library; pictures need matplotlib.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, exp, log, nan, pi, sin, sqrt
from pathlib import Path
from random import Random
from typing import Any

from otel_memory.leaks import GROWING, LEAKING, assess

MINUTE = 60.0
HOUR = 3600.0
EVALUATION_SECONDS = 5 * MINUTE
FIRST_EVALUATION_SECONDS = 3 * HOUR  # younger processes are never called leaking
FOUND_WITHIN_HOURS = 4
HELD_OUT_SEED = 1_000_000
CURVES_PER_WORLD = 20

# Drawn uniformly on a logarithmic scale. Shares are of the memory the process holds
# before the shape: 0.01 is 1 %.
RANGES = {
    "base_bytes": (60e6, 4e9),
    "requests_per_second": (1.0, 300.0),
    "traffic_noise": (0.01, 0.1),  # of one minute's requests
    "jitter": (0.0002, 0.001),  # under every shape
    "early_share": (0.02, 0.3),  # half of all curves: imports and pools
    "early_minutes": (2.0, 15.0),
    "noise": (0.001, 0.015),
    "ar_noise": (0.002, 0.01),
    "ar_minutes": (2.0, 20.0),
    "walk_per_root_hour": (0.002, 0.012),
    "plateau_share": (0.2, 1.5),
    "plateau_minutes": (3.0, 28.0),  # 98.6 % there after 2 h
    "fill_share": (0.2, 1.5),
    "fill_minutes": (20.0, 120.0),
    "fill_bend": (0.01, 3.0),  # 0: a straight line to the full cache
    "step_share": (0.05, 0.6),
    "peak_share": (0.05, 0.2),
    "peak_spread": (0.3, 0.6),
    "peak_kept": (0.3, 0.8),
    "teeth_share": (0.03, 0.3),
    "teeth_minutes": (1.0, 15.0),
    "job_share": (0.1, 1.0),
    "job_minutes": (2.0, 20.0),
    "jobs_per_hour": (0.3, 2.0),
    "deploy_hours": (1.0, 5.0),
    "swing": (0.2, 0.7),  # of the mean traffic, to both sides
    "elasticity": (0.2, 1.0),  # of memory to traffic
    "lag_minutes": (1.0, 45.0),
    "ramp_factor": (1.3, 4.0),
    "ramp_hours": (0.2, 8.0),
    "sparse_minutes": (2.0, 10.0),
    "slow_share": (0.3, 2.0),
    "slow_minutes": (60.0, 180.0),
    "sample_seconds": (60.0, 60.0),
}
# Held-out ranges may not leave these: what is meant by "within two hours", and what
# a share can be.
BOUNDS = {
    "plateau_minutes": (1.0, 30.0),
    "fill_minutes": (5.0, 120.0),
    "swing": (0.05, 0.9),
    "elasticity": (0.05, 1.0),
    "peak_kept": (0.1, 1.0),
}


@dataclass
class World:
    """Where parameters come from.

    Attributes:
        ranges: As `RANGES`.
        noise_kind: `gauss`, `laplace`, or `heavy` (one in 50 is five times as large).
    """

    ranges: dict[str, tuple[float, float]] = field(default_factory=lambda: RANGES)
    noise_kind: str = "gauss"

    def draw(self, rng: Random, name: str) -> float:
        """Draw one parameter."""
        low, high = self.ranges[name]
        return exp(rng.uniform(log(low), log(high)))

    def noise(self, rng: Random) -> float:
        """Draw one number of mean 0 and variance about 1."""
        if self.noise_kind == "laplace":
            return (rng.expovariate(1) - rng.expovariate(1)) / sqrt(2)
        if self.noise_kind == "heavy" and rng.random() < 0.02:
            return rng.gauss(0, 5)
        return rng.gauss(0, 1)


def held_out_world(seed: int) -> World:
    """Draw the ranges themselves."""
    rng = Random(f"world {seed}")
    ranges = {}
    for name, (low, high) in RANGES.items():
        ends = sorted(
            (
                low * exp(rng.uniform(-0.5, 0.5)),
                high * exp(rng.uniform(-0.5, 0.5)),
            )
        )
        least, most = BOUNDS.get(name, (0.0, float("inf")))
        ranges[name] = (max(ends[0], least), min(max(ends[1], least), most))
    sample_seconds = rng.choice([20.0, 30.0, 60.0, 120.0])
    ranges["sample_seconds"] = (sample_seconds, sample_seconds)
    return World(ranges, rng.choice(["gauss", "laplace", "heavy"]))


@dataclass
class Curve:
    """One process: what `assess` is given, and when the process started."""

    seconds: list[float]
    used_bytes: list[float]
    completed: list[float]
    started_seconds: float = 0.0


class Maker:
    """Makes one curve: a shape sets `share`, and the traffic if it depends on it.

    Attributes:
        seconds: When samples are taken.
        share: Memory at these times, in units of the base.
        settled: What the process holds once settled; leaks are in per cent of it.
        traffic: Requests per second at these times, in units of the mean.
    """

    def __init__(self, world: World, rng: Random, hours: float, sparse: bool) -> None:
        self.world = world
        self.rng = rng
        self.seconds = list(self._times(hours * HOUR, sparse))
        self.share = [1.0] * len(self.seconds)
        self.settled = 1.0
        self.traffic = [1.0] * len(self.seconds)

    def _times(self, end: float, sparse: bool) -> Iterator[float]:
        step = self.draw("sparse_minutes") * MINUTE if sparse else None
        step = step or self.draw("sample_seconds")
        now = self.rng.uniform(1, step)
        while now < end:
            yield now
            now += step * self.rng.uniform(0.98, 1.02)
            if sparse:
                now += step * self.rng.expovariate(4)
                if self.rng.random() < 0.01:
                    now += self.rng.uniform(10, 40) * MINUTE

    def draw(self, name: str) -> float:
        """Draw one parameter of the world."""
        return self.world.draw(self.rng, name)

    def add(self, growth: Callable[[float], float], settled: float = 0.0) -> None:
        """Add a function of the time."""
        self.share = [
            share + growth(now)
            for share, now in zip(self.share, self.seconds, strict=True)
        ]
        self.settled += settled

    def gaps(self) -> Iterator[float]:
        """Give the time since the previous sample, for each."""
        yield self.seconds[0]
        for before, after in zip(self.seconds, self.seconds[1:], strict=False):
            yield after - before

    def lagged(self, series: list[float], minutes: float) -> list[float]:
        """Follow a series as a session store follows its traffic."""
        level, out = series[0], []
        for value, gap in zip(series, self.gaps(), strict=True):
            keep = exp(-gap / (minutes * MINUTE))
            level = keep * level + (1 - keep) * value
            out.append(level)
        return out


def flat(_: Maker) -> None:
    """Nothing but what is under every shape."""


def noise(maker: Maker) -> None:
    """Independent noise."""
    size = maker.draw("noise")
    maker.add(lambda _: size * maker.world.noise(maker.rng))


def autoregressive(maker: Maker) -> None:
    """Noise with a memory of minutes."""
    size, minutes = maker.draw("ar_noise"), maker.draw("ar_minutes")
    level = size * maker.rng.gauss(0, 1)
    for i, gap in enumerate(maker.gaps()):
        keep = exp(-gap / (minutes * MINUTE))
        level = keep * level + size * sqrt(1 - keep * keep) * maker.world.noise(
            maker.rng
        )
        maker.share[i] += level


def random_walk(maker: Maker) -> None:
    """Noise that never forgets."""
    size = maker.draw("walk_per_root_hour")
    level = 0.0
    for i, gap in enumerate(maker.gaps()):
        level += size * sqrt(gap / HOUR) * maker.world.noise(maker.rng)
        maker.share[i] += level


def warm_up(maker: Maker) -> None:
    """Imports, pools and caches that settle."""
    size, minutes = maker.draw("plateau_share"), maker.draw("plateau_minutes")
    maker.add(lambda now: size * (1 - exp(-now / minutes / MINUTE)), size)


def filling_cache(maker: Maker) -> None:
    """A bounded cache that is full within two hours."""
    size, minutes = maker.draw("fill_share"), maker.draw("fill_minutes")
    bend = maker.draw("fill_bend")

    def fill(now: float) -> float:
        done = min(now / minutes / MINUTE, 1.0)
        return size * (1 - exp(-bend * done)) / (1 - exp(-bend))

    maker.add(fill, size)


def one_step(maker: Maker) -> None:
    """Something is loaded, once, at any time."""
    size, at = maker.draw("step_share"), maker.rng.uniform(0, maker.seconds[-1])
    width = maker.rng.uniform(1, 10 * MINUTE)
    maker.add(lambda now: size * min(max((now - at) / width, 0.0), 1.0))


def ratchet(maker: Maker) -> None:
    """Each record peak leaves a part of itself behind, as arenas do."""
    size, spread = maker.draw("peak_share"), maker.draw("peak_spread")
    kept = maker.draw("peak_kept")
    highest = 0.0
    for i in range(len(maker.share)):
        peak = size * exp(spread * maker.rng.gauss(0, 1))
        highest = max(highest, peak)
        maker.share[i] += kept * highest + (peak if maker.rng.random() < 0.1 else 0.0)


def teeth(maker: Maker) -> None:
    """Garbage that grows until it is collected, now and then not wholly."""
    size, minutes = maker.draw("teeth_share"), maker.draw("teeth_minutes")
    phase, left = maker.rng.random(), 0.0
    for i, gap in enumerate(maker.gaps()):
        phase += gap / (minutes * MINUTE) * maker.rng.uniform(0.7, 1.3)
        if phase >= 1:
            left = maker.rng.uniform(0, 0.5) if maker.rng.random() < 0.2 else 0.0
            phase = phase % 1
        maker.share[i] += size * (left + (1 - left) * phase)


def jobs(maker: Maker) -> None:
    """Batches that take memory and give it back."""
    rate = maker.draw("jobs_per_hour")
    now = maker.rng.expovariate(rate) * HOUR
    while now < maker.seconds[-1]:
        size, length = maker.draw("job_share"), maker.draw("job_minutes") * MINUTE
        maker.add(lambda t, a=now, b=now + length, s=size: s if a <= t < b else 0.0)
        now += length + maker.rng.expovariate(rate) * HOUR


def sparse(maker: Maker) -> None:
    """Few samples, and gaps."""
    noise(maker)


def follow(maker: Maker) -> None:
    """Let memory follow the traffic, late and in part."""
    elasticity, minutes = maker.draw("elasticity"), maker.draw("lag_minutes")
    start = maker.traffic[0]
    for i, level in enumerate(maker.lagged(maker.traffic, minutes)):
        maker.share[i] += elasticity * (level / start - 1)


def swing(maker: Maker) -> None:
    """Traffic of a day, from any hour on, and memory with it."""
    size, phase = maker.draw("swing"), maker.rng.uniform(0, 24)
    maker.traffic = [
        1 + size * sin(2 * pi * (now / HOUR + phase) / 24) for now in maker.seconds
    ]
    follow(maker)


def ramp(maker: Maker) -> None:
    """Traffic that rises, at once or over hours, and memory with it."""
    factor, width = maker.draw("ramp_factor"), maker.draw("ramp_hours") * HOUR
    at = maker.rng.uniform(0, 5 * HOUR)
    maker.traffic = [
        1 + (factor - 1) * min(max((now - at) / width, 0.0), 1.0)
        for now in maker.seconds
    ]
    follow(maker)


def slow_cache(maker: Maker) -> None:
    """A cache that fills for longer than two hours, ever more slowly."""
    size, minutes = maker.draw("slow_share"), maker.draw("slow_minutes")
    maker.add(lambda now: size * (1 - exp(-now / minutes / MINUTE)), size)


@dataclass(frozen=True)
class Shape:
    """A row of the table.

    Attributes:
        name: As printed.
        make: Draws it.
        has_goal: Whether it settles within two hours or comes with traffic, or must
            not be called leaking for its traffic is not known.
        hours: How long the run is.
        is_deployed: Whether the process is replaced now and then.
        knows_traffic: Whether `completed` is given.
    """

    name: str
    make: Callable[[Maker], None]
    has_goal: bool = True
    hours: float = 8
    is_deployed: bool = False
    knows_traffic: bool = True


SHAPES = (
    Shape("flat", flat),
    Shape("noise", noise),
    Shape("AR(1) noise", autoregressive),
    Shape("random walk", random_walk, has_goal=False),
    Shape("warm-up", warm_up),
    Shape("filling cache", filling_cache),
    Shape("one step", one_step),
    Shape("ratchet", ratchet),
    Shape("GC teeth", teeth),
    Shape("batch jobs", jobs),
    Shape("deploys", warm_up, is_deployed=True),
    Shape("part of a day", swing),
    Shape("rising traffic", ramp),
    Shape("sparse samples", sparse),
    Shape("whole day (24 h)", swing, hours=24),
)
OTHERS = (
    Shape("no traffic known: noise", noise, knows_traffic=False),
    Shape("no traffic known: warm-up", warm_up, knows_traffic=False),
    Shape("no traffic known: part of a day", swing, knows_traffic=False),
    Shape("no traffic known: rising", ramp, knows_traffic=False),
    Shape("no traffic known: 36 h of days", swing, knows_traffic=False, hours=36),
    Shape("slow cache", slow_cache, has_goal=False),
)
# Of the pictures; a curve that is called neither has one of two blues.
COLOURS = {"": "", GROWING: "#d98200", LEAKING: "#c01c28"}
LEAKS_PER_HOUR = (0.015, 0.03, 0.06, 0.30)


def make_process(
    world: World, rng: Random, shape: Shape, hours: float, leak: float
) -> Curve:
    """Make the curve of one process."""
    maker = Maker(world, rng, hours, shape.make is sparse)
    if rng.random() < 0.5:
        size, minutes = maker.draw("early_share"), maker.draw("early_minutes")
        maker.add(lambda now: size * (1 - exp(-now / minutes / MINUTE)), size)
    shape.make(maker)
    base_bytes, jitter = maker.draw("base_bytes"), maker.draw("jitter")
    rate, traffic_noise = maker.draw("requests_per_second"), maker.draw("traffic_noise")
    completed, leaked, done = [], [], 0.0
    for level, gap in zip(maker.traffic, maker.gaps(), strict=True):
        mean = rate * level * gap
        spread = sqrt(mean + (traffic_noise * mean) ** 2 * MINUTE / gap)
        done += max(0.0, round(rng.gauss(mean, spread)))
        completed.append(done)
    by_requests = rng.random() < 0.5
    mean_rate = done / maker.seconds[-1]
    for now, count in zip(maker.seconds, completed, strict=True):
        hours_of_leak = (count / mean_rate if by_requests else now) / HOUR
        leaked.append(leak * maker.settled * hours_of_leak)
    used = [
        base_bytes * max(0.05, share + grown + jitter * rng.gauss(0, 1))
        for share, grown in zip(maker.share, leaked, strict=True)
    ]
    return Curve(maker.seconds, used, completed)


def make_run(world: World, rng: Random, shape: Shape, leak: float) -> list[Curve]:
    """Make the curves of one run: one process, or several in turn."""
    if not shape.is_deployed:
        return [make_process(world, rng, shape, shape.hours, leak)]
    curves, start = [], 0.0
    while shape.hours - start > 0.1:
        hours = min(world.draw(rng, "deploy_hours"), shape.hours - start)
        curve = make_process(world, rng, shape, hours, leak)
        curve.started_seconds = start * HOUR
        curves.append(curve)
        start += hours
    return curves


def verdicts(curve: Curve, knows_traffic: bool) -> Iterator[tuple[float, str]]:
    """Ask for the verdict every five minutes: (seconds of the run, state)."""
    count, due = 0, FIRST_EVALUATION_SECONDS
    while due <= curve.seconds[-1] + EVALUATION_SECONDS:
        while count < len(curve.seconds) and curve.seconds[count] <= due:
            count += 1
        verdict = assess(
            curve.seconds[:count],
            curve.used_bytes[:count],
            completed=curve.completed[:count] if knows_traffic else None,
        )
        yield curve.started_seconds + due, verdict.state
        due += EVALUATION_SECONDS


@dataclass
class Outcomes:
    """What the runs of one row were called.

    Attributes:
        runs: How many.
        growing: How many were ever called growing.
        found_hours: When the others were first called leaking, sorted.
    """

    runs: int = 0
    growing: int = 0
    found_hours: list[float] = field(default_factory=list)

    @property
    def leaking_percent(self) -> float:
        """The share that was ever called leaking."""
        return 100 * len(self.found_hours) / self.runs

    @property
    def found_early_percent(self) -> float:
        """The share that was called leaking in time."""
        early = sum(hours <= FOUND_WITHIN_HOURS for hours in self.found_hours)
        return 100 * early / self.runs

    def quantile(self, share: float) -> str:
        """When this share of all runs had been found; "-" if never."""
        place = ceil(share * self.runs) - 1
        return (
            f"{self.found_hours[place]:.1f}" if place < len(self.found_hours) else "-"
        )


def watch(run: list[Curve], knows_traffic: bool) -> tuple[float | None, bool]:
    """Follow one run until it is called leaking: when, and whether ever growing."""
    was_growing = False
    for curve in run:
        for now, state in verdicts(curve, knows_traffic):
            was_growing |= state == GROWING
            if state == LEAKING:
                return now / HOUR, was_growing
    return None, was_growing


def try_shape(shape: Shape, leak: float, curves: int, held_out: bool) -> Outcomes:
    """Follow many runs of one shape."""
    outcomes = Outcomes()
    world = World()
    for index in range(curves):
        seed = index + HELD_OUT_SEED * held_out
        if held_out and index % CURVES_PER_WORLD == 0:
            world = held_out_world(seed)
        rng = Random(f"{shape.name} {leak} {seed}")
        found_hours, growing = watch(
            make_run(world, rng, shape, leak), shape.knows_traffic
        )
        outcomes.runs += 1
        outcomes.growing += growing
        if found_hours is not None:
            outcomes.found_hours.append(found_hours)
    outcomes.found_hours.sort()
    return outcomes


def print_tables(curves: int, held_out: bool, only: str) -> None:
    """Print both tables, a row when it is known."""
    kind = f"held out, seeds from {HELD_OUT_SEED:,}" if held_out else "development"
    print(f"{curves} curves a row, {kind}; Python {platform.python_version()}\n")
    print("| no leak | called leaking | ever growing | goal |")
    print("|---|---:|---:|---|")
    for shape in (*SHAPES, *OTHERS):
        if only in shape.name:
            row = try_shape(shape, 0.0, curves, held_out)
            goal = "<= 1 %" if shape.has_goal else "none"
            growing = f"{100 * row.growing / row.runs:.1f} %"
            cells = (shape.name, f"{row.leaking_percent:.2f} %", growing, goal)
            print("|", " | ".join(cells), "|", flush=True)
    print()
    print("| leak | under | within 4 h | in the run | half by | 95 % by |")
    print("|---:|---|---:|---:|---:|---:|")
    for leak in LEAKS_PER_HOUR:
        for shape in SHAPES:
            if only in shape.name and (shape.hours == 8 or leak == 0.03):
                row = try_shape(shape, leak, curves, held_out)
                cells = (
                    f"{100 * leak:g} %/h",
                    shape.name,
                    f"{row.found_early_percent:.1f} %",
                    f"{row.leaking_percent:.1f} %",
                    f"{row.quantile(0.5)} h",
                    f"{row.quantile(0.95)} h",
                )
                print("|", " | ".join(cells).replace("- h", "-"), "|", flush=True)


def plot_curve(axis: Any, curve: Curve, shape: Shape, seed: int) -> None:
    """Draw one curve, in the colours of what it was called at the time."""
    states = list(verdicts(curve, shape.knows_traffic))
    ends = [(now - curve.started_seconds, state) for now, state in states]
    place = 0
    lines: dict[str, list[float]] = {state: [] for state in COLOURS}
    hours = []
    thin = max(1, len(curve.seconds) // 160)
    for now, used in list(zip(curve.seconds, curve.used_bytes, strict=True))[::thin]:
        while place < len(ends) and ends[place][0] < now:
            place += 1
        state = ends[place - 1][1] if place else ""
        hours.append((curve.started_seconds + now) / HOUR)
        for name, line in lines.items():
            line.append(
                used / curve.used_bytes[0] if state == name or not name else nan
            )
    for name, line in lines.items():
        colour = COLOURS[name] or ("#1f5fa8" if seed == 1 else "#8fb8de")
        axis.plot(hours, line, color=colour, linewidth=1.6 if name else 0.7)


def draw_pictures(folder: Path) -> None:
    """Draw two curves of each shape, and what they were called, as SVG."""
    # Only for pictures, and not among what the package needs.
    import matplotlib  # noqa: PLC0415

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "leak_shapes"
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot  # noqa: PLC0415

    benign = [(shape, 0.0) for shape in (*SHAPES, OTHERS[-1])]
    leaks = [(shape, 0.03) for shape in SHAPES]
    leaks.append((SHAPES[0], 0.30))
    for name, rows in (("benign", benign), ("leaks", leaks)):
        figure, axes = pyplot.subplots(4, 4, figsize=(12, 9), sharey=False)
        for axis, (shape, leak) in zip(axes.flat, rows, strict=True):
            for seed in (1, 2):
                rng = Random(f"{shape.name} {leak} picture {seed}")
                run = make_run(World(), rng, shape, leak)
                for curve in run:
                    plot_curve(axis, curve, shape, seed)
            title = shape.name if not leak else f"{100 * leak:g} %/h, {shape.name}"
            axis.set_title(title, fontsize=9)
            axis.tick_params(labelsize=7)
            axis.set_ylim(bottom=0)
        figure.supxlabel("hours since the start", fontsize=9)
        figure.supylabel("memory, in units of the process's first sample", fontsize=9)
        figure.tight_layout()
        path = folder / f"verdict-{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        print(path)


def main() -> None:
    """Print the tables, or draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--curves", type=int, default=400, help="a row")
    parser.add_argument("--held-out", action="store_true", help="ranges drawn anew")
    parser.add_argument("--only", default="", help="shapes whose name holds this")
    parser.add_argument("--pictures", type=Path, help="draw into this folder instead")
    arguments = parser.parse_args()
    if arguments.pictures:
        draw_pictures(arguments.pictures)
    else:
        print_tables(arguments.curves, arguments.held_out, arguments.only)


if __name__ == "__main__":
    main()
