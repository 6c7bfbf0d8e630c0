#!/usr/bin/env python3
"""bench_snapshot.sh with little data: what it measures adds up, and nothing of it stays.

    tests/scripts/bench_snapshot_test.py BIN_DIR      BIN_DIR has skeind and skein
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = None


class BenchSnapshotTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix='skein-bench-snapshot-')
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)

    def run_bench(self, *arguments):
        return subprocess.run(
            [ROOT / 'scripts/bench_snapshot.sh', *arguments], cwd=self.scratch, text=True,
            env={**os.environ, 'NO_COLOR': '1', 'SKEIN_BIN_DIR': str(BINARIES)}, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def test_measures_a_small_snapshot(self):
        apart = self.scratch / 'apart'
        apart.mkdir()
        out = self.scratch / 'numbers.json'
        arguments = ['--gigabytes', '0.2', '--rate', '100', '--rounds', '1', '--out', str(out)]
        if os.cpu_count() > 1:
            arguments += ['--apart', str(apart)]
        arguments += ['--', '--snapshots-max', '1']
        done = self.run_bench(*arguments)
        self.assertEqual(done.returncode, 0, done.stdout)
        numbers = json.loads(out.read_text(encoding='utf-8'))
        # The probe makes values of up to 1,000 keys small, and compaction drops the big ones.
        self.assertGreater(numbers['snapshot_bytes'], 130e6)
        self.assertLess(numbers['snapshot_bytes'], 250e6)
        # At 32 MiB a second.
        self.assertEqual(len(numbers['beside_writes_seconds']), 1)
        self.assertGreater(min(numbers['beside_writes_seconds']), 0.8 * 130e6 / (32 << 20))
        self.assertEqual(len(numbers['alone_seconds']), 1)
        self.assertLess(max(numbers['alone_seconds']), min(numbers['beside_writes_seconds']))
        self.assertGreater(min(numbers['cp_seconds']), 0)
        for phase in ('before', 'beside'):
            self.assertEqual(len(numbers['put_us'][phase]), 1)
            self.assertTrue(all(0 < put['p50'] <= put['p99'] for put in numbers['put_us'][phase]))
            self.assertTrue(all(0 <= share < 1 for share in numbers['stolen'][phase]))
        self.assertEqual(numbers['put_errors'], 0)
        for before, most in zip(numbers['leader_mib_before'], numbers['leader_mib_max']):
            self.assertGreaterEqual(most, before)
            self.assertLess(most, before + 64)
        self.assertEqual(list(apart.iterdir()), [])

    def test_says_what_is_wrong_with_its_arguments(self):
        for arguments, expected in ((['--gigabytes', '0'], 'a number above 0'),
                                    (['--rate', '1.5'], 'a number above 0'),
                                    (['--rounds', '0'], 'a number above 0'),
                                    (['--apart', str(self.scratch / 'no')], 'that exists'),
                                    (['--fast'], "'--fast'")):
            done = self.run_bench(*arguments)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(expected, done.stdout)


if __name__ == '__main__':
    BINARIES = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
