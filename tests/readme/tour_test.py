#!/usr/bin/env python3
"""Walks the tour of README.md on a cluster of its own, on free ports, in a temporary folder.

    tests/readme/tour_test.py BIN_DIR      BIN_DIR has skeind and skein
    tests/readme/tour_test.py BIN_DIR --verbose

Every command must end with 0 and print what the tour shows. A table of nodes shows what the cluster
comes to, so a later look at it may be the one that agrees.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import tour

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/support'))
from terminal import run_in_terminal  # noqa: E402
CLUSTER = './scripts/local_cluster.sh'
SETTLE_SECONDS = 15
STEPS_MIN = 8


def table_start(lines):
    for i, line in enumerate(map(tour.words, lines)):
        if line.startswith(tour.STATUS_HEADER):
            return i
    return None


class Walk:
    def __init__(self, binaries, directory, verbose):
        ports = subprocess.run([sys.executable, ROOT / 'scripts/lib/cluster_tool.py', 'free-ports',
                                str(tour.NODES)], check=True, capture_output=True, text=True)
        base_port = int(ports.stdout)
        self.verbose = verbose
        self.translation = tour.Translation(directory, binaries, base_port)
        endpoints = [f'127.0.0.1:{base_port + i}' for i in range(tour.NODES)]
        self.environment = {**os.environ, 'NO_COLOR': '1', 'TERM': 'xterm',
                            'SKEIN_CLUSTER_DIR': str(directory), 'SKEIN_BASE_PORT': str(base_port),
                            'SKEIN_BIN_DIR': str(binaries), 'SKEIN_ENDPOINTS': ','.join(endpoints)}

    def run(self, command):
        return run_in_terminal(command, self.environment, ROOT)

    def look_again(self, lines):
        """The lines with a fresh table in place of the one that they have."""
        start = table_start(lines)
        end = start + 1 + tour.table_length(lines[start + 1:])
        return lines[:start] + self.run(f'{CLUSTER} status')[1] + lines[end:]

    def step(self, step):
        """None, or what is wrong."""
        command = self.translation.command(step.command)
        code, lines = self.run(command)
        if self.verbose:
            print('$', command, *lines, sep='\n')
        if code != 0:
            return f'exit code {code}:\n' + '\n'.join(lines)
        deadline = time.monotonic() + SETTLE_SECONDS
        wrong = tour.difference(step, lines, self.translation)
        while wrong and table_start(lines) is not None and time.monotonic() < deadline:
            lines = self.look_again(lines)
            wrong = tour.difference(step, lines, self.translation)
        return wrong

    def clean_up(self):
        self.run(f'{CLUSTER} stop; {CLUSTER} wipe --yes')


def main():
    binaries = pathlib.Path(sys.argv[1]).resolve()
    steps = tour.steps_of((ROOT / 'README.md').read_text(encoding='utf-8'))
    if len(steps) < STEPS_MIN:
        sys.exit(f'README.md has a tour of {len(steps)} steps; where is the rest?')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('interrupted'))
    with tempfile.TemporaryDirectory(prefix='skein-tour-') as scratch:
        walk = Walk(binaries, pathlib.Path(scratch).resolve() / 'cluster', '--verbose' in sys.argv)
        try:
            for step in steps:
                wrong = walk.step(step)
                if wrong:
                    sys.exit(f'README.md:{step.line_number}: $ {step.command}\n{wrong}')
        finally:
            walk.clean_up()
    print(f'{len(steps)} steps, as shown')


if __name__ == '__main__':
    main()
