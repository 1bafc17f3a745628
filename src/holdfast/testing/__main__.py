"""``python -m holdfast.testing --seeds 1000`` simulates over seeds; ``--seed N`` replays one."""

from __future__ import annotations

import argparse
import json
import logging
import sys

from holdfast.testing.hostile import INJECTIONS, simulate_hostile
from holdfast.testing.pipelines import ALL, payloads
from holdfast.testing.simulator import InvariantBroken, simulate


def main() -> int:
    """Print one JSON line; exit 1 when a seed breaks an invariant."""
    parser = _parser()
    arguments = parser.parse_args()
    inject = frozenset(one for one in arguments.inject.split(",") if one) or None
    if inject is not None and (unknown := inject - set(INJECTIONS)):
        parser.error(
            f"no such injection: {', '.join(sorted(unknown))}; there are {', '.join(INJECTIONS)}"
        )
    logging.disable(logging.CRITICAL)
    seeds = (
        range(arguments.first, arguments.first + arguments.seeds)
        if arguments.seed is None
        else [arguments.seed] * 2
    )
    counted = ("seeds", "events", "kills", "faults", "completed", "dead", "cancelled")
    totals: dict[str, int] = dict.fromkeys(counted, 0)
    traces = set()
    broken = 0
    for seed in seeds:
        try:
            result = (
                simulate_hostile(seed, arguments.runners, inject)
                if arguments.hostile
                else simulate(seed, ALL, payloads, arguments.runners)
            )
        except InvariantBroken as error:
            print(f"broken: {error}", file=sys.stderr)
            if not arguments.keep_going:
                return 1
            broken += 1
            continue
        traces.add((seed, result.trace))
        totals["seeds"] += 1
        for name in ("events", "kills", "faults"):
            totals[name] += getattr(result, name)
        for state, number in result.states.items():
            totals[state] += number
    equal = len(traces) == len({seed for seed, _ in traces})
    print(json.dumps({**totals, "replays_equal": equal, "broken": broken}))
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m holdfast.testing", description="Deterministic simulation of the engine."
    )
    parser.add_argument(
        "--seeds", type=int, default=1000, help="how many seeds to run, from --first on"
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this one twice and compare the traces")
    parser.add_argument("--runners", type=int, default=1, help="runners that share the ledger")
    parser.add_argument(
        "--hostile",
        action="store_true",
        help="everything outside of the engine breaks its contract: holdfast.testing.hostile",
    )
    parser.add_argument(
        "--inject",
        default="",
        help=f"with --hostile, what, with commas; drawn by default: {', '.join(INJECTIONS)}",
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="tell of every seed that breaks an invariant"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
