"""``python -m chaos.hostile --minutes 10 --json``: one JSON line a ledger; exit 1 when something
was lost, stuck, repeated, harmed or leaked."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from chaos.hostile.campaign import Campaign, Plan
from chaos.hostile.cases import KINDS

ABOUT = "Hostile steps, stores, disks, rows, clocks and kills, all at once; one JSON line a ledger."

PER_MINUTE = 500
"""Items that must be submitted a minute."""

GROWTH_MB = 50


def wrong(result: dict[str, Any]) -> list[str]:
    """The bars that a result does not pass."""
    none = (
        "stuck",
        "lost",
        "harmed",
        "duplicated_effects",
        "leaked_slots",
        "leaked_fds",
        "undrained",
    )
    found = [f"{name}: {result[name]}" for name in none if result[name]]
    if result["rss_growth_mb"] > GROWTH_MB:
        found.append(f"rss_growth_mb: {result['rss_growth_mb']}")
    if result["submitted"] < PER_MINUTE * result["minutes"]:
        found.append(
            f"only {result['submitted']} items were submitted in {result['minutes']} minutes"
        )
    if not result["balanced"]:
        found.append("the audit does not balance")
    return found


def run(plan: Plan) -> dict[str, Any]:
    """One campaign; its folder stays when something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="hf"))
    campaign = Campaign(folder, plan)
    try:
        result = campaign.run()
        if wrong(result):
            campaign.keep()
    finally:
        campaign.close()
    if wrong(result):
        campaign.say(f"see {folder}/runner.log and {folder}/notebook")
    else:
        shutil.rmtree(folder)
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m chaos.hostile", description=ABOUT)
    parser.add_argument(
        "--minutes",
        type=float,
        default=10.0,
        help="minutes of each ledger's campaign, besides the lulls (10)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="decides what is submitted and what disturbs (1)"
    )
    parser.add_argument(
        "--ledger",
        choices=["sqlite", "postgres", "both"],
        default="both",
        help="one after another by default",
    )
    parser.add_argument(
        "--kinds",
        default="",
        help=f"pipelines to submit to, with commas; all by default: {', '.join(KINDS)}",
    )
    parser.add_argument(
        "--undisturbed",
        action="store_true",
        help="only the steps are hostile: no full disks, locks, jumps of clocks, kills",
    )
    parser.add_argument(
        "--plant",
        choices=["", "forgets"],
        default="",
        help="make a fault, to show that it is found",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON line a ledger (there is no other output; progress is on stderr)",
    )
    given = parser.parse_args()
    kinds = tuple(kind for kind in given.kinds.split(",") if kind)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    failed = False
    for ledger in ("sqlite", "postgres") if given.ledger == "both" else (given.ledger,):
        result = run(
            Plan(
                given.minutes,
                given.seed,
                ledger == "postgres",
                kinds,
                given.plant,
                not given.undisturbed,
            )
        )
        print(json.dumps(result), flush=True)
        for one in wrong(result):
            failed = True
            print(f"{ledger}: {one}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
