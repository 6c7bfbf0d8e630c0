#!/usr/bin/env python3
"""Shows that the simulator can fail: each bug that is planted in the core must be caught.

    tests/sim/planted_bugs_test.py BIN_DIR [--update]

`planted_bugs.txt` names the bugs, each with a seed that caught it. Where that seed does not any
more, as after a change of the generators, the test searches; --update then writes what it found.
"""

import pathlib
import re
import shlex
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TABLE = HERE / 'planted_bugs.txt'
SEARCHED_SEEDS = 6000
BUGS_MIN = 12


def read_table():
    """Name to seed."""
    rows = (line.split() for line in TABLE.read_text().splitlines() if not line.startswith('#'))
    return {row[0]: int(row[1]) for row in rows if row}


def run(*arguments):
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True,
                          timeout=600, check=False)


def planted(name, seeds):
    return run(BIN / 'skein_sim_planted', '--plant', name, '--seeds', seeds, '--quiet', '--twice', 0)


def caught_at(result):
    """The seed of the violation, or None."""
    match = re.search(r'^VIOLATION in seed (\d+): ', result.stdout, re.MULTILINE)
    return int(match.group(1)) if match and result.returncode == 1 else None


class PlantedBugs(unittest.TestCase):
    def test_table_names_what_is_in_the_code(self):
        found = set()
        for path in (HERE.parent.parent / 'src').rglob('*.cc'):
            found |= set(re.findall(r'SKEIN_PLANTED\("([^"]+)"\)', path.read_text()))
        self.assertEqual(found, set(read_table()))
        self.assertGreaterEqual(len(found), BUGS_MIN)

    def test_nothing_is_found_where_nothing_is_planted(self):
        result = planted('', '1..30')
        self.assertEqual(result.returncode, 0, result.stdout[-2000:])

    def test_each_is_caught(self):
        table = read_table()
        found = {}
        for name, seed in table.items():
            with self.subTest(bug=name):
                found[name] = caught_at(planted(name, seed))
                if found[name] is None:
                    found[name] = caught_at(planted(name, f'1..{SEARCHED_SEEDS}'))
                self.assertIsNotNone(
                    found[name], f'no seed of {SEARCHED_SEEDS} catches it: a hole in the simulator')
        if UPDATE:
            text = TABLE.read_text()
            for name, seed in found.items():
                text = re.sub(rf'^({name} +)\d+', rf'\g<1>{seed or 0}', text, flags=re.MULTILINE)
            TABLE.write_text(text)

    def test_the_replay_shows_the_same(self):
        first = planted('acks-before-sync', '1..5')
        command = re.search(r'^replay: (.*)$', first.stdout, re.MULTILINE).group(1)
        violation = re.search(r'^VIOLATION in seed \d+: (.*)$', first.stdout, re.MULTILINE).group(1)
        again = run(*shlex.split(command))
        self.assertEqual(again.returncode, 1)
        self.assertIn('VIOLATION: ' + violation, again.stdout)

    def test_a_seed_that_aborts_is_reported_with_its_trace(self):
        seed = read_table()['stale-completion-counts']
        result = planted('stale-completion-counts', seed)
        self.assertEqual(result.returncode, 1, result.stdout[-2000:])
        self.assertIn(f'VIOLATION in seed {seed}: ', result.stdout)
        self.assertIn('replay: ', result.stdout)


class CommandLine(unittest.TestCase):
    def test_wrong_use_is_refused(self):
        for arguments in (['--seeds', '7..3'], ['--seeds', 'many'], ['--jobs', '0'],
                          ['--without', 'gravity'], ['--wrong']):
            with self.subTest(arguments=arguments):
                result = run(BIN / 'skein_sim', *arguments)
                self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
                self.assertTrue(result.stderr)

    def test_help_has_examples(self):
        result = run(BIN / 'skein_sim', '--help')
        self.assertEqual(result.returncode, 0)
        self.assertIn('Examples:', result.stdout)

    def test_faults_can_be_left_out(self):
        result = run(BIN / 'skein_sim', '--seeds', '1..40', '--without', 'loss,crash,pause', '--quiet')
        self.assertEqual(result.returncode, 0, result.stdout[-2000:])
        self.assertRegex(result.stdout, r'(?m)^ +0  messages lost$')
        self.assertRegex(result.stdout, r'(?m)^ +[1-9]\d*  elections won$')


class Pinned(unittest.TestCase):
    def test_seeds_that_once_failed(self):
        for line in (HERE / 'pinned_seeds.txt').read_text().splitlines():
            if not line or line.startswith('#'):
                continue
            seed, faults = re.match(r'(\d+)(?: with (\S+))?', line).groups()
            with self.subTest(seed=seed):
                result = run(BIN / 'skein_sim', '--seeds', seed, '--quiet', '--twice', 1,
                             *(['--with', faults] if faults else []))
                self.assertEqual(result.returncode, 0, result.stdout[-2000:])


if __name__ == '__main__':
    UPDATE = '--update' in sys.argv
    BIN = pathlib.Path(sys.argv[1]).resolve()
    unittest.main(argv=[sys.argv[0]], verbosity=1)
