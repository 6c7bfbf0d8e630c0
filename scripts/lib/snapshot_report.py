"""What bench_snapshot.sh has measured in the folder DIR.

    settle DIR      waits until the nodes' table files have not changed for a while
    copy DIR        copies the snapshot that was sent as cp does, to disk, and prints bytes and seconds
    report DIR OUT  prints a table, and writes the numbers to OUT
"""

import datetime
import glob
import json
import os
import subprocess
import sys
import time


def size_of(folder):
    return sum(os.path.getsize(os.path.join(at, name))
               for at, _, names in os.walk(folder) for name in names)


def settle(folder):
    quiet, limit = 5, 600
    before, since, began = None, time.monotonic(), time.monotonic()
    while time.monotonic() - since < quiet:
        if time.monotonic() - began > limit:
            sys.exit(f"the nodes still compact after {limit} s")
        now = sorted(glob.glob(f"{folder}/cluster/n[123]/data/*/*.sst"))
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.2)
    os.sync()


def copy(folder):
    sent = max(glob.glob(f"{folder}/cluster/n[123]/data/snapshots"), key=size_of)
    target = f"{folder}/copy"
    began = time.monotonic()
    subprocess.run(["cp", "-r", sent, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)
    print(json.dumps({"bytes": size_of(sent), "seconds": time.monotonic() - began}))


def snapshot_seconds(folder):
    """From the start of the node to its state's being in place, by its own log."""
    times = {}
    with open(f"{folder}/cluster/n4/skeind.log", encoding="utf-8") as log:
        for line in log:
            for mark in ("event=started", "the log begins anew after the snapshot"):
                if mark in line:
                    times[mark] = datetime.datetime.fromisoformat(line.split()[0].rstrip("Z"))
    if len(times) != 2:
        sys.exit("the new node has taken no snapshot: it was level by the log alone")
    began, ended = times.values()
    return (ended - began).total_seconds()


def load(folder, name):
    with open(f"{folder}/{name}.json", encoding="utf-8") as file:
        return json.load(file)


def report(folder, out):
    copied, before, during = (load(folder, name) for name in ("copy", "before", "during"))
    with open(f"{folder}/memory", encoding="ascii") as file:
        memory = [int(line) / 1024 for line in file if line.strip()]
    seconds = snapshot_seconds(folder)
    numbers = {
        "snapshot_bytes": copied["bytes"],
        "snapshot_seconds": seconds,
        "cp_seconds": copied["seconds"],
        "speed_of_cp": copied["seconds"] / seconds,
        "put_us_before": before["latency_us"],
        "put_us_during": during["latency_us"],
        "put_p99_ratio": during["latency_us"]["p99"] / before["latency_us"]["p99"],
        "put_errors": before["errors"] + during["errors"],
        "leader_mib_before": memory[0],
        "leader_mib_max": max(memory),
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump(numbers, file, indent=2)
        file.write("\n")
    rate = copied["bytes"] / 1e6
    print(f"snapshot     {copied['bytes'] / 1e9:.2f} GB in {seconds:.1f} s, {rate / seconds:.0f} MB/s")
    print(f"cp and sync  {copied['seconds']:.1f} s, {rate / copied['seconds']:.0f} MB/s: "
          f"the snapshot has {numbers['speed_of_cp']:.2f} of this speed (wanted: 0.5)")
    print(f"puts         p50 {before['latency_us']['p50'] / 1000:.2f} ms, during the snapshot "
          f"{during['latency_us']['p50'] / 1000:.2f} ms")
    print(f"             p99 {before['latency_us']['p99'] / 1000:.2f} ms, during the snapshot "
          f"{during['latency_us']['p99'] / 1000:.2f} ms, {numbers['put_p99_ratio']:.2f} times "
          f"(wanted: 1.5 at most); {numbers['put_errors']} failed")
    print(f"leader       {memory[0]:.0f} MiB resident before, at most {max(memory):.0f} MiB during")
    print(f"numbers: {out}")


if __name__ == "__main__":
    {"settle": settle, "copy": copy, "report": report}[sys.argv[1]](*sys.argv[2:])
