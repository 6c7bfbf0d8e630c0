"""What local_cluster.sh cannot do well in shell.

    port-owner PORT...      prints "PORT PID COMMAND" for each port that is taken (- if unknown)
    free-ports COUNT        prints the first of COUNT ports in a row that are free now
    ready COUNT FILE        exit 0 if the status in FILE has a leader and COUNT reachable nodes
    reachable ID FILE       exit 0 if the status in FILE says that node ID is reachable
    level ID FILE           exit 0 if it says so, and that node ID has all that the leader has
    leader FILE             prints the leader's id, or nothing
    probe FILE              prints what a probe has seen; FILE is the output of `skein bench put`
    table FILE LINE...      prints a table; each LINE is "id address process-state pid"

FILE is otherwise the output of `skein status --output json`; it may be empty.
"""

import json
import os
import random
import socket
import sys

LISTENING = "0A"
LEVEL_MILLISECONDS = 200


def read_status(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def is_free(port):
    with socket.socket() as probe:
        # Not SO_REUSEPORT: a listener must count as taken, an old connection must not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
        return True


def inodes_listening_on(port):
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except OSError:
            continue
        found |= {f"socket:[{row[9]}]" for row in rows
                  if row[3] == LISTENING and int(row[1].rsplit(":", 1)[1], 16) == port}
    return found


def process_holding(inodes):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") in inodes:
                    with open(f"/proc/{pid}/cmdline", "rb") as file:
                        words = file.read().replace(b"\0", b" ").decode(errors="replace").split()
                    return f"{pid} {' '.join(words)[:60]}"
        except OSError:
            continue
    return "- -"


def port_owner(*ports):
    for port in map(int, ports):
        if not is_free(port):
            print(port, process_holding(inodes_listening_on(port)))


def free_ports(count):
    # Below the range that the system gives to outgoing connections.
    for _ in range(1000):
        base = random.randrange(10240, 32000)
        if all(is_free(base + i) for i in range(int(count))):
            print(base)
            return
    sys.exit("no free ports")


def ready(count, path):
    status = read_status(path)
    nodes = [node for node in status.get("nodes", []) if node.get("reachable")]
    sys.exit(0 if status.get("leader") and len(nodes) >= int(count) else 1)


def reachable(node_id, path):
    nodes = read_status(path).get("nodes", [])
    sys.exit(0 if any(n.get("id") == node_id and n.get("reachable") for n in nodes) else 1)


def level(node_id, path):
    status = read_status(path)
    nodes = [n for n in status.get("nodes", []) if n.get("id") == node_id]
    sys.exit(0 if status.get("leader") and nodes and nodes[0].get("reachable")
             and nodes[0].get("connected") and not nodes[0].get("catch_up")
             and (nodes[0].get("lag") or {}).get("milliseconds", 0) < LEVEL_MILLISECONDS else 1)


def leader(path):
    print(read_status(path).get("leader") or "")


def probe(path):
    seen = read_status(path)
    failed = ", ".join(f"{count} {reason}" for reason, count in
                       sorted(seen.get("errors_by_reason", {}).items()))
    print(f"longest pause of writes: {seen['longest_gap_us'] / 1000:.0f} ms "
          f"({seen['writes']} writes, {'failed: ' + failed if failed else 'none failed'})")


def lag_words(lag, catch_up):
    if catch_up:
        return f"catches up by {catch_up.get('way')}, {catch_up.get('bytes_left', 0)} B left"
    if not lag.get("revisions"):
        return "0"
    return f"{lag['revisions']} rev, {lag.get('bytes', 0)} B, {lag.get('milliseconds', 0)} ms"


def table(path, *lines):
    known = {node.get("id"): node for node in read_status(path).get("nodes", [])}
    rows = [("NODE", "ADDRESS", "PROCESS", "ROLE", "REVISION", "LAG")]
    for line in lines:
        node_id, address, state, pid = line.split()
        node = known.get(node_id, {})
        if node.get("reachable"):
            answers = (node.get("role", "?"), str(node.get("revision", "?")),
                       lag_words(node.get("lag") or {}, node.get("catch_up")))
        else:
            answers = ("-", "-", "-")
        process = state if pid == "-" else f"{state} (pid {pid})"
        rows.append((node_id, address, process, *answers))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for number, row in enumerate(rows):
        text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        code = {"leader": "32", "-": "31"}.get(row[3], "1" if number == 0 else "")
        print(f"\033[{code}m{text}\033[0m" if colour and code else text)


COMMANDS = {"port-owner": port_owner, "free-ports": free_ports, "ready": ready,
            "reachable": reachable, "level": level, "leader": leader,
            "probe": probe, "table": table}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
