#!/usr/bin/env python3
"""Runs the commands of docs/operating.md in one shell, on free ports, in a temporary folder.

    tests/readme/operating_test.py BIN_DIR      BIN_DIR has skeind and skein
    tests/readme/operating_test.py BIN_DIR --verbose

Every command must end with 0 and print what the page shows. A block that begins with
"```console beside" has one command, which runs in a terminal of its own from there on, and must have
ended when the next block is over.
"""

import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/support'))
from terminal import visible_lines  # noqa: E402

PAGE = 'docs/operating.md'
SHOWN_BASE_PORT = 7411
PORTS = 7
STEPS_MIN = 30
STEP_SECONDS = 60
END = '\036'


class Step:
    def __init__(self, command, line_number):
        self.command = command
        self.line_number = line_number
        self.shown = []


def blocks_of(markdown):
    """[(beside, [Step])] of all console blocks."""
    blocks = []
    inside = False
    for number, line in enumerate(markdown.splitlines(), 1):
        if line.startswith('```'):
            inside = line.startswith('```console')
            if inside:
                blocks.append((line == '```console beside', []))
        elif inside and line.startswith('$ '):
            blocks[-1][1].append(Step(line[2:], number))
        elif inside:
            blocks[-1][1][-1].shown.append(line)
    return blocks


def comparable(lines):
    """Lines without what differs from run to run: times, names of data directories, and how far a log is.
    A leader that is replaced says one thing more."""
    out = []
    for line in lines:
        line = re.sub(r'\b[0-9a-f]{16}\b|(?<= )-$', 'DATA', ' '.join(line.split()))
        line = re.sub(r'\d+\.\d ms', 'N ms', line)
        if re.match(r'last term/index|known committed|- Not known', line):
            line = re.sub(r'\d+', 'N', line)
        if line and not re.match(r'n\d led; n\d leads now', line):
            out.append(line)
    return out


def difference(step, lines):
    """None if the output is what the page shows."""
    shown, real = comparable(step.shown), comparable(lines)
    if shown == real:
        return None
    return 'shown:\n  ' + '\n  '.join(shown) + '\nprinted:\n  ' + '\n  '.join(real)


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, words, folder, environment, pass_fds=()):
        self.master, terminal = pty.openpty()
        self.process = subprocess.Popen(words, cwd=folder, env=environment, stdin=terminal,
                                        stdout=terminal, stderr=terminal, pass_fds=pass_fds,
                                        start_new_session=True)
        os.close(terminal)
        self.seen = ''

    def read(self, seconds):
        """False: nothing more will come."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            chunk = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += chunk.decode(errors='replace')
        return bool(chunk)

    def read_until(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            if not self.read(0.1):
                return condition()
        return True

    def wait(self, seconds):
        """Its exit code; None if it has not ended. It closes the terminal before it ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.read(0.1):
            pass
        try:
            return self.process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.master)


class Shell(Terminal):
    """One bash that runs the steps one after the other."""

    def __init__(self, folder, environment):
        script, self.feed = os.pipe()
        super().__init__(['bash', f'/dev/fd/{script}'], folder, environment, pass_fds=(script,))
        os.close(script)

    def run(self, command):
        """(exit code, lines); the code is None if it took too long."""
        self.seen = ''
        os.write(self.feed, f"{command}\nprintf '{END}%d{END}\\n' $?\n".encode())
        if not self.read_until(lambda: re.search(f'{END}\\d+{END}', self.seen), STEP_SECONDS):
            return None, visible_lines(self.seen)
        text, code, _ = self.seen.split(END, 2)
        return int(code), visible_lines(text)


class Walk:
    def __init__(self, binaries, folder, verbose):
        ports = subprocess.run([sys.executable, ROOT / 'scripts/lib/cluster_tool.py', 'free-ports',
                                str(PORTS)], check=True, capture_output=True, text=True)
        self.base_port = int(ports.stdout)
        self.verbose = verbose
        self.folder = folder
        self.environment = {**os.environ, 'NO_COLOR': '1', 'TERM': 'xterm',
                            'PATH': f'{binaries}:{os.environ["PATH"]}',
                            'SKEIN_ENDPOINTS': self.to_real('127.0.0.1:7411,127.0.0.1:7412')}
        self.shell = Shell(folder, self.environment)
        self.beside = None  # (step, terminal)

    def _ports(self, text, base, other):
        return re.sub(r'127\.0\.0\.1:(\d+)',
                      lambda m: f'127.0.0.1:{int(m[1]) - base + other}', text)

    def to_real(self, text):
        return self._ports(text, SHOWN_BASE_PORT, self.base_port)

    def to_shown(self, lines):
        return [self._ports(line, self.base_port, SHOWN_BASE_PORT) for line in lines]

    def look(self, step):
        """What the command says. A list of members is asked for again while it is not settled."""
        deadline = time.monotonic() + STEP_SECONDS
        while True:
            code, lines = self.shell.run(self.to_real(step.command))
            settled = step.command != 'skein member list' or not difference(step, self.to_shown(lines))
            if settled or code != 0 or time.monotonic() > deadline:
                return code, lines

    def judge(self, step, code, lines):
        lines = self.to_shown(lines)
        if self.verbose:
            print('$', step.command, *lines, sep='\n', flush=True)
        wrong = difference(step, lines)
        if code != 0:
            wrong = f'exit code {code}:\n  ' + '\n  '.join(lines)
        if wrong:
            raise AssertionError(f'{PAGE}:{step.line_number}: $ {step.command}\n{wrong}')

    def begin_beside(self, step):
        words = ['bash', '-c', f'stty cols 200; {self.to_real(step.command)}']
        terminal = Terminal(words, self.folder, self.environment)
        self.beside = (step, terminal)
        # It is under way when it has said how the page goes on.
        first = step.shown[0]
        if not terminal.read_until(lambda: first in terminal.seen, STEP_SECONDS):
            self.judge(step, None, visible_lines(terminal.seen))

    def end_beside(self):
        step, terminal = self.beside
        code = terminal.wait(STEP_SECONDS)
        terminal.kill()
        self.beside = None
        self.judge(step, code, visible_lines(terminal.seen))

    def run(self, blocks):
        for beside, steps in blocks:
            if beside:
                self.begin_beside(steps[0])
                continue
            for step in steps:
                self.judge(step, *self.look(step))
            if self.beside:
                self.end_beside()

    def clean_up(self):
        if self.beside:
            self.beside[1].kill()
        self.shell.kill()  # the nodes are of its session


def main():
    binaries = pathlib.Path(sys.argv[1]).resolve()
    blocks = blocks_of((ROOT / PAGE).read_text(encoding='utf-8'))
    count = sum(len(steps) for _, steps in blocks)
    if count < STEPS_MIN or not any(beside for beside, _ in blocks):
        sys.exit(f'{PAGE} has {count} commands; where is the rest?')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('interrupted'))
    with tempfile.TemporaryDirectory(prefix='skein-operating-') as scratch:
        walk = Walk(binaries, scratch, '--verbose' in sys.argv)
        try:
            walk.run(blocks)
        except AssertionError as error:
            for log in sorted(pathlib.Path(scratch).glob('*.log')):
                print(f'--- {log.name}', *log.read_text().splitlines()[-8:], sep='\n')
            sys.exit(str(error))
        finally:
            walk.clean_up()
    print(f'{count} commands, as shown')


if __name__ == '__main__':
    main()
