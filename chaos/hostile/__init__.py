"""``python -m chaos.hostile --minutes 10 --json``: hostile steps, stores, disks, rows and clocks,
and kills, all at once."""
