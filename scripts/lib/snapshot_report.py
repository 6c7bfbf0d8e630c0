"""What bench_snapshot.sh has measured in the folder DIR.

    settle DIR      waits until the nodes' table files have not changed for a while
    stolen DIR NAME
                    notes how long the host has kept the processors away, for the report: to be
                    called before and after
    watch DIR NAME LEADER NEW LEVEL [PROBE]
                    all processes: waits until LEVEL ends, as it does when the new node n4, NEW, is
                    level; then ends PROBE. Notes in NAME.json how long the snapshot took, and the
                    memory of LEADER
    copy DIR        copies the snapshot that was sent as cp does, to disk, and prints bytes and seconds
    report DIR OUT  prints a table, and writes the numbers to OUT
"""

import datetime
import glob
import json
import os
import signal
import statistics
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


def stolen_seconds():
    """How long the host of this machine has kept its processors from it, each on average."""
    with open("/proc/stat", encoding="ascii") as stat:
        return int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK") / os.cpu_count()


def stolen(folder, name):
    with open(f"{folder}/{name}.stolen", "a", encoding="ascii") as file:
        file.write(f"{stolen_seconds()} {time.monotonic()}\n")


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))


def is_there(pid):
    """Not if it only waits for its parent to take note of its end."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def watch(folder, name, leader, new, level, probe=None):
    limit = 3600
    began, memory = time.monotonic(), [resident_mib(leader)]
    stolen(folder, name)
    while is_there(level):
        if time.monotonic() - began > limit:
            sys.exit(f"the new node is not level after {limit} s")
        for pid in filter(None, (new, leader, probe)):
            if not is_there(pid):
                sys.exit(f"process {pid} has ended")
        memory.append(resident_mib(leader))
        time.sleep(0.1)
    if probe is not None:
        os.kill(int(probe), signal.SIGTERM)
    stolen(folder, name)
    numbers = {"seconds": snapshot_seconds(folder),
               "leader_mib_before": memory[0], "leader_mib_max": max(memory)}
    with open(f"{folder}/{name}.json", "w", encoding="utf-8") as file:
        json.dump(numbers, file)


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


def stolen_share(folder, name):
    with open(f"{folder}/{name}.stolen", encoding="ascii") as file:
        (stolen_first, first), (stolen_last, last) = (map(float, line.split()) for line in file)
    return (stolen_last - stolen_first) / (last - first)


def load_rounds(folder, name):
    return [load(folder, f"{name}_{1 + i}")
            for i in range(len(glob.glob(f"{folder}/{name}_[0-9]*.json")))]


def report(folder, out):
    phases = ("before", "beside")
    copied, alone, beside = (load_rounds(folder, name) for name in ("copy", "alone", "beside"))
    puts = {phase: load_rounds(folder, f"puts_{phase}") for phase in phases}
    p99 = {phase: [put["latency_us"]["p99"] for put in puts[phase]] for phase in phases}
    speeds = [cp["seconds"] / each["seconds"] for cp, each in zip(copied, alone)]
    ratios = [during / before for before, during in zip(p99["before"], p99["beside"])]
    numbers = {
        "snapshot_bytes": copied[0]["bytes"],
        "cp_seconds": [each["seconds"] for each in copied],
        "alone_seconds": [each["seconds"] for each in alone],
        "alone_speeds_of_cp": speeds,
        "alone_speed_of_cp": statistics.median(speeds),
        "beside_writes_seconds": [each["seconds"] for each in beside],
        "put_us": {phase: [put["latency_us"] for put in puts[phase]] for phase in phases},
        "put_p99_ratios": ratios,
        "put_p99_ratio": statistics.median(ratios),
        "put_errors": sum(put["errors"] for phase in phases for put in puts[phase]),
        "stolen": {phase: [stolen_share(folder, f"{phase}_{1 + i}") for i in range(len(beside))]
                   for phase in phases},
        "leader_mib_before": [each["leader_mib_before"] for each in beside],
        "leader_mib_max": [each["leader_mib_max"] for each in beside],
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump(numbers, file, indent=2)
        file.write("\n")

    def row(values, digits=2):
        return ", ".join(f"{value:.{digits}f}" for value in values)

    def speed(times):
        seconds = [each["seconds"] for each in times]
        megabytes = copied[0]["bytes"] / 1e6
        return f"{row(seconds, 1)} s; {row((megabytes / each for each in seconds), 0)} MB/s"

    def puts_ms(percentile):
        return "; ".join(f"{phase} " + row(put["latency_us"][percentile] / 1000
                                           for put in puts[phase]) for phase in phases) + " ms"

    print(f"cp and sync  {copied[0]['bytes'] / 1e9:.2f} GB in {speed(copied)}")
    print(f"snapshot     without writes {speed(alone)}; {row(speeds)} of the speed of cp, "
          f"median {numbers['alone_speed_of_cp']:.2f} (wanted: 0.5)")
    print(f"             beside writes {speed(beside)}")
    print(f"puts         p50 {puts_ms('p50')}")
    print(f"             p99 {puts_ms('p99')}")
    print(f"             p99 beside the snapshot is {row(ratios)} times that before, "
          f"median {numbers['put_p99_ratio']:.2f} (wanted: 1.5 at most)")
    print(f"             {numbers['put_errors']} failed")
    print("processors   kept away by the machine's host, ms a second each: "
          + "; ".join(f"{phase} " + row((1000 * share for share in numbers["stolen"][phase]), 1)
                      for phase in phases))
    print(f"leader       resident before {row(numbers['leader_mib_before'], 0)}, "
          f"at most {row(numbers['leader_mib_max'], 0)} MiB beside the snapshot")
    print(f"numbers: {out}")


if __name__ == "__main__":
    {"settle": settle, "copy": copy, "stolen": stolen, "watch": watch,
     "report": report}[sys.argv[1]](*sys.argv[2:])
