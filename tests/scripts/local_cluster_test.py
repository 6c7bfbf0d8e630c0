#!/usr/bin/env python3
"""local_cluster.sh and rolling_restart.sh on clusters of their own: nodes join, leave, restart.

    tests/scripts/local_cluster_test.py BIN_DIR      BIN_DIR has skeind and skein
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/support'))
from terminal import run_in_terminal  # noqa: E402

BINARIES = None
PORTS = 6


class ClusterTest(unittest.TestCase):
    """One cluster for each test, of three nodes that hold some data."""

    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix='skein-scripts-')
        self.addCleanup(self.scratch.cleanup)
        self.directory = pathlib.Path(self.scratch.name).resolve() / 'cluster'
        ports = subprocess.run([sys.executable, ROOT / 'scripts/lib/cluster_tool.py', 'free-ports',
                                str(PORTS)], check=True, capture_output=True, text=True)
        self.base_port = int(ports.stdout)
        self.environment = {**os.environ, 'NO_COLOR': '1', 'TERM': 'xterm',
                            'SKEIN_CLUSTER_DIR': str(self.directory),
                            'SKEIN_BASE_PORT': str(self.base_port),
                            'SKEIN_BIN_DIR': str(BINARIES),
                            'SKEIN_ENDPOINTS': ','.join(f'127.0.0.1:{self.base_port + i}'
                                                        for i in range(PORTS))}
        self.addCleanup(self.run_script, 'local_cluster.sh', 'stop')
        self.cluster('start')
        for i in range(20):
            self.skein('put', f'key{i}', 'value')

    def run_script(self, script, *arguments):
        return subprocess.run([ROOT / 'scripts' / script, *arguments], cwd=ROOT, text=True,
                              env=self.environment, stdin=subprocess.DEVNULL, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def cluster(self, *arguments, code=0):
        done = self.run_script('local_cluster.sh', *arguments)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def skein(self, *arguments):
        done = subprocess.run([BINARIES / 'skein', '--output', 'json', *arguments], text=True,
                              env=self.environment, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def voters(self):
        return [member['id'] for member in self.skein('member', 'list')['members']
                if member['voter']]

    def pids(self):
        """{node: pid} of the nodes that run, as the table shows them."""
        done = self.run_script('local_cluster.sh', 'status')
        return dict(re.findall(r'^(n\d+) .* running \(pid (\d+)\)', done.stdout, flags=re.M))

    def assert_data_is_there(self):
        for i in range(20):
            read = self.skein('get', f'key{i}', '--consistency', 'linearizable')
            self.assertEqual(read['value'], 'value')


class MembersTest(ClusterTest):
    def test_nodes_join_and_leave(self):
        printed = self.cluster('add', '4')
        self.assertIn('n4 is level, and a voter', printed)
        self.assertEqual(self.voters(), ['n1', 'n2', 'n3', 'n4'])
        self.assertIn('n4 is level', self.cluster('add', 'n4'), 'it is there already')

        # All the other commands know of it.
        self.cluster('kill', '4')
        self.cluster('restart', '4')
        self.cluster('pause', '4')
        self.cluster('resume', '4')
        self.assertIn('--join', pathlib.Path(f'/proc/{self.pids()["n4"]}/cmdline').read_text())
        self.assertIn('event=', self.cluster('logs', '4'))

        printed = self.cluster('remove', '1')
        self.assertIn('its data is still in', printed)
        self.assertTrue((self.directory / 'n1/data').is_dir())
        self.assertEqual(self.voters(), ['n2', 'n3', 'n4'])
        self.assertEqual(sorted(self.pids()), ['n2', 'n3', 'n4'])
        self.cluster('restart', '1', code=2)

        # A whole restart: those that the cluster began with, and those that joined.
        self.assertEqual(self.cluster('stop').split(), ['stopped', 'n2', 'n3', 'n4'])
        self.cluster('add', '5', code=1)
        self.cluster('start')
        self.assertEqual(sorted(self.pids()), ['n2', 'n3', 'n4'])
        self.assert_data_is_there()

        # n1 was a member before: its old data would not do.
        self.assertIn('say --yes', self.cluster('add', '1', code=1))
        self.cluster('add', '1', '--yes')
        self.assertEqual(self.voters(), ['n1', 'n2', 'n3', 'n4'])
        self.cluster('remove', '4', '--yes')
        self.assertFalse((self.directory / 'n4').exists())
        self.cluster('remove', '2', '--yes')
        self.cluster('restart', '1')
        self.assertEqual(self.voters(), ['n1', 'n3'])
        self.assert_data_is_there()

        self.cluster('stop')
        self.cluster('wipe', '--yes')
        self.assertFalse(self.directory.exists())

    def test_removal_asks_about_the_data(self):
        script = './scripts/local_cluster.sh'
        code, lines = run_in_terminal(f'{script} remove 3', self.environment, ROOT, 'n\n')
        self.assertEqual(code, 0, lines)
        self.assertTrue((self.directory / 'n3/data').is_dir())
        code, lines = run_in_terminal(f'{script} add 3', self.environment, ROOT, 'y\n')
        self.assertEqual(code, 0, lines)
        self.assertEqual(self.voters(), ['n1', 'n2', 'n3'])
        pid = int(self.pids()['n3'])  # its terminal is gone, and it lives
        self.assertEqual(os.getpgid(pid), pid, 'Ctrl-C would have reached it')
        self.assertNotEqual(os.getsid(pid), pid, 'Linux divides the processor among sessions first')
        code, lines = run_in_terminal(f'{script} remove 3', self.environment, ROOT, 'y\n')
        self.assertEqual(code, 0, lines)
        self.assertFalse((self.directory / 'n3').exists())

    def test_what_cannot_be_done_is_refused_and_changes_nothing(self):
        for arguments in (['add'], ['add', 'x'], ['add', '100'], ['remove', '4'], ['remove']):
            self.cluster(*arguments, code=2)
        # The port of n4 belongs to somebody else.
        holder = subprocess.Popen([sys.executable, '-c', 'import socket, sys\n'
                                   's = socket.create_server(("127.0.0.1", int(sys.argv[1])))\n'
                                   'print("listens", flush=True)\n'
                                   'sys.stdin.read()', str(self.base_port + 3)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(holder.wait)
        self.addCleanup(holder.stdin.close)
        self.addCleanup(holder.stdout.close)
        holder.stdout.readline()
        self.assertIn(f'in use by process {holder.pid}', self.cluster('add', '4', code=1))
        self.assertEqual(self.voters(), ['n1', 'n2', 'n3'])
        # Without a quorum of others nobody may go.
        self.cluster('kill', '2')
        self.assertIn('quorum', self.cluster('remove', '3', code=3))
        self.assertEqual(sorted(self.pids()), ['n1', 'n3'])


class RollingRestartTest(ClusterTest):
    def test_all_nodes_are_restarted_while_writes_go_on(self):
        self.cluster('add', '4')
        before = self.pids()
        done = self.run_script('rolling_restart.sh')
        self.assertEqual(done.returncode, 0, done.stdout)
        print(done.stdout)
        after = self.pids()
        self.assertEqual(sorted(after), ['n1', 'n2', 'n3', 'n4'])
        for node, pid in after.items():
            self.assertNotEqual(pid, before[node], node)
        seen = re.search(r'longest pause of writes: (\d+) ms \((\d+) writes, none failed\)',
                         done.stdout)
        self.assertIsNotNone(seen, done.stdout)
        # What docs/operating.md promises, and far below an election timeout: no restart costs an
        # election that nobody prepared.
        self.assertLess(int(seen[1]), 200)
        self.assertGreater(int(seen[2]), 100)
        self.assertEqual(self.voters(), ['n1', 'n2', 'n3', 'n4'])
        self.assert_data_is_there()
        left_behind = [name for name in os.listdir(self.directory)
                       if name.startswith(('.status', '.probe'))]
        self.assertEqual(left_behind, [])

    def test_it_does_not_begin_while_a_node_is_missing(self):
        self.cluster('kill', '3')
        before = self.pids()
        done = self.run_script('rolling_restart.sh')
        self.assertEqual(done.returncode, 1)
        self.assertIn('n3 is not level', done.stdout)
        self.assertEqual(self.pids(), before)


if __name__ == '__main__':
    BINARIES = pathlib.Path(sys.argv.pop(1)).resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('interrupted'))
    unittest.main()
