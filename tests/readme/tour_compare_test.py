#!/usr/bin/env python3
"""The walk's judgement: that it notices what differs, and nothing else."""

import unittest

import tour

TABLE = '''\
NODE  ADDRESS         PROCESS            ROLE      REVISION  LAG
n1    127.0.0.1:7411  running (pid 101)  leader    1         0
n2    127.0.0.1:7412  running (pid 102)  follower  1         0
n3    127.0.0.1:7413  running (pid 103)  follower  1         0'''
# The same from a cluster that n3 leads.
REAL = '''\
NODE  ADDRESS         PROCESS              ROLE      REVISION  LAG
n1    127.0.0.1:9001  running (pid 22001)  follower  1         0
n2    127.0.0.1:9002  running (pid 22002)  follower  1         0
n3    127.0.0.1:9003  running (pid 22003)  leader    1         0'''


def step_that_shows(text):
    step = tour.Step('command', 1)
    step.shown = text.splitlines()
    return step


class TourTest(unittest.TestCase):
    def setUp(self):
        self.translation = tour.Translation('/tmp/x/cluster', '/b/bin', 9001)

    def differs(self, shown, real):
        return tour.difference(step_that_shows(shown), real.splitlines(), self.translation)

    def test_finds_the_steps_of_console_blocks_only(self):
        steps = tour.steps_of('```sh\n$ no\n```\n```console\n$ a \\\n> b\nx\ny\n$ c\n```\n$ no\n')
        self.assertEqual([(s.command, s.shown) for s in steps],
                         [('a \\\nb', ['x', 'y']), ('c', [])])

    def test_another_leader_is_no_difference(self):
        self.assertIsNone(self.differs(TABLE, REAL))
        self.assertIsNone(self.differs('n1 (pid 7) killed', 'n3 (pid 12345) killed'))
        self.assertEqual(self.translation.command('./scripts/local_cluster.sh kill 1'),
                         './scripts/local_cluster.sh kill 3')
        self.assertEqual(self.translation.command('build/release/bin/skein --endpoints 127.0.0.1:7411 x'),
                         '/b/bin/skein --endpoints 127.0.0.1:9003 x')

    def test_who_was_stopped_stays_the_same_node(self):
        self.assertIsNone(self.differs(TABLE, REAL))
        shown = TABLE.replace('running (pid 101)  leader    1         0', 'stopped - - -').replace(
            '(pid 102)  follower', '(pid 102)  leader')
        real = REAL.replace('running (pid 22003)  leader    1         0', 'stopped - - -').replace(
            '(pid 22001)  follower', '(pid 22001)  leader')
        self.assertIsNone(self.differs(shown, real))
        self.assertEqual(self.translation.command('scripts/local_cluster.sh restart n1'),
                         'scripts/local_cluster.sh restart n3')

    def test_nodes_come_and_go(self):
        self.assertIsNone(self.differs(TABLE, REAL))
        joined = 'n4 127.0.0.1:{} running (pid 5) follower 1 0'
        self.assertIsNone(self.differs(f'{TABLE}\n{joined.format(7414)}',
                                       f'{REAL}\n{joined.format(9004)}'))
        self.assertIsNotNone(self.differs(TABLE, f'{REAL}\n{joined.format(9004)}'))
        self.assertEqual(self.translation.command('x/local_cluster.sh add 4'),
                         'x/local_cluster.sh add 4')
        self.assertEqual(self.translation.command('x/local_cluster.sh remove 1 --yes'),
                         'x/local_cluster.sh remove 3 --yes')
        # n1 of the tour leads and is removed; it is n3 here, and n1 succeeds it.
        shown = TABLE.splitlines()[:1] + [TABLE.splitlines()[i] for i in (2, 3)]
        real = REAL.splitlines()[:3]
        shown[1] = shown[1].replace('follower', 'leader')
        real[1] = real[1].replace('follower', 'leader')
        self.assertIsNone(self.differs('\n'.join(shown), '\n'.join(real)))
        self.assertIsNone(self.differs('stopped n2 n3', 'stopped n1 n2'))

    def test_notices_what_differs(self):
        self.assertIsNotNone(self.differs('1', '2'))
        self.assertIsNotNone(self.differs('1', ''))
        self.assertIsNotNone(self.differs('', '1'))
        self.assertIsNotNone(self.differs('n1 (pid 7) killed', 'n2 (pid 7) killed'))
        self.assertIsNotNone(self.differs(TABLE, REAL.replace('leader', 'follower')))
        self.assertIsNotNone(self.differs(TABLE, REAL.replace('follower  1', 'follower  0')))
        self.assertIsNotNone(self.differs(TABLE, 'n1 stopped'))

    def test_translates_places(self):
        self.assertIsNone(self.differs(TABLE, REAL))
        self.assertIsNone(self.differs('stopped n1 n2 n3', 'stopped n1 n2 n3'))
        self.assertIsNotNone(self.differs('stopped n1 n2 n3', 'stopped n1 n2'))
        self.assertIsNone(self.differs('started in /src/skein/.skein', 'started in /tmp/x/cluster'))
        self.assertIsNone(self.differs('  ./build/release/bin/skein status',
                                       '  /b/bin/skein --endpoints 127.0.0.1:9001 status'))

    def test_any_node_may_answer_a_read_but_with_the_right_value(self):
        shown = 'KEY    VERSION  NODE  VALUE\ncolor  1        n3    teal'
        self.assertIsNone(self.differs(shown, shown.replace('n3', 'n2')))
        self.assertIsNotNone(self.differs(shown, shown.replace('teal', 'pink')))
        self.assertIsNotNone(self.differs(shown, shown.replace('  1  ', '  2  ')))


if __name__ == '__main__':
    unittest.main()
