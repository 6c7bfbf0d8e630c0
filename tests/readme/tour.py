"""Reads the tour of README.md, and tells whether what a command printed is what the tour shows.

A tour is written with ports 7411 to 7414, binaries in build/release/bin and a cluster in
/src/skein/.skein. What it cannot foresee is which node leads: before outputs are compared, the real
names are translated into those of the tour, leader to leader, follower to follower.
"""

import os
import re

SHOWN_DIRECTORY = '/src/skein/.skein'
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # where commands run
SHOWN_BINARIES = 'build/release/bin'
SHOWN_BASE_PORT = 7411
NODES = 4  # that there ever are
NODE = re.compile(r'\bn([1-4])\b')
NODE_LIST = re.compile(r'\bn[1-4]( n[1-4])+\b')
STATUS_HEADER = 'NODE ADDRESS PROCESS ROLE'


class Step:
    """A command of the tour and what it prints, as lines."""

    def __init__(self, command, line_number):
        self.command = command
        self.line_number = line_number
        self.shown = []


def steps_of(markdown):
    """The steps of all console blocks. Lines that begin with `> ` continue a command."""
    steps = []
    inside = False
    for number, line in enumerate(markdown.splitlines(), 1):
        if line.startswith('```'):
            inside = line == '```console'
        elif not inside:
            continue
        elif line.startswith('$ '):
            steps.append(Step(line[2:], number))
        elif line.startswith('> '):
            steps[-1].command += '\n' + line[2:]
        else:
            steps[-1].shown.append(line)
    return steps


def words(line):
    """The line with single spaces, and numbers of processes left out."""
    return ' '.join(re.sub(r'\(pid \d+\)', '(pid N)', line).split())


def table_length(lines):
    """How many rows of a status table come first among the lines."""
    count = 0
    while count < len(lines) and NODE.match(lines[count]):
        count += 1
    return count


def status_rows(lines):
    """{node: (process state, role)} of the last status table among the lines; {}: none."""
    rows = {}
    reading = False
    for line in map(words, lines):
        if line.startswith(STATUS_HEADER):
            rows, reading = {}, True
        elif reading and NODE.match(line):
            cells = line.replace(' (pid N)', '').split()
            rows[cells[0]] = (cells[2], cells[3])
        else:
            reading = False
    return rows


class Translation:
    """From the names and places of a real cluster to those of the tour, and back."""

    def __init__(self, directory, binaries, base_port):
        self.directory = str(directory)
        self.binaries = str(binaries)
        self.base_port = base_port
        self.to_shown = {f'n{i}': f'n{i}' for i in range(1, NODES + 1)}

    def learn(self, real, shown):
        """Pairs the nodes of two tables by what they are. False if that cannot be."""
        def by_kind(rows):
            return sorted(rows, key=lambda name: (rows[name], name))
        if sorted(real.values()) != sorted(shown.values()):
            return False
        # A pair that still holds stays: only the rest is matched anew.
        kept = {r: s for r, s in self.to_shown.items() if real.get(r) == shown.get(s)}
        left_real = by_kind({r: kind for r, kind in real.items() if r not in kept})
        left_shown = by_kind({s: kind for s, kind in shown.items() if s not in kept.values()})
        paired = {**kept, **dict(zip(left_real, left_shown))}
        # Nodes that are in neither table, but were paired with one that is.
        paired.update(zip([r for r in self.to_shown if r not in paired],
                          [s for s in self.to_shown.values() if s not in paired.values()]))
        self.to_shown = paired
        return True

    def _port(self, base, number):
        return f'127.0.0.1:{base + number - 1}'

    def command(self, text):
        """The command as it is to be run."""
        to_real = {shown: real for real, shown in self.to_shown.items()}
        text = re.sub(r'(local_cluster\.sh (?:kill|restart|pause|resume|logs|add|remove) n?)([1-4])\b',
                      lambda m: m[1] + to_real['n' + m[2]][1:], text)
        for i in range(1, NODES + 1):
            real = int(to_real[f'n{i}'][1:])
            text = text.replace(self._port(SHOWN_BASE_PORT, i), f'<{real}>')
        text = re.sub(r'<([1-4])>', lambda m: self._port(self.base_port, int(m[1])), text)
        return re.sub(rf'(\./)?{re.escape(SHOWN_BINARIES)}(?=/skein)', lambda m: self.binaries, text)

    def output(self, lines):
        """What a real command printed, in the words of the tour."""
        out = []
        for line in lines:
            line = line.replace(self.directory, SHOWN_DIRECTORY)
            for place in (self.binaries, './' + os.path.relpath(self.binaries, ROOT)):
                line = line.replace(f'{place}/skein', f'./{SHOWN_BINARIES}/skein')
            # Said only because the ports are not the usual ones.
            line = line.replace(f'skein --endpoints {self._port(self.base_port, 1)} ', 'skein ')
            for i in range(1, NODES + 1):
                line = line.replace(self._port(self.base_port, i), f'<{i}>')
            line = re.sub(r'<([1-4])>', lambda m: self._port(
                SHOWN_BASE_PORT, int(self.to_shown['n' + m[1]][1:])), line)
            line = NODE.sub(lambda m: self.to_shown[m[0]], line)
            out.append(line)
        return out


def comparable(lines):
    """Lines as they count: nodes in the order of their names, and without who answered a read, which
    is any follower."""
    lines = [NODE_LIST.sub(lambda m: ' '.join(sorted(m[0].split())), words(line))
             for line in lines]
    for i, line in enumerate(lines):
        if line.startswith(STATUS_HEADER):
            end = i + 1 + table_length(lines[i + 1:])
            lines[i + 1:end] = sorted(lines[i + 1:end])
        elif line == 'KEY VERSION NODE VALUE':
            lines[i + 1:] = [NODE.sub('n?', row, count=1) for row in lines[i + 1:]]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def difference(step, real_lines, translation):
    """None if the output is what the tour shows; else both, to be read. Learns who is who from a
    table of nodes."""
    shown_rows = status_rows(step.shown)
    if shown_rows and not translation.learn(status_rows(real_lines), shown_rows):
        return 'the nodes are not in the states that are shown:\n' + '\n'.join(real_lines)
    shown = comparable(step.shown)
    real = comparable(translation.output(real_lines))
    if shown == real:
        return None
    return 'shown:\n  ' + '\n  '.join(shown) + '\nprinted:\n  ' + '\n  '.join(real)
