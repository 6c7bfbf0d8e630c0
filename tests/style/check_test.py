#!/usr/bin/env python3
"""Every style rule finds a bad sample and leaves a good one alone.

    tests/style/check_test.py             all
    tests/style/check_test.py RULE...     only the samples of these rules
"""

import pathlib
import shutil
import sys
import tempfile
import unittest

import check

LONG_BODY = '  Work();\n' * 70
LONG_FUNCTIONS = {
    'plain': 'void Long(int a) {\n%s}\n',
    'in a namespace': 'namespace skein {\nnamespace {\nint Long() {\n%s}\n}\n}\n',
    'method in a class': 'class A : public B {\n public:\n  void Long() const override {\n%s}\n};\n',
    'template': 'template <typename T, int n = (3 > 2)>\nT Long(T t) {\n%s}\n',
    'constructor with braced members': 'A::A(int x) : a_{x}, b_{{1}}, c_(2) {\n%s}\n',
    'with brace in a string': 'void Long() {\n  Say("}}}"); Say(R"x(}}})x"); char c = \'}\';\n%s}\n',
    'with brace in a comment': 'void Long() {\n  // }\n  /* } */\n%s}\n',
    'gtest case': 'TEST_F(ATest, DoesMuch) {\n%s}\n',
    'with a lambda inside': 'void Long() {\n  auto f = [](int a) { return a; };\n%s}\n',
    'operator': 'bool operator==(const A& a, const A& b) {\n%s}\n',
    'after a digit separator': "constexpr int k = 1'000'000;\nvoid Long() {\n%s}\n",
    'after a macro with braces': '#define M(x) \\\n  do { x; \\\n  } while (0)\nvoid Long() {\n%s}\n',
}
SHORT_FUNCTIONS = {
    'two of them': 'void A() {\n%s}\nvoid B() {\n%s}\n' % (LONG_BODY[:600], LONG_BODY[:600]),
    'long class of short methods': 'class A {\n%s};\n' % ('  int a() const { return a_; }\n' * 99),
    'long table': 'const int kTable[] = {\n%s};\n' % ('  1,\n' * 99),
    'long enum': 'enum class E : uint8_t {\n%s};\n' % ''.join(f'  k{i},\n' for i in range(99)),
    'long comment before': '%svoid A() {}\n' % ('// why\n' * 99),
    'exactly at the limit': 'void A() {\n%s}\n' % ('  Work();\n' * 68),
}


