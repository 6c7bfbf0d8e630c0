#!/usr/bin/env python3
"""What the pages for users and engineers must keep in step with the code.

    tests/readme/docs_test.py SKEIND      SKEIND is the binary whose flags must be explained

Each check takes texts, so that its own test can give it ones that are wrong.
"""

import os
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED_FOLDERS = {'build', 'results', '.git', '.skein', '.cache'}
LINK = re.compile(r'(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)')
RULE = re.compile(r'\bR([0-9]{1,2})\b')
RULE_RANGE = re.compile(r'\bR([0-9]{1,2})(?:–|-| to )R?([0-9]{1,2})\b')
SKEIND = None


def without_code(markdown):
    markdown = re.sub(r'^```.*?^```', '', markdown, flags=re.M | re.S)
    return re.sub(r'`[^`\n]*`', '', markdown)


def anchors_of(markdown):
    """The names that headings get: lower case, words joined by hyphens."""
    headings = re.findall(r'^#+ +(.*?) *$', re.sub(r'^```.*?^```', '', markdown, flags=re.M | re.S),
                          flags=re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def broken_links(page, markdown, exists, read):
    """Relative links of a page that lead nowhere. `exists` and `read` take paths below the root."""
    for match in LINK.finditer(without_code(markdown)):
        link = match[1] or match[2]
        if re.match(r'[a-z]+:', link):
            continue
        target, _, anchor = link.partition('#')
        path = (page.parent / target) if target else page
        parts = []
        for part in path.parts:
            if part == '..' and parts:
                parts.pop()
            elif part != '.':
                parts.append(part)
        path = pathlib.Path(*parts) if parts else pathlib.Path('.')
        if not exists(path):
            yield f'{page}: {link}: there is no {path}'
        elif anchor and path.suffix == '.md' and anchor not in anchors_of(read(path)):
            yield f'{page}: {link}: {path} has no heading of that name'


def rules_cited(text):
    cited = {int(number) for number in RULE.findall(text)}
    for first, last in RULE_RANGE.findall(text):
        cited |= set(range(int(first), int(last) + 1))
    return cited


def rules_explained(markdown):
    """Rules that have a paragraph of their own: it begins `- **R7**` or `**R7**`."""
    return {int(number) for number in re.findall(r'^(?:- )?\*\*R([0-9]+)\*\*', markdown, flags=re.M)}


def flags_of(help_text):
    return set(re.findall(r'^ {2}(?:-\w,)?(--[a-z-]+)', help_text, flags=re.M))


def words_missing(words, markdown):
    """Those that the page does not set in code type, alone or as the beginning of an example."""
    return sorted(word for word in words if not re.search(rf'`{re.escape(word)}[`= ]', markdown))


def tests_named(markdown):
    """What the last column of a table names in code type."""
    rows = [line.strip().strip('|').split('|') for line in markdown.splitlines()
            if line.startswith('|')]
    return {name for row in rows[2:] for name in re.findall(r'`([^`]+)`', row[-1])}


def tests_defined(code):
    """`Suite.Name` of each test of GoogleTest."""
    return {f'{suite}.{name}' for suite, name in
            re.findall(r'^(?:TYPED_)?TEST(?:_F|_P)?\((\w+),\s*(\w+)\)', code, flags=re.M)}


def read(path):
    return (ROOT / path).read_text(encoding='utf-8', errors='replace')


def files(suffixes, folders=('.',)):
    for folder in folders:
        for parent, below, names in os.walk(ROOT / folder):
            below[:] = sorted(set(below) - SKIPPED_FOLDERS)
            for name in sorted(names):
                path = pathlib.Path(parent, name)
                if path.suffix in suffixes:
                    yield path.relative_to(ROOT)


class PagesTest(unittest.TestCase):
    def test_every_relative_link_leads_somewhere(self):
        pages = list(files({'.md'}))
        self.assertIn(pathlib.Path('README.md'), pages)
        broken = [line for page in pages
                  for line in broken_links(page, read(page), lambda p: (ROOT / p).exists(), read)]
        self.assertEqual(broken, [])

    def test_every_rule_that_is_cited_is_explained(self):
        explained = rules_explained(read('docs/replication.md'))
        self.assertGreater(len(explained), 15)
        cited = set()
        for path in files({'.h', '.cc', '.proto', '.txt', '.md'}, ('src', 'proto', 'tests', 'docs')):
            cited |= rules_cited(read(path))
        self.assertEqual(sorted(cited - explained), [])

    def test_every_flag_of_skeind_is_explained(self):
        text = subprocess.run([SKEIND, '--help'], check=True, capture_output=True, text=True).stdout
        flags = flags_of(text)
        self.assertGreater(len(flags), 10)
        self.assertEqual(words_missing(flags, read('docs/configuration.md')), [])

    def test_every_reason_of_an_error_is_explained(self):
        block = re.search(r'enum ErrorReason \{(.*?)\n\}', read('proto/skein/v1/error.proto'), re.S)
        reasons = set(re.findall(r'^ +([A-Z_]+) = [1-9]', block[1], flags=re.M))
        self.assertGreater(len(reasons), 8)
        self.assertEqual(words_missing(reasons, read('docs/wire_protocol.md')), [])


    def test_every_bug_is_held_down(self):
        defined = {path.name for path in files({'.txt'}, ('tests/scenarios',))}
        for path in files({'.h', '.cc'}, ('tests',)):
            defined |= tests_defined(read(path))
        named = tests_named(read('docs/bugs.md'))
        self.assertGreater(len(named), 10)
        self.assertEqual(sorted(named - defined), [])


class ChecksCanFailTest(unittest.TestCase):
    def broken(self, markdown):
        pages = {'docs/a.md': '# A b, c\n', 'docs': ''}
        return list(broken_links(pathlib.Path('docs/x.md'), markdown,
                                 lambda p: str(p) in pages, lambda p: pages[str(p)]))

    def test_links(self):
        self.assertEqual(self.broken('[a](a.md) [b](a.md#a-b-c) [c](https://x.y/z) `[d](no.md)`'), [])
        self.assertEqual(len(self.broken('[a](b.md)')), 1)
        self.assertEqual(len(self.broken('![a](b.svg)')), 1)
        self.assertEqual(len(self.broken('[a](../a.md)')), 1)
        self.assertEqual(len(self.broken('[a](a.md#b)')), 1)

    def test_rules(self):
        self.assertEqual(rules_cited('R1, R14–R16 (R9); R12 to R13; XR5'), {1, 9, 12, 13, 14, 15, 16})
        self.assertEqual(rules_explained('- **R7** x\n**R8** y\nsee **R9**, R1'), {7, 8})

    def test_tests(self):
        self.assertEqual(tests_named('`No.1`\n| a | b |\n|---|---|\n| `No.2` | x `Yes.1` `y.txt` |\n'),
                         {'Yes.1', 'y.txt'})
        self.assertEqual(tests_defined('TEST(A, B) {\nTEST_F(C,\n       D) {\n// TEST(E, F)\n'),
                         {'A.B', 'C.D'})

    def test_words(self):
        self.assertEqual(flags_of('Options:\n  -h,--help   x\n  --data-dir TEXT  y --no\n'),
                         {'--help', '--data-dir'})
        self.assertEqual(words_missing({'--id', '--data'}, 'the flag `--id`, not `--data-dir`, --data'),
                         ['--data'])


if __name__ == '__main__':
    SKEIND = sys.argv.pop(1)
    unittest.main()
