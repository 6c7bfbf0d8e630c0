"""The measuring and reporting half of bench_smoke.sh.

    disk DIR          fdatasync latency of the disk under DIR, as JSON
    report DIR OUT    table of the results in DIR against the targets; all numbers into OUT
"""

import glob
import json
import os
import platform
import statistics
import sys
import tempfile
import time

PUTS_MIN = 25_000
GETS_MIN = 60_000
FAILOVER_MS_MAX = 400
SYNCS = 300


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def disk(folder):
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 116)
            file.flush()
            began = time.perf_counter_ns()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter_ns() - began) / 1000)
    print(json.dumps({"p50": round(statistics.median(times)), "p99": round(percentile(times, 0.99)),
                      "max": round(max(times))}))


def machine():
    model = platform.processor()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (f"{len(os.sched_getaffinity(0))} cores of {model}, {memory:.0f} GiB, "
            f"Linux {platform.release()}")


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def rate_row(name, result, target):
    latency = result["latency_us"]
    verdict = "-" if target is None else "met" if result["ops_per_second"] >= target else "MISSED"
    return (name, f"{result['ops_per_second']:,.0f}/s", "-" if target is None else f"{target:,}/s",
            verdict, f"p50 {latency['p50']} µs, p99 {latency['p99']} µs, max {latency['max']} µs, "
                     f"{result['errors']} errors")


def report(folder, out):
    results = {name: load(f"{folder}/{name}.json") for name in ("put", "get", "mixed")}
    sync = load(f"{folder}/disk.json")
    runs = [load(path) for path in sorted(glob.glob(f"{folder}/failover_*.json"))]
    gaps = [run["longest_gap_us"] / 1000 for run in runs]
    median = statistics.median(gaps)
    rows = [("WHAT", "MEASURED", "TARGET", "", "DETAILS"),
            rate_row("puts, quorum and fsync", results["put"], PUTS_MIN),
            rate_row("gets on followers", results["get"], GETS_MIN),
            rate_row("mixed", results["mixed"], None),
            ("kill -9 of the leader", f"{median:.0f} ms", f"{FAILOVER_MS_MAX} ms",
             "met" if median <= FAILOVER_MS_MAX else "MISSED",
             f"median of {len(gaps)}; {min(gaps):.0f} to {max(gaps):.0f} ms, "
             f"{sum(run['errors'] for run in runs)} writes of unknown outcome")]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"\n3 nodes and 64 callers of one client on one machine: {machine()}")
    print("16-byte keys, 100-byte values; fdatasync of the disk: "
          f"p50 {sync['p50']} µs, p99 {sync['p99']} µs, max {sync['max']} µs")
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"machine": machine(), "fdatasync_us": sync, **results,
                   "failover_ms": [round(gap, 1) for gap in gaps],
                   "failover_median_ms": round(median, 1),
                   "targets": {"puts_per_second": PUTS_MIN, "gets_per_second": GETS_MIN,
                               "failover_ms": FAILOVER_MS_MAX}}, file, indent=2)
        file.write("\n")
    print(f"numbers in {os.path.relpath(out)}")


if __name__ == "__main__":
    {"disk": disk, "report": report}[sys.argv[1]](*sys.argv[2:])