class StyleTest(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)

    def offenders(self, rule, files):
        for path, text in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)
        found = check.offenders_of(rule, self.root)
        for path in files:
            (self.root / path).unlink()
        return found

    def assert_bad(self, rule, path, text, others=None):
        found = self.offenders(rule, {**(others or {}), path: text})
        self.assertEqual(len(found), 1, found)
        self.assertIn(path, found[0])

    def assert_good(self, rule, path, text, others=None):
        self.assertEqual(self.offenders(rule, {**(others or {}), path: text}), [])

    def test_function_length(self):
        for name, text in LONG_FUNCTIONS.items():
            with self.subTest(name):
                self.assert_bad('function-length', 'src/a.cc', text % LONG_BODY)
        for name, text in SHORT_FUNCTIONS.items():
            with self.subTest(name):
                self.assert_good('function-length', 'tests/a_test.cc', text)

    def test_file_length(self):
        self.assert_bad('file-length', 'src/a.cc', '\n' * 501)
        self.assert_good('file-length', 'src/a.cc', '\n' * 500)
        self.assert_bad('file-length', 'tests/a.cc', '\n' * 801)
        self.assert_good('file-length', 'tests/a.cc', '\n' * 800)

    def test_include_arrows(self):
        rule = 'include-arrows'
        for path, included in [
                ('src/common/a.h', 'replication/core/b.h'), ('src/replication/core/a.h', 'replication/b.h'),
                ('src/replication/a.h', 'storage/b.h'), ('src/replication/a.h', 'replication/grpc/b.h'),
                ('src/replication/a.h', 'skein/v1/kv.pb.h'), ('src/storage/a.h', 'server/b.h'),
                ('src/storage/a.h', 'replication/grpc/b.h'), ('src/client/a.h', 'server/b.h'),
                ('src/client/a.h', 'replication/core/b.h'), ('src/cli/a.h', 'skein/v1/kv.pb.h'),
                ('src/client/a.h', 'cli/b.h'), ('src/server/a.h', 'client/b.h')]:
            with self.subTest(path=path, included=included):
                self.assert_bad(rule, path, f'#include "{included}"\n')
        self.assert_bad(rule, 'src/server/a.cc', '#include "skein/client.h"\n',
                        {'src/client/include/skein/client.h': ''})
        self.assert_bad(rule, 'src/newcomer/a.cc', '')
        self.assert_good(rule, 'src/server/a.h',
                         '#include "storage/b.h"\n#include "replication/core/c.h"\n'
                         '#include "skein/v1/kv.grpc.pb.h"\n#include <vector>\n'
                         '// #include "cli/d.h"\n')
        self.assert_good(rule, 'src/cli/a.cc', '#include "skein/client.h"\n#include "common/b.h"\n',
                         {'src/client/include/skein/client.h': ''})

    def test_core_is_pure(self):
        for included in ('<mutex>', '<thread>', '<chrono>', '<random>', '"absl/synchronization/mutex.h"',
                         '"absl/time/time.h"', '<grpcpp/grpcpp.h>', '<sys/socket.h>'):
            with self.subTest(included):
                self.assert_bad('core-is-pure', 'src/replication/core/a.h', f'#include {included}\n')
        self.assert_good('core-is-pure', 'src/replication/core/a.h',
                         '#include <map>\n#include "absl/status/statusor.h"\n'
                         '#include "common/types.h"\n')

    def test_rocksdb_only_in_storage(self):
        self.assert_bad('rocksdb-only-in-storage', 'src/server/a.cc', '#include <rocksdb/db.h>\n')
        self.assert_bad('rocksdb-only-in-storage', 'src/server/a.cc', '#include "rocksdb/db.h"\n')
        self.assert_good('rocksdb-only-in-storage', 'src/storage/a.cc', '#include <rocksdb/db.h>\n')

    def test_client_headers(self):
        for text in ('#include <grpcpp/grpcpp.h>', '#include "skein/v1/kv.pb.h"',
                     'void F(const google::protobuf::Message& m);', 'grpc::Status s;',
                     'skein::v1::GetRequest r;'):
            with self.subTest(text):
                self.assert_bad('client-headers', 'src/client/include/skein/a.h', text + '\n')
        self.assert_good('client-headers', 'src/client/include/skein/a.h',
                         '// No gRPC or grpc:: type here.\n#include <string>\n')

    def test_no_sleep_in_tests(self):
        for text in ('std::this_thread::sleep_for(1s);', 'absl::SleepFor(a);', 'usleep(1);', 'sleep(3);'):
            with self.subTest(text):
                self.assert_bad('no-sleep-in-tests', 'tests/a/a_test.cc', f'void A() {{ {text} }}\n')
        self.assert_bad('no-sleep-in-tests', 'tests/a/a_test.py', 'time.sleep(1)\n')
        self.assert_good('no-sleep-in-tests', 'tests/support/wait.h', 'absl::SleepFor(a);\n')
        self.assert_good('no-sleep-in-tests', 'tests/a/a_test.cc', '// sleep_for is not used\n')

    def test_no_machine_path(self):
        for folder in ('work', 'home', 'Users', 'root'):
            self.assert_bad('no-machine-path', 'docs/a.md', f'see /{folder}/someone/x\n')
        self.assert_good('no-machine-path', 'docs/a.md', 'see docs/home/x, a/work/b, $HOME/work\n')

    @unittest.skipUnless(shutil.which('clang-format'), 'clang-format is not installed')
    def test_format(self):
        (self.root / '.clang-format').write_text('BasedOnStyle: Google\nColumnLimit: 100\n')
        self.assert_bad('format', 'src/a.cc', 'int  a( ){return 1 ;}\n')
        self.assert_good('format', 'src/a.cc', 'int a() { return 1; }\n')

    def test_nothing_to_look_at(self):
        for rule in check.RULES:
            with self.subTest(rule):
                self.assertEqual(len(check.offenders_of(rule, self.root)), 1)

    def test_every_rule_has_a_sample(self):
        for rule in check.RULES:
            self.assertTrue(hasattr(self, 'test_' + rule.replace('-', '_')), rule)


if __name__ == '__main__':
    names = [f'StyleTest.test_{rule.replace("-", "_")}' for rule in sys.argv[1:]]
    unittest.main(argv=sys.argv[:1], defaultTest=names or None)
