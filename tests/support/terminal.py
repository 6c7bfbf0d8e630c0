"""Runs a command as a user at a terminal would."""

import os
import pty
import subprocess


def run_in_terminal(command, environment, folder, keys=''):
    """(exit code, lines). `keys` are typed once it asks something: prints `[y/N]`."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(['bash', '-c', f'stty cols 200; {command}'], cwd=folder,
                               env=environment, stdin=terminal, stdout=terminal, stderr=terminal,
                               start_new_session=True)
    os.close(terminal)
    seen = b''
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # how Linux tells that the last process has closed the terminal
            break
        if not chunk:
            break
        seen += chunk
        if keys and b'[y/N]' in seen:
            os.write(master, keys.encode())
            keys = ''
    os.close(master)
    return process.wait(), visible_lines(seen.decode(errors='replace'))


def visible_lines(text):
    """The lines that are left when what was rewritten is gone."""
    lines = [line.rstrip('\r').split('\r\033[K')[-1] for line in text.split('\n')]
    return lines[:-1] if lines and not lines[-1] else lines
